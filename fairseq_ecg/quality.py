"""Whether a recording looks like an ECG that was recorded as it says, for users of the package."""

from fairseq_ecg.ecg.quality import DOUBTED, Quality, Reason, quality, quality_of_standardised

__all__ = ["DOUBTED", "Quality", "Reason", "quality", "quality_of_standardised"]
