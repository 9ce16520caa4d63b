"""A program that adds the encoder of the README, and checks all that follows.

It runs in a copy of the package that has the head of CONTRIBUTING.md.
"""

import re
import sys
from pathlib import Path

import pytest
import torch
from fairseq.models import MODEL_REGISTRY

from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.modules import ENCODERS
from tests.conftest import ROOT

README = ROOT / "fairseq_ecg" / "modules" / "README.md"


def main(folder: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(README), "exec"), {"__name__": "added"})
    import fairseq_ecg.tasks  # noqa: F401 (registers)
    from fairseq_ecg.models import ECGTransformerClassificationConfig
    from tests.models.networks import check_head_on_encoder, check_network

    for encoder in ENCODERS:
        check_head_on_encoder(encoder, "largest")
    check_head_on_encoder("one_convolution", "classifier")
    for name in (
        "one_convolution",
        "one_convolution_classifier",
        "one_convolution_largest",
        "ecg_transformer_largest",
    ):
        check_network(name, folder)

    options = {"num_labels": 3, "normalize": False, "filter": False, "data": ""}
    model = MODEL_REGISTRY["one_convolution_largest"]
    config = sys.modules[model.__module__].OneConvolutionLargestConfig
    path = str(folder / "one_convolution.pt")
    tuned = model.build_model(config(model_path=path, freeze_layers=-1, **options))
    weights = torch.load(path, weights_only=True)["model"]
    assert torch.equal(tuned.encoder.conv.weight, weights["conv.weight"])
    assert not tuned.encoder.conv.weight.requires_grad
    assert tuned.encoder.dropout.p == 0
    assert tuned.architecture == {"width": 6, "in_d": 12}
    classifier = MODEL_REGISTRY["ecg_transformer_classifier"]
    with pytest.raises(CheckpointError, match="but this model is one on ecg_transformer"):
        classifier.build_model(ECGTransformerClassificationConfig(model_path=path, **options))
    recognised = load_model(folder / "one_convolution_largest.pt", device="cpu")
    with pytest.raises(DataError, match="no attention"):
        recognised.saliencies(torch.zeros(1, 12, 500))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
