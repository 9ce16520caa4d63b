import json

import numpy as np
import pytest
import torch

from fairseq_ecg import load_model
from fairseq_ecg.cli import main
from fairseq_ecg.inference.export import metadata


@pytest.fixture
def regression(shared, tmp_path):
    """The recorded classifier, as if it were a regression of eight targets."""
    state = torch.load(shared / "golden" / "diagnosis_small.pt", weights_only=True)
    scale = {"target_mean": list(range(8)), "target_std": [2.0] * 8}
    state["cfg"]["criterion"] = {"_name": "regression", **scale}
    torch.save(state, tmp_path / "regression.pt")
    return tmp_path / "regression.pt"


def test_estimates_in_units_of_the_targets(regression, diagnosis, tmp_path):
    names = [f"target {number}" for number in range(8)]
    source = torch.randn(3, 12, 2500, generator=torch.Generator().manual_seed(0))
    model = load_model(regression, labels=names, device="cpu")
    classifier = diagnosis
    probabilities = classifier.probabilities(source)
    logits = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose(
        model.probabilities(source), 2 * logits + np.arange(8), rtol=1e-6, atol=1e-6
    )
    model.save_pretrained(tmp_path / "folder")
    again = load_model(tmp_path / "folder", device="cpu")
    np.testing.assert_array_equal(again.probabilities(source), model.probabilities(source))


def test_targets_that_were_not_standardised(regression):
    state = torch.load(regression, weights_only=True)
    state["cfg"]["criterion"] = {"_name": "regression", "target_mean": None, "target_std": None}
    torch.save(state, regression)
    scale = load_model(regression, labels=list("abcdefgh"), device="cpu").scale
    assert (scale.mean, scale.std) == ((0.0,) * 8, (1.0,) * 8)


def test_labels_that_hold_are_no_matter_of_a_regression(regression, shared, tmp_path, capsys):
    ecg = str(min((shared / "ecg" / "code_15" / "org").glob("*.mat")))
    names = tmp_path / "label_def.csv"
    names.write_text("name\n" + "".join(f"target {number}\n" for number in range(8)))
    picture = f"--out={tmp_path / 'a.svg'}"
    network = f"--checkpoint={regression}"
    assert main(["plot", ecg, network, picture]) == 0
    assert "target 7" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert main(["plot", ecg, network, picture, f"--truth={names}"]) == 2
    assert main(["predict", str(regression), ecg, f"--out={tmp_path / 'a.csv'}"]) == 0
    arguments = [str(regression), ecg, f"--out={tmp_path / 'b.csv'}", "--thresholds=0.5"]
    assert main(["predict", *arguments]) == 2
    assert capsys.readouterr().err.count("is a regression, it predicts no labels") == 2


def test_an_exported_regression_carries_its_units(regression):
    model = load_model(regression, labels=list("abcdefgh"), device="cpu")
    written = json.loads(metadata(model))
    assert written["problem_type"] == "regression"
    assert written["targets"] == {"mean": list(range(8)), "std": [2.0] * 8}
