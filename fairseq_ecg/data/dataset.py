"""The data set of ECGs: a source, a view and a target, with conditioning, draws and collation."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop, target_length
from fairseq_ecg.data.options import DatasetOptions
from fairseq_ecg.data.randomness import Draws, Stream
from fairseq_ecg.data.sources import SegmentBatch, Source, source_of
from fairseq_ecg.data.targets import Target
from fairseq_ecg.data.views import RecordingView, View
from fairseq_ecg.ecg.conditioning import Conditioning, LeadStatistics
from fairseq_ecg.ecg.leads import LEADS, LeadSelection, lead_indices
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.errors import DataError
from fairseq_ecg.ops.augment import Augmentation, apply_batch, check_leads, draw_batch
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.ops.philox import origins

WHOLE: dict[str, Any] = {
    "leads_to_load": None,
    "leads_bucket": None,
    "enable_padding_leads": False,
    "filter": False,
}
"""Options of data sets whose view takes recordings whole, whatever they are set to."""

SECOND = 1
"""Position of the second ECG of an item in the keys of its draws."""

_LEADS_REMEDY = "Set task.leads_to_load to leads all recordings have, or enable_padding_leads=true"
_WHOLE_REMEDY = "Recordings are taken whole: list those of other leads in a manifest of their own"


class Samples(NamedTuple):
    """Conditioned segments that become a batch.

    Args:
        ecgs: each ``(L, T_i)`` float32, or all of them as ``(B, L, T)``.
        columns: what else is known of them, by key, a value for each; None where there is none.
    """

    ecgs: Sequence[Tensor] | Tensor
    columns: Columns

    def apart(self, ecg_key: str) -> list[dict[str, Any]]:
        """Return a sample for each, its ECG under this key."""
        samples = []
        for ecg, *values in zip(self.ecgs, *self.columns.values(), strict=True):
            named = zip(self.columns, values, strict=True)
            samples.append({ecg_key: ecg} | {key: v for key, v in named if v is not None})
        return samples

    @classmethod
    def joined(cls, samples: Sequence[dict[str, Any]], ecg_key: str) -> "Samples":
        """Join samples, in order."""
        keys = dict.fromkeys(key for sample in samples for key in sample)
        columns: dict[str, list[Any]] = {key: [each.get(key) for each in samples] for key in keys}
        return cls(columns.pop(ecg_key), columns)

    def taken(self, rows: np.ndarray) -> "Samples":
        """Return some of them, by their numbers ``(n,)`` int64."""
        columns = {key: _taken(values, rows) for key, values in self.columns.items()}
        return Samples(_taken(self.ecgs, rows), columns)

    def shapes(self) -> np.ndarray:
        """Return L and T_i of each, ``(B, 2)``."""
        if isinstance(self.ecgs, Tensor):
            return np.tile(self.ecgs.shape[1:], (len(self.ecgs), 1))
        return np.array([ecg.shape for ecg in self.ecgs])

    def keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of the item of each and its position there, ``(B,)`` int64."""
        ids = np.asarray(self.columns["id"])
        return ids, np.asarray(self.columns.get("position", np.zeros_like(ids)))


class ECGDataset(Dataset):
    """ECGs of a split, conditioned, collated and augmented.

    A *source* reads segments, a *view* makes items of them, and a *target* says what the items are
    compared with; any source serves any view and target.

    Every draw that concerns an item comes from a random state of its own, keyed by seed, epoch,
    index and position: the content of a batch does not depend on workers or order. Augmentations
    are drawn with the batch, by the process that makes it, and applied by `augment` on the device
    where the batch is used.

    Args:
        path: of the split: a manifest, or ``STORE/train`` of a store.
        view: how an item is made of segments.
        target: what items carry to be compared with.
        source: makes the source of ``path``, ``grouped`` and ``min_samples``. Default: `source_of`
            the path.
        augmentations: drawn for batches, in this order, if ``training`` and the view takes them.
        training: whether ECGs are augmented by these.
        masking: what the model has masked in each batch. None: batches say nothing of masks.
        shuffle: whether `ordered_indices` is random within items of one length.
        seed: of all draws.
        options: those of `DatasetOptions`.

    Raises:
        DataError: the manifest or the statistics cannot be used.
        ValueError: settings that contradict each other.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        view: View | None = None,
        target: Target | None = None,
        *,
        source: Callable[..., Source] | None = None,
        augmentations: Sequence[Augmentation] = (),
        training: bool = False,
        masking: BatchMasking | None = None,
        shuffle: bool = True,
        seed: int = 1,
        **options,
    ):
        self.view = view or RecordingView()
        self.view.check(DatasetOptions(**options))
        self.options = DatasetOptions(**options | (WHOLE if self.view.takes_whole else {}))
        self.target = target or Target()
        bucket = self.options.leads_bucket
        self.lead_selection = LeadSelection(
            tuple(lead_indices(self.options.leads_to_load)),
            bucket=None if bucket is None else tuple(lead_indices(bucket)),
            pad=self.options.enable_padding_leads,
        )
        others = augmentations if training and self.view.takes_augmentations else ()
        self.augmentations = (*self.view.augmentations, *others)
        self._check_leads(self.lead_selection)
        self.conditioning = _conditioning(self.options, self.view)
        self.source = (source or source_of(path))(
            path, grouped=self.view.grouped, min_samples=self.options.min_sample_size
        )
        self.sizes = self.source.sizes
        self._bucketed_sizes = _bucket_sizes(
            _at_most(self.options.max_sample_size, self.sizes), self.options.num_batch_buckets
        )
        n_tokens = self.source.n_tokens
        self._sizes = self.sizes if n_tokens is None else self.sizes + n_tokens
        self._cropped_sizes = _at_most(self.options.max_sample_size, self._sizes)
        self.masking = masking
        self.shuffle = shuffle
        self.seed = seed
        # In shared memory, so that workers that outlive an epoch see the next one begin.
        self._epoch = torch.ones((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any] | list[dict[str, Any]]:
        """Item ``index``: one sample, or several where the view has several in an item.

        Each has ``id``, ``source`` (L, T) float32 (under `Target.ecg_key`), ``sample_rate`` in Hz,
        what view and target say, and where needed ``position`` in the item and ``layout`` (L,) of
        the leads.
        """
        samples = self._samples([range(len(self))[index]]).apart(self.target.ecg_key)
        return samples if self._has_positions else samples[0]

    def __getitems__(self, indices: Sequence[int]) -> Samples | list:
        """Items of a batch, for `collate`: what PyTorch's loader asks for in place of each.

        None are an empty list: a rank that has fewer batches than others fills up with these.
        """
        return self._samples(indices) if len(indices) else []

    def _samples(self, indices: Sequence[int]) -> Samples:
        variables = self.view.variables.and_those(self.target.variables)
        segments = self.source.read(indices, variables, self.view.copies)
        ecgs, sample_rates, layouts = self._together(segments) or self._one_by_one(segments)
        columns: dict[str, Any] = {"id": segments.ids, "sample_rate": sample_rates}
        if self._has_positions:
            columns["position"] = segments.positions
        if self.augmentations:
            columns["layout"] = layouts
        if self.view.has_second:
            columns["ecg_2"] = self._seconds(segments)
        of_view, of_target = self.view.columns(segments), self.target.columns(segments)
        return Samples(ecgs, {**columns, **of_view, **of_target})

    def _seconds(self, segments: SegmentBatch) -> list[Tensor | None]:
        """Read and condition the second ECG ``(L, T)`` of each item, None where it has none."""
        seconds = segments.seconds()
        if seconds is None:
            return [None] * len(segments.ids)
        ecgs, _, _ = self._together(seconds) or self._one_by_one(seconds)
        ecg_of = dict(zip(seconds.ids.tolist(), ecgs, strict=True))
        return [ecg_of.get(index) for index in segments.ids.tolist()]

    @property
    def epoch(self) -> int:
        """Current epoch, from 1."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its draws are new ones, in workers that already run as well."""
        self._epoch.fill_(epoch)
        self.target.begin_epoch()

    def size(self, index: int) -> int:
        """Length of an item in samples, cropped to ``max_sample_size`` unless padding.

        The tokens of its text are counted too.
        """
        return int(
            self._sizes[index] if self.options.enable_padding else self._cropped_sizes[index]
        )

    def ordered_indices(self) -> np.ndarray:
        """Indices from long to short, random among equals, or in manifest order without shuffling.

        Where the target does not sort by size they are random.

        Draws from numpy's global random state, which the caller seeds: after
        ``np.random.seed(s)`` the order is that of fairseq_signals.

        Returns:
            ``(N,)`` int64.
        """
        if not self.shuffle:
            return np.arange(len(self))
        keys = np.random.permutation(len(self))
        if not self.target.sorts_by_size:
            return keys
        return np.lexsort([keys, self._cropped_sizes])[::-1].copy()

    def names(self, ids: Iterable[int]) -> list[str]:
        """Paths of the files of items, for messages.

        Args:
            ids: indices of items, as in the ``id`` of a batch.

        Returns:
            One path for each.
        """
        return [self.source.name(int(index)) for index in ids]

    def collate(self, samples: Samples | Sequence[Any]) -> dict[str, Any]:
        """Make a batch.

        Args:
            samples: what `__getitems__` returned, or a list of items.

        Returns:
            ``id`` (B,) int64; ``net_input`` with ``source`` (B, L, T) float32 and, if padding,
            ``padding_mask`` (B, L, T) bool, True where padded (under `Target.ecg_key` and
            `Target.padding_mask_key`); of a view with second ECGs ``ecg_2`` and
            ``ecg_2_padding_mask``, both None where no item has one, while a row is padded whole
            where its item has none; for a model that masks, there too ``origins`` (B, 4) int64,
            of which the model draws its negatives, and what `BatchMasking.draw` returns; what view
            and target join; ``augmentation``, what `augment` applies, if there is any. Empty for no
            samples, and where the target keeps none.

        Raises:
            DataError: the samples differ in their number of leads or labels.
        """
        if not samples:
            return {}
        if not isinstance(samples, Samples):
            items: Iterable[Any] = samples
            listed = itertools.chain.from_iterable(items) if self._has_positions else items
            samples = Samples.joined(list(listed), self.target.ecg_key)
        completed = self.target.complete(
            samples.columns, self._check(samples), self._draws(samples)
        )
        samples = Samples(samples.ecgs, {**samples.columns, **completed.columns})
        if completed.rows is not None:
            samples = samples.taken(completed.rows)
        return self._collate(samples) if len(samples.ecgs) else {}

    def _collate(self, samples: Samples) -> dict[str, Any]:
        columns, check, draws = samples.columns, self._check(samples), self._draws(samples)
        remedy = _WHOLE_REMEDY if self.view.takes_whole else _LEADS_REMEDY
        check.equal(samples.shapes()[:, 0], "leads", remedy)
        crop = self._crop(samples, draws)
        of_ecgs = self._collate_ecgs(samples, crop, draws)
        of_target = self.target.collate(columns, check, crop, draws)
        of_seconds = self._collate_seconds(samples, check, draws) if self.view.has_second else {}
        return {
            "id": torch.from_numpy(draws.ids),
            **of_ecgs,
            **self.view.collate(columns),
            **of_target,
            "net_input": {
                **of_ecgs["net_input"],
                **of_seconds,
                **of_target.get("net_input", {}),
            },
        }

    def augment(self, batch: dict[str, Any]) -> Tensor:
        """Augment the ECGs of a batch, on whichever device it is by now.

        Args:
            batch: what `collate` returned; left as it is.

        Returns:
            The ECGs (B, L, T) as they go into the model; the batch's own if nothing is to be
            augmented.
        """
        source = batch["net_input"][self.target.ecg_key]
        if "augmentation" not in batch:
            return source
        return apply_batch(source, self.augmentations, batch["augmentation"]).to(source.dtype)

    @property
    def _has_positions(self) -> bool:
        """Whether an item is a list of samples, each at a position of its own."""
        return self.view.grouped or self.view.copies > 1

    def _draws(self, samples: Samples | SegmentBatch) -> Draws:
        if isinstance(samples, SegmentBatch):
            return Draws(self.seed, self.epoch, samples.ids, samples.positions)
        return Draws(self.seed, self.epoch, *samples.keys())

    def _check(self, samples: Samples) -> BatchCheck:
        return BatchCheck(lambda row: self.source.name(int(samples.columns["id"][row])))

    def _check_leads(self, selection: LeadSelection) -> None:
        for layout in selection.row_layouts():
            check_leads(self.augmentations, layout)

    def _together(self, segments: SegmentBatch) -> tuple[Tensor, list[float], Tensor] | None:
        """Condition segments at once, where they call for nothing but plain arithmetic.

        Returns:
            ECGs (B, L, T), their sampling rates and their layouts (B, L), or None.
        """
        if segments.ecgs is None or self.lead_selection.bucket is not None:
            return None
        leads = self._selection_of(segments, 0, segments.ecgs.shape[1]).draw(None)
        rates = segments.sample_rates
        ecgs = self.conditioning.of_batch(segments.ecgs, rates, leads, segments.are_finite)
        if ecgs is None:
            return None
        layout = torch.tensor(self.lead_selection.rows(leads))
        return ecgs, rates.tolist(), layout.expand(len(ecgs), -1)

    def _one_by_one(
        self, segments: SegmentBatch
    ) -> tuple[Sequence[Tensor], Sequence[float], Sequence[Tensor]]:
        """Condition segments each by itself; returns ECGs, their sampling rates and layouts."""
        # A loop's variable would keep each recording until the next one is read: that one could
        # not take its memory, which the processor's caches hold, and reading takes a fifth longer.
        one = functools.partial(self._one, segments)
        ecgs, rates, rows = zip(*map(one, itertools.count(), segments.recordings()), strict=True)
        layouts = {leads: torch.tensor(leads) for leads in set(rows)}
        return ecgs, rates, [layouts[leads] for leads in rows]

    def _one(
        self, segments: SegmentBatch, row: int, recording: Recording
    ) -> tuple[Tensor, float, tuple[int, ...]]:
        """Condition the recording of one row; returns the lead in each row of its ECG, too."""
        selection = self._selection(recording, segments, row)
        rng = None
        if selection.bucket:
            rng = self._draws(segments).of_row(row, Stream.LEAD_BUCKET)
        leads = selection.draw(rng)
        ecg = self.conditioning(recording, leads).float()
        return ecg, recording.sample_rate, tuple(selection.rows(leads))

    def _selection_of(self, segments: SegmentBatch, row: int, n_rows: int) -> LeadSelection:
        """Leads of a recording of so many rows: the configured ones, or all."""
        if not self.view.takes_whole or n_rows == len(LEADS):
            return self.lead_selection
        if self.view.needs_all_leads:
            raise DataError(
                f"{segments.where(row)}: has {n_rows} leads, where the twelve are needed. Prepare "
                "the file again with all of them, or leave it out of the manifest"
            )
        if any(augmentation.adjusts_limb_leads for augmentation in self.augmentations):
            raise DataError(
                f"{segments.where(row)}: is of {n_rows} leads, and dependency=true recomputes limb "
                "leads of all twelve from I and II. Set task.dependency=false"
            )
        selection = LeadSelection(tuple(range(n_rows)))
        try:
            self._check_leads(selection)
        except ValueError as error:
            raise DataError(f"{segments.where(row)}: cannot be augmented: {error}") from error
        return selection

    def _selection(self, recording: Recording, segments: SegmentBatch, row: int) -> LeadSelection:
        """Leads of one recording: its own come before the configured ones."""
        if recording.leads is None or self.view.takes_whole:
            return self._selection_of(segments, row, len(recording.feats))
        try:
            selection = replace(self.lead_selection, leads=tuple(lead_indices(recording.leads)))
            self._check_leads(selection)
        except ValueError as error:
            where = segments.where(row)
            raise DataError(f"{where}: its 'lead' cannot be used: {error}") from error
        return selection

    def _crop(self, samples: Samples, draws: Draws) -> Crop:
        """Draw where the signals of a batch are cropped."""
        options = self.options
        lengths = samples.shapes()[:, 1]
        length = target_length(
            lengths, pad=options.enable_padding, max_length=options.max_sample_size
        )
        if self._bucketed_sizes is not None:
            length = max(length, int(self._bucketed_sizes[draws.ids].max()))
        return _drawn(lengths, length, draws)

    def _collate_seconds(
        self, samples: Samples, check: BatchCheck, draws: Draws
    ) -> dict[str, Tensor | None]:
        """Make ``ecg_2`` and its padding mask: padded to the longest of the batch, or cropped."""
        seconds = samples.columns.get("ecg_2") or [None] * len(draws.ids)
        given = next((ecg for ecg in seconds if ecg is not None), None)
        if given is None:
            return {"ecg_2": None, "ecg_2_padding_mask": None}
        ecgs = [given[:, :0] if ecg is None else ecg for ecg in seconds]
        check.equal([len(ecg) for ecg in ecgs], "leads", _LEADS_REMEDY)
        lengths = np.array([ecg.shape[1] for ecg in ecgs])
        length = target_length(lengths, pad=True, max_length=self.options.max_sample_size)
        crop = _drawn(lengths, length, draws.at_position(draws.positions + SECOND))
        batch = crop.join(ecgs, torch.float32)
        mask = crop.padding_mask().unsqueeze(1).expand(batch.shape)
        return {"ecg_2": batch, "ecg_2_padding_mask": mask}

    def _collate_ecgs(self, samples: Samples, crop: Crop, draws: Draws) -> dict[str, Any]:
        """Make ``net_input`` of a batch and, where ECGs are augmented, draw ``augmentation``."""
        columns = samples.columns
        source = crop.join(samples.ecgs, torch.float32)
        net_input: dict[str, Any] = {self.target.ecg_key: source}
        batch: dict[str, Any] = {"net_input": net_input}
        if self.options.enable_padding:
            padding_mask = crop.padding_mask().unsqueeze(1).expand(source.shape)
            net_input[self.target.padding_mask_key] = padding_mask
        if self.masking is None and not self.augmentations:
            return batch
        keys = torch.from_numpy(draws.ids), torch.from_numpy(draws.positions)
        starts_of_numbers = origins(self.seed, self.epoch, *keys)
        if self.masking is not None:
            net_input["origins"] = starts_of_numbers
            rngs = draws.of_rows(Stream.MASK)
            net_input |= self.masking.draw(crop.length, crop.valid.tolist(), rngs)
        if self.augmentations:
            layouts = columns["layout"]
            batch["augmentation"] = draw_batch(
                self.augmentations,
                starts_of_numbers,
                sample_rates=torch.tensor(columns["sample_rate"], dtype=torch.float32),
                lengths=torch.from_numpy(crop.lengths),
                layouts=layouts if isinstance(layouts, Tensor) else torch.stack(list(layouts)),
                starts=torch.from_numpy(crop.starts),
                valid=torch.from_numpy(crop.valid),
            )
        return batch


def _drawn(lengths: np.ndarray, length: int, draws: Draws) -> Crop:
    """Draw where signals of these lengths are cropped."""

    def crop_start(row: int, surplus: int) -> int:
        return draws.of_row(row, Stream.CROP).randint(0, surplus + 1)

    return Crop.drawn(lengths, length, crop_start)


def _taken(values: Any, rows: np.ndarray) -> Any:
    if isinstance(values, Tensor | np.ndarray):
        return values[rows]
    return [values[row] for row in rows.tolist()]


def _conditioning(options: DatasetOptions, view: View) -> Conditioning:
    statistics = None
    if options.normalize and not view.takes_whole:
        if options.mean_path is None or options.std_path is None:
            raise ValueError("normalize=true needs mean_path and std_path")
        statistics = LeadStatistics.read(options.mean_path, options.std_path)
    return Conditioning(
        pad_leads=options.enable_padding_leads,
        sample_rate=options.sample_rate,
        filter=options.filter,
        statistics=statistics,
        layer_norm=options.normalize and view.takes_whole,
        nan_policy=options.nan_policy,
    )


def _at_most(longest: int | None, sizes: np.ndarray) -> np.ndarray:
    return sizes if longest is None else np.minimum(sizes, longest)


def _bucket_sizes(sizes: np.ndarray, n_buckets: int) -> np.ndarray | None:
    """Length to which each item is padded: the smallest of ``n_buckets`` that holds it."""
    if not n_buckets:
        return None
    percentiles = np.linspace(0, 100, n_buckets + 1)[1:]
    buckets = np.unique(np.percentile(sizes, percentiles, method="lower"))
    return buckets[np.searchsorted(buckets, sizes)]
