"""The published steps of ECG-FM's notebooks and scripts, with one line added."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.signals import OFFERED
from tests.conftest import environment

QUICK_START = """
import fairseq_ecg.signals
import logging
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import scipy.io
import torch
from torch.utils.data import DataLoader, TensorDataset

from fairseq_signals.models import build_model_from_checkpoint
from fairseq_signals.models.classification.ecg_transformer_classifier import (
    ECGTransformerClassificationModel
)
assert (logging.root.level, logging.root.handlers) == (logging.WARNING, [])
from fairseq_ecg.prepare.signals import resample, segment, standardisation

root, out = map(Path, sys.argv[1:])
files, segments = [], []
for path in sorted((root / "ecg" / "code_15" / "org").glob("*.mat")):
    mat = scipy.io.loadmat(path)
    ecg = resample(mat["feats"], int(mat["org_sample_rate"][0, 0]), 500)
    ecg = segment(standardisation(ecg)(ecg), 2500)
    files += [path.name] * len(ecg)
    segments.append(torch.from_numpy(ecg).float())
loader = DataLoader(TensorDataset(torch.cat(segments)), batch_size=4)

model: ECGTransformerClassificationModel = build_model_from_checkpoint(
    checkpoint_path=str(root / "golden" / "diagnosis_small.pt")
)
assert isinstance(model, ECGTransformerClassificationModel)
model.encoder.encoder.need_weights = True
for layer in model.encoder.encoder.layers:
    layer.need_weights = True
model.eval()
model.to("cpu")
logits, embs, saliency = [], [], []
for (source,) in loader:
    result = model(source=source)
    logits.append(result["out"])
    tokens = result["encoder_out"]
    embs.append(torch.div(tokens.sum(dim=1), (tokens != 0).sum(dim=1)))
    saliency.append(result["saliency"])
names = pd.read_csv(root / "ecg" / "code_15" / "labels" / "label_def.csv", index_col="name").index
pred = pd.DataFrame(torch.sigmoid(torch.cat(logits)).detach().numpy(), index=files, columns=names)
attention = torch.cat(saliency).detach()[:, -1].max(axis=2).values
pred.groupby(pred.index).agg({name: "mean" for name in names}).to_csv(out / "pred.csv")
np.savez(out / "results.npz", pred=pred, embs=torch.cat(embs).detach(), attention=attention)
"""

SCRIPTS = """
import os
import sys
import numpy as np
import torch
from fairseq_signals.utils.store import MemmapBatchWriter, MemmapReader, memmap_batch_process

parser = argparse.ArgumentParser()  # not imported: so does ECG-FM's embs.py
parser.add_argument("directory")
parser.add_argument("out")
directory, out = vars(parser.parse_args()).values()

def encoder_out_to_emb(x, device="cpu"):
    x = torch.from_numpy(np.array(x)).to(device)
    return torch.div(x.sum(dim=1), (x != 0).sum(dim=1)).cpu().numpy()

encoder_out = MemmapReader.from_header(os.path.join(directory, "encoder_out_test.npy"))
emb = memmap_batch_process(encoder_out, encoder_out_to_emb, 5, progress=True, device="cpu")
np.save(os.path.join(out, "emb_test.npy"), emb)
attention = MemmapReader.from_header(os.path.join(directory, "saliency_test.npy"))[:, -1]
attention = torch.from_numpy(np.array(attention)).max(axis=2).values.squeeze().numpy()
np.save(os.path.join(out, "attn_max_test.npy"), attention)
writer = MemmapBatchWriter(os.path.join(out, "copy_test.npy"), emb.shape, dtype=emb.dtype)
writer(emb)
writer.close()
torch.save({"best_auprc": emb.mean(dtype=np.float64)}, os.path.join(out, "linear.pt"))
assert torch.load(os.path.join(out, "linear.pt"))["best_auprc"] == emb.mean(dtype=np.float64)
"""


def run(*arguments, cwd: Path, variables: dict[str, str] | None = None):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment() | (variables or {}),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_steps_of_the_quick_start(shared, tmp_path):
    (tmp_path / "quick_start.py").write_text(QUICK_START)
    result = run("quick_start.py", shared, tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "results.npz")
    recorded = shared / "golden" / "extract_small"
    logits = MemmapReader.from_header(recorded / "outputs_test.npy")[:]
    np.testing.assert_allclose(found["pred"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    tokens = MemmapReader.from_header(recorded / "encoder_out_test.npy")[:]
    np.testing.assert_allclose(found["embs"], tokens.mean(axis=1), atol=1e-4)
    saliency = MemmapReader.from_header(recorded / "saliency_test.npy")[:]
    np.testing.assert_allclose(found["attention"], saliency[:, -1].max(axis=2), atol=1e-6)
    assert len((tmp_path / "pred.csv").read_text().splitlines()) == 11


def test_a_script_as_it_is(shared, tmp_path):
    (tmp_path / "scripts.py").write_text(SCRIPTS)
    recorded = shared / "golden" / "extract_small"
    result = run("-m", "fairseq_ecg.signals", "scripts.py", recorded, tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    tokens = MemmapReader.from_header(recorded / "encoder_out_test.npy")[:]
    emb = np.load(tmp_path / "emb_test.npy")
    np.testing.assert_allclose(emb, tokens.mean(axis=1), atol=1e-5)
    assert np.load(tmp_path / "attn_max_test.npy").shape == (14, 156)
    copied = MemmapReader.from_header(tmp_path / "copy_test.npy")
    assert copied.dtype == np.float32
    np.testing.assert_array_equal(copied[:], emb)


@pytest.fixture
def offered():
    """Imports a module under fairseq_signals' name, and forgets it afterwards."""
    yield lambda module: importlib.import_module(f"fairseq_signals.{module}".rstrip("."))
    for name in [name for name in sys.modules if name.partition(".")[0] == "fairseq_signals"]:
        del sys.modules[name]


def test_every_name_that_is_offered_is_there(offered):
    for module, names in OFFERED.items():
        assert all(callable(getattr(offered(module), name)) for name in names), module


def test_what_is_not_offered_is_told(offered):
    with pytest.raises(ModuleNotFoundError) as error:
        offered("trainer")
    assert error.value.name == "fairseq_signals.trainer"
    assert "fairseq_ecg.signals offers fairseq_signals.models, " in str(error.value)


def test_model_and_task_with_overrides(offered, shared):
    model, cfg, task = offered("utils.checkpoint_utils").load_model_and_task(
        str(shared / "golden" / "diagnosis_small.pt"),
        checkpoint_overrides={"task": {"label_file": "mine.npy"}, "final_dropout": 0.5},
        model_overrides={"saliency": True},
    )
    assert cfg.task.label_file == task.cfg.label_file == "mine.npy"
    assert model.final_dropout.p == 0.5
    assert model.encoder.encoder.need_weights


def test_networks_as_public_code_builds_them(offered, shared):
    golden = shared / "golden"
    source = torch.from_numpy(np.load(golden / "pretrain_small.npz")["source"])
    build = offered("models").build_model_from_checkpoint
    pretrained, classifier = (
        build(golden / "pretrain_small.pt"),
        build(golden / "diagnosis_small.pt"),
    )
    state = offered("utils.checkpoint_utils").load_checkpoint_to_cpu(golden / "pretrain_small.pt")
    with torch.no_grad():
        expected = pretrained.extract_features(source)["x"]

        network = offered("models.wav2vec2.wav2vec2_cmsc").Wav2Vec2CMSCModel(state["cfg"]["model"])
        network.load_state_dict(state["model"])
        found = network.eval()(source=source, padding_mask=None, mask=False, features_only=True)
        assert torch.equal(found["x"], expected)

        encoder = offered("models.ecg_transformer").ECGTransformerModel.build_model(
            state["cfg"]["model"]
        )
        missing, _ = encoder.load_state_dict(state["model"], strict=False)
        assert not missing
        assert torch.equal(encoder.eval()(source=source)["x"], expected)

        base = offered("models.ecg_transformer").ECGTransformerFinetuningModel
        assert isinstance(classifier, base)
        found = base.forward(classifier, source=source)["x"]
        assert torch.equal(found, classifier(source=source)["encoder_out"])


def test_a_network_of_default_values(offered):
    module = offered("models.ecg_transformer")
    cfg = module.ECGTransformerConfig(encoder_layers=1, encoder_embed_dim=32)
    cfg.encoder_attention_heads, cfg.conv_feature_layers = 2, "[(16, 2, 2)] * 4"
    network = module.ECGTransformerModel(cfg)
    assert (network.encoder_dim, len(network.encoder.layers)) == (32, 1)


def test_the_line_itself_loads_nothing(tmp_path):
    program = "import fairseq_ecg.signals, sys; print(*{'torch', 'fairseq'} & set(sys.modules))"
    result = run("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_fairseq_signals_itself_is_not_hidden(tmp_path):
    (tmp_path / "fairseq_signals").mkdir()
    (tmp_path / "fairseq_signals" / "__init__.py").touch()
    result = run("-c", "import fairseq_ecg.signals", cwd=tmp_path)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert f"fairseq_signals itself is at {tmp_path / 'fairseq_signals' / '__init__.py'}" in message
    assert "uninstall it" in message


@pytest.mark.parametrize("arguments", [[], ["no_such_script.py"]])
def test_running_no_script(arguments, tmp_path):
    result = run("-m", "fairseq_ecg.signals", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert ("no_such_script.py" if arguments else "usage: ") in result.stderr
