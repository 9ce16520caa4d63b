"""What the files of a store are called and what is in them; README.md says why."""

import json
import os
import zlib
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from fairseq_ecg.data.names import plain_name
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.limits import check_limit

DESCRIPTION = "store.json"
"""The file that makes a folder a store; whatever it does not name does not belong to the store."""

VERSION = 2

DTYPES = ("float32", "float16", "int16", "float64")
"""How samples can be stored; int16 with a scale for each lead of each segment."""

INT16_LIMIT = 32767

LIST_VARIABLES = ("label", "target_idx", "attribute_id")
"""Variables of the packed files that hold several numbers, which the index has as lists."""

TEXT_VARIABLES = ("text", "diagnoses")
"""Variables that hold texts, which the index has as lists."""

SAMPLE_VARIABLES = ("segment_label", "segment_mask")
"""Variables with a number for each sample, which shards have as bytes, see `encode_labels`."""

MASK_BIT = 0x80
"""In the byte of a sample: whether it is ignored. The other bits are its class."""

NO_LABELS = -1
"""In place of the position of labels of samples, of a file that has none."""

MISSING = np.iinfo(np.int64).min
"""In place of an integer, ``idx`` or ``patient_id``, that a file does not have."""

_PACK_AGAIN = "Pack the store again"


@dataclass(frozen=True)
class Shard:
    """One file of samples.

    Args:
        name: of the ``.npy`` file, an array of one dimension.
        n_values: its length.
        start: bytes before the first value.
        variables: file of what else the packed files held, for unpacking.
        variables_crc32: checksum of that file.
        labels: the ``.npy`` file of the bytes of `encode_labels`, an array of one dimension. None:
            no packed file has labels of samples.
        n_labels: its length.
        labels_start: bytes before its first value.
    """

    name: str
    n_values: int
    start: int
    variables: str
    variables_crc32: int
    labels: str | None = None
    n_labels: int = 0
    labels_start: int = 0

    def to_content(self) -> dict[str, Any]:
        """Return what files say of it; fields that a store without labels of samples has."""
        return {name: value for name, value in asdict(self).items() if value or name in _OF_ANY}

    def files(self) -> list[str]:
        """Names of its files."""
        return [self.name, self.variables, *([self.labels] if self.labels else [])]

    @classmethod
    def from_content(cls, content: object, where: str) -> "Shard":
        """Check what a file says of a shard.

        Args:
            content: of JSON.
            where: names the file in error messages.

        Raises:
            DataError: a field is missing, is none of its type, or is no plain name.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or not set(_OF_ANY) <= set(content) <= names:
            raise DataError(f"{where}: is damaged (a shard is described by {', '.join(_OF_ANY)})")
        shard = cls(**content)
        plain_name(where, shard.name, "the file of a shard")
        plain_name(where, shard.variables, "the file of a shard's variables")
        if shard.labels is not None or shard.n_labels:
            plain_name(where, shard.labels, "the file of the labels of a shard's samples")
        for name in ("n_values", "start", "variables_crc32", "n_labels", "labels_start"):
            _whole_number(where, getattr(shard, name), name)
        check_limit(where, "bytes", shard.start + 8 * shard.n_values)
        check_limit(where, "bytes", shard.labels_start + shard.n_labels)
        return shard


_OF_ANY = [field.name for field in fields(Shard) if field.default is NO_DEFAULT]
"""Fields that describe a shard whether or not its samples have labels."""


@dataclass(frozen=True)
class Description:
    """Content of ``store.json``.

    Args:
        dtype: of the samples, one of `DTYPES`.
        index: name of the Parquet file of the segments.
        index_crc32: checksum of that file.
        shards: in the order of their numbers in the index.
        questions: where questions are asked about the segments: name of their Parquet file.
        questions_crc32: checksum of that file.
        answers: names of the answers to these, where they are known.
    """

    dtype: str
    index: str
    index_crc32: int
    shards: tuple[Shard, ...]
    questions: str | None = None
    questions_crc32: int = 0
    answers: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Text of ``store.json``."""
        own = {name: value for name, value in asdict(self).items() if value or name in _OF_ALL}
        content = {"format": "fairseq-ecg store", "version": VERSION, **own}
        content["shards"] = [shard.to_content() for shard in self.shards]
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "Description":
        """Read ``store.json``.

        Args:
            text: of the file.
            where: names the file in error messages.

        Raises:
            DataError: it is damaged or of another version.
        """
        content = read_json(text, where, "description of a store", _PACK_AGAIN)
        if not isinstance(content, dict) or content.get("format") != "fairseq-ecg store":
            raise DataError(f"{where}: is no description of a store, or damaged. {_PACK_AGAIN}")
        version = _whole_number(where, content.get("version"), "version")
        if version != VERSION:
            raise DataError(
                f"{where}: is of version {version}, and this program reads version {VERSION}. "
                "Pack the store again, or use the version of fairseq-ecg that wrote it"
            )
        if content.get("dtype") not in DTYPES or not isinstance(content.get("shards"), list):
            raise DataError(
                f"{where}: is damaged (it lacks its dtype, of {', '.join(DTYPES)}, or its shards). "
                f"{_PACK_AGAIN}"
            )
        description = cls(
            dtype=content["dtype"],
            index=plain_name(where, content.get("index"), "the file of the index"),
            index_crc32=_whole_number(where, content.get("index_crc32"), "index_crc32"),
            shards=tuple(Shard.from_content(shard, where) for shard in content["shards"]),
            **_of_questions(content, where),
        )
        names = description.files()
        if len(set(names)) < len(names):
            raise DataError(f"{where}: is damaged (it names a file twice). {_PACK_AGAIN}")
        return description

    def files(self) -> list[str]:
        """Names of all files of the store."""
        named = (name for shard in self.shards for name in shard.files())
        return [DESCRIPTION, self.index, *([self.questions] if self.questions else []), *named]


_OF_ALL = [field.name for field in fields(Description) if field.default is NO_DEFAULT]
"""Fields that describe a store whether or not there are questions in it."""


def _of_questions(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Read the fields of a description that only a store with questions has."""
    if content.get("questions") is None:
        return {}
    answers = content.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(name, str) for name in answers):
        raise DataError(f"{where}: is damaged (its answers are no list of names). {_PACK_AGAIN}")
    return {
        "questions": plain_name(where, content["questions"], "the file of the questions"),
        "questions_crc32": _whole_number(where, content.get("questions_crc32"), "questions_crc32"),
        "answers": tuple(answers),
    }


def read_json(text: str | bytes, where: str, kind: str, remedy: str) -> object:
    """Read JSON that somebody else may have written.

    Args:
        text: of the file.
        where: names the file in error messages.
        kind: what it should be.
        remedy: what to do about damage; ends the message.

    Raises:
        DataError: it is none.
    """
    with damage_as_data_error(where, kind, remedy):
        return json.loads(text)


def _whole_number(where: str, value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise DataError(f"{where}: is damaged ({what} is no whole number)")
    return value


def is_url(path: str | os.PathLike) -> bool:
    """Whether a path is meant for fsspec, as ``s3://bucket/store`` is."""
    return "://" in os.fspath(path) or "::" in os.fspath(path)


def is_store(path: str | os.PathLike) -> bool:
    """Whether a folder or URL is a store; a URL always is, for manifests are local."""
    return is_url(path) or os.path.isfile(os.path.join(path, DESCRIPTION))


def encode(ecg: np.ndarray, dtype: str, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn samples into what a shard holds.

    Args:
        ecg: ``(L, T)`` real.
        dtype: one of `DTYPES`.
        where: names the ECG in error messages.

    Returns:
        ``(L, T)`` little-endian, and for int16 the float32 step ``(L,)`` of each lead, else None.
        A sample is its number times the step, off by at most half a step and what float32 rounds.

    Raises:
        DataError: the samples do not fit the type.
    """
    if dtype != "int16":
        with np.errstate(over="ignore"):
            stored = ecg.astype(np.dtype(dtype).newbyteorder("<"), order="C")
        if dtype == "float16" and (np.isinf(stored) & np.isfinite(ecg)).any():
            raise DataError(
                f"{where}: has samples of more than 65504, which float16 does not hold. "
                "Choose float32 or int16, or prepare the file in mV"
            )
        return stored, None
    # Rounded as batches of the files are, so that the bound is one on what those hold.
    with np.errstate(over="ignore"):
        single = ecg.astype(np.float32)
    if not np.isfinite(single).all():
        raise DataError(
            f"{where}: has samples that are NaN or infinite, which int16 does not hold. Leave "
            "the file out of the manifest, or choose float32 or float16"
        )
    largest = np.abs(single).max(axis=1).astype(np.float64)
    steps = (largest / INT16_LIMIT).astype(np.float32)
    # A lead of denormals would have a step of zero; it is stored as the zeros it is next to.
    divisors = np.where(steps > 0, steps, 1).astype(np.float64)[:, None]
    numbers = np.clip(np.rint(single / divisors), -INT16_LIMIT, INT16_LIMIT)
    return numbers.astype("<i2", order="C"), steps


def encode_labels(
    labels: np.ndarray, mask: np.ndarray | None, n_samples: int, where: str
) -> np.ndarray:
    """Turn labels of samples into what a shard holds.

    Args:
        labels: ``(1, T)`` class of each sample, whole numbers from 0 to 127.
        mask: ``(1, T)``, not 0 where a sample is ignored. None: nowhere.
        n_samples: T, the length of the segment.
        where: names the segment in error messages.

    Returns:
        ``(T,)`` uint8, the class, plus `MASK_BIT` where ignored.

    Raises:
        DataError: they have not that shape, or other classes.
    """
    shape = (1, n_samples)
    for name, values in zip(SAMPLE_VARIABLES, (labels, mask), strict=True):
        if values is not None and (values.shape != shape or values.dtype.kind not in "fiub"):
            raise DataError(
                f"{where}: {name!r} must be numbers of shape {shape}, one for each sample, found "
                f"{values.dtype} of shape {values.shape}. Correct the file, or prepare it again"
            )
    if not np.isin(labels, np.arange(MASK_BIT)).all():
        raise DataError(
            f"{where}: 'segment_label' must be classes 0 to {MASK_BIT - 1}, found {labels.min():g} "
            f"to {labels.max():g}. Correct the file, or prepare it again"
        )
    codes = labels[0].astype(np.uint8)
    return codes if mask is None else codes | np.uint8(MASK_BIT) * (mask[0] != 0)


def decode_labels(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the variables `SAMPLE_VARIABLES` that `encode_labels` made bytes of, uint8."""
    return {"segment_label": codes & (MASK_BIT - 1), "segment_mask": codes // MASK_BIT}


def checksum(stored: np.ndarray) -> int:
    """CRC-32 of the bytes of a segment as a shard holds them."""
    return zlib.crc32(np.ascontiguousarray(stored).view(np.uint8).data)


def is_finite(stored: np.ndarray) -> bool:
    """Whether no sample is NaN or infinite as a float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(stored.astype(np.float32)).all())
