"""What a model says of every recording of a subset, one row each in manifest order, in stores."""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import MemmapReader, RowStore
from fairseq_ecg.modules import Encoder
from fairseq_ecg.modules.text import TextNetwork
from fairseq_ecg.ops.pooling import zero_padding

logger = logging.getLogger(__name__)

EXTRACTS = ("output", "encoder_out", "saliency")
"""What ``common_eval.extract`` may ask for."""

WITHOUT_FRAMES = {"segment_out", "x"}
"""Outputs of networks that give no frames in fairseq_signals: segmentors and the convnet."""

INPUTS = (
    *("source", "padding_mask", "ecg", "ecg_padding_mask", "ecg_2", "ecg_2_padding_mask"),
    *("text", "text_padding_mask"),
)
"""What batches have for networks; what else they may have for pre-training is masks."""

MASKS = ("padding_mask", "segment_mask")
"""Arrays that are True where the others do not count: also past the end of a recording's batch.

They are kept where they are True somewhere.
"""


def parse_extracts(extract: Sequence[str] | None, results_path: str | None) -> tuple[str, ...]:
    """Check what is asked for.

    Args:
        extract: ``common_eval.extract``.
        results_path: ``common_eval.results_path``.

    Returns:
        Some of :data:`EXTRACTS`, without blanks around them.

    Raises:
        DataError: something else is asked for, or there is no folder to write to.
    """
    names = tuple(name.strip() for name in extract or ())
    unknown = [name for name in names if name not in EXTRACTS]
    if unknown:
        raise DataError(
            f"common_eval.extract: {', '.join(unknown)} cannot be extracted; "
            f"choose from {', '.join(EXTRACTS)}"
        )
    if names and not results_path:
        raise DataError(
            f"common_eval.extract=[{','.join(names)}] needs common_eval.results_path, the folder "
            "to write to"
        )
    return names


class Observer:
    """Watches a model and picks from what it returns the arrays to extract.

    A model of pre-training is asked for its features, without masking; one that predicts labels
    returns everything with its logits.

    Args:
        model: in evaluation mode.
        names: some of :data:`EXTRACTS`.
        source: name of the checkpoint, for messages.

    Raises:
        DataError: the model does not give what is asked for.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], source: str):
        self.model = model
        self.names = tuple(names)
        self.source = source
        self.net_output: dict[str, Any] = {}
        self.only_encodes = isinstance(model, Encoder)
        reads_text = isinstance(model, TextNetwork)
        if reads_text and (set(names) - {"output"} or (names and not model.n_answers)):
            raise DataError(
                f"{source}: of a network that reads ECGs and texts answers to questions are "
                "extracted alone; ask by common_eval.extract for output, of one that answers them"
            )
        if self.only_encodes and "output" in names:
            raise DataError(
                f"{source}: a pre-trained model predicts no labels; ask by common_eval.extract for "
                "encoder_out or saliency"
            )
        if not self.only_encodes:
            model.register_forward_hook(self._remember)

    def _remember(self, _model: nn.Module, _inputs: tuple, net_output: dict[str, Any]) -> None:
        self.net_output = net_output

    def run(self, batch: dict[str, Any]) -> None:
        """Run the model on a batch, without any criterion."""
        net_input = batch["net_input"]
        inputs = {key: net_input[key] for key in INPUTS if key in net_input}
        with torch.no_grad():
            if self.only_encodes:
                features = self.model.extract_features(**inputs)
                self.net_output = {
                    "encoder_out": zero_padding(features["x"], features["padding_mask"]),
                    "padding_mask": features["padding_mask"],
                    "saliency": features["saliency"],
                }
            else:
                self.model(**inputs)

    def arrays(self, batch: dict[str, Any], with_targets: bool) -> dict[str, Tensor]:
        """Arrays of the batch that the model was last run on.

        Args:
            batch: the batch.
            with_targets: whether labels are stored beside outputs.

        Returns:
            ``(B, ...)`` by the name of its store: ``outputs`` and ``targets`` ``(B, C)``, with
            the number of the head behind where the model has several, and NaN in ``targets`` of
            what a recording has no label for; of a model that classifies samples ``(B, T, C)``,
            ``(B, T)`` and ``segment_mask`` ``(B, T)`` bool; ``encoder_out`` ``(B, T', D)``, of some
            convolutions ``(B, D, T')``, and ``padding_mask`` ``(B, T')`` bool; ``saliency``
            ``(B, layers, T', T')``.

        Raises:
            DataError: the model does not give them.
        """
        arrays: dict[str, Tensor] = {}
        if "output" in self.names:
            logits = self.model.get_logits(self.net_output)
            arrays |= _by_head("outputs", logits, len(batch["id"]))
            if with_targets:
                targets = self.model.get_targets(_without_mask(batch), self.net_output)
                if torch.is_tensor(logits) and "target_idx" in batch:
                    targets = _by_output(targets, batch["target_idx"], logits.shape[1])
                arrays |= _by_head("targets", targets, len(batch["id"]))
            if "segment_out" in self.net_output:
                arrays["segment_mask"] = _ignored(batch)
        for key, title in (("encoder_out", "Encoder"), ("saliency", "Saliency")):
            if key in self.names:
                arrays[key] = value = self._of_model(key, title)
                # Of either: what is left of another extraction would belong to other rows.
                arrays["padding_mask"] = self._padding_of(value)
        return arrays

    def _padding_of(self, value: Tensor) -> Tensor:
        """Return the padding ``(B, T')`` of an array."""
        mask = self.net_output.get("padding_mask")
        if mask is not None:
            return mask
        shape = (value.shape[0], value.shape[getattr(self.model, "frames_axis", -2)])
        return torch.zeros(shape, dtype=torch.bool, device=value.device)

    def _of_model(self, key: str, title: str) -> Tensor:
        value = self.net_output.get(key)
        has_no_frames = key == "encoder_out" and not WITHOUT_FRAMES.isdisjoint(self.net_output)
        if value is None or has_no_frames:
            raise DataError(
                f"{self.source}: {title} extraction is not supported for this model; leave "
                f"{key!r} out of common_eval.extract"
            )
        return value


def _without_mask(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch of which all samples count."""
    if "segment_mask" not in batch:
        return batch
    return batch | {"segment_mask": torch.zeros_like(batch["segment_mask"])}


def _ignored(batch: dict[str, Any]) -> Tensor:
    """Return which samples do not count, ``(B, T)`` bool: without labels those of the padding."""
    if "segment_mask" in batch:
        return batch["segment_mask"]
    net_input = batch["net_input"]
    padding_mask = net_input.get("padding_mask")
    if padding_mask is None:
        padding_mask = torch.zeros_like(net_input["source"], dtype=torch.bool)
    return padding_mask[:, 0]


def _by_output(targets: Sequence[Tensor], outputs: Sequence[Tensor], n_outputs: int) -> Tensor:
    """Put the targets of some outputs of each recording where these are, ``(B, n_outputs)``.

    Args:
        targets: of each recording, ``(n_i,)``.
        outputs: index of the output of each of them, ``(n_i,)``.
        n_outputs: of the model.

    Returns:
        NaN where a recording has no target.
    """
    rows = torch.full((len(targets), n_outputs), torch.nan)
    for row, values, indices in zip(rows, targets, outputs, strict=True):
        row[indices.cpu()] = values.cpu().float()
    return rows


def _by_head(name: str, values: Any, n_rows: int) -> dict[str, Tensor]:
    """Name the outputs or targets of a model, which has a list of them if it has several heads."""
    heads = {name: values}
    if isinstance(values, list | tuple):
        heads = {f"{name}_{head}": value for head, value in enumerate(values)}
    for value in heads.values():
        if not torch.is_tensor(value) or value.dim() == 0 or len(value) != n_rows:
            raise DataError(
                f"the {name} of this model are not one row per recording; leave 'output' out of "
                "common_eval.extract"
            )
    return heads


class Extraction:
    """The stores of one subset; made, filled and finished by all processes alike.

    Args:
        folder: to write to; made where absent.
        subset: name of the subset.
        n_rows: N, items of the subset.
        like: arrays of one batch in which ECGs are as long as they get, whose rows have the
            shape of those in the stores.
        dtype: of the numbers, ``float32`` or ``float16``.
        file_format: one of :data:`fairseq_ecg.formats.stores.FILE_FORMATS`.
    """

    def __init__(
        self,
        folder: Path,
        subset: str,
        n_rows: int,
        like: dict[str, Tensor],
        dtype: str,
        file_format: str,
    ):
        self.subset = subset
        self.n_rows = n_rows
        self.leads = not distributed.is_initialized() or distributed.get_rank() == 0
        self.n_written = 0
        self.masking: set[str] = set()
        token = _gathered(str(os.getpid()))[0]  # of the first process
        self.stores = {
            name: RowStore(
                _path(folder, name, subset), (n_rows, *array.shape[1:]), dtype, file_format, token
            )
            for name, array in like.items()
        }
        if self.leads:
            for store in self.stores.values():
                store.allocate()
        _wait()

    def __enter__(self) -> "Extraction":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self.leads:
            for store in self.stores.values():
                store.discard()

    def add(self, ids: Tensor, arrays: dict[str, Tensor]) -> None:
        """Write the rows of a batch.

        Args:
            ids: ``(B,)`` int64, positions of the rows in the manifest.
            arrays: ``(B, ...)`` by name of the store. Where recordings have fewer frames than the
                longest of the subset, their rows are filled up: by zeros, and as padded.
        """
        positions = ids.tolist()
        for name, store in self.stores.items():
            filler = float(name in MASKS)
            rows = _fill_up(arrays[name].detach().cpu().float(), store.shape[1:], filler)
            store.write(positions, rows.numpy())
            if name in MASKS and rows.any():
                self.masking.add(name)
        self.n_written += len(positions)

    def finish(self) -> None:
        """Publish whole stores, once all processes have written.

        A mask is kept only where something is masked; one of an earlier extraction, which would
        belong to other rows, is removed.

        Raises:
            DataError: rows are missing.
        """
        states = _gathered((self.n_written, self.masking))
        n_written = sum(n for n, _ in states)
        masking = set().union(*(names for _, names in states))
        if n_written != self.n_rows:
            raise DataError(
                f"{self.subset}: {n_written} of {self.n_rows} recordings were extracted; the "
                "files are left as they were"
            )
        if self.leads:
            for name, store in self.stores.items():
                if name in MASKS and name not in masking:
                    store.discard()
                    store.file.unlink(missing_ok=True)
                    Path(MemmapReader.file_to_default_header(store.file)).unlink(missing_ok=True)
                    continue
                store.publish()
                shape = ", ".join(map(str, store.shape))
                logger.info("%s: %s (%s)", store.file, store.dtype.name, shape)
        _wait()


def in_turns(values: list[Any]) -> list[Any]:
    """Gather lists of all processes in the order of one: the first of each, then the second.

    Args:
        values: of this process, which may have one fewer than another.
    """
    per_rank = _gathered(values)
    gap = object()
    turns = itertools.zip_longest(*per_rank, fillvalue=gap)
    return [value for turn in turns for value in turn if value is not gap]


def _path(folder: Path, name: str, subset: str) -> Path:
    """``outputs_<subset>.npy``; the number of a head comes last."""
    base, _, head = name.rpartition("_")
    if head.isdigit():
        return folder / f"{base}_{subset}_{head}.npy"
    return folder / f"{name}_{subset}.npy"


def _fill_up(rows: Tensor, shape: Sequence[int], value: float) -> Tensor:
    """Extend ``(B, ...)`` rows at the end of each dimension to ``shape``."""
    missing = [size - has for has, size in zip(rows.shape[1:], shape, strict=True)]
    padding = [width for size in reversed(missing) for width in (0, size)]
    return F.pad(rows, padding, value=value) if any(missing) else rows


def _wait() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _gathered(value: Any) -> list[Any]:
    """Values of all processes, by rank."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
