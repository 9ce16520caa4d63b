"""Data sets of a split of a store: single segments, or pairs for CMSC."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.cmsc_dataset import CMSCECGDataset
from fairseq_ecg.data.dataset import BatchRows, ECGDataset
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.file_dataset import FileECGDataset
from fairseq_ecg.data.manifest import report
from fairseq_ecg.data.store.reader import MISSING, Store
from fairseq_ecg.ecg.recording import Recording


@dataclass(frozen=True, eq=False)
class StoreItems:
    """Items of a split, as a manifest lists them.

    Args:
        path: store and split, for messages.
        sizes: ``(N,)`` int64, lengths in samples.
        rows: ``(N, k)`` segments of each item.
    """

    path: str
    sizes: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class StoredBatch:
    """Items of a batch, read together.

    Args:
        rows: ``(B,)`` segments.
        batch: their ECGs and what the draws depend on.
    """

    rows: np.ndarray
    batch: BatchRows


class StoreECGDataset(ECGDataset):
    """Segments of a split of a store, one ECG in each item.

    Items, batches and draws are those of the manifest that was packed. A batch is read at once.

    Args:
        manifest_path: the split, written as a file in the store: ``STORE/train``, where ``STORE``
            is a folder or a URL.
        verify: whether every segment's checksum is compared, see `Store`.
        options: those of `ECGDataset`.

    Raises:
        DataError: the store cannot be read, or lacks the split.
    """

    manifest: StoreItems
    _is_paired = False

    def __init__(self, manifest_path: str | os.PathLike, *, verify: bool = False, **options):
        folder, _, self._split = os.fspath(manifest_path).rstrip("/").rpartition("/")
        self.store = Store(folder, verify)
        self.segments = self.store.segments(self._split)
        super().__init__(manifest_path, **options)

    def __getitem__(self, index: int) -> Any:
        """Item ``index``, as from the file that was packed."""
        items = self._samples([range(len(self))[index]])
        return items[0]

    def __getitems__(self, indices: Sequence[int]) -> StoredBatch | list[Any]:
        """Items of a batch, for `collate`."""
        indices = np.asarray(indices, np.int64)
        rows = self.manifest.rows[indices]
        segments = rows.ravel()
        ecgs = self.store.read(self.segments, segments)
        conditioned = None
        if isinstance(ecgs, Tensor) and self.lead_selection.bucket is None:
            leads = list(self.lead_selection.leads)
            sample_rates = self.segments.sample_rate[segments]
            are_finite = bool(self.segments.finite[segments].all())
            conditioned = self.conditioning.of_batch(ecgs, sample_rates, leads, are_finite)
        if conditioned is None:
            return self._samples(indices.tolist(), ecgs)
        ids, positions = self._places(indices)
        batch = BatchRows(
            ids,
            positions,
            conditioned,
            lengths=self.segments.n_samples[segments].astype(np.int64),
            sample_rates=sample_rates,
            layouts=np.tile(self.lead_selection.rows(leads), (len(segments), 1)),
        )
        return StoredBatch(segments, batch)

    def collate(self, samples: StoredBatch | Sequence[Any]) -> dict[str, Any]:
        """Make a batch as `ECGDataset.collate` does, of what `__getitems__` or items returned."""
        if not isinstance(samples, StoredBatch):
            return super().collate(samples)
        batch = {"id": torch.from_numpy(samples.batch.ids), **self._batch_of(samples.batch)}
        if self.label:
            labels = [
                {"id": index, "label": self._label(row)}
                for index, row in zip(samples.batch.ids, samples.rows.tolist(), strict=True)
            ]
            batch["label"] = self._stack_labels(labels)
        return batch

    def _read_manifest(self, path: str | os.PathLike, min_sample_size: int | None) -> StoreItems:
        return self._items(os.fspath(path), min_sample_size)

    def _items(self, path: str, min_sample_size: int | None) -> StoreItems:
        rows = _in_order(self.segments.item)
        sizes = self.segments.n_samples[rows].astype(np.int64)
        kept = sizes >= (min_sample_size or 0)
        _report(path, kept, min_sample_size)
        return StoreItems(path, sizes[kept], rows[kept][:, None])

    def _path(self, index: int) -> str:
        return " and ".join(self._name(row) for row in self.manifest.rows[index].tolist())

    def _name(self, row: int) -> str:
        return f"{self.store.path}/{self.segments.paths[row]}"

    def _where_stored(self, row: int) -> str:
        return f"{self._name(row)} (split {self._split})"

    def _places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Item and place in the item of each segment of some items."""
        n_segments = self.manifest.rows.shape[1]
        return np.repeat(indices, n_segments), np.tile(np.arange(n_segments), len(indices))

    def _samples(
        self, indices: Sequence[int], ecgs: Sequence[Tensor] | Tensor | None = None
    ) -> list[Any]:
        """Items one by one, as data sets of files have them."""
        rows = self.manifest.rows[list(indices)].ravel()
        if ecgs is None:
            ecgs = self.store.read(self.segments, rows)
        n_segments = self.manifest.rows.shape[1]
        segments = [
            self._sample(indices[place // n_segments], place % n_segments, row, ecg)
            for place, (row, ecg) in enumerate(zip(rows.tolist(), ecgs, strict=True))
        ]
        if not self._is_paired:
            return segments
        return [segments[i : i + n_segments] for i in range(0, len(segments), n_segments)]

    def _sample(self, index: int, position: int, row: int, ecg: Tensor) -> dict[str, Any]:
        rate = float(self.segments.sample_rate[row])
        recording = Recording(self._where_stored(row), ecg.numpy(), rate)
        sample = {"id": index, **self._source(recording, self.lead_selection, index, position)}
        if self.label:
            sample["label"] = self._label(row)
        return sample

    def _label(self, row: int) -> Tensor:
        where = self._where_stored(row)
        if self.label_file is not None:
            idx = int(self.segments.idx[row])
            if idx == MISSING:
                raise DataError(
                    f"{where}: has no 'idx', by which rows of label_file are found. Prepare the "
                    "files again and pack them into a new store"
                )
            return self.label_file.row(idx, where)
        labels = None if self.segments.labels is None else self.segments.labels[row]
        if labels is None or not labels.is_valid:
            raise DataError(
                f"{where}: has no labels. Set task.label_file, or pack files with 'label'"
            )
        return torch.from_numpy(labels.values.to_numpy(zero_copy_only=False).copy())


class StoreCMSCECGDataset(StoreECGDataset, CMSCECGDataset):
    """Pairs of segments of a split of a store, as the CMSC manifest of the same files has them.

    The constructor is that of `StoreECGDataset`.
    """

    _is_paired = True

    def collate(self, samples: StoredBatch | Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """Make a batch as `CMSCECGDataset.collate` does."""
        batch = super().collate(samples)
        if isinstance(samples, StoredBatch):
            patients = self._patients(samples.rows)
            batch["patient_id"] = torch.from_numpy(patients.astype(np.int32))
            batch["segment"] = torch.from_numpy(samples.batch.positions % 2).int()
        return batch

    def _items(self, path: str, min_sample_size: int | None) -> StoreItems:
        segments = self.segments
        first = _in_order(np.where(segments.position == 0, segments.pair, -1))
        second = _in_order(np.where(segments.position == 1, segments.pair, -1))
        if len(first) == 0:
            raise DataError(
                f"{path}: no recording of this split has two segments. Pre-training with CMSC "
                "needs pairs: cut recordings into shorter segments and pack them"
            )
        sizes = segments.pair_samples[first].astype(np.int64)
        kept = sizes >= (min_sample_size or 0)
        _report(path, kept, min_sample_size)
        return StoreItems(path, sizes[kept], np.stack([first, second], axis=1)[kept])

    def _sample(self, index: int, position: int, row: int, ecg: Tensor) -> dict[str, Any]:
        return {
            **super()._sample(index, position, row, ecg),
            "position": position,
            "segment": position % 2,
            "patient_id": int(self._patients(np.array([row]))[0]),
        }

    def _patients(self, rows: np.ndarray) -> np.ndarray:
        idx = self.segments.idx[rows]
        patients = np.where(idx == MISSING, self.segments.patient_id[rows], idx)
        if (patients == MISSING).any():
            where = self._where_stored(int(rows[patients == MISSING][0]))
            raise DataError(
                f"{where}: has neither 'idx' nor 'patient_id', by which segments of one recording "
                "are told from those of others. Prepare the files again"
            )
        return patients


def stored_form(dataset: type[ECGDataset]) -> type[StoreECGDataset]:
    """Data set of a store that stands in for one of manifests.

    Raises:
        DataError: there is none.
    """
    forms = {FileECGDataset: StoreECGDataset, CMSCECGDataset: StoreCMSCECGDataset}
    if dataset not in forms:
        raise DataError(
            "task.path_dataset=true reads files that name WFDB records, and task.data is a store, "
            "which holds the ECGs themselves: set task.path_dataset=false"
        )
    return forms[dataset]


def _report(path: str, kept: np.ndarray, min_samples: int | None) -> None:
    n_short = int(np.count_nonzero(~kept))
    report(path, len(kept) - n_short, [(n_short, f"shorter than {min_samples} samples")])


def _in_order(numbers: np.ndarray) -> np.ndarray:
    """Rows by ascending number, without those of number -1."""
    rows = np.argsort(numbers, kind="stable")
    return rows[np.count_nonzero(numbers < 0) :]
