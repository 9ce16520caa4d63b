"""Data set of WFDB records, each referred to by a ``.mat`` file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.recording import read_mat, read_wfdb
from fairseq_ecg.data.store.layout import is_url
from fairseq_ecg.ecg.leads import LeadSelection, lead_indices
from fairseq_ecg.ops.augment import check_leads


class PathECGDataset(ECGDataset):
    """WFDB records that the ``.mat`` files of a plain manifest name.

    A file holds ``ecg_path`` (a WFDB record, relative to the working directory or absolute) and,
    for labels, ``idx`` or ``label``. It may hold ``lead``, the leads to load instead of
    ``leads_to_load``; ``target_idx``, the outputs its labels belong to; ``attribute_id``. The
    constructor is that of `ECGDataset`.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``.

        It has ``id``, ``source`` (L, T) float32, ``sample_rate`` in Hz, if asked for ``label``
        (C,), and where the file has them ``target_idx`` (n,) tensor and ``attribute_id`` (n,)
        array.
        """
        index = range(len(self))[index]
        entry, path = self.manifest[index], self._path(index)
        where = self._where(path, entry.line)
        mat = read_mat(
            path,
            where,
            required=("ecg_path", *self._label_keys),
            optional=("lead", "target_idx", "attribute_id"),
        )
        recording = read_wfdb(record_name(mat, where), where)
        recording.check_n_samples(entry.n_samples)
        sample = {"id": index, **self._source(recording, self._selection(mat, where), index)}
        if self.label:
            sample["label"] = self._labels(mat, where)
        if "target_idx" in mat:
            sample["target_idx"] = torch.from_numpy(mat["target_idx"][0].astype(np.int64))
        if "attribute_id" in mat:
            sample["attribute_id"] = mat["attribute_id"][0]
        return sample

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch.

        Args:
            samples: items of this data set.

        Returns:
            What `ECGDataset.collate` returns, and lists ``target_idx`` and ``attribute_id`` where
            the files have them. ``label`` is then a list as well, for every record may have
            labels of its own.

        Raises:
            DataError: the records differ in their number of leads or labels, or only some have
                ``target_idx`` or ``attribute_id``.
        """
        batch = super().collate(samples)
        for key in ("target_idx", "attribute_id"):
            holders = [sample for sample in samples if key in sample]
            if not holders:
                continue
            if len(holders) < len(samples):
                lacking = next(sample["id"] for sample in samples if key not in sample)
                other, holder = self.names([lacking, holders[0]["id"]])
                raise DataError(
                    f"{other} has no {key!r}, but {holder} of the same batch has. "
                    "All files of a data set must agree: prepare them again"
                )
            batch[key] = [sample[key] for sample in samples]
        return batch

    def _stack_labels(self, samples: Sequence[dict[str, Any]]) -> torch.Tensor | list[torch.Tensor]:
        if "target_idx" in samples[0]:
            return [sample["label"] for sample in samples]
        return super()._stack_labels(samples)

    def _selection(self, mat: dict[str, np.ndarray], where: str) -> LeadSelection:
        """Leads of one record: its own ``lead`` comes before the configured ones."""
        if "lead" not in mat:
            return self.lead_selection
        try:
            own = tuple(lead_indices(mat["lead"].ravel().tolist()))
            selection = LeadSelection(own, self.lead_selection.bucket, self.lead_selection.pad)
            for layout in selection.row_layouts():
                check_leads(self.augmentations, layout)
        except ValueError as error:
            raise DataError(f"{where}: its 'lead' cannot be used: {error}") from error
        return selection


def record_name(mat: dict[str, np.ndarray], where: str) -> str:
    """Return the WFDB record that the variable ``ecg_path`` of a file names.

    Args:
        mat: variables of the file.
        where: names the file in error messages.

    Raises:
        DataError: it is not one path on this machine.
    """
    value = mat["ecg_path"]
    if value.size != 1 or value.dtype.kind != "U":
        raise DataError(
            f"{where}: 'ecg_path' must be one path, found {value.tolist()}. Prepare the file again"
        )
    name = value.item()
    if is_url(name):
        raise DataError(
            f"{where}: 'ecg_path' is the URL {name!r}, which is not fetched for a file that names "
            "it. Fetch the record, and prepare the file again with its path"
        )
    return name
