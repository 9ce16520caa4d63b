"""From the free text of ECG reports to labels."""

from fairseq_ecg.labeler.labeler import Labeler
from fairseq_ecg.labeler.results import LabelerResults
from fairseq_ecg.labeler.semantics import Semantics

__all__ = ["Labeler", "LabelerResults", "Semantics"]
