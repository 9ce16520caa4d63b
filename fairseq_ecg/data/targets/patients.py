"""The patient that a segment is of: for networks that identify patients."""

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.errors import DataError

_LARGEST = np.iinfo(np.int32).max


class PatientTarget(Target):
    """The patient of each segment, as a class and by its id.

    ``label`` is the class that the third column of a manifest lists, ``(B,)`` int64 in a batch, and
    ``patient_id`` the variable of that name, ``(B,)`` int32.
    """

    variables = Variables(required=("patient_id",))

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        classes, patients = segments.classes(), segments.integers("patient_id")
        if (classes < 0).any():  # which a missing one is
            where = segments.where(int((classes < 0).argmax()))
            raise DataError(
                f"{where}: its manifest lists no class of the patient. Point task.data at the "
                "folder 'identify' that 'fairseq-ecg prepare identification' wrote, or at a store "
                "of it"
            )
        is_too_large = np.abs(patients) > _LARGEST
        if is_too_large.any():
            row = int(is_too_large.argmax())
            raise DataError(
                f"{segments.where(row)}: 'patient_id' is {patients[row]}, more than 32 bits hold. "
                "Number the patients, and prepare the files again"
            )
        return {"label": classes, "patient_id": patients.astype(np.int32)}

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Tensor]:
        """See `Target.collate`."""
        return {key: torch.as_tensor(columns[key]) for key in ("label", "patient_id")}
