"""Contrastive multi-segment coding (CMSC): the patient contrastive loss of CLOCS and ECG-FM."""

from fairseq_ecg.ops.cmsc.reference import cmsc_loss, positive_pairs

__all__ = ["cmsc_loss", "positive_pairs"]
