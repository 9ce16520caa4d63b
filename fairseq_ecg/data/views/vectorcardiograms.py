"""The view of 3KG: a recording twice, as if the heart were turned, scaled and measured in part."""

import torch

from fairseq_ecg.data.collation import Columns
from fairseq_ecg.data.options import DatasetOptions
from fairseq_ecg.data.sources import SegmentBatch
from fairseq_ecg.data.views import patients
from fairseq_ecg.data.views.view import View
from fairseq_ecg.ops.augment import VectorcardiogramView


class VectorcardiogramsView(View):
    """An item is two views of the vectorcardiogram of a recording of twelve leads.

    They are drawn for every split, in training or not, and nothing else is augmented, as in
    fairseq_signals. Samples have ``patient_id``, see `patients_of`, ``(B,)`` int32 in a batch.

    Args:
        angle: largest angle in degrees that it is turned by about each axis; null: none.
        scale: largest factor that it is scaled by along each axis; null: none.
        mask_ratio: share of each lead that is zero; null: none.

    Raises:
        ValueError: one of them is out of its range.
    """

    copies = 2
    takes_whole = True
    needs_all_leads = True
    takes_augmentations = False
    variables = patients.VARIABLES

    def __init__(
        self,
        *,
        angle: float | None = 45.0,
        scale: float | None = 1.5,
        mask_ratio: float | None = 0.5,
    ):
        self.augmentations = (
            VectorcardiogramView(
                angle=angle or 0.0, scale=scale or 1.0, mask_ratio=mask_ratio or 0.0
            ),
        )

    def check(self, options: DatasetOptions) -> None:
        """See `View.check`."""
        if options.leads_to_load is not None:
            raise ValueError(
                f"leads_to_load={options.leads_to_load}: vectorcardiograms are made of all twelve "
                "leads. Set task.leads_to_load=null"
            )

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `View.columns`."""
        return {"patient_id": patients.patients_of(segments)}

    def collate(self, columns: Columns) -> dict[str, torch.Tensor]:
        """See `View.collate`."""
        return {"patient_id": torch.as_tensor(columns["patient_id"])}
