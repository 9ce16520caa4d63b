"""The Parquet tables of a store: what they hold, and reading them with checks."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from fairseq_ecg.data.names import printable
from fairseq_ecg.data.store.layout import (
    LIST_VARIABLES,
    NO_LABELS,
    TEXT_VARIABLES,
    Description,
)
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.limits import check_limit, check_rate

POSITIONS = {
    "split": pa.string(),
    "item": pa.int32(),
    "pair": pa.int32(),
    "position": pa.int8(),
    "pair_samples": pa.int32(),
}
"""Columns of the index with the position of a segment in its split."""

FILES = {
    "root": pa.string(),
    "path": pa.string(),
    "shard": pa.int32(),
    "offset": pa.int64(),
    "n_leads": pa.int16(),
    "n_samples": pa.int32(),
    "sample_rate": pa.float64(),
    "crc32": pa.uint32(),
    "finite": pa.bool_(),
    "idx": pa.int64(),
    "patient_id": pa.int64(),
}
"""Columns that describe the segment itself; `LISTS` and `TEXTS` where the store has them."""

LABELS = {"labels_offset": pa.int64(), "labels_crc32": pa.uint32()}
"""Columns that describe labels of samples, where the store has them."""

CLASS = {"class_index": pa.int64()}
"""Column with the class of a patient in its split, where manifests list any."""

OPTIONAL = LABELS | CLASS

QUESTION_LISTS = ("answer", "valid_classes")
"""Columns of the numbers of answers: those that are right, and those that could be."""

LISTS = ("steps", *LIST_VARIABLES, *QUESTION_LISTS)
"""Columns of lists of numbers: of int16 what an integer counts, of each lead; and variables."""

TEXTS = dict.fromkeys(TEXT_VARIABLES, pa.list_(pa.string()))
"""Columns of lists of texts, where files have any."""

VARIABLES = {
    "offset": pa.int64(),
    "content": pa.binary(),
    "place": pa.int64(),
    "is_compressed": pa.bool_(),
    "dtype": pa.string(),
    "file_crc32": pa.int64(),
}
"""Columns of what else the packed files held."""

QUESTIONS = {
    "split": pa.string(),
    "item": pa.int32(),
    "root": pa.string(),
    "path": pa.string(),
    "first": pa.int32(),
    "second": pa.int32(),
    "n_tokens": pa.int32(),
    "question": pa.string(),
    "n_answers": pa.int32(),
    "question_type1": pa.int32(),
    "question_type2": pa.int32(),
    "question_type3": pa.int32(),
    "attribute": pa.int32(),
}
"""Columns of the questions about segments; `QUESTION_LISTS` beside them."""

_NULLABLE = {"idx", "patient_id", "content", "place", "is_compressed", *OPTIONAL}


def read_table(content: bytes, kinds: Mapping[str, pa.DataType], where: str, remedy: str):
    """Read a Parquet table.

    Args:
        content: of the file.
        kinds: columns that it must have; columns of `OPTIONAL`, `LISTS` and `TEXTS` are read where
            they are there, others left out.
        where: names the file in error messages.
        remedy: what to do about damage; ends messages.

    Returns:
        The Arrow table.

    Raises:
        DataError: it is damaged, unpacks to more than is plausible, lacks a column or a value.
    """
    with damage_as_data_error(where, "Parquet table", remedy):
        metadata = pyarrow.parquet.read_metadata(pa.BufferReader(content))
        check_limit(where, "store_segments", metadata.num_rows)
        check_limit(where, "bytes", _numbers_in(metadata) * 8)
        schema = metadata.schema.to_arrow_schema()
        _check_kinds(schema, kinds, where, remedy)
        wanted = [n for n in (*kinds, *OPTIONAL, *LISTS, *TEXTS) if n in schema.names]
        texts = [name for name, kind in kinds.items() if kind in (pa.string(), pa.binary())]
        texts += [name for name in TEXTS if name in wanted]
        # One text that a million rows refer to is read once, and measured before it is repeated.
        file = pyarrow.parquet.ParquetFile(
            pa.BufferReader(content), read_dictionary=[_leaf(metadata, name) for name in texts]
        )
        table = file.read(columns=wanted)
        table.validate(full=True)  # texts that are not UTF-8, for instance
        n_bytes = sum(_bytes_of(table[name]) for name in texts)
        check_limit(where, "bytes", n_bytes)
        columns = {
            name: pa.chunked_array(map(_decoded, table[name].chunks)) if len(table) else table[name]
            for name in wanted
        }
    for name, column in columns.items():
        if name in (*LISTS, *TEXTS):
            lacks_values = any(chunk.flatten().null_count for chunk in column.chunks)
        else:  # a column without any value has no kind
            columns[name] = column.cast({**kinds, **OPTIONAL}[name])
            lacks_values = column.null_count and name not in _NULLABLE
        if lacks_values:
            raise DataError(f"{where}: {name!r} lacks values. {remedy}")
    return pa.table(columns)


def _check_kinds(
    schema: pa.Schema, kinds: Mapping[str, pa.DataType], where: str, remedy: str
) -> None:
    for name in (*kinds, *OPTIONAL, *LISTS, *TEXTS):
        if name not in schema.names:
            if name not in kinds:
                continue
            raise DataError(f"{where}: has no column {name!r}. {remedy}")
        found = schema.field(name).type
        if name in LISTS:
            if not (pa.types.is_list(found) and _is_number(found.value_type)):
                raise DataError(f"{where}: {name!r} is of {found}, not lists of numbers. {remedy}")
            continue
        if name in TEXTS:
            if not (pa.types.is_list(found) and pa.types.is_string(found.value_type)):
                raise DataError(f"{where}: {name!r} is of {found}, not lists of texts. {remedy}")
            continue
        kind = {**kinds, **OPTIONAL}[name]
        if found != kind and not (pa.types.is_null(found) and name in _NULLABLE):
            raise DataError(f"{where}: {name!r} is of {found}, not {kind}. {remedy}")


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _leaf(metadata, name: str) -> str:
    """Return the path of the one column of values in a file that a column has."""
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    return next(path for path in paths if path == name or path.startswith(f"{name}."))


def _numbers_in(metadata) -> int:
    """Count the values of all columns, those in lists too."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return sum(
        group.column(number).num_values for group in groups for number in range(group.num_columns)
    )


def _bytes_of(column: pa.ChunkedArray) -> int:
    """Return how long the texts of a column are that refers to them."""
    chunks = (chunk.values if pa.types.is_list(chunk.type) else chunk for chunk in column.chunks)
    lengths = (
        pa.compute.sum(pa.compute.binary_length(chunk.dictionary).take(chunk.indices)).as_py()
        for chunk in chunks
        if pa.types.is_dictionary(chunk.type)
    )
    return sum(length or 0 for length in lengths)


def _decoded(chunk: pa.Array) -> pa.Array:
    if pa.types.is_list(chunk.type) and pa.types.is_dictionary(chunk.type.value_type):
        return chunk.cast(pa.list_(pa.string()))
    return chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk


def faults_of_index(table: pa.Table, description: Description, where: str) -> Iterator[str]:
    """Say which rows of an index refer to what is not there.

    Args:
        table: the index, as `read_table` returns it.
        description: of the store.
        where: names the index.

    Yields:
        A sentence for each kind of fault, which names the first segment that has it.

    Raises:
        DataError: the index says something that is not plausible.
    """
    if not len(table):
        yield f"{where}: lists no segments"
        return
    names = ("shard", "offset", "n_leads", "n_samples", "sample_rate", "item", "pair", "position")
    row = {name: table[name].to_numpy() for name in names}
    for name, limit in (("n_leads", "channels"), ("n_samples", "samples")):
        check_limit(where, limit, int(row[name].max()))
    for rate in (row["sample_rate"].min(), row["sample_rate"].max()):
        check_rate(where, rate)
    n_shards = len(description.shards)
    is_in_a_shard = (row["shard"] >= 0) & (row["shard"] < n_shards)
    sizes = np.array([shard.n_values for shard in description.shards], np.int64)
    n_stored = np.full(len(table), -1)
    n_stored[is_in_a_shard] = sizes[row["shard"][is_in_a_shard]]
    n_values = row["n_leads"].astype(np.int64) * row["n_samples"]
    has_shape = (row["n_leads"] > 0) & (row["n_samples"] > 0)
    is_within = (row["offset"] >= 0) & (row["offset"] <= n_stored - n_values)
    wrong = {
        f"is in no shard of the {n_shards} there are": ~is_in_a_shard,
        "has no leads or no samples": ~has_shape,
        "is not within its shard": is_in_a_shard & has_shape & ~is_within,
        "has labels of samples elsewhere": _have_labels_elsewhere(table, row, description),
        "has no place in its split": np.minimum(row["item"], row["pair"]) < -1,
        "is in a pair that is not of two": _are_not_two(table, row["pair"], row["position"]),
    }
    if ("steps" in table.column_names) != (description.dtype == "int16"):
        yield f"{where}: steps of int16 are there or missing, and the store is {description.dtype}"
    elif "steps" in table.column_names:
        lengths = table["steps"].combine_chunks().value_lengths().fill_null(-1).to_numpy()
        wrong["has not one step for each lead"] = lengths != row["n_leads"]
    for fault, rows in wrong.items():
        if rows.any():
            first = printable(table["path"][int(rows.argmax())].as_py())
            others = f" (and {rows.sum() - 1} more)" if rows.sum() > 1 else ""
            yield f"{where}: the segment {first} {fault}{others}"


def faults_of_questions(table: pa.Table, index: pa.Table, where: str) -> Iterator[str]:
    """Say which questions refer to what is not there.

    Args:
        table: the questions, as `read_table` returns them.
        index: of the store.
        where: names the table.

    Yields:
        A sentence for each kind of fault, which names the first question that has it.
    """
    missing = [name for name in QUESTION_LISTS if name not in table.column_names]
    if missing:
        yield f"{where}: has no column {missing[0]!r}"
        return
    if not len(table):
        return
    n_segments = len(index)
    row = {name: table[name].to_numpy() for name in ("first", "second", "item", "n_answers")}
    known = {
        "is about a segment that there is not": (row["first"] < 0)
        | (row["first"] >= n_segments)
        | (row["second"] < -1)
        | (row["second"] >= n_segments),
        "has no position in its split": row["item"] < 0,
        "has no answers": row["n_answers"] < 1,
    }
    for name in QUESTION_LISTS:
        column = table[name].combine_chunks()
        if not pa.types.is_integer(column.type.value_type):
            yield f"{where}: {name!r} is of {column.type}, not lists of whole numbers"
            return
        counts = column.value_lengths().fill_null(0).to_numpy()
        values = column.flatten().to_numpy()
        most = np.repeat(row["n_answers"], counts)
        wrong = np.zeros(len(table), bool)
        wrong[np.repeat(np.arange(len(table)), counts)[(values < 0) | (values >= most)]] = True
        known[f"names an answer that there is not, in {name!r},"] = wrong
    for fault, rows in known.items():
        if rows.any():
            first = printable(table["path"][int(rows.argmax())].as_py())
            others = f" (and {rows.sum() - 1} more)" if rows.sum() > 1 else ""
            yield f"{where}: the question {first} {fault}{others}"


def _have_labels_elsewhere(
    table: pa.Table, row: Mapping[str, np.ndarray], description: Description
) -> np.ndarray:
    """Which rows say that they have labels of samples, where their shard has none."""
    if "labels_offset" not in table.column_names:
        return np.zeros(len(table), bool)
    offsets = table["labels_offset"].fill_null(NO_LABELS).to_numpy()
    sizes = np.array([*(shard.n_labels for shard in description.shards), 0], np.int64)
    n_labels = sizes[np.clip(row["shard"], -1, len(sizes) - 1)]
    are_there = (offsets >= 0) & (offsets <= n_labels - row["n_samples"])
    return (offsets != NO_LABELS) & ~are_there


def _are_not_two(table: pa.Table, pair: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Which rows say that they are in a pair, and are not the first or second of two."""
    lonely = np.zeros(len(table), bool)
    rows = np.flatnonzero(pair >= 0)
    if len(rows):
        split = table["split"].combine_chunks().dictionary_encode().indices.to_numpy()
        rows = rows[np.lexsort([position[rows], pair[rows], split[rows]])]
        is_first = (np.diff(split[rows], prepend=-1) != 0) | (np.diff(pair[rows], prepend=-1) != 0)
        starts = np.flatnonzero(is_first)
        sizes = np.diff(starts, append=len(rows))
        last = starts + sizes - 1
        are_two = (sizes == 2) & (position[rows[starts]] == 0) & (position[rows[last]] == 1)
        lonely[rows] = ~np.repeat(are_two, sizes)
    return lonely
