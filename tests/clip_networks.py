"""A small network of contrastive pre-training, and checkpoints of it as training writes them."""

import torch

from fairseq_ecg.modules.registry import network_options
from fairseq_ecg.modules.text import build_text_network
from tests.conftest import TINY_CMSC_MODEL
from tests.models.networks import TINY_MODEL
from tests.tiny_checkpoints import made

BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def config(encoder: str = "ecg_transformer", **options) -> dict:
    """Return the configuration of a small network.

    Args:
        encoder: of ECGs.
        options: of the network, in place of those of a small one.
    """
    of_encoder = {key: x for key, x in TINY_MODEL.items() if key in network_options(encoder)}
    return {
        "_name": "ecg_text_clip",
        "ecg_encoder": encoder,
        "ecg_config": of_encoder,
        "bert_config": BERT,
        "projection_dim": 8,
    } | options


def clip_checkpoint(path, vocabulary, **options):
    """Write a checkpoint, its weights drawn at random; return its path."""
    return checkpoint_of(config(**options), path, vocabulary)


def checkpoint_of(model: dict, path, vocabulary):
    """Write a checkpoint of any network of pre-training on texts; return its path.

    Args:
        model: its configuration.
        path: to write.
        vocabulary: of the texts, which training noted.
    """
    torch.manual_seed(0)
    state = made(TINY_CMSC_MODEL)
    state["cfg"]["model"] = model
    state["cfg"]["task"] = {"_name": "ecg_text_pretraining", "data": "d", "normalize": False}
    state["model"] = dict(build_text_network(model).state_dict())
    state["task_state"]["fairseq_ecg"] = {
        "sample_rate": 500.0,
        "segment_seconds": 2.0,
        "vocabulary": vocabulary,
        "lower_case": True,
        "max_text_size": 32,
    }
    torch.save(state, path)
    return path
