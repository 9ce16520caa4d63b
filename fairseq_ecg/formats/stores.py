"""Arrays on disk as fairseq_signals keeps them: the numbers in one file, their shape in another.

``outputs_test.npy`` holds raw numbers in C order, in spite of its name without NumPy's header;
``outputs_test_header.pkl`` beside it is a pickled dict of ``shape``, ``dtype`` and further
arguments of :class:`numpy.memmap`. fairseq_ecg/compat/README.md has more on both, and
on the file format that ``np.load`` reads too.
"""

import io
import math
import os
import pickle
import pickletools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from fairseq_ecg.data.names import printable
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import reserve, unfinished_path, write_file
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.limits import check_limit

FILE_FORMATS = ("raw", "npy")
"""Without NumPy's header, as fairseq_signals writes, or with it, so that ``np.load`` reads."""

_HEADER_KEYS = {"shape", "dtype", "offset", "order"}


class MemmapReader:
    """An array in a file, read where it is indexed.

    Args:
        file: the numbers, ``*.npy``.
        shape: of the array.
        dtype: of the array.
        memmap_kwargs: further arguments of :class:`numpy.memmap`, such as ``offset``.

    Raises:
        ValueError: another extension, or a ``mode``: a reader only reads.
        DataError: the file holds fewer numbers than the shape says, or Python objects.
    """

    def __init__(
        self,
        file: str | os.PathLike,
        shape: Sequence[int],
        dtype: Any = "float32",
        **memmap_kwargs,
    ):
        self.file = _with_extension(file)
        if "mode" in memmap_kwargs:
            raise ValueError(f"Cannot pass mode when initializing {type(self).__name__}.")
        self.shape = tuple(shape)
        self.dtype = dtype
        self.memmap_kwargs = memmap_kwargs
        self._array = self._open()

    def _open(self) -> np.memmap:
        if np.dtype(self.dtype).hasobject:
            raise DataError(f"{self.file}: arrays of Python objects are not read: {self.dtype}")
        if os.path.exists(self.file) and not os.path.isfile(self.file):
            raise DataError(f"{self.file}: is no file")
        try:
            return np.memmap(
                self.file, mode="r", shape=self.shape, dtype=self.dtype, **self.memmap_kwargs
            )
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{self.file}: holds fewer numbers than its header says, {self.dtype} of shape "
                f"{self.shape} ({error}). Extract it again"
            ) from error

    @staticmethod
    def file_to_default_header(file: str | os.PathLike) -> str:
        """Path of the header that belongs to a file: ``x.npy`` has ``x_header.pkl``."""
        return os.fspath(file)[: -len(".npy")] + "_header.pkl"

    @classmethod
    def from_header(
        cls, file: str | os.PathLike, header_file: str | os.PathLike | None = None
    ) -> "MemmapReader":
        """Open a file whose header says what it holds.

        Args:
            file: the numbers.
            header_file: its header; the one beside it if None.

        Raises:
            ValueError: there is no header.
            DataError: the header is none, or the file does not hold what it says.
        """
        return cls(file, **_header_of(file, header_file))

    @property
    def array(self) -> np.ndarray:
        """The array, mapped into memory."""
        return self._array

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return repr(self.array)

    def __str__(self) -> str:
        return str(self.array)


class MemmapBatchWriter(MemmapReader):
    """A file of an array that is written batch by batch, from the first row on.

    Header and file are made at once, as in fairseq_signals: rows that are not written yet are
    zero, and a file that was there is emptied. What must not be seen half written is written with
    :class:`RowStore`.

    Args:
        file: ``*.npy``; written without NumPy's header.
        shape: of the array once it is whole.
        transform: turns a batch into the rows to write; None: it is them.
        header_file: the header; the one beside the file if None.
        dtype: of the array.
        memmap_kwargs: further arguments of :class:`numpy.memmap`.

    Attributes:
        n: rows written so far.
        total_n: rows that the file has space for.

    Raises:
        ValueError: as :class:`MemmapReader`.
        OSError: there is no space for the file.
    """

    def __init__(
        self,
        file: str | os.PathLike,
        shape: Sequence[int],
        transform: Callable[[Any], Any] | None = None,
        header_file: str | os.PathLike | None = None,
        dtype: Any = "float32",
        **memmap_kwargs,
    ):
        super().__init__(file, shape, dtype, **memmap_kwargs)
        self.transform = transform
        self.header_file = header_file or self.file_to_default_header(file)
        self.n = 0
        self.total_n = self.shape[0]
        self._is_closed = False
        self.save_header()

    def _open(self) -> np.memmap:
        n_bytes = _bytes_of(self.shape, np.dtype(self.dtype)) + self.memmap_kwargs.get("offset", 0)
        # Without allocated space on the disk, writing to the map would end the process.
        reserve(Path(os.path.realpath(self.file)), max(n_bytes, 1))
        return np.memmap(
            self.file, mode="r+", shape=self.shape, dtype=self.dtype, **self.memmap_kwargs
        )

    @classmethod
    def from_header(
        cls,
        file: str | os.PathLike,
        header_file: str | os.PathLike | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> "MemmapBatchWriter":
        """Make a file anew that has the shape of the one that was there, all zero."""
        header = _header_of(file, header_file)
        return cls(file, transform=transform, header_file=header_file, **header)

    def save_header(self) -> None:
        """Write the header."""
        header = {"shape": self.shape, "dtype": self.dtype, **self.memmap_kwargs}
        Path(self.header_file).write_bytes(pickle.dumps(header, protocol=4))

    def __call__(self, batch: Any) -> None:
        """Write a batch behind the rows that are written.

        Args:
            batch: ``(B, ...)``, an array or a tensor on the CPU, after ``transform``.

        Raises:
            ValueError: there is no space for it, or the writer is closed.
        """
        self.is_closed(raise_err=True)
        rows = np.asarray(batch if self.transform is None else self.transform(batch))
        if self.n + len(rows) > self.total_n:
            raise ValueError(
                f"Can only write {self.total_n} samples. Already wrote {self.n} samples, where "
                f"the batch size being written is {len(rows)}."
            )
        self.array[self.n : self.n + len(rows)] = rows
        self.n += len(rows)

    def close(self) -> None:
        """Bring what is written to the disk and refuse to write more."""
        if not self._is_closed:
            self._array.flush()
        self._is_closed = True

    def is_closed(self, raise_err: bool = False) -> bool:
        """Say whether the writer is closed.

        Raises:
            ValueError: it is, and ``raise_err``.
        """
        if self._is_closed and raise_err:
            raise ValueError(f"{type(self).__name__} is closed.")
        return self._is_closed


def memmap_batch_process(
    array: Any,
    func: Callable[..., Any],
    batch_size: int,
    progress: bool = False,
    **kwargs,
) -> np.ndarray:
    """Apply a function to consecutive slices of an array and join what it returns.

    Args:
        array: ``(N, ...)``, such as a :class:`MemmapReader`.
        func: of a slice ``(B, ...)`` and ``kwargs``; returns ``(B, ...)``.
        batch_size: largest B.
        progress: whether to show a progress bar.
        kwargs: passed to ``func``.
    """
    starts = range(0, len(array), batch_size)
    return np.concatenate(
        [
            func(array[start : start + batch_size], **kwargs)
            for start in progress_bar(starts, None, "batch", show=progress)
        ]
    )


class RowStore:
    """A file of an array whose rows several processes write, in any order.

    It bears another name until :meth:`publish`: under its own it is whole, or what it was before.

    Args:
        file: ``*.npy``.
        shape: of the array.
        dtype: of the array, by name.
        file_format: one of :data:`FILE_FORMATS`.
        token: what the processes that write it have in common, and no others.
    """

    def __init__(
        self,
        file: Path,
        shape: Sequence[int],
        dtype: str,
        file_format: str = "raw",
        token: str = "",
    ):
        self.file = Path(_with_extension(file))
        self.unfinished = unfinished_path(self.file, token or os.getpid())
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._npy_header = npy_header(self.shape, self.dtype) if file_format == "npy" else b""
        self._row_bytes = _bytes_of(self.shape[1:], self.dtype)

    def allocate(self) -> None:
        """Make the unfinished file, all zero; one process does, before any writes.

        Raises:
            OSError: there is no space for it.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        reserve(self.unfinished, len(self._npy_header) + self.shape[0] * self._row_bytes)
        with open(self.unfinished, "r+b") as file:
            file.write(self._npy_header)

    def write(self, positions: Sequence[int], rows: np.ndarray) -> None:
        """Write rows.

        Not through memory maps: on a network's file system two machines that write to one page
        would each take the other's rows back.

        Args:
            positions: numbers of the B rows.
            rows: ``(B, ...)``.

        Raises:
            ValueError: the rows have not the shape of those of the array.
        """
        if rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"{self.file}: rows of {rows.shape[1:]}, not of {self.shape[1:]}")
        rows = np.ascontiguousarray(rows, self.dtype)
        with open(self.unfinished, "r+b", buffering=0) as file:
            for position, row in zip(positions, rows, strict=True):
                file.seek(len(self._npy_header) + int(position) * self._row_bytes)
                _write_all(file, row)

    def publish(self) -> None:
        """Put the finished file under its own name, its header last; one process does."""
        header_file = Path(MemmapReader.file_to_default_header(self.file))
        header: dict[str, Any] = {"shape": self.shape, "dtype": self.dtype.name}
        if self._npy_header:
            header["offset"] = len(self._npy_header)
        # Between the two nobody must read the new numbers by the old header.
        header_file.unlink(missing_ok=True)
        os.replace(self.unfinished, self.file)
        write_file(header_file, pickle.dumps(header, protocol=4))

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.unfinished.unlink(missing_ok=True)


def npy_header(shape: Sequence[int], dtype: np.dtype) -> bytes:
    """Return what NumPy writes before the numbers of an array in C order."""
    described = {
        "shape": tuple(map(int, shape)),
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(dtype),
    }
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _bytes_of(shape: Sequence[int], dtype: np.dtype) -> int:
    return math.prod(map(int, shape)) * dtype.itemsize


def _write_all(file: Any, row: np.ndarray) -> None:
    """Write a row to a raw file, which may take it in pieces."""
    left = memoryview(row.tobytes())
    while left:
        left = left[file.write(left) :]


def _with_extension(file: str | os.PathLike) -> str:
    file = os.fspath(file)
    if not file.lower().endswith(".npy"):
        raise ValueError(f"File {file} must have extension '.npy'.")
    return file


def _header_of(file: str | os.PathLike, header_file: str | os.PathLike | None) -> dict[str, Any]:
    header_file = header_file or MemmapReader.file_to_default_header(_with_extension(file))
    if not os.path.isfile(header_file):
        raise ValueError(f"Could not find header file {os.fspath(header_file)}.")
    return read_header(header_file)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """Read a header without running any code that a pickle may hold.

    Args:
        path: ``*_header.pkl``.

    Returns:
        ``shape``, ``dtype`` and where they are given ``offset`` in bytes and ``order``.

    Raises:
        DataError: the file asks for more than plain containers, numbers and types of NumPy, or
            is no header.
    """
    where = os.fspath(path)
    if not os.path.isfile(where):
        raise DataError(f"{where}: no such file. Extract it again")
    if os.path.getsize(where) > _LARGEST_HEADER:
        raise DataError(f"{where}: is too large for a header. Extract it again")
    content = Path(where).read_bytes()
    try:
        _check_instructions(content)
        header = _HeaderUnpickler(io.BytesIO(content)).load()
    except DataError as error:
        raise DataError(f"{where} is refused: {error}") from error
    except Exception as error:  # a damaged pickle fails in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{where}: no header of a store ({reason}). Extract it again") from error
    return _checked_header(header, where)


_LARGEST_HEADER, _MOST_INSTRUCTIONS, _MOST_AXES = 2**12, 500, 32
"""Bytes of a header, and instructions of its pickle, of which real ones have some fifty."""

_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "SHORT_BINBYTES"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
}
"""Of pickles, as headers have them: no copies, no classes of other ways, no long bytes."""

_REMEMBER = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")


def _check_instructions(content: bytes) -> None:
    """Raise DataError where a pickle does more than a header has to, before it is done.

    A few bytes can ask for gigabytes, or build what takes for ever to look at out of parts that are
    used twice; here only texts are.
    """
    remembered: dict[int, bool] = {}
    is_text = False
    for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        name = instruction.name
        if count > _MOST_INSTRUCTIONS:
            raise DataError("it is longer than headers are")
        if name not in _INSTRUCTIONS:
            raise DataError(f"it holds {name}, and a header holds numbers and text only")
        if name in _REMEMBER:
            number = len(remembered) if argument is None else argument
            if number > _MOST_INSTRUCTIONS:
                raise DataError("it numbers more parts than headers have")
            remembered[number] = is_text
            continue
        if "GET" in name and not remembered.get(argument or 0):
            raise DataError("it uses a part twice that is no text")
        is_text = "UNICODE" in name or "STRING" in name or "GET" in name


def _checked_header(header: object, where: str) -> dict[str, Any]:
    """Return a header whose every part is what it has to be."""
    expected = f"{where}: expected a dict of shape, dtype and perhaps offset and order, found "
    if not isinstance(header, dict) or not {"shape", "dtype"} <= set(header) <= _HEADER_KEYS:
        raise DataError(f"{expected}something else. Extract it again")
    shape, offset = header["shape"], header.get("offset", 0)
    if (
        not isinstance(shape, tuple | list)
        or len(shape) > _MOST_AXES
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise DataError(f"{expected}a shape that is none. Extract it again")
    if type(offset) is not int or offset < 0 or header.get("order", "C") not in ("C", "F"):
        raise DataError(f"{expected}an offset or order that is none. Extract it again")
    dtype = header["dtype"] if isinstance(header["dtype"], _Dtype) else _Dtype(header["dtype"])
    try:
        n_bytes = _bytes_of(shape, dtype.numpy()) + offset
    except (TypeError, ValueError):
        raise DataError(f"{expected}a dtype that is none. Extract it again") from None
    check_limit(where, "bytes", n_bytes)
    return header if header["dtype"] is not dtype else header | {"dtype": dtype.numpy()}


class _Dtype:
    """A type of NumPy as pickles hold it: a name, and a state that says the order of its bytes."""

    def __init__(self, name: object, align: object = False, copy: object = True):
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if not isinstance(self.name, str) or not re.fullmatch(
            r"[<>=|]?[A-Za-z]\w{0,15}", self.name
        ):
            raise TypeError("no name of a type")
        return np.dtype(self.name).newbyteorder(cast(Any, self.order))  # what a pickle holds


class _HeaderUnpickler(pickle.Unpickler):
    """Builds what headers hold, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _Dtype
        raise DataError(
            f"it asks for {printable(f'{module}.{name}'[:100])}, where a header holds numbers and "
            "text only, and could run code on this machine"
        )
