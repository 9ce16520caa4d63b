"""Preparation of recordings for training."""

from fairseq_ecg.prepare.program import Summary, prepare

__all__ = ["Summary", "prepare"]
