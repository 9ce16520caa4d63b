"""Where a file lies: a path of this machine, or a URL of anything fsspec reaches."""

import gzip
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from fairseq_ecg.data.regular import require_file
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.limits import check_unpacked

_COMPRESSED = ".gz"
_AT_ONCE = 2**20
_IN_MEMORY = 64 * 2**20
"""Bytes of a copy that stay in memory; what is larger goes to a temporary file."""


@dataclass(frozen=True)
class Location:
    """A file that can be read, whether it is there or not.

    Args:
        address: a path, or a URL such as ``s3://bucket/a.edf`` or ``zip://a.edf::/data/all.zip``.
    """

    address: str

    @classmethod
    def of(cls, path: "str | os.PathLike | Location") -> "Location":
        """Take a path or URL as a user writes it."""
        return path if isinstance(path, Location) else cls(os.fspath(path))

    @property
    def is_url(self) -> bool:
        """Whether fsspec has to open it."""
        return "://" in self.address

    @property
    def name(self) -> str:
        """Last part, without ``.gz``."""
        return os.path.basename(self._parts()[0]).removesuffix(_COMPRESSED)

    @property
    def stem(self) -> str:
        """Last part without its extension."""
        return os.path.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """Extension in lower case with its dot, without ``.gz``; empty if there is none."""
        return os.path.splitext(self.name)[1].lower()

    def beside(self, name: str) -> "Location":
        """Return the file ``name`` of the same folder."""
        own, container = self._parts()
        return Location(f"{own[: len(own) - len(os.path.basename(own))]}{name}{container}")

    def exists(self) -> bool:
        """Whether there is such a file (a folder is none)."""
        if not self.is_url:
            return os.path.isfile(self.address)
        from fsspec.core import url_to_fs

        try:
            file_system, path = url_to_fs(self.address)
            return file_system.isfile(path)
        except Exception:  # out of reach: `open` says why
            return False

    def open(self) -> BinaryIO:
        """Open the file for reading, unpacked where its name ends in ``.gz``.

        What is packed or lies behind a URL is copied at once: readers seek, and each seek would be
        a request, or begin again.

        Raises:
            DataError: it is not there, no file but a folder or a pipe, out of reach, or more than
                is plausible comes out of it.
        """
        with self._refusing():
            if not self._is_copied:
                require_file(self.address)
                return open(self.address, "rb")
            copy = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
            self._copy(copy)
            copy.seek(0)
            return copy

    def read(self, n_bytes: int = -1) -> bytes:
        """Read the start of the file, or all of it.

        Raises:
            DataError: as for `open`, or it cannot be read.
        """
        if n_bytes < 0:
            with self.open() as file, self._refusing():
                return file.read()
        with self._refusing(), self._stream() as file:
            return file.read(n_bytes)

    @property
    def _is_copied(self) -> bool:
        """Whether what is read is not the file as it lies on this machine."""
        return self.is_url or self.address.endswith(_COMPRESSED)

    def _stream(self) -> AbstractContextManager[Any]:
        """Open the file for reading from its beginning to its end, unpacked."""
        if self.is_url:
            import fsspec

            return fsspec.open(self.address, "rb", compression="infer")
        require_file(self.address)
        return gzip.open(self.address) if self._is_copied else open(self.address, "rb")

    def _copy(self, target: BinaryIO) -> None:
        """Write all that comes out of the file, as long as that is plausible."""
        n_packed, n_bytes = self._size(), 0
        with self._stream() as file:
            while part := file.read(_AT_ONCE):
                n_bytes += len(part)
                check_unpacked(self.address, n_packed, n_bytes)
                target.write(part)

    def _size(self) -> int | None:
        """Bytes that it takes where it lies, packed; None where a URL does not say."""
        if not self.is_url:
            return os.path.getsize(self.address)
        from fsspec.core import url_to_fs

        try:
            file_system, path = url_to_fs(self.address)
            about = file_system.info(path)
        except Exception:  # the error comes when it is opened
            return None
        return about.get("compress_size", about.get("size"))

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn errors of opening and reading into one that says what to do."""
        try:
            # Every file system behind fsspec has errors of its own, which do not name the file.
            with as_data_error(
                f"{self.address}: cannot be read", but=(FileNotFoundError, ImportError)
            ):
                yield
        except FileNotFoundError:
            raise DataError(f"{self.address}: no such file") from None
        except ImportError as error:  # what fsspec needs for S3, say
            raise DataError(f"{self.address}: cannot be read. {error}") from error

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Path of the file on this machine: its own, or that of a copy that is removed after use.

        Raises:
            DataError: it cannot be opened.
        """
        file = self.local()
        try:
            yield file.path
        finally:
            file.remove_copy()

    def local(self) -> "LocalFile":
        """Return the file on this machine: itself, or a copy, unpacked.

        Raises:
            DataError: it cannot be opened.
        """
        if not self._is_copied:
            with self.open():
                return LocalFile(Path(self.address))
        copy = LocalFile.new(self.name)
        with self._refusing(), open(copy.path, "wb") as target:
            self._copy(target)
        return copy

    def copy_to(self, folder: Path) -> Path:
        """Copy the file into a folder, under its own name.

        Raises:
            DataError: it cannot be opened or read.
        """
        path = folder / self.name
        with self._refusing(), open(path, "wb") as copy:
            self._copy(copy)
        return path

    def _parts(self) -> tuple[str, str]:
        """Return the path or first URL, and what it lies in (``::`` and the URLs after it)."""
        if not self.is_url:
            return self.address, ""
        own, separator, container = self.address.partition("::")
        return own, separator + container

    def __str__(self) -> str:
        return self.address


class LocalFile:
    """A file of this machine.

    Args:
        path: of it.
        folder: that holds it if it is a copy, which is removed with the last reference to this.
    """

    def __init__(self, path: Path, folder: Path | None = None):
        self.path = path
        self._remove = None if folder is None else weakref.finalize(self, shutil.rmtree, folder)

    @classmethod
    def new(cls, name: str) -> "LocalFile":
        """Return a file of that name to be written, in a folder of its own."""
        folder = Path(tempfile.mkdtemp())
        return cls(folder / name, folder)

    @classmethod
    def copy_of(cls, file: Any, name: str) -> "LocalFile":
        """Copy what is left of an open file into one of that name."""
        copy = cls.new(name)
        with open(copy.path, "wb") as target:
            shutil.copyfileobj(file, target)
        return copy

    def remove_copy(self) -> None:
        """Remove the copy, if it is one, before that."""
        if self._remove is not None:
            self._remove()
