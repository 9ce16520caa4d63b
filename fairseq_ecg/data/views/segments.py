"""The view of contrastive multi-segment coding: segments of one recording."""

import numpy as np
import torch

from fairseq_ecg.data.collation import Columns
from fairseq_ecg.data.sources import SegmentBatch
from fairseq_ecg.data.views import patients
from fairseq_ecg.data.views.view import View


class SegmentsView(View):
    """An item is a recording, an even number of its segments, which are contrasted (CMSC).

    Samples have ``segment``, 0 or 1, the position in a pair, and ``patient_id``, see
    `patients_of`. Both are ``(B,)`` int32 in a batch.
    """

    grouped = True
    variables = patients.VARIABLES

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `View.columns`."""
        return {
            "patient_id": patients.patients_of(segments),
            "segment": (segments.positions % 2).astype(np.int32),
        }

    def collate(self, columns: Columns) -> dict[str, torch.Tensor]:
        """See `View.collate`."""
        return {key: torch.as_tensor(columns[key]) for key in ("patient_id", "segment")}
