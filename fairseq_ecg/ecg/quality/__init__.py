"""Whether a recording looks like an ECG that was recorded as it says: a score, with reasons."""

from fairseq_ecg.ecg.quality.assessment import (
    DOUBTED,
    Quality,
    quality,
    quality_of_standardised,
)
from fairseq_ecg.ecg.quality.reasons import Reason

__all__ = ["DOUBTED", "Quality", "Reason", "quality", "quality_of_standardised"]
