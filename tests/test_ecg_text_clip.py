"""Contrastive ECG-report pre-training by commands: processes, precisions, resumed runs."""

import json

import pytest
import torch

from fairseq_ecg import load_model
from tests.clip_networks import BERT
from tests.conftest import TINY_CMSC_MODEL, USER_DIR
from tests.ecg_texts import write_corpus

ENCODER = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
)
NO_DROPOUT = (
    "+model.bert_dropout=0.0",
    *(f"+model.ecg_config.{name}=0.0" for name in ("dropout", "attention_dropout")),
)
"""Each process would draw its own."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    vocabulary = write_corpus(folder, {"train": 16, "valid": 6})
    bert = folder / "bert"
    bert.mkdir()
    n_tokens = len(vocabulary.rename(bert / "vocab.txt").read_text().splitlines())
    sizes = BERT | {"vocab_size": n_tokens, "model_type": "bert"}
    (bert / "config.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture(scope="module")
def train(hydra_train, corpus):
    """Train for some updates in a folder; return the weights of the last checkpoint."""

    def run(folder, updates, *options, processes=1, batch_size=8):
        folder.mkdir(exist_ok=True)
        run = hydra_train(
            USER_DIR,
            "--config-name=ecg_text_clip",
            f"task.data={corpus}",
            f"task.tokenizer={corpus / 'bert'}",
            f"model.bert={corpus / 'bert'}",
            "model.freeze_text_layers=1",
            "model.projection_dim=8",
            *(f"model.ecg_config.{name}={TINY_CMSC_MODEL[name]}" for name in ENCODER),
            *(
                f"+model.ecg_config.{name}={TINY_CMSC_MODEL[name]}"
                for name in ("conv_pos", "conv_pos_groups")
            ),
            f"+model.ecg_config.conv_feature_layers='{TINY_CMSC_MODEL['conv_feature_layers']}'",
            "task.max_text_size=32",
            f"dataset.batch_size={batch_size}",
            "dataset.num_workers=0",
            "dataset.required_batch_size_multiple=1",
            "optimization.lr=[1e-2]",
            f"optimization.max_update={updates}",
            "common.log_interval=1",
            f"distributed_training.distributed_world_size={processes}",
            f"checkpoint.save_dir={folder}",
            *options,
            cwd=folder,
            processes=processes,
        )
        run.check()
        return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]

    return run


def test_two_processes_contrast_the_batch_of_both(train, tmp_path):
    one = train(tmp_path / "1", 2, *NO_DROPOUT)
    two = train(tmp_path / "2", 2, *NO_DROPOUT, processes=2, batch_size=4)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_a_resumed_run_ends_as_one_that_was_not(train, tmp_path):
    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 2)
    resumed = train(tmp_path / "parts", 3)
    for key, value in whole.items():
        assert torch.equal(resumed[key], value), key


def test_bf16_trains_and_the_checkpoint_says_all_that_is_needed(train, tmp_path, corpus):
    weights = train(tmp_path / "bf16", 2, "common.bf16=true")
    assert all(value.isfinite().all() for value in weights.values())
    (corpus / "bert").rename(corpus / "elsewhere")
    try:
        model = load_model(tmp_path / "bf16" / "checkpoint_last.pt", device="cpu")
        assert model.embed_text("sinus rhythm").shape == (1, 8)
    finally:
        (corpus / "elsewhere").rename(corpus / "bert")
