"""Packing the segments of manifests into a store that is fast to train from."""

import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.data.names import plain_name
from fairseq_ecg.data.recording import (
    read_integer,
    read_mat,
    read_texts,
    read_wfdb,
    recording_from_mat,
)
from fairseq_ecg.data.sources.questions import REMEDY
from fairseq_ecg.data.store.layout import (
    DESCRIPTION,
    DTYPES,
    LIST_VARIABLES,
    SAMPLE_VARIABLES,
    TEXT_VARIABLES,
    VERSION,
    Description,
    Shard,
    checksum,
    encode,
    encode_labels,
    is_finite,
    read_json,
)
from fairseq_ecg.data.store.reader import Store
from fairseq_ecg.data.store.tables import (
    CLASS,
    FILES,
    LABELS,
    POSITIONS,
    TEXTS,
    VARIABLES,
    faults_of_index,
    read_table,
)
from fairseq_ecg.data.targets.question import (
    answer_names,
    write_attribute_names,
)
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.mat_files import without_variable
from fairseq_ecg.formats.stores import npy_header
from fairseq_ecg.jobs.files import open_replacing, remove_unfinished, replacing, write_file
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.limits import check_limit
from fairseq_ecg.prepare.pack_questions import (
    ROOT,
    PackedQuestion,
    joined_attributes,
    lists_questions,
    questions_table,
    read_questions,
)

PENDING = "pending.json"
"""What of an interrupted run is there already. No reader looks at it."""

_LOCK = ".lock"


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        added: segments by split, without those that were in the store before.
        present: number of those.
        shards: number of files of samples that were written.
        questions: questions by split, without those that were in the store before.
    """

    added: dict[str, int]
    present: int
    shards: int
    questions: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Member:
    """A segment that a manifest lists.

    Of a plain manifest ``n_samples`` is its length; of a CMSC manifest that of the recording's last
    segment, and ``pair`` is the number of its pair, the position in which alternates. The path of
    an ECG that a question is about is that of a WFDB record.
    """

    split: str
    root: str
    path: str
    manifest: Path
    line: int
    n_samples: int
    pair: int | None = None
    class_index: int | None = None
    is_record: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Split, root and path."""
        return self.split, self.root, self.path

    @property
    def where(self) -> str:
        """Names the file, the manifest and the line in error messages."""
        return f"{Path(self.root, self.path)} ({self.manifest}, line {self.line})"


def pack(
    manifests: Path, store: Path, *, dtype: str | None = None, shard_bytes: int = 128 * 2**20
) -> Packed:
    """Pack the segments of all splits into a store, or add them to it.

    Of manifests of questions each ECG is stored once, whatever the number of questions about it.

    What is in the store keeps its position. A file that several splits list is stored once. The
    store is the old one until, at the very end, it is the new one; a run that was killed is
    continued by the next one with the same arguments.

    Args:
        manifests: folder of ``<split>.tsv``: plain manifests, CMSC manifests or those of questions.
        store: folder to write to; created where absent.
        dtype: of the samples, one of `DTYPES`. None: that of the store, or float32 for a new one.
        shard_bytes: of samples in a shard, about; so much memory is needed.

    Returns:
        What was packed.

    Raises:
        DataError: a manifest or a file cannot be read, samples do not fit the type, or the store
            is of another one.
    """
    if dtype not in (None, *DTYPES):
        raise DataError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    members, questions = _listed(manifests)
    with locked(store, wait=False, file=store / _LOCK):
        run = _Run(store, dtype, shard_bytes, sorted({member.manifest for member in members}))
        index = run.index
        attributes = joined_attributes(manifests, store) if questions else {}
        wanted = _lacking(members, index)
        asked = _lacking(questions, run.questions)
        if wanted or asked:
            run.add_files(wanted)
            rows = _index_rows(wanted, index, run.files()) if wanted else index.slice(0, 0)
            run.publish(rows, asked, tuple(answer_names(manifests)) if questions else ())
            if asked:
                write_attribute_names(store, attributes)
        else:
            run.tidy()
    shards = len(run.shards) - run.n_old
    n_present = len(members) - len(wanted)
    return Packed(_counts(members, wanted), n_present, shards, _counts(questions, asked))


def _lacking(listed: Sequence[Any], table: pa.Table | None) -> list[Any]:
    """Return those of segments, or of questions, that a table of them lacks."""
    if table is None:
        return list(listed)
    columns = (table[name].to_pylist() for name in ("split", "root", "path"))
    present = set(zip(*columns, strict=True))
    return [one for one in listed if one.key not in present]


def _counts(listed: Sequence[Any], added: Sequence[Any]) -> dict[str, int]:
    """Count what was added of segments, or of questions, by split."""
    counts = dict.fromkeys((one.key[0] for one in listed), 0)
    for one in added:
        counts[one.key[0]] += 1
    return counts


def _listed(manifests: Path) -> tuple[list[_Member], list[PackedQuestion]]:
    """All segments and all questions, split by split in alphabetical order."""
    paths = sorted(manifests.glob("*.tsv"))
    if not paths:
        raise DataError(
            f"{manifests}: holds no manifests. Give the folder of train.tsv, valid.tsv, ..."
        )
    members: list[_Member] = []
    questions: list[PackedQuestion] = []
    for path in paths:
        if lists_questions(path):
            of_split = list(read_questions(path))
            members += _ecgs_of(of_split, path)
            questions += of_split
        else:
            members += _members(path)
    return members, questions


def _ecgs_of(questions: Sequence[PackedQuestion], manifest: Path) -> list[_Member]:
    """ECGs that the questions of a split are about, each once."""
    ecgs: dict[str, _Member] = {}
    for question in questions:
        for record, length in zip(question.records, question.lengths, strict=True):
            listed = (question.key[0], ROOT, record, manifest, question.line, length)
            ecg = ecgs.setdefault(record, _Member(*listed, is_record=True))
            if ecg.n_samples != length:
                raise DataError(
                    f"{question.where}: lists {length} samples of {ROOT}{record}, and line "
                    f"{ecg.line} lists {ecg.n_samples}. Prepare the questions again"
                )
    return list(ecgs.values())


def _members(path: Path) -> Iterator[_Member]:
    """All segments of a manifest."""
    is_cmsc = _is_cmsc(path)
    manifest = read_cmsc_manifest(path) if is_cmsc else read_manifest(path)
    n_segments = 0
    for i, entry in enumerate(manifest):
        for name in manifest.names(i):
            pair = n_segments // 2 if is_cmsc else None
            sizes = (entry.line, entry.n_samples, pair, entry.class_index)
            yield _Member(path.stem, manifest.root, name, path, *sizes)
            n_segments += 1


def _is_cmsc(path: Path) -> bool:
    """Whether the second line is the extension of the files rather than the first of them."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        file.readline()
        second = file.readline()
    return bool(second.strip()) and "\t" not in second


def _shards_of(pending: object) -> set[str]:
    """Names of the shards that a note of an interrupted run lists."""
    shards = pending.get("shards") if isinstance(pending, dict) else None
    listed = shards if isinstance(shards, list) else []
    return {str(shard.get("name")) for shard in listed if isinstance(shard, dict)}


def _remedy(store: Path) -> str:
    return f"Remove {store / PENDING}: what an interrupted run packed is then packed again"


class _Run:
    """A store that is being written, with what an interrupted run left of it."""

    def __init__(self, store: Path, dtype: str | None, shard_bytes: int, manifests: Sequence[Path]):
        self.store, self.shard_bytes = store, shard_bytes
        self.old = Store(store) if (store / DESCRIPTION).exists() else None
        own = "float32" if self.old is None else self.old.description.dtype
        self.dtype = dtype or own
        if self.old is not None and self.dtype != own:
            raise DataError(
                f"{store}: holds {own}, not {dtype}. Leave out --dtype, or pack into another store"
            )
        self.shards = [] if self.old is None else list(self.old.description.shards)
        self.n_old = len(self.shards)
        self._tables: list[str] = []
        old = "" if self.old is None else self.old.description.to_json()
        fingerprint = zlib.crc32(f"{VERSION} {self.dtype} {shard_bytes} {old}".encode())
        for path in manifests:
            fingerprint = zlib.crc32(path.read_bytes(), zlib.crc32(path.name.encode(), fingerprint))
        self._fingerprint = f"{fingerprint:08x}"
        self._resume()

    def _resume(self) -> None:
        path = self.store / PENDING
        if not path.exists():
            return
        check_limit(str(path), "description", path.stat().st_size)
        remedy = _remedy(self.store)
        pending = read_json(path.read_bytes(), str(path), "note of an interrupted run", remedy)
        if isinstance(pending, dict) and pending.get("fingerprint") == self._fingerprint:
            try:
                self._take_up(str(path), pending.get("shards"), pending.get("parts"))
            except DataError as error:
                raise DataError(f"{error}. {remedy}") from error
        elif self.old is not None and _shards_of(pending) <= self._taken():
            path.unlink()  # they are in the store: the run was killed between the two

    def _take_up(self, where: str, shards: object, tables: object) -> None:
        """Go on behind the shards of an interrupted run, once they are known to be there."""
        are_lists = isinstance(shards, list) and isinstance(tables, list)
        if not are_lists or len(shards) != len(tables):
            raise DataError(f"{where}: does not have a table for each shard")
        for content in shards:
            shard = Shard.from_content(content, where)
            if set(shard.files()) & self._taken() or not self._is_whole(shard):
                raise DataError(f"{where}: {shard.name} is not as it says")
            self.shards.append(shard)
        self._tables = [plain_name(where, table, "the table of a shard") for table in tables]
        for name in self._tables:
            if not (self.store / name).is_file():
                raise DataError(f"{where}: {name} is no file")

    def _is_whole(self, shard: Shard) -> bool:
        """Whether the files of a shard are there as they were written."""
        variables = self.store / shard.variables
        sizes = {shard.name: shard.start + shard.n_values * np.dtype(self.dtype).itemsize}
        if shard.labels:
            sizes[shard.labels] = shard.labels_start + shard.n_labels
        are_there = all((self.store / name).is_file() for name in sizes)
        return (
            are_there
            and all((self.store / name).stat().st_size == size for name, size in sizes.items())
            and variables.is_file()
            and zlib.crc32(variables.read_bytes()) == shard.variables_crc32
        )

    def _taken(self) -> set[str]:
        """Names of files that belong to the store."""
        old = [] if self.old is None else self.old.description.files()
        return {*old, *(name for shard in self.shards for name in shard.files())}

    @cached_property
    def index(self) -> pa.Table:
        """Rows of the store as it is."""
        empty = pa.schema(POSITIONS | FILES).empty_table()
        return empty if self.old is None else self.old.table()

    @cached_property
    def questions(self) -> pa.Table | None:
        """Questions of the store as it is."""
        return None if self.old is None else self.old.questions_table()

    def files(self) -> pa.Table:
        """What is known of every file that is stored, published or not."""
        names = [name for name in self.index.column_names if name not in POSITIONS | CLASS]
        tables = [self.index.select(names)]
        for path in (self.store / name for name in self._tables):
            tables.append(read_table(path.read_bytes(), FILES, str(path), _remedy(self.store)))
        return pa.concat_tables(tables, promote_options="permissive")

    def add_files(self, members: Sequence[_Member]) -> None:
        """Store the files of segments that are not stored yet."""
        table = self.files()
        stored = set(zip(table["root"].to_pylist(), table["path"].to_pylist(), strict=True))
        members_by_file = {member.key[1:]: member for member in members}
        lacking = [member for file, member in members_by_file.items() if file not in stored]
        new = _NewShard()
        for member in progress_bar(lacking, "pack", "segment", show=True):
            new.add(member, self.dtype)
            if new.n_bytes >= self.shard_bytes:
                self._write(new)
                new = _NewShard()
        if new.rows:
            self._write(new)

    def _write(self, new: "_NewShard") -> None:
        """Write a shard, and note that it is there."""
        number, taken = len(self.shards), self._taken()
        names = (f"shard-{i:06d}" for i in count(number))
        suffixes = (".npy", ".parquet", ".labels.npy")
        name = next(one for one in names if not {f"{one}{suffix}" for suffix in suffixes} & taken)
        start = _write_arrays(self.store / f"{name}.npy", new.samples)
        variables = _parquet(pa.Table.from_pylist(new.variables, pa.schema(VARIABLES)))
        shard = Shard(f"{name}.npy", new.n_values, start, f"{name}.parquet", zlib.crc32(variables))
        if new.labels:
            labels_start = _write_arrays(self.store / f"{name}.labels.npy", new.labels)
            shard = replace(
                shard,
                labels=f"{name}.labels.npy",
                n_labels=new.n_labels,
                labels_start=labels_start,
            )
        write_file(self.store / shard.variables, variables)
        name = f"pending-{number:06d}.parquet"
        with replacing(self.store / name) as unfinished:
            rows = [row | {"shard": number} for row in new.rows]
            pyarrow.parquet.write_table(_table(rows), unfinished)
        self.shards.append(shard)
        self._tables.append(name)
        pending = {
            "fingerprint": self._fingerprint,
            "shards": [shard.to_content() for shard in self.shards[self.n_old :]],
            "parts": self._tables,
        }
        write_file(self.store / PENDING, json.dumps(pending))

    def publish(
        self, rows: pa.Table, questions: Sequence[PackedQuestion], answers: tuple[str, ...]
    ) -> None:
        """Make the store hold further rows and questions, at once."""
        table = pa.concat_tables([self.index, rows], promote_options="permissive")
        content = _parquet(table)
        previous = None if self.old is None else self.old.description.index
        numbered = re.fullmatch(r"index-([0-9]{6})\.parquet", previous or "")
        first = int(numbered[1]) + 1 if numbered else 0
        taken = self._taken()
        numbers = (f"{number:06d}.parquet" for number in count(first))
        number = next(n for n in numbers if not {f"index-{n}", f"questions-{n}"} & taken)
        name = f"index-{number}"
        description = Description(self.dtype, name, zlib.crc32(content), tuple(self.shards))
        if questions or self.questions is not None:
            asked = _parquet(questions_table(questions, table, self.questions))
            description = replace(
                description,
                questions=f"questions-{number}",
                questions_crc32=zlib.crc32(asked),
                answers=answers or ((self.old and self.old.description.answers) or ()),
            )
            write_file(self.store / f"questions-{number}", asked)
        for fault in faults_of_index(table, description, str(self.store / PENDING)):
            raise DataError(f"{fault}. {_remedy(self.store)}")
        write_file(self.store / name, content)
        write_file(self.store / DESCRIPTION, description.to_json())
        (self.store / PENDING).unlink(missing_ok=True)
        before = None if self.old is None else self.old.description.questions
        self._clear({name, previous, description.questions, before})

    def tidy(self) -> None:
        """Delete what a run left that was killed when its store was there already."""
        if not (self.store / PENDING).exists():
            tables = (self.store.glob(f"{kind}-*") for kind in ("index", "questions"))
            self._clear({path.name for paths in tables for path in paths})

    def _clear(self, indices: set[str | None]) -> None:
        """Delete what killed runs left, and all indices but the new one and the one before.

        A reader that has just opened the store may still ask for the latter.
        """
        kept = indices | {name for shard in self.shards for name in shard.files()}
        remove_unfinished(self.store)
        for pattern in ("shard-*", "index-*", "questions-*", "pending-*"):
            for path in self.store.glob(pattern):
                if path.name not in kept:
                    path.unlink()


def _write_arrays(path: Path, arrays: Sequence[np.ndarray]) -> int:
    """Write arrays of one type after another; return the number of bytes before the first."""
    with open_replacing(path, "wb") as file:
        file.write(npy_header((sum(array.size for array in arrays),), arrays[0].dtype))
        start = file.tell()
        for array in arrays:
            file.write(array.data)
    return start


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


class _NewShard:
    """Files that become one shard."""

    def __init__(self):
        self.samples: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.rows: list[dict[str, Any]] = []
        self.variables: list[dict[str, Any]] = []
        self.n_values = self.n_bytes = self.n_labels = 0

    def add(self, member: _Member, dtype: str) -> None:
        """Read a file, or a record."""
        if member.is_record:
            self._add_record(member, dtype)
            return
        where = member.where
        try:
            content = Path(member.root, member.path).read_bytes()
        except FileNotFoundError:
            raise DataError(
                f"{where}: no such file. Restore it, or build the manifest again from what is there"
            ) from None
        mat = read_mat(
            io.BytesIO(content),
            where,
            required=("feats", "curr_sample_rate"),
            optional=(
                *("idx", "patient_id", *LIST_VARIABLES, *SAMPLE_VARIABLES),
                *TEXT_VARIABLES,
            ),
        )
        recording = recording_from_mat(mat, where)
        samples, row = self._row(member, recording, dtype)
        for name in ("idx", "patient_id"):
            row[name] = read_integer(mat, name, where) if name in mat else None
        if "segment_label" in mat:
            labels = encode_labels(
                mat["segment_label"], mat.get("segment_mask"), recording.n_samples, where
            )
            row |= {"labels_offset": self.n_labels, "labels_crc32": checksum(labels)}
            self.labels.append(labels)
            self.n_labels += labels.size
        kept = without_variable(content, "feats") or (None, None, None)
        texts = {name: read_texts(mat, name, where) for name in TEXT_VARIABLES if name in mat}
        row |= _lists(mat, where) | texts
        self._take(samples, row, recording, kept, zlib.crc32(content))

    def _add_record(self, member: _Member, dtype: str) -> None:
        named_by = f"{member.manifest}, line {member.line}"
        recording = read_wfdb(f"{ROOT}{member.path}", named_by, REMEDY)
        samples, row = self._row(member, recording, dtype)
        self._take(samples, row, recording, (None, None, None), row["crc32"])

    def _row(
        self, member: _Member, recording: Recording, dtype: str
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the samples of a recording as they are stored, and what the index says of them."""
        if member.pair is None:
            recording.check_n_samples(member.n_samples)
        samples, steps = encode(recording.feats, dtype, member.where)
        row = {
            "root": member.root,
            "path": member.path,
            "offset": self.n_values,
            "n_leads": len(samples),
            "n_samples": recording.n_samples,
            "sample_rate": recording.sample_rate,
            "crc32": checksum(samples),
            "finite": is_finite(samples),
            "idx": None,
            "patient_id": None,
        }
        return samples, row if steps is None else row | {"steps": steps}

    def _take(
        self,
        samples: np.ndarray,
        row: dict[str, Any],
        recording: Recording,
        kept: tuple[bytes | None, int | None, bool | None],
        file_crc32: int,
    ) -> None:
        """Add the samples of a file, and what else of it is kept."""
        self.rows.append(row)
        rest, position, is_compressed = kept
        self.variables.append(
            {
                "offset": self.n_values,
                "content": rest,
                "place": position,
                "is_compressed": is_compressed,
                "dtype": recording.feats.dtype.str,
                "file_crc32": file_crc32,
            }
        )
        self.samples.append(samples)
        self.n_values += samples.size
        self.n_bytes += samples.nbytes


def _is_list(values: np.ndarray) -> bool:
    return values.ndim == 2 and len(values) == 1 and values.dtype.kind in "fiub"


def _lists(mat: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Pick the variables that hold several numbers."""
    label = mat.get("label")
    if label is not None and not _is_list(label):
        raise DataError(
            f"{where}: 'label' must be numbers of shape (1, labels), found {label.dtype} of shape "
            f"{label.shape}. Correct the file, or leave 'label' out and set task.label_file"
        )
    return {name: mat[name][0] for name in LIST_VARIABLES if name in mat and _is_list(mat[name])}


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of files as a table."""
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in FILES.items()}
    for name, kind in LABELS.items():
        values = [row.get(name) for row in rows]
        if any(value is not None for value in values):
            columns[name] = pa.array(values, kind)
    if "steps" in rows[0]:
        columns["steps"] = pa.array([row["steps"] for row in rows], pa.list_(pa.float32()))
    for name in LIST_VARIABLES:
        lists = [row.get(name) for row in rows]
        kinds = {values.dtype for values in lists if values is not None}
        if kinds:
            kind = pa.from_numpy_dtype(np.result_type(*kinds))
            columns[name] = pa.array(lists, pa.list_(kind))
    for name, kind in TEXTS.items():
        texts = [row.get(name) for row in rows]
        if any(text is not None for text in texts):
            columns[name] = pa.array(texts, kind)
    return pa.table(columns)


def _index_rows(members: Sequence[_Member], index: pa.Table, files: pa.Table) -> pa.Table:
    """Rows of segments that are new in their splits."""
    keys = zip(files["root"].to_pylist(), files["path"].to_pylist(), strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    rows = files.take([row_of[member.root, member.path] for member in members])
    columns = {name: [None] * len(members) for name in POSITIONS}
    classes = [member.class_index for member in members]
    for split in dict.fromkeys(member.split for member in members):
        old = index.filter(pyarrow.compute.equal(index["split"], split))
        own = [row for row, member in enumerate(members) if member.split == split]
        pairs = _pairs([members[row] for row in own])
        first_item, first_pair = _next(old["item"]), _next(old["pair"])
        for item, (row, (pair, position, size)) in enumerate(zip(own, pairs, strict=True)):
            columns["split"][row] = split
            columns["item"][row] = first_item + item
            columns["pair"][row] = -1 if pair < 0 else first_pair + pair
            columns["position"][row] = position
            columns["pair_samples"][row] = size
    for name, kind in POSITIONS.items():
        rows = rows.append_column(name, pa.array(columns[name], kind))
    if any(class_index is not None for class_index in classes):
        rows = rows.append_column("class_index", pa.array(classes, CLASS["class_index"]))
    return rows


def _next(numbers: pa.ChunkedArray) -> int:
    return 0 if len(numbers) == 0 else pyarrow.compute.max(numbers).as_py() + 1


def _pairs(members: Sequence[_Member]) -> list[tuple[int, int, int]]:
    """Pair the segments of a split, as its CMSC manifest pairs them or would pair them.

    The segments of a recording are sorted by number and paired first with second, third with
    fourth; what remains has no partner. The size of a pair is that of the recording's last segment
    in the order given (fairseq_signals).

    Returns:
        Of each segment the number of its pair or -1, its position in it, and the pair's size.
    """
    recordings: dict[tuple[str, str] | int, list[tuple[int, int]]] = {}
    for row, member in enumerate(members):
        if member.pair is not None:
            recordings.setdefault(member.pair, []).append((row, row))
            continue
        prefix, _, number = Path(member.path).stem.rpartition("_")
        if prefix and number.isdecimal():
            recording = (member.root, str(Path(member.path).with_name(prefix)))
            recordings.setdefault(recording, []).append((int(number), row))
    positions = [(-1, 0, 0)] * len(members)
    n_pairs = 0
    for segments in recordings.values():
        size = members[segments[-1][1]].n_samples
        rows = [row for _, row in sorted(segments)]
        for first, second in zip(rows[::2], rows[1::2], strict=False):
            positions[first], positions[second] = (n_pairs, 0, size), (n_pairs, 1, size)
            n_pairs += 1
    return positions
