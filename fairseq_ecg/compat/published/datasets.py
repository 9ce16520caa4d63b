"""Data sets by fairseq_signals' arguments; batches are made as by its collator.

They read as :class:`fairseq_ecg.data.ECGDataset` does. Its draws are of a seed, an epoch and the
recording; augmentations are applied when a batch is collated, to all of it at once.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from fairseq.data import FairseqDataset

from fairseq_ecg.compat.published.augmentations import instantiate_from_name
from fairseq_ecg.compat.published.batching import batch_by_size
from fairseq_ecg.data import ECGDataset
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.data.targets import HeadsTarget, PatientTarget, SegmentationTarget, labels_of
from fairseq_ecg.data.targets.target import Target
from fairseq_ecg.data.views import (
    RecordingView,
    SegmentsView,
    TwoViews,
    VectorcardiogramsView,
    View,
    WholeRecordingView,
)
from fairseq_ecg.ops.augment import AUGMENTATIONS
from fairseq_ecg.options import options_of


class BaseDataset(FairseqDataset):
    """Base of data sets of one's own: fairseq's, by the names that fairseq_signals has for it."""

    def collator(self, samples: list) -> dict[str, Any]:
        """Join items to a batch."""
        raise NotImplementedError

    def collater(self, samples: list) -> dict[str, Any]:
        """Do what :meth:`collator` does, by fairseq's name."""
        return self.collator(samples)

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_signals: int | None = None,
        required_batch_size_multiple: int = 1,
        *,
        max_sentences: int | None = None,
    ) -> list[np.ndarray]:
        """Cut ordered items into batches.

        Args:
            indices: items in order.
            max_tokens: most samples in a batch.
            max_signals: most items in a batch.
            required_batch_size_multiple: batches are smaller than this or a multiple of it.
            max_sentences: ``max_signals`` by fairseq's name.
        """
        most = max_sentences if max_signals is None else max_signals
        limits = max_tokens, most, required_batch_size_multiple
        try:
            sizes = self.num_tokens_vec(indices)
        except NotImplementedError:
            sizes = None
        return batch_by_size(indices, self.num_tokens, sizes, *limits)


class RawECGDataset(BaseDataset):
    """Recordings of a manifest.

    Args:
        manifest_path: the ``.tsv`` file.
        sample_rate: Hz that every recording must have; None: any.
        num_buckets: pad to so many sizes only; 0: to any.
        perturbation_mode: augmentations, in this order; None: none.
        p: probability of each of them.
        shuffle: whether the order is random among items of one length.
        pad: pad to the longest of a batch, do not crop.
        pad_leads: put loaded leads in their place among 12, others zero.
        label: whether labels are read.
        label_file: ``.npy``, one row of labels per ``idx``; None: labels are in the files.
        compute_mask_indices: whether batches say what is masked, which never ran.
        bucket_selection: how a lead of ``leads_bucket`` is chosen.
        training: whether recordings are augmented.
        seed: of all draws.
        options: of :class:`fairseq_ecg.data.DatasetOptions` and of augmentations.

    Raises:
        DataError: the manifest, the labels or the statistics cannot be used.
        TypeError: there is no such option.
        ValueError: options contradict each other, or masks are asked for.
    """

    of_records: ClassVar[bool] = False

    def __init__(
        self,
        manifest_path: str | os.PathLike,
        sample_rate: int | None,
        num_buckets: int = 0,
        *,
        perturbation_mode: Sequence[str] | None = None,
        p: float | Sequence[float] = 1.0,
        shuffle: bool = True,
        pad: bool = False,
        pad_leads: bool = False,
        label: bool = False,
        label_file: str | None = None,
        compute_mask_indices: bool = False,
        bucket_selection: str = "uniform",
        training: bool = True,
        seed: int = 1,
        **options: Any,
    ):
        super().__init__()
        names = list(perturbation_mode or ())
        chances = list(p) if isinstance(p, Sequence) else [p]
        chances *= len(names) if len(chances) == 1 else 1
        of_noise = {
            name: options.pop(name)
            for name in options_of(*AUGMENTATIONS.values())
            if name in options
        }
        options.pop("freq", None)  # that of each recording counts
        self.label, self.label_file, self.training = label, label_file, training
        self.recordings = ECGDataset(
            manifest_path,
            self.view(),
            self.target(),
            source=source_of(manifest_path, of_records=self.of_records),
            augmentations=[
                instantiate_from_name(name, p=chance, **of_noise)
                for name, chance in zip(names, chances, strict=True)
            ],
            training=training,
            shuffle=shuffle,
            seed=seed,
            sample_rate=sample_rate,
            num_batch_buckets=num_buckets,
            enable_padding=pad,
            enable_padding_leads=pad_leads,
            precompute_mask_indices=compute_mask_indices,
            **options,
        )
        self.sizes = self.recordings.sizes

    def view(self) -> View:
        """Make the view."""
        return RecordingView()

    def labels(self) -> Target | None:
        """Say where labels are, if they are read."""
        return labels_of(self.label_file) if self.label else None

    def target(self) -> Target | None:
        """Say what items are compared with."""
        return self.labels()

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> dict[str, Any] | list[dict[str, Any]]:
        """Read an item, or several of one recording; nothing is augmented yet."""
        return self.recordings[index]

    def collator(self, samples: list) -> dict[str, Any]:
        """Join items to a batch, and augment it.

        Returns:
            ``id`` (B,) int64; ``net_input`` with ``source`` (B, L, T) float32 and, if padding,
            ``padding_mask`` (B, L, T) bool; labels and patients of the items.
        """
        batch = self.recordings.collate([each for each in samples if each is not None])
        if batch:
            batch["net_input"]["source"] = self.recordings.augment(batch)
            batch.pop("augmentation", None)
        return batch

    def num_tokens(self, index: int) -> int:
        """Size of an item in samples."""
        return self.recordings.size(index)

    def size(self, index: int) -> int:
        """Size of an item in samples."""
        return self.recordings.size(index)

    def ordered_indices(self) -> np.ndarray:
        """Order of items before they are cut into batches, from NumPy's global stream."""
        return self.recordings.ordered_indices()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which random draws depend."""
        self.recordings.set_epoch(epoch)


class FileECGDataset(RawECGDataset):
    """Segments in ``.mat`` files."""


class PathECGDataset(FileECGDataset):
    """Files that name WFDB records, leads and targets; ``load_specific_lead`` has no meaning."""

    of_records = True

    def __init__(self, *arguments: Any, load_specific_lead: bool = False, **options: Any):
        super().__init__(*arguments, **options)

    def target(self) -> Target:
        """See the base class."""
        return HeadsTarget(self.labels())


class CMSCECGDataset(RawECGDataset):
    """Segments of recordings, an even number of each."""

    def view(self) -> View:
        """See the base class."""
        return SegmentsView()


class PerturbECGDataset(FileECGDataset):
    """Two augmented views of each recording."""

    def view(self) -> View:
        """See the base class."""
        return TwoViews()


class ThreeKGECGDataset(PerturbECGDataset):
    """Two views of the vectorcardiogram of each recording.

    Args:
        manifest_path: the ``.tsv`` file.
        sample_rate: Hz that every recording must have; None: any.
        angle: largest angle in degrees that it is turned by about each axis; None: none.
        scale: largest factor that it is scaled by along each axis; None: none.
        mask_ratio: share of each lead that is zero; None: none.
        options: see the base class.
    """

    def __init__(
        self,
        manifest_path: str | os.PathLike,
        sample_rate: int | None,
        angle: float | None = 45,
        scale: float | None = 1.5,
        mask_ratio: float | None = 0.5,
        **options: Any,
    ):
        self.angle, self.scale, self.mask_ratio = angle, scale, mask_ratio
        super().__init__(manifest_path, sample_rate, **options)

    def view(self) -> View:
        """See the base class."""
        return VectorcardiogramsView(angle=self.angle, scale=self.scale, mask_ratio=self.mask_ratio)


class IdentificationECGDataset(RawECGDataset):
    """Recordings and their patients, of which ``label`` says the classes, ``(B, 1)``."""

    def target(self) -> Target:
        """See the base class."""
        return PatientTarget()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read an item."""
        item = super().__getitem__(index)
        return item | {"label": torch.tensor([item["label"]])}

    def collator(self, samples: list) -> dict[str, Any]:
        """See the base class; there are classes if labels are read."""
        batch = super().collator(samples)
        classes = batch.pop("label", None)
        return batch | {"label": classes.unsqueeze(1)} if batch and self.label else batch


class SegmentationECGDataset(FileECGDataset):
    """Recordings, and the class of each sample."""

    def view(self) -> View:
        """See the base class."""
        return WholeRecordingView()

    def target(self) -> Target:
        """See the base class."""
        return SegmentationTarget(self.labels())
