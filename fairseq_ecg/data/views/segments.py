"""The view of contrastive multi-segment coding: segments of one recording."""

import numpy as np
import torch

from fairseq_ecg.data.collation import Columns
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.store.layout import MISSING
from fairseq_ecg.data.views.view import View
from fairseq_ecg.errors import DataError


class SegmentsView(View):
    """An item is a recording, an even number of its segments, which are contrasted (CMSC).

    Samples have ``segment``, 0 or 1, the position in a pair, and ``patient_id``. What is called
    the patient of a segment is the ``idx`` of its recording where the file has one, as in
    fairseq_signals: other recordings of the same patient then count as those of another. Files
    without ``idx`` need ``patient_id``. Both are ``(B,)`` int32 in a batch.
    """

    grouped = True
    variables = Variables(optional=("idx", "patient_id"))

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `View.columns`."""
        patients = segments.integers("idx")
        without_idx = patients == MISSING
        if without_idx.any():
            patients = np.where(without_idx, segments.integers("patient_id"), patients)
        if (patients == MISSING).any():
            where = segments.where(int((patients == MISSING).argmax()))
            raise DataError(
                f"{where}: has neither 'idx' nor 'patient_id', by which segments of one recording "
                "are told from those of others. Prepare the file again"
            )
        return {
            "patient_id": patients.astype(np.int32),
            "segment": (segments.positions % 2).astype(np.int32),
        }

    def collate(self, columns: Columns) -> dict[str, torch.Tensor]:
        """See `View.collate`."""
        return {key: torch.as_tensor(columns[key]) for key in ("patient_id", "segment")}
