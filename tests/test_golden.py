import json
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

from fairseq_ecg.modules.text import build_text_network
from fairseq_ecg.ops import backends
from tests.conftest import ROOT, environment
from tests.golden_replay import main, replay


@pytest.mark.parametrize("backend", ["reference", "torch", "cpu"])
@pytest.mark.parametrize("padded", ["", "_padded"])
@pytest.mark.parametrize("checkpoint", ["pretrain_small", "diagnosis_small"])
def test_recorded_numbers(checkpoint, padded, backend, shared, monkeypatch):
    if (reason := backends.missing(backend)) is not None:
        pytest.skip(reason)
    monkeypatch.setenv(backends.VARIABLE, backend)
    golden = shared / "golden"
    comparisons = replay(golden / f"{checkpoint}.pt", golden / f"{checkpoint}{padded}.npz")
    assert len(comparisons) > 50
    failures = [str(comparison) for comparison in comparisons if not comparison.holds]
    assert not failures


@pytest.mark.parametrize("backend", ["reference", "torch", "cpu"])
@pytest.mark.parametrize(
    "recording",
    [
        *("arcface", "cmsc", "simclr", "threekg"),
        *("unet3plus_1lead", "unet3plus_12leads", "unet_plain", "unet_cgm"),
        *("nejedly_multihead", "nejedly_leadwise", "se_wrn", "se_wrn_leadwise"),
        *("convnet", "convnet_mse"),
    ],
)
def test_recorded_numbers_of_other_methods(recording, backend, shared, monkeypatch):
    if (reason := backends.missing(backend)) is not None:
        pytest.skip(reason)
    monkeypatch.setenv(backends.VARIABLE, backend)
    path = shared / "golden" / "rest" / recording
    comparisons = replay(path.with_suffix(".pt"), path.with_suffix(".npz"))
    assert len(comparisons) >= 20
    assert [str(comparison) for comparison in comparisons if not comparison.holds] == []


@pytest.mark.parametrize(
    ("checkpoint", "recording"),
    [
        ("m3ae_a", "m3ae_a"),
        ("m3ae_from_w2v", "m3ae_from_w2v"),
        ("m3ae_qa_1", "m3ae_qa_1"),
        ("m3ae_qa_2", "m3ae_qa_2"),
        ("m3ae_qa_2", "m3ae_qa_2_none"),
        ("medvill_a", "medvill_a_bi_ar"),
        ("medvill_a", "medvill_a_bidirectional"),
        ("elt_1", "elt_1"),
        ("elt_2", "elt_2"),
        ("elt_2", "elt_2_none"),
        ("elt_from_medvill", "elt_from_medvill"),
        ("blind", "blind"),
        ("deaf", "deaf"),
        ("deaf", "deaf_none"),
        ("deaf", "deaf_padded"),
    ],
)
def test_recorded_numbers_of_ecgs_and_texts(checkpoint, recording, shared):
    folder = shared / "golden" / "rest_text"
    comparisons = replay(folder / f"{checkpoint}.pt", folder / f"{recording}.npz")
    assert len(comparisons) >= 20
    assert [str(comparison) for comparison in comparisons if not comparison.holds] == []


@pytest.mark.parametrize("recording", ["resnet_lstm", "resnet_lstm_none"])
def test_recorded_numbers_of_weights_by_rule(recording, shared, tmp_path):
    path = shared / "golden" / "rest_text" / f"{recording}.npz"
    recorded = np.load(path)
    cfg = json.loads(str(recorded["cfg"]))
    weights = build_text_network(cfg["model"]).state_dict()
    for key, x in weights.items():
        if x.is_floating_point():
            x.copy_(weight_by_rule(key, x.shape, recorded["weight_seed"], recorded["weight_scale"]))
    torch.save({"cfg": cfg, "model": weights}, tmp_path / "ruled.pt")
    comparisons = replay(tmp_path / "ruled.pt", path)
    assert len(comparisons) >= 100
    assert [str(comparison) for comparison in comparisons if not comparison.holds] == []


def weight_by_rule(key: str, shape: tuple[int, ...], seed: int, scale: float) -> torch.Tensor:
    """Weight of a recording without checkpoint, as the README of the recordings says."""
    z = np.random.RandomState((zlib.crc32(key.encode()) + int(seed)) % 2**32).standard_normal(shape)
    if "running" in key:
        value = 1 + 0.1 * abs(z) if key.endswith("running_var") else 0.1 * z
    elif ".bn" in key or ".downsample.1." in key:
        value = 1 + 0.1 * z if key.endswith("weight") else 0.1 * z
    else:
        value = scale * z / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * z
    return torch.from_numpy(np.asarray(value, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("padded", ["", "_padded"])
@pytest.mark.parametrize("checkpoint", ["pretrain_small", "diagnosis_small"])
def test_recorded_numbers_by_triton(checkpoint, padded, shared):
    """Without a GPU Triton interprets its kernels, which is chosen once in a process."""
    if (reason := backends.missing("triton")) == "triton is not installed":
        pytest.skip(reason)
    variables = {backends.VARIABLE: "triton", "TRITON_INTERPRET": "1"}
    golden = shared / "golden"
    program = (
        "from tests.triton_interpreter import quicken; quicken(); "
        "from tests.golden_replay import main; raise SystemExit(main())"
    )
    result = subprocess.run(
        [
            *(sys.executable, "-c", program),
            *(golden / f"{checkpoint}.pt", golden / f"{checkpoint}{padded}.npz"),
        ],
        cwd=ROOT,
        env=environment() | variables,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert "0 past tolerance" in result.stdout


def test_replay_notices_a_changed_weight(shared, tmp_path, monkeypatch, capsys):
    golden = shared / "golden"
    state = torch.load(golden / "diagnosis_small.pt", weights_only=True)
    state["model"]["encoder.encoder.layers.1.fc2.weight"][3, 5] += 1e-2
    torch.save(state, tmp_path / "changed.pt")
    arguments = [str(tmp_path / "changed.pt"), str(golden / "diagnosis_small.npz")]
    monkeypatch.setattr("sys.argv", ["golden_replay.py", *arguments])
    assert main() == 1
    printed = capsys.readouterr().out
    assert "PAST 0.0001" in printed
    assert "out  " in printed
