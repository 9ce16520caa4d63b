"""Turning a store back into ``.mat`` files and manifests, and checking a store."""

import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import scipy.io

from fairseq_ecg.data.names import path_below, plain_name, printable
from fairseq_ecg.data.store import Segments, Store
from fairseq_ecg.data.store.layout import MISSING, NO_LABELS, decode_labels
from fairseq_ecg.data.store.tables import VARIABLES, read_table
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.mat_files import with_variable
from fairseq_ecg.jobs.files import remove_unfinished, write_file
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.manifests import HEADERS, cmsc_row, write_lines

_RESTORE = (
    "Training does not need it, unpacking does: restore it from a copy, or pack the store again"
)

_DTYPES = re.compile("[<>|=]?[fiu][1248]")
"""Types that samples of ``.mat`` files have."""

_AT_ONCE = 256
"""Segments that are read together."""


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked.

    Attributes:
        files: number of ``.mat`` files.
        identical: how many of them have the very bytes of the file that was packed.
        segments: by split.
    """

    files: int
    identical: int
    segments: dict[str, int]


def unpack(store: str | os.PathLike, out: Path) -> Unpacked:
    """Write the segments of a store as ``.mat`` files, and the manifests of its splits.

    Written are ``segmented/*.mat``, with whatever else the packed files held, and last
    ``manifests/<split>.tsv`` and ``manifests/cmsc/<split>.tsv``. From float64, and wherever the
    samples fit the store's type, the files are those that were packed, byte by byte.

    Args:
        store: folder or URL.
        out: folder to write to; created where absent.

    Returns:
        What was unpacked.

    Raises:
        DataError: the store is damaged, or holds questions.
    """
    opened = Store(store, verify=True)
    if opened.description.questions:
        raise DataError(
            f"{opened.path}: holds questions about ECGs, whose records cannot be made of it. "
            "Prepare the questions again to have them as files"
        )
    segments = opened.segments()
    first = _stored_once(segments)
    names = _file_names(opened, segments, first)
    rows_of = _splits(opened.table())
    for split in rows_of:
        plain_name(opened.path, f"{split}.tsv", "the manifest of a split")
    folder, manifests = out / "segmented", out / "manifests"
    folders = {(folder / name).parent for name in names}
    remove_unfinished(*folders, manifests, manifests / "cmsc")
    identical = 0
    with progress_bar(len(first), "unpack", "segment", show=True) as bar:
        for rows, variables in _with_variables(opened, segments, first):
            ecgs = _ecgs(opened, segments, rows)
            for row, ecg, kept in zip(rows.tolist(), ecgs, variables, strict=True):
                content = _mat_file(opened, segments, row, ecg, kept)
                write_file(folder / names[row], content)
                identical += zlib.crc32(content) == kept["file_crc32"]
            bar.update(len(rows))
    for split, rows in rows_of.items():
        _write_manifests(manifests, split, folder, segments, rows, names)
    counts = {split: len(rows) for split, rows in rows_of.items()}
    return Unpacked(len(first), identical, counts)


def verify(store: str | os.PathLike) -> list[str]:
    """Compare all checksums of a store, and whether all is there that the index refers to.

    Args:
        store: folder or URL.

    Returns:
        What is wrong; empty where nothing is. Of an index that refers to what is not there, its
        faults alone.

    Raises:
        DataError: the description or the index cannot be read.
    """
    opened = Store(store)
    faults = opened.faults_of_index()
    if faults:  # nobody can say where its segments are
        return faults
    try:
        opened.questions_table()
    except DataError as error:
        faults.append(str(error))
    segments = opened.segments()
    rows = _stored_once(segments)
    with progress_bar(len(rows), "verify", "segment", show=True) as bar:
        for number in range(len(opened.description.shards)):
            own = rows[segments.shard[rows] == number]
            try:
                opened.check_shard(number)
                for some in _batches(own):
                    faults += opened.faults(segments, some)
                    bar.update(len(some))
                _kept(opened, segments, own, _variables(opened, number))
            except DataError as error:
                faults.append(str(error))
    return faults


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), _AT_ONCE):
        yield rows[first : first + _AT_ONCE]


def _splits(table: pa.Table) -> dict[str, np.ndarray]:
    """Rows of each split, in the order of the splits' first ones."""
    encoded = table["split"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    return {
        split: np.flatnonzero(codes == code)
        for code, split in enumerate(encoded.dictionary.to_pylist())
    }


def _stored_once(segments: Segments) -> np.ndarray:
    """One row for each stored segment, in the order in which they lie in the shards."""
    order = np.lexsort([segments.offset, segments.shard])
    is_first = np.ones(len(order), bool)
    is_first[1:] = False
    for name in ("shard", "offset", "n_leads", "n_samples", "crc32"):
        column = getattr(segments, name)[order]
        is_first[1:] |= column[1:] != column[:-1]
    return order[is_first]


def _ecgs(store: Store, segments: Segments, rows: np.ndarray) -> Iterable[np.ndarray]:
    """ECGs ``(L, T)`` as exactly as they are stored."""
    if segments.steps is None:
        return store.read_stored(segments, rows)
    return (ecg.numpy() for ecg in store.read(segments, rows))


def _variables(store: Store, number: int) -> dict[int, dict]:
    """What else the files of a shard held, by the position of their samples in it."""
    shard = store.description.shards[number]
    content = store.read_file(shard.variables)
    if shard.variables_crc32 != zlib.crc32(content):
        raise DataError(f"{store.path}/{shard.variables}: its checksum is wrong. {_RESTORE}")
    table = read_table(content, VARIABLES, f"{store.path}/{shard.variables}", _RESTORE)
    return {row["offset"]: row for row in table.to_pylist()}


def _kept(
    store: Store, segments: Segments, rows: np.ndarray, variables: Mapping[int, dict]
) -> list[dict]:
    """What else the files of segments of a shard held, as far as it can be put into a file."""
    found = [variables.get(offset) for offset in segments.offset[rows].tolist()]
    for row, kept in zip(rows.tolist(), found, strict=True):
        if kept is None or not _is_usable(kept):
            name = store.description.shards[segments.shard[row]].variables
            path = printable(segments.paths[row].as_py())
            raise DataError(f"{store.path}/{name}: lacks what {path} held besides. {_RESTORE}")
    return found


def _is_usable(kept: Mapping[str, Any]) -> bool:
    """Whether a file can be made of what is kept of it and its samples."""
    if not _DTYPES.fullmatch(kept["dtype"]):
        return False
    if kept["content"] is None:
        return True
    position = -1 if kept["place"] is None else kept["place"]
    return kept["is_compressed"] is not None and 0 <= position <= len(kept["content"])


def _with_variables(
    store: Store, segments: Segments, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, list[dict]]]:
    for number in range(len(store.description.shards)):
        own = rows[segments.shard[rows] == number]
        variables = _variables(store, number) if len(own) else {}
        for some in _batches(own):
            yield some, _kept(store, segments, some, variables)


def _mat_file(store: Store, segments: Segments, row: int, ecg: np.ndarray, kept: dict) -> bytes:
    """Content of the file of a segment."""
    feats = ecg.astype(kept["dtype"])
    if kept["content"] is not None:
        rest, position, is_compressed = kept["content"], kept["place"], kept["is_compressed"]
        return with_variable(rest, "feats", feats, position, is_compressed)
    # The packed file was of a level that is no longer written; what training reads is known.
    variables = {"feats": feats, "curr_sample_rate": segments.sample_rate[row]}
    for name, column in (("idx", segments.idx), ("patient_id", segments.patient_id)):
        if column[row] != MISSING:
            variables[name] = column[row]
    for name, column in segments.lists.items():
        if column[row].is_valid:
            variables[name] = column[row].values.to_numpy(zero_copy_only=False)
    for name, column in segments.texts.items():
        if column[row].is_valid:
            variables[name] = column[row].as_py()
    if segments.labels_offset[row] != NO_LABELS:
        variables |= decode_labels(store.read_labels(segments, np.array([row]))[0])
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    return buffer.getvalue()


def _file_names(store: Store, segments: Segments, stored: np.ndarray) -> list[str]:
    """File of each segment below the folder: its path; below a number where two roots share it."""
    roots = segments.roots.to_pylist()
    what = "the file of a segment", "the folder that is unpacked to"
    paths = [
        str(PurePosixPath(path_below(store.path, path, *what)))
        for path in segments.paths.to_pylist()
    ]
    number_of = {root: str(number) for number, root in enumerate(dict.fromkeys(roots))}
    files = set(zip(roots, paths, strict=True))
    n_roots = Counter(path for _, path in files)
    names = [
        str(PurePosixPath(number_of[root], path)) if n_roots[path] > 1 else path
        for root, path in zip(roots, paths, strict=True)
    ]
    seen = Counter(names[row] for row in stored.tolist())
    twice = [name for name, times in seen.items() if times > 1]
    if twice or len(seen) < len(set(names)):
        raise DataError(
            f"{store.path}: its segments share files ({twice[0] if twice else 'of other names'}), "
            "and none could hold them both. Pack them again from the files"
        )
    return names


def _write_manifests(
    folder: Path, split: str, root: Path, segments: Segments, rows: np.ndarray, names: list[str]
) -> None:
    """Write the plain manifest of a split and, where it has pairs, its CMSC manifest."""
    base = f"{root.resolve()}/"
    rows_in_order = rows[np.argsort(segments.item[rows], kind="stable")].tolist()
    classes = segments.class_index
    has_classes = classes is not None and (classes[rows] != MISSING).all()
    plain = (
        f"{names[row]}\t{segments.n_samples[row]}" + (f"\t{classes[row]}" if has_classes else "")
        for row in rows_in_order
    )
    write_lines(folder / f"{split}.tsv", [HEADERS["tab"](base)], plain)
    paired = rows[segments.pair[rows] >= 0]
    order = np.lexsort([segments.position[paired], segments.pair[paired]])
    pairs = []
    for first, second in paired[order].reshape(-1, 2).tolist():
        stem, _, number = names[first].removesuffix(".mat").rpartition("_")
        partner = names[second].removesuffix(".mat").rpartition("_")[2]
        pairs.append(cmsc_row(stem, segments.pair_samples[first], number, partner))
    write_lines(folder / "cmsc" / f"{split}.tsv", [base, "mat"], pairs)


def describe(store: str | os.PathLike) -> str:
    """Say what is in a store.

    Args:
        store: folder or URL.

    Returns:
        A few lines of text.

    Raises:
        DataError: the description or the index cannot be read.
    """
    opened = Store(store)
    table, segments = opened.table(), opened.segments()
    stored = _stored_once(segments)
    values = segments.n_leads[stored].astype(np.int64) * segments.n_samples[stored]
    itemsize = np.dtype(opened.description.dtype).itemsize

    def distinct(numbers: np.ndarray, unit: str) -> str:
        low, high = numbers.min(), numbers.max()
        return f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}"

    lines = [
        f"{opened.path}: {opened.description.dtype}, {len(opened.description.shards)} shards, "
        f"{values.sum() * itemsize / 2**20:.1f} MiB of samples",
        f"{len(stored)} segments of {distinct(segments.n_leads, 'leads')}, "
        f"{distinct(segments.n_samples, 'samples')}, {distinct(segments.sample_rate, 'Hz')}"
        + (", with labels" if "label" in segments.lists else "")
        + (", with labels of samples" if (segments.labels_offset != NO_LABELS).any() else "")
        + (", with texts" if "text" in segments.texts else ""),
    ]
    questions = opened.questions_table()
    n_questions = Counter([] if questions is None else questions["split"].to_pylist())
    for split, rows in _splits(table).items():
        n_pairs = np.count_nonzero(segments.pair[rows] >= 0) // 2
        asked = f", {n_questions[split]} questions" if split in n_questions else ""
        lines.append(f"{split}: {len(rows)} segments, {n_pairs} pairs{asked}")
    lines += [f"from {root}" for root in dict.fromkeys(segments.roots.to_pylist())]
    return "\n".join(map(printable, lines))
