"""What every network of the tables of encoders and heads must do."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.modules import ENCODERS, FinetunedEncoder, FrameEncoder, build_network
from fairseq_ecg.modules.registry import (
    has_head,
    head_of,
    labels_option,
    network_options,
    pieces_of,
    put_head,
    with_head,
)
from tests.conftest import TINY_CMSC_MODEL
from tests.tiny_checkpoints import made

TINY_MODEL = TINY_CMSC_MODEL | {
    "in_d": 12,
    "initial_dim": 2,
    "cgm_dim": 4,
    "cgm_kernel_size": 3,
    "num_blocks": 2,
    "ratio": 4,
    "configuration": "resnet18",
    "use_mha": True,
    "indicate_leads": True,
}


def tiny(name: str) -> dict:
    """Configuration of a small network: its options among those of tiny ones."""
    options = {key: x for key, x in TINY_MODEL.items() if key in network_options(name)}
    labelled = {labels_option(name): 2} if has_head(name) else {}
    return {"_name": name} | options | labelled


def covering(names: Iterable[str]) -> list[str]:
    """Choose few networks that have every encoder and every head of the given ones, and none."""

    def pieces(name: str) -> set:
        return {ENCODERS[pieces_of(name)[0]], head_of(name)}

    names = list(names)[::-1]  # heads that use more of their encoder come last
    left: set = set().union(*map(pieces, names))
    chosen = []
    while left:
        chosen.append(max(names, key=lambda name: len(pieces(name) & left)))
        left -= pieces(chosen[-1])
    return chosen


def check_head_on_encoder(encoder_name: str, head: str) -> None:
    """Run any encoder with any head, before and after a round trip of its weights."""
    torch.manual_seed(0)
    name = with_head(encoder_name, head)
    cfg = tiny(name) | tiny(encoder_name)
    networks = []
    for _ in range(2):
        encoder = build_network(cfg)
        encoder.remove_pretraining_modules()
        networks.append(put_head(encoder, head, cfg).eval())
    first, second = networks
    second.load_state_dict(first.state_dict())
    stored = build_network(cfg | {"_name": name}).eval()
    stored.load_state_dict(first.state_dict())  # as a checkpoint of it is loaded
    source = torch.randn(3, 12, 640)
    with torch.no_grad():
        out, *others = (network(source) for network in (first, second, stored))
    assert first.outputs
    for output in first.outputs:
        assert all(torch.equal(out[output], other[output]) for other in others)
    frames = first.encoder.frame_count(640)
    assert out["encoder_out"].shape == (3, frames, first.encoder.encoder_dim)


def check_network(name: str, folder: Path, exports: bool = True) -> None:
    """Take a network from its name to fairseq, to predictions, to a folder and to an export.

    Args:
        name: of the network.
        folder: to write into.
        exports: whether to export it as well, which takes seconds.
    """
    path = folder / f"{name}.pt"
    state = made(tiny(name) | {"normalize": False, "filter": False, "data": ""})
    if not has_head(name) or labels_option(name) not in network_options(name):
        del state["task_state"]["fairseq_ecg"]["labels"]
    torch.save(state, path)
    options = network_options(name)
    assert options.keys() <= MODEL_DATACLASS_REGISTRY[name].__dataclass_fields__.keys()

    model = load_model(path, device="cpu")
    source = torch.randn(2, model.preprocessing.n_rows, model.preprocessing.segment_samples)
    with torch.no_grad():
        expected = model.network(source)
        fairseq_model = build_model_from_checkpoint(path)
        if has_head(name):
            found = fairseq_model(source)
            assert all(
                torch.equal(found[output], expected[output]) for output in fairseq_model.outputs
            )
            assert isinstance(fairseq_model, FinetunedEncoder)
        else:
            assert torch.equal(fairseq_model.extract_features(source)["x"], expected["encoder_out"])
            assert type(model.network) is FrameEncoder
    signal = source[0].numpy()
    rate = model.preprocessing.sample_rate
    embedded = model.embed(signal, sample_rate=rate).table
    assert embedded.shape == (1, model.embed_dim)
    if model.labels:
        assert model.predict(signal, sample_rate=rate).table.shape == (1, 2)
    else:
        remedy = "use segment|use identify" if has_head(name) else "fine-tune it"
        with pytest.raises(DataError, match=remedy):
            model.predict(signal, sample_rate=rate)

    model.save_pretrained(folder / name)
    again = load_model(folder / name, device="cpu")
    np.testing.assert_array_equal(again.embed(signal, sample_rate=rate).table, embedded)
    if exports:
        model.export(folder / f"{name}.pt2")  # which compares what it wrote with the network
