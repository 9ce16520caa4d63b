"""Whose ECG it is: recordings compared with those of known patients."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fairseq_ecg.data.manifest import read_manifest
from fairseq_ecg.data.names import printable
from fairseq_ecg.data.segment_files import SEGMENT_FILE, recording_of_segment
from fairseq_ecg.data.store import Store, is_store
from fairseq_ecg.data.store.layout import MISSING
from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.inference.recordings import (
    PATH,
    TABLES,
    Description,
    NamedRecording,
    recordings_in,
)
from fairseq_ecg.inference.results import RECORDING, Columns, Results
from fairseq_ecg.inference.writing import write_table

if TYPE_CHECKING:
    import pandas as pd

PATIENT, RANK, SIMILARITY, NEAREST, KNOWN = "patient", "rank", "similarity", "nearest", "known"

Patient: TypeAlias = str | int
Members: TypeAlias = "list[tuple[Patient, NamedRecording]]"
"""Recordings of a gallery, each with its patient."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Recordings of known patients, as one network embeds them.

    Attributes:
        patients: of each recording, a name or a number.
        recordings: their names.
        embeddings: ``(G, D)`` float32.
    """

    patients: Sequence[Patient]
    recordings: Sequence[str | int]
    embeddings: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Write it as a table, from which :meth:`fairseq_ecg.ECGModel.gallery` reads it again.

        Args:
            path: ``.csv``, ``.tsv`` or ``.parquet``; columns are ``patient``, ``recording`` and
                ``0`` to ``D-1``.

        Raises:
            DataError: the extension is another one.
        """
        path = Path(path)
        if path.suffix.lower() not in TABLES:
            raise DataError(f"{path}: a gallery is written as {', '.join(TABLES)}")
        columns: Columns = {PATIENT: self.patients, RECORDING: self.recordings}
        columns |= {str(number): column for number, column in enumerate(self.embeddings.T)}
        write_table(path, lambda: iter([columns]), 2)

    def similarity(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the cosine of the angle between embeddings and those of the gallery.

        Args:
            embeddings: ``(R, D)``, by the same network.

        Returns:
            ``(R, G)`` float64, from -1 to 1.

        Raises:
            DataError: the gallery was embedded by another network.
        """
        if embeddings.shape[1] != self.embeddings.shape[1]:
            raise DataError(
                f"the embeddings of the gallery have {self.embeddings.shape[1]} channels, those of "
                f"the network {embeddings.shape[1]}: embed the gallery with the same network"
            )
        return np.clip(_unit(embeddings) @ _unit(self.embeddings).T, -1, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True, eq=False, repr=False)
class Identification(Results):
    """The most similar patients of a gallery: ``table`` of recordings and ranks.

    Args:
        run: what was computed.
        gallery: what recordings were compared with.
        similarity: ``(R, G)`` of recordings to those of the gallery.
        top: patients to name, the most similar first.
        threshold: similarity from which on a patient counts as known, if that is asked for.
    """

    gallery: Gallery
    similarity: np.ndarray
    top: int
    threshold: float | None
    shown = *Results.shown, "table"

    @cached_property
    def _nearest(self) -> np.ndarray:
        """``(R, top)`` most similar recording of each of the most similar patients."""
        _, patients = np.unique(
            [str(patient) for patient in self.gallery.patients], return_inverse=True
        )
        top = min(self.top, patients.max() + 1)
        nearest = np.empty((len(self.similarity), top), np.int64)
        for row, similarity in enumerate(self.similarity):
            order = np.argsort(-similarity, kind="stable")
            _, first = np.unique(patients[order], return_index=True)
            nearest[row] = order[np.sort(first)[:top]]
        return nearest

    def columns(self) -> dict[str, Columns]:
        """Return the table ``matches`` as it is written, a row for each recording and rank."""
        nearest = self._nearest
        rows = np.repeat(np.arange(len(nearest)), nearest.shape[1])
        found = nearest.ravel().tolist()
        of_recordings = self.run.recordings()
        columns: Columns = {
            name: [values[row] for row in rows.tolist()] for name, values in of_recordings.items()
        }
        columns[RANK] = (np.arange(len(found)) % nearest.shape[1] + 1).tolist()
        columns[PATIENT] = [self.gallery.patients[number] for number in found]
        columns[SIMILARITY] = self.similarity[rows, found]
        columns[NEAREST] = [self.gallery.recordings[number] for number in found]
        if self.threshold is not None:
            columns[KNOWN] = (columns[SIMILARITY] >= self.threshold).astype(np.int64)
        return {"matches": columns}

    @cached_property
    def table(self) -> "pd.DataFrame":
        """Of each recording and ``rank`` (the index) ``patient``, ``similarity`` and ``nearest``.

        ``nearest`` is the patient's recording to which it is most similar. ``known`` is 1 where the
        similarity reaches the threshold, if there is one.
        """
        import pandas as pd

        matches = self.columns()["matches"]
        names = [RECORDING, RANK, PATIENT, SIMILARITY, NEAREST, KNOWN]
        kept = {name: matches[name] for name in names if name in matches}
        return pd.DataFrame(kept).set_index([RECORDING, RANK])


def check_ranks(top: int, threshold: float | None) -> None:
    """Check how many patients are named, and from which similarity on they count as known.

    Raises:
        DataError: there is no such number or similarity.
    """
    if top < 1:
        raise DataError(f"top={top}: must be positive")
    if threshold is not None and not -1 <= threshold <= 1:
        raise DataError(
            f"threshold={threshold:g}: must be a similarity, which is from -1 to 1; training "
            "reports one as eer_threshold"
        )


def saved_gallery(source: Any) -> Gallery | None:
    """Read what :meth:`Gallery.save` wrote; None if it is something else.

    Args:
        source: the path of a table, or a DataFrame.

    Raises:
        DataError: the table is damaged.
    """
    table = _table(source)
    if table is None or PATH in table.columns or "0" not in map(str, table.columns):
        return None
    from fairseq_ecg.data.tables import require_columns

    where = source if isinstance(source, str | os.PathLike) else "the gallery"
    table = table.rename(columns=str)
    require_columns(str(where), (PATIENT, RECORDING), list(table.columns))
    channels = [name for name in table.columns if name.isdecimal()]
    values = table[sorted(channels, key=int)]
    if table.empty or table[PATIENT].isna().any() or values.isna().to_numpy().any():
        raise DataError(f"{where}: lacks a patient or a number. Embed the gallery again")
    with damage_as_data_error(str(where), "table of embeddings"):
        embeddings = np.ascontiguousarray(values, np.float32)
    return Gallery(table[PATIENT].tolist(), table[RECORDING].tolist(), embeddings)


def gallery_members(source: Any, description: Description) -> Members:
    """List the recordings of a gallery with their patients; nothing of their samples is read.

    Args:
        source: see :meth:`fairseq_ecg.ECGModel.gallery`.
        description: what recordings do not say themselves.

    Raises:
        DataError: it says no patients, or there are none.
    """
    if isinstance(source, Mapping):
        members = _of_patients(source, description)
    elif (table := _table(source)) is not None:
        members = _of_patients(_paths_by_patient(source, table), description)
    elif isinstance(source, str | os.PathLike):
        members = _listed(os.fspath(source), description)
    else:
        raise DataError(
            "a gallery is a table with the columns path and patient, a manifest or a split of a "
            "store that lists classes of patients, or a dict of recordings by patient"
        )
    if not members:
        raise DataError("the gallery lists no recordings")
    return members


def identity_of(members: Members, identity: Callable[[Sequence[NamedRecording]], str]) -> str:
    """Return a checksum of all that a gallery depends on.

    Args:
        members: of the gallery.
        identity: returns that of recordings.
    """
    patients = repr([patient for patient, _ in members])
    recordings = identity([recording for _, recording in members])
    return hashlib.sha256(f"{patients} {recordings}".encode()).hexdigest()


def _table(source: Any) -> "pd.DataFrame | None":
    """Return a table of a gallery; None if it is none."""
    if not isinstance(source, str | os.PathLike):
        return source if hasattr(source, "columns") else None
    path = os.fspath(source)
    if not path.lower().endswith(TABLES) or not os.path.isfile(path):
        return None
    import pandas as pd

    with damage_as_data_error(path, "table"):
        if path.lower().endswith(".parquet"):
            return pd.read_parquet(path)
        separator = "\t" if path.lower().endswith(".tsv") else ","
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            names = [name.strip(' "\r\n') for name in file.readline().split(separator)]
        if PATIENT not in names:
            return None if separator == "\t" else pd.DataFrame(columns=names)
        check_width(path, separator)
        texts = {PATIENT: str, RECORDING: str, PATH: str}
        return pd.read_csv(path, sep=separator, dtype=texts, float_precision="round_trip")


def _paths_by_patient(source: Any, table: "pd.DataFrame") -> dict[Patient, list[str]]:
    """Return the recordings of each patient that a table lists."""
    from fairseq_ecg.data.tables import require_columns

    is_file = isinstance(source, str | os.PathLike)
    where = os.fspath(source) if is_file else "the gallery"
    require_columns(where, (PATH, PATIENT), list(table.columns))
    folder = os.path.dirname(where) if is_file else ""
    by_patient: dict[Patient, list[str]] = {}
    for row, (path, patient) in enumerate(zip(table[PATH], table[PATIENT], strict=True), start=1):
        if path != path or patient != patient or path in ("", None):
            raise DataError(f"{where}, row {row}: no path, or no patient. Fill it in")
        by_patient.setdefault(patient, []).append(os.path.join(folder, path))
    return by_patient


def _of_patients(by_patient: Mapping[Patient, Any], description: Description) -> Members:
    return [
        (patient, recording)
        for patient, source in by_patient.items()
        for recording in recordings_in(source, description)
    ]


def _listed(path: str, description: Description) -> Members:
    """List a manifest, or a split of a store, ``STORE/valid_gallery``."""
    folder, _, split = path.rstrip("/").rpartition("/")
    if folder and is_store(folder):
        return list(_of_store(folder, split, description.verify))
    if "://" not in path and not os.path.exists(path):
        raise DataError(
            f"{path}: no such manifest, table or split of a store. Check the path of the gallery"
        )
    manifest = read_manifest(path)
    if manifest.classes is None:
        raise DataError(
            f"{path}: lists no classes of patients. Give a manifest with a third column, as "
            "'fairseq-ecg prepare identification' writes it, or a table with the columns path and "
            "patient"
        )
    by_patient: dict[Patient, list[str]] = {}
    for number, patient in enumerate(manifest.classes.tolist()):
        by_patient.setdefault(patient, []).extend(manifest.files(number))
    return _of_patients(by_patient, Description(verify=description.verify))


def _of_store(folder: str, split: str, verify: bool) -> Iterator[tuple[Patient, NamedRecording]]:
    segments = Store(folder).segments(split)
    classes = segments.class_index
    if classes is None or (classes == MISSING).any():
        raise DataError(f"{folder}/{split}: lists no classes of patients. Pack such manifests")
    names = segments.paths.to_pylist()
    wholes = [recording_of_segment(name) if SEGMENT_FILE.search(name) else name for name in names]
    patient_of = dict(zip(map(printable, wholes), classes.tolist(), strict=True))
    for recording in recordings_in(folder, Description(split=split, verify=verify)):
        yield patient_of[str(recording.name)], recording
