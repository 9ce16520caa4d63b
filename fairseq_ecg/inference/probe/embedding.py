"""Embeddings of labelled segments, computed once."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from fairseq_ecg.data.label_file import LabelFile
from fairseq_ecg.data.names import printable
from fairseq_ecg.data.segment_files import SEGMENT_FILE
from fairseq_ecg.data.sources import Source, StoreSource
from fairseq_ecg.data.targets import IndexTarget
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.inference.evaluation import labelled_segments
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.inference.running import check_batching
from fairseq_ecg.jobs.ledger import Ledger
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.modules.registry import head_options, network_config

logger = logging.getLogger(__name__)

SEGMENTS_PER_PART = 2048
RECORDINGS_PER_PART = 512


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings of the segments of some recordings, and the labels of these.

    Attributes:
        embeddings: ``(N, D)`` float32.
        recording_of: number of the recording of each segment, ``(N,)`` from 0 to R - 1.
        recordings: names of the R recordings.
        labels: 0, 1 or NaN, ``(R, C)`` float64.
    """

    embeddings: np.ndarray
    recording_of: np.ndarray
    recordings: tuple[str, ...]
    labels: np.ndarray

    def __post_init__(self) -> None:
        wrong = ~(np.isnan(self.labels) | np.isin(self.labels, (0, 1)))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{self.recordings[row]}: label {column} is {self.labels[row, column]:g}; a probe "
                "predicts labels that are 0 or 1 (or empty where unknown)"
            )

    @property
    def segment_labels(self) -> np.ndarray:
        """Labels of the recording of each segment, ``(N, C)``."""
        return self.labels[self.recording_of]

    def of_recordings(self, chosen: np.ndarray, labels: np.ndarray | None = None) -> "Features":
        """Return some recordings, in ascending order.

        Args:
            chosen: numbers of the recordings, ascending.
            labels: of them, instead of theirs, ``(len(chosen), C')``.
        """
        position = np.full(len(self.recordings), -1)
        position[chosen] = np.arange(len(chosen))
        kept = position[self.recording_of] >= 0
        return Features(
            self.embeddings[kept],
            position[self.recording_of[kept]],
            tuple(self.recordings[number] for number in chosen),
            self.labels[chosen] if labels is None else labels,
        )

    def usable(self, name: str) -> "Features":
        """Leave out segments whose embedding is not finite, with a warning.

        Args:
            name: of the split, for messages.

        Raises:
            DataError: there is no other segment.
        """
        finite = np.isfinite(self.embeddings).all(axis=1)
        if finite.all():
            return self
        bad = self.recordings[self.recording_of[np.argmin(finite)]]
        count = int((~finite).sum())
        if not finite.any():
            raise DataError(
                f"{name}: no segment has an embedding that is finite, {bad} for instance. Look for "
                "NaN or segments of zeros in the recordings, or compute in float32"
            )
        logger.warning(
            "%s: %d of %d segments are left out, their embeddings are not finite (%s for instance)",
            name, count, len(finite), bad,
        )  # fmt: skip
        kept = self.embeddings[finite], self.recording_of[finite]
        return Features(*kept, self.recordings, self.labels).of_recordings(np.unique(kept[1]))


def fingerprint(model: ECGModel) -> str:
    """Return what identifies a network with its preprocessing, 32 hexadecimal digits.

    Weights of the encoder, how they are used, the floating-point type and the preprocessing count;
    a head on top and where the file lies do not.
    """
    digest = hashlib.blake2b(digest_size=16)
    cfg = {
        key: value
        for key, value in network_config(model.cfg).items()
        if key not in {"_name", *head_options(model.cfg["_name"])}
    }
    about = [cfg, model.preprocessing.to_json(), str(model.dtype)]
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, value in sorted(model.network.encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class EmbeddingCache:
    """Embeddings on disk, in parts that are whole or absent, so that a run that was killed goes on.

    Parts lie in a folder named by the network's fingerprint, and are named by what they are of:
    the paths of the recordings with size and time of each file. What changed is computed anew.

    Args:
        folder: where to.
        model: the network.
        batch_size: in segments.
        workers: processes that read; 0: none beside this one.
    """

    def __init__(self, folder: Path, model: ECGModel, batch_size: int = 32, workers: int = 0):
        check_batching(batch_size)
        self.model = model
        self.fingerprint = fingerprint(model)
        self.folder = Path(folder) / self.fingerprint
        self.batch_size = batch_size
        self.workers = workers

    def of_manifest(
        self, manifest: str | os.PathLike, label_file: Path, verify: bool = False
    ) -> Features:
        """Embed prepared segments.

        Args:
            manifest: ``<split>.tsv``, or a split of a store, ``STORE/<split>``.
            label_file: ``y.npy``, which segments point into by their ``idx``.
            verify: whether the checksums of a store are compared.

        Returns:
            Segments in the order of the manifest, whose recordings are those of `evaluate`.

        Raises:
            DataError: a segment or a label cannot be used.
        """
        dataset = labelled_segments(self.model, manifest, IndexTarget(), verify)
        names = dataset.names(range(len(dataset)))
        states = [
            f"{state}{' verified' if verify else ''}" for state in _states(dataset.source, names)
        ]

        def embed(part: range, bar: tqdm) -> dict[str, np.ndarray]:
            loader = DataLoader(
                Subset(dataset, list(part)),
                self.batch_size,
                collate_fn=dataset.collate,
                num_workers=self.workers,
            )
            embeddings, idx = [], []
            for batch in loader:
                embeddings.append(self.model.embeddings(**batch["net_input"]))
                idx.append(batch["label"][:, 0].numpy())
                bar.update(len(idx[-1]))
            return {"embeddings": np.concatenate(embeddings), "idx": np.concatenate(idx)}

        found = self._in_parts(states, SEGMENTS_PER_PART, embed, os.fspath(manifest), "segment")
        recordings, first, recording_of = np.unique(
            [SEGMENT_FILE.sub("", name) for name in names], return_index=True, return_inverse=True
        )
        labels = LabelFile(label_file, missing=True)
        rows = [labels.row(int(found["idx"][row]), names[row]).numpy() for row in first]
        return Features(
            found["embeddings"], recording_of, tuple(recordings), np.array(rows, np.float64)
        )

    def of_recordings(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        on_error: str = "raise",
        description: Description | None = None,
    ) -> Features:
        """Embed recordings as they are: files of any format that `ECGModel.embed` reads.

        Args:
            paths: of the R recordings.
            labels: 0, 1 or NaN, ``(R, C)``.
            on_error: ``raise``, or ``skip`` for leaving out recordings that cannot be used, with a
                warning.
            description: what the files do not say themselves.

        Returns:
            Segments in the order of the recordings, without those that were left out.

        Raises:
            DataError: a path is listed twice, is not that of one recording, or cannot be used.
        """
        twice = pd.Series(paths).duplicated()
        if twice.any():
            raise DataError(f"{paths[int(twice.argmax())]} is listed twice")
        description = description or Description()
        recordings = recordings_in(list(paths), description)
        names = [recording.name for recording in recordings]
        for path, name in zip_longest(paths, names):
            if path is None or printable(path) != name:
                raise DataError(
                    f"{path or name}: is not one recording, but several, or a segment of one. List "
                    "recordings one by one; prepared segments are listed by manifests"
                )
        states = [f"{_state(one.name, one.source.files)} {description}" for one in recordings]

        def embed(part: range, bar: tqdm) -> dict[str, np.ndarray]:
            run = self.model.embed(
                recordings[part.start : part.stop],
                batch_size=self.batch_size,
                workers=self.workers,
                progress=bar,
                on_error=on_error,
            )
            for path, reason in run.errors.items():
                logger.warning("%s cannot be used: %s", path, reason)
            position = {names[number]: number - part.start for number in part}
            owners = [position[name] for name in run.segments.index.get_level_values(0)]
            values = run.segments[list(range(self.model.embed_dim))].to_numpy(np.float32)
            return {"embeddings": values, "owner": np.array(owners, np.int64)}

        found = self._in_parts(
            states, RECORDINGS_PER_PART, embed, f"{len(paths)} recordings", "recording"
        )
        lost = np.setdiff1d(np.arange(len(paths)), found["owner"])
        if len(lost) and on_error == "raise":
            raise DataError(
                f"{paths[lost[0]]}: was left out by an earlier run, because it cannot be used. "
                "Leave it out again, or correct the file"
            )
        if len(lost):
            logger.warning(
                "%d of %d recordings are left out, %s for instance",
                len(lost), len(paths), paths[lost[0]],
            )  # fmt: skip
        labels = np.asarray(labels, np.float64)
        features = Features(found["embeddings"], found["owner"], tuple(paths), labels)
        return features.of_recordings(np.unique(features.recording_of))

    def _in_parts(
        self,
        states: Sequence[str],
        per_part: int,
        embed: Callable[[range, tqdm], dict[str, np.ndarray]],
        what: str,
        unit: str,
    ) -> dict[str, np.ndarray]:
        """Join the parts, computing those that are not there."""
        finished = Ledger(self.folder)
        parts: list[dict[str, np.ndarray]] = []
        bar = progress_bar(len(states), f"embed {what}", unit)
        for start in range(0, len(states), per_part):
            part = range(start, min(start + per_part, len(states)))
            key = hashlib.blake2b("\n".join(states[start : part.stop]).encode(), digest_size=16)
            path = finished.file(key.hexdigest(), ".npz")
            if path.is_file():
                bar.update(len(part))
            else:
                with finished.writing(key.hexdigest(), ".npz") as unfinished:
                    np.savez(unfinished, **embed(part, bar))
            with (
                damage_as_data_error(str(path), "part of a cache", "Delete it"),
                np.load(path) as file,
            ):
                arrays = dict(file)
            if "owner" in arrays:
                arrays["owner"] += start
            parts.append(arrays)
        bar.close()
        if not parts:
            raise DataError(f"{what}: is empty")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _states(source: Source, names: Sequence[str]) -> list[str]:
    """Return the name of each segment and what changes when it is written anew."""
    if isinstance(source, StoreSource):
        checksums = source.segments.crc32[source.rows[:, 0]]
        return [f"{name} {checksum}" for name, checksum in zip(names, checksums, strict=True)]
    return [_state(name, [name]) for name in names]


def _state(name: str, files: Sequence[str | os.PathLike]) -> str:
    """Return what identifies the content of a recording: path, and size and time of its files.

    Of what is behind a URL the address alone is known.
    """
    state = [name if "://" in name else os.path.abspath(name)]
    for file in files:
        try:
            about = os.stat(file)
        except OSError:
            continue
        state.append(f"{about.st_size}-{about.st_mtime_ns}")
    return " ".join(state)
