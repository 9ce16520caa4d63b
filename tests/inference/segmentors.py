"""Networks whose delineation is known, in place of trained ones."""

import torch
from torch import nn

from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.inference import ECGModel
from fairseq_ecg.modules import Encoder, FrameEncoder, Segmentor

LEVELS = {"p": 1.0, "qrs": 3.0, "t": 2.0, "none": 0.0}
"""Amplitude in mV by which `Levels` knows a class."""


class _Encoder(Encoder):
    has_attention = False

    def __init__(self, n_leads: int):
        super().__init__()
        self.n_leads, self.encoder_dim, self.strides = n_leads, n_leads, []

    def frame_count(self, samples):
        return samples


class Levels(FrameEncoder):
    """Give a sample the class of the level next to the mean of its leads.

    Args:
        n_leads: that it reads.
        edge: samples at both ends of a segment that it takes for QRS complexes.
        label_idx: index of each class.
    """

    without_labels = Segmentor.without_labels

    def __init__(self, n_leads: int = 1, edge: int = 0, label_idx: dict[str, int] = CLASSES):
        super().__init__(_Encoder(n_leads))
        self.edge, self.label_idx = edge, dict(label_idx)
        levels = sorted(LEVELS, key=self.label_idx.__getitem__)
        self.levels = nn.Parameter(torch.tensor([LEVELS[name] for name in levels]))
        self.seen: list[torch.Tensor] = []

    def forward(self, source, padding_mask=None, **_):
        assert padding_mask is None
        self.seen.append(source)
        scores = -((source.mean(dim=1).unsqueeze(-1) - self.levels) ** 2)
        if self.edge:
            for part in (scores[:, : self.edge], scores[:, -self.edge :]):
                part[..., self.label_idx["qrs"]] = 1
        frames = source.transpose(1, 2)
        return {
            "segment_out": scores,
            "encoder_out": frames,
            "padding_mask": None,
            "saliency": None,
        }


def levels_model(n_leads: int = 1, rate: float = 100.0, seconds: float = 4.0, **options):
    """Return a model of `Levels` that reads mV.

    Args:
        n_leads: 1 or 12.
        rate: of the network in Hz.
        seconds: length of a segment.
        options: of `Levels`, and of `Preprocessing`.
    """
    own = {name: options.pop(name) for name in ("edge", "label_idx") if name in options}
    preprocessing = Preprocessing(
        **{"sample_rate": rate, "segment_seconds": seconds, "standardise": False}
        | {"each_lead": n_leads == 1}
        | options
    )
    return ECGModel(Levels(n_leads, **own), {"_name": "levels"}, preprocessing)
