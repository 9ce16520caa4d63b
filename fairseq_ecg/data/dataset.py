"""What all ECG data sets share: conditioning, random draws, order, collation, augmentation."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fairseq_ecg.data.collation import collate_ecgs, target_length
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.label_file import LabelFile
from fairseq_ecg.data.manifest import Manifest, read_manifest
from fairseq_ecg.data.randomness import Stream, random_state, random_states
from fairseq_ecg.data.recording import read_integer
from fairseq_ecg.ecg.conditioning import Conditioning, LeadStatistics
from fairseq_ecg.ecg.leads import LeadSelection, lead_indices
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.ops.augment import Augmentation, apply_batch, check_leads, draw_batch
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.ops.philox import origins

_LEADS_REMEDY = "Set task.leads_to_load to leads all recordings have, or enable_padding_leads=true"
_LABELS_REMEDY = "All recordings of a data set need the same labels: correct the files"


@dataclass(frozen=True, eq=False)
class BatchRows:
    """ECGs that become a batch, and what its draws depend on.

    Args:
        ids: ``(B,)`` index of the item of each.
        positions: ``(B,)`` place of each in its item.
        ecgs: each ``(L, T_i)`` float32, or all of them as ``(B, L, T)``.
        lengths: ``(B,)`` int64, T_i in samples.
        sample_rates: ``(B,)`` in Hz; empty where nothing is augmented.
        layouts: ``(B, L)`` int64, the standard position of the lead in each row; likewise.
    """

    ids: np.ndarray
    positions: np.ndarray
    ecgs: Sequence[Tensor] | Tensor
    lengths: np.ndarray
    sample_rates: np.ndarray
    layouts: np.ndarray


class ECGDataset(Dataset, ABC):
    """ECGs listed in a manifest, conditioned, collated and augmented.

    Every draw that concerns an item comes from a random state of its own, keyed by seed, epoch,
    index and segment: the content of a batch does not depend on workers or order. Augmentations
    are drawn with the batch, by whoever makes it, and applied by `augment` once it is where it is
    used.

    Args:
        manifest_path: manifest of the split.
        sample_rate: rate in Hz that all recordings must have. None: any.
        leads_to_load: leads to load, in the order of their rows, as `lead_indices` reads them.
        leads_bucket: leads of which each item gets one, drawn at random; it comes last.
        pad: whether batches are as long as their longest ECG, with a padding mask, instead of as
            short as their shortest.
        pad_leads: whether ECGs have twelve rows, zeros in place of leads that are not loaded.
        filter: whether every lead is cleaned by ``neurokit2.ecg_clean``.
        normalize: whether leads are normalised by the statistics in ``mean_path`` and ``std_path``.
        mean_path: text file of the mean of each of the twelve leads.
        std_path: text file of the standard deviation of each of the twelve leads.
        min_sample_size: items with fewer samples are dropped. None: none are.
        max_sample_size: ECGs with more samples are cropped at random. None: none are.
        num_batch_buckets: number of lengths to which batches are padded. 0: each its own.
        precompute_mask_indices: refused; see ``masking``.
        augmentations: drawn for batches, in this order, if ``training``.
        training: whether ECGs are augmented.
        masking: what the model has masked in each batch. None: batches say nothing of masks.
        label: whether items carry labels.
        label_file: ``.npy`` file of labels, by ``idx``. None: recordings hold their own ``label``.
        missing_labels: what a NaN in ``label_file`` is: "error", or "ignore" to leave it to the
            loss.
        shuffle: whether `ordered_indices` is random within items of one length.
        seed: of all draws.
        nan_policy: what becomes of samples that are NaN or infinite: "error" raises DataError,
            "zero" makes them 0, "keep" leaves them as fairseq_signals does.

    Raises:
        DataError: the manifest, the label file or the statistics cannot be used.
        ValueError: settings that contradict each other.
    """

    def __init__(
        self,
        manifest_path: str | os.PathLike,
        *,
        sample_rate: float | None = None,
        leads_to_load: str | Iterable[int | str] | None = None,
        leads_bucket: str | Iterable[int | str] | None = None,
        pad: bool = False,
        pad_leads: bool = False,
        filter: bool = False,
        normalize: bool = False,
        mean_path: str | os.PathLike | None = None,
        std_path: str | os.PathLike | None = None,
        min_sample_size: int | None = None,
        max_sample_size: int | None = None,
        num_batch_buckets: int = 0,
        precompute_mask_indices: bool = False,
        augmentations: Sequence[Augmentation] = (),
        training: bool = False,
        masking: BatchMasking | None = None,
        label: bool = False,
        label_file: str | os.PathLike | None = None,
        missing_labels: str = "error",
        shuffle: bool = True,
        seed: int = 1,
        nan_policy: str = "error",
    ):
        if precompute_mask_indices:
            raise ValueError(
                "precompute_mask_indices=true is not supported (it never worked in "
                "fairseq_signals): set it to false, batches carry their masks without it"
            )
        if max_sample_size is not None and max_sample_size < 1:
            raise ValueError(f"max_sample_size={max_sample_size}: give a positive number or null")
        if num_batch_buckets > 0 and not pad:
            raise ValueError("num_batch_buckets needs enable_padding=true")
        if normalize and (mean_path is None or std_path is None):
            raise ValueError("normalize=true needs mean_path and std_path")

        self.lead_selection = LeadSelection(
            tuple(lead_indices(leads_to_load)),
            bucket=None if leads_bucket is None else tuple(lead_indices(leads_bucket)),
            pad=pad_leads,
        )
        self.augmentations = tuple(augmentations) if training else ()
        for layout in self.lead_selection.row_layouts():
            check_leads(self.augmentations, layout)
        self.conditioning = Conditioning(
            pad_leads=pad_leads,
            sample_rate=sample_rate,
            filter=filter,
            statistics=LeadStatistics.read(mean_path, std_path) if normalize else None,
            nan_policy=nan_policy,
        )
        self.manifest = self._read_manifest(manifest_path, min_sample_size)
        self.sizes = self.manifest.sizes
        self.masking = masking
        self.label = label
        self.label_file = (
            LabelFile(label_file, missing=missing_labels == "ignore")
            if label and label_file
            else None
        )
        self.pad = pad
        self.max_sample_size = max_sample_size
        self._cropped_sizes = (
            self.sizes if max_sample_size is None else np.minimum(self.sizes, max_sample_size)
        )
        self.shuffle = shuffle
        self.seed = seed
        self._bucketed_sizes = self._bucket_sizes(num_batch_buckets) if num_batch_buckets else None
        # In shared memory, so that workers that outlive an epoch see the next one begin.
        self._epoch = torch.ones((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.manifest)

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """One sample, or a list of samples, for `collate`."""

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        """Items of a batch, for `collate`: what PyTorch's loader asks for in place of each."""
        return [self[index] for index in indices]

    @property
    def epoch(self) -> int:
        """Current epoch, from 1."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its draws are new ones, in workers that already run as well."""
        self._epoch.fill_(epoch)

    def size(self, index: int) -> int:
        """Length of an item in samples, cropped to ``max_sample_size`` unless padding."""
        return int(self.sizes[index] if self.pad else self._cropped_sizes[index])

    def ordered_indices(self) -> np.ndarray:
        """Indices from long to short, random among equals, or in manifest order without shuffling.

        Draws from numpy's global random state, which the caller seeds: after
        ``np.random.seed(s)`` the order is that of fairseq_signals.

        Returns:
            ``(N,)`` int64.
        """
        if not self.shuffle:
            return np.arange(len(self))
        keys = np.random.permutation(len(self))
        return np.lexsort([keys, self._cropped_sizes])[::-1].copy()

    def names(self, ids: Iterable[int]) -> list[str]:
        """Paths of the files of items, for messages.

        Args:
            ids: indices of items, as in the ``id`` of a batch.

        Returns:
            One path for each.
        """
        return [self._path(int(index)) for index in ids]

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch.

        Args:
            samples: items of this data set.

        Returns:
            ``id`` (B,) int64; ``net_input`` with ``source`` (B, L, T) float32 and, if padding,
            ``padding_mask`` (B, L, T) bool, True where padded; for a model that masks, there too
            ``origins`` (B, 4) int64, of which the model draws its negatives, and what
            `BatchMasking.draw` returns; ``label`` (B, C) if there are labels; ``augmentation``,
            what `augment` applies, if there is any. Empty for no samples.

        Raises:
            DataError: the samples differ in their number of leads or labels.
        """
        if not samples:
            return {}
        batch = {
            "id": torch.tensor([sample["id"] for sample in samples]),
            **self._collate_sources(samples),
        }
        if self.label:
            batch["label"] = self._stack_labels(samples)
        return batch

    def augment(self, batch: dict[str, Any]) -> Tensor:
        """Augment the ECGs of a batch, on whichever device it is by now.

        Args:
            batch: what `collate` returned; left as it is.

        Returns:
            ``source`` (B, L, T) as it goes into the model; the batch's own if nothing is to be
            augmented.
        """
        source = batch["net_input"]["source"]
        if "augmentation" not in batch:
            return source
        return apply_batch(source, self.augmentations, batch["augmentation"]).to(source.dtype)

    def _read_manifest(self, path: str | os.PathLike, min_sample_size: int | None) -> Manifest:
        return read_manifest(path, min_sample_size)

    def _path(self, index: int) -> str:
        return os.path.join(self.manifest.root, self.manifest[index].path)

    def _where(self, path: str, line: int) -> str:
        return f"{path} ({self.manifest.path}, line {line})"

    def _bucket_sizes(self, n_buckets: int) -> np.ndarray:
        """Length to which each item is padded: the smallest of ``n_buckets`` that holds it."""
        sizes = self._cropped_sizes
        percentiles = np.linspace(0, 100, n_buckets + 1)[1:]
        buckets = np.unique(np.percentile(sizes, percentiles, method="lower"))
        return buckets[np.searchsorted(buckets, sizes)]

    def _random_state(self, index: int, segment: int, stream: Stream) -> np.random.RandomState:
        return random_state(self.seed, self.epoch, index, segment, stream)

    def _source(
        self, recording: Recording, selection: LeadSelection, index: int, segment: int = 0
    ) -> dict[str, Any]:
        """What an item holds of its ECG.

        Returns:
            ``source`` (L, T) float32, ``sample_rate`` in Hz and, where ECGs are augmented,
            ``layout``, the standard position of the lead in each row.
        """
        rng = self._random_state(index, segment, Stream.LEAD_BUCKET) if selection.bucket else None
        leads = selection.draw(rng)
        source = self.conditioning(recording, leads).float()
        sample = {"source": source, "sample_rate": recording.sample_rate}
        if self.augmentations:
            sample["layout"] = selection.rows(leads)
        return sample

    @property
    def _label_keys(self) -> tuple[str, ...]:
        """Variables of a ``.mat`` file that its labels are found by."""
        if not self.label:
            return ()
        return ("label",) if self.label_file is None else ("idx",)

    def _labels(self, mat: dict[str, np.ndarray], where: str) -> Tensor:
        """Labels of an item, ``(C,)`` in the dtype they are stored in."""
        if self.label_file is not None:
            return self.label_file.row(read_integer(mat, "idx", where), where)
        labels = mat["label"]
        if labels.ndim != 2 or len(labels) != 1 or labels.dtype.kind not in "fiub":
            raise DataError(
                f"{where}: 'label' must be numbers of shape (1, labels), found {labels.dtype} of "
                f"shape {labels.shape}. Correct the file, or set task.label_file"
            )
        return torch.from_numpy(labels[0])

    def _collate_sources(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make ``net_input`` of a batch and, where ECGs are augmented, draw ``augmentation``."""
        ecgs = [sample["source"] for sample in samples]
        self._check_equal(samples, [len(ecg) for ecg in ecgs], "leads", _LEADS_REMEDY)
        augmented = bool(self.augmentations)
        return self._batch_of(
            BatchRows(
                ids=np.array([sample["id"] for sample in samples]),
                positions=np.array([sample.get("position", 0) for sample in samples]),
                ecgs=ecgs,
                lengths=np.array([ecg.shape[-1] for ecg in ecgs]),
                sample_rates=np.array([s["sample_rate"] for s in samples] if augmented else []),
                layouts=np.array([s["layout"] for s in samples] if augmented else []),
            )
        )

    def _batch_of(self, rows: BatchRows) -> dict[str, Any]:
        """Do what `_collate_sources` does, with ECGs of equally many leads."""
        length = target_length(rows.lengths, pad=self.pad, max_length=self.max_sample_size)
        if self._bucketed_sizes is not None:
            length = max(length, int(self._bucketed_sizes[rows.ids].max()))
        starts = np.zeros(len(rows.ids), np.int64)

        def crop_start(row: int, surplus: int) -> int:
            index, position = int(rows.ids[row]), int(rows.positions[row])
            rng = self._random_state(index, position, Stream.CROP)
            starts[row] = rng.randint(0, surplus + 1)
            return int(starts[row])

        source, padding_mask = collate_ecgs(rows.ecgs, length, crop_start, mask_padding=self.pad)
        batch: dict[str, Any] = {"net_input": {"source": source}}
        if self.pad:
            batch["net_input"]["padding_mask"] = padding_mask
        if self.masking is None and not self.augmentations:
            return batch
        ids, positions = torch.from_numpy(rows.ids), torch.from_numpy(rows.positions)
        starts_of_numbers = origins(self.seed, self.epoch, ids, positions)
        valid = np.minimum(rows.lengths, length)
        if self.masking is not None:
            rngs = random_states(self.seed, self.epoch, rows.ids, rows.positions, Stream.MASK)
            batch["net_input"] |= {
                "origins": starts_of_numbers,
                **self.masking.draw(length, valid.tolist(), rngs),
            }
        if self.augmentations:
            batch["augmentation"] = draw_batch(
                self.augmentations,
                starts_of_numbers,
                sample_rates=torch.from_numpy(rows.sample_rates).float(),
                lengths=torch.from_numpy(rows.lengths),
                layouts=torch.from_numpy(rows.layouts),
                starts=torch.from_numpy(starts),
                valid=torch.from_numpy(valid),
            )
        return batch

    def _stack_labels(self, samples: Sequence[dict[str, Any]]) -> Tensor:
        labels = [sample["label"] for sample in samples]
        self._check_equal(samples, [len(label) for label in labels], "labels", _LABELS_REMEDY)
        return torch.stack(labels)

    def _check_equal(
        self, samples: Sequence[dict[str, Any]], counts: list[int], what: str, remedy: str
    ) -> None:
        for sample, count in zip(samples, counts, strict=True):
            if count != counts[0]:
                first, other = self.names([samples[0]["id"], sample["id"]])
                raise DataError(
                    f"{other} has {count} {what}, but {first} of the same batch has {counts[0]}. "
                    f"{remedy}"
                )
