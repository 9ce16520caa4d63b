"""Targets: what a network's outputs for an item are compared with."""

import os

from fairseq_ecg.data.targets.heads import HeadsTarget
from fairseq_ecg.data.targets.labels import IndexTarget, LabelFileTarget, Labels, StoredLabels
from fairseq_ecg.data.targets.patients import PatientTarget
from fairseq_ecg.data.targets.question import QuestionTarget
from fairseq_ecg.data.targets.segmentation import SegmentationTarget
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.data.targets.text import TextTarget, TokenTarget

TARGETS: dict[str, type[Target]] = {
    "none": Target,
    "labels": StoredLabels,
    "label file": LabelFileTarget,
    "index": IndexTarget,
    "heads": HeadsTarget,
    "segmentation": SegmentationTarget,
    "patients": PatientTarget,
    "text": TextTarget,
    "questions": QuestionTarget,
}

__all__ = ["TARGETS", "HeadsTarget", "IndexTarget", "LabelFileTarget", "Labels", "StoredLabels"]
__all__ += [
    "PatientTarget",
    "QuestionTarget",
    "SegmentationTarget",
    "Target",
    "TextTarget",
    "TokenTarget",
    "labels_of",
]


def labels_of(label_file: str | os.PathLike | None, missing: str = "error") -> Labels:
    """Choose where labels come from.

    Args:
        label_file: ``.npy`` file of labels, by ``idx``. None: segments hold their own ``label``.
        missing: what a NaN in the file is: "error", or "ignore" to leave it to the loss.

    Raises:
        DataError: the file cannot be used.
    """
    if not label_file:
        return StoredLabels()
    return LabelFileTarget(label_file, missing=missing == "ignore")
