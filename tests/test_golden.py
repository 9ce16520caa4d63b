import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

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
def test_recorded_numbers_of_weights_by_rule(recording, shared, monkeypatch, capsys):
    path = shared / "golden" / "rest_text" / f"{recording}.npz"
    monkeypatch.setattr("sys.argv", ["golden_replay.py", str(path)])
    assert main() == 0
    printed = capsys.readouterr().out
    assert int(re.search(r"(\d+) quantities, 0 past tolerance", printed)[1]) >= 100


def test_sizes_of_a_bert_may_lie_elsewhere(shared, tmp_path, monkeypatch, capsys):
    folder, checkpoint = shared / "golden" / "rest_text", tmp_path / "another_name.pt"
    shutil.copyfile(folder / "m3ae_from_w2v.pt", checkpoint)
    sizes = json.loads((folder / "bert_configs.json").read_text())["m3ae_from_w2v"]
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    shutil.copyfile(folder / "m3ae_from_w2v.npz", tmp_path / "recording.npz")
    arguments = [str(checkpoint), str(tmp_path / "recording.npz")]
    monkeypatch.setattr(
        "sys.argv", ["replay", *arguments, "--bert-config", str(tmp_path / "sizes.json")]
    )
    assert main() == 0, capsys.readouterr().out


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
