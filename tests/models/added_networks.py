"""A program that adds an encoder and a head to the tables, and checks all that follows."""

import sys
from pathlib import Path

import pytest
import torch
from fairseq.models import MODEL_REGISTRY
from torch import nn

from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.modules import ENCODERS, HEADS, Encoder, FinetunedEncoder
from fairseq_ecg.modules.options import Probability, Width


class ConvNet(Encoder):
    """One convolution.

    Args:
        width: channels of a frame.
        in_d: leads.
        dropout: on frames.
    """

    architecture_options = ("width", "in_d")
    regularisation_options = ("dropout",)

    def __init__(self, *, width: Width = 6, in_d: Width = 12, dropout: Probability = 0.1):
        super().__init__()
        self.encoder_dim, self.attention_heads, self.n_leads = width, 2, in_d
        self.strides = [(16, 16)]
        self.conv = nn.Conv1d(in_d, width, 16, stride=16)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source, padding_mask=None, *, saliency=None, hidden_states=None):
        x = self.dropout(self.conv(source).transpose(1, 2))
        return {"x": x, "padding_mask": None, "saliency": None}

    extract_features = forward

    def parts(self):
        return {"stem": [self.conv]}


class LargestFrame(FinetunedEncoder):
    """One number for each label, the largest over frames.

    Args:
        encoder: any.
        num_labels: labels.
        options: of :class:`FinetunedEncoder`.
    """

    def __init__(self, encoder: Encoder, *, num_labels: Width, **options):
        FinetunedEncoder.__init__(self, encoder, **options)
        self.frame_proj = nn.Linear(encoder.encoder_dim, num_labels)

    @property
    def num_outputs(self) -> int:
        return self.frame_proj.out_features

    def apply_head(self, x, frame_mask):
        return self.frame_proj(x).amax(dim=1)


def main(folder: Path) -> None:
    ENCODERS["convnet"] = ConvNet
    HEADS["largest"] = LargestFrame
    import fairseq_ecg.tasks  # noqa: F401 (registers)
    from fairseq_ecg.models import ECGTransformerClassificationConfig
    from tests.models.networks import check_head_on_encoder, check_network

    for encoder in ENCODERS:
        check_head_on_encoder(encoder, "largest")
    check_head_on_encoder("convnet", "classifier")
    for name in ("convnet", "convnet_classifier", "convnet_largest", "ecg_transformer_largest"):
        check_network(name, folder)

    options = {"num_labels": 3, "normalize": False, "filter": False, "data": ""}
    model = MODEL_REGISTRY["convnet_largest"]
    config = sys.modules[model.__module__].ConvnetLargestConfig
    path = str(folder / "convnet.pt")
    tuned = model.build_model(config(model_path=path, freeze_layers=-1, **options))
    weights = torch.load(path, weights_only=True)["model"]
    assert torch.equal(tuned.encoder.conv.weight, weights["conv.weight"])
    assert not tuned.encoder.conv.weight.requires_grad
    assert tuned.encoder.dropout.p == 0
    assert tuned.architecture == {"width": 6, "in_d": 12}
    classifier = MODEL_REGISTRY["ecg_transformer_classifier"]
    with pytest.raises(CheckpointError, match="but this model is one on ecg_transformer"):
        classifier.build_model(ECGTransformerClassificationConfig(model_path=path, **options))
    recognised = load_model(folder / "convnet_largest.pt", device="cpu")
    with pytest.raises(DataError, match="no attention"):
        recognised.saliencies(torch.zeros(1, 12, 500))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
