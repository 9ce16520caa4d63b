"""HDF5 files of one recording."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Given, ParsedRecord
from fairseq_ecg.formats.chunks import StoredArray
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.variables import DESCRIBES, parse_variables
from fairseq_ecg.limits import check_limit, check_unpacked

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""What an HDF5 file starts with."""

_SCALE, _OFFSET = "scale_factor", "add_offset"
_FILLS = ("_FillValue", "missing_value")
"""Attributes of netCDF by which the numbers of a data set are packed, and of what stands in place
of a sample without value."""


def read_hdf5(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read an HDF5 file.

    Data sets and attributes at any depth are variables by the last part of their name. What
    describes the signal is looked for in its own attributes first, then in its group and in those
    around it, then elsewhere. Data sets that are packed as netCDF does it are unpacked.
    """
    where = str(location)
    local = None if at_once is None else location.local()
    with (
        location.open() if local is None else open(local.path, "rb") as file,
        open_hdf5(file, where) as hdf5,
    ):
        variables: dict[tuple[str, ...], Any] = {}
        for path, item in objects(where, hdf5):
            if is_data_set(item):
                if local is not None and max(item.shape or (0,)) > (at_once or 0):
                    variables[path] = stored_data_set(local, item, where)
                else:
                    variables[path] = DataSet(item, where)
            for name in item.attrs:
                is_known = name.lower() in DESCRIBES
                variables.setdefault((*path, name), item.attrs[name] if is_known else None)
        return parse_variables(where, variables, given)


@contextmanager
def open_hdf5(
    file: str | Path | BinaryIO, where: str, kind: str = "HDF5 file", remedy: str = ""
) -> Iterator["h5py.File"]:
    """Open an HDF5 file, whose numbers are all in it.

    Data sets may lie in other files, which the library opens by the names in this one: links to
    other files, data sets with external storage, and virtual ones, which put together others and
    crash the process where the file is not read by its name. All are refused before any is read.

    Args:
        file: path, or the file itself, open for reading.
        where: names the file in error messages.
        kind: what the file should be.
        remedy: what to do about damage.

    Yields:
        The file of h5py.

    Raises:
        DataError: it refers to other files, or is damaged; so does whatever fails in the body.
    """
    import h5py

    with damage_as_data_error(where, kind, remedy), h5py.File(file, "r") as hdf5:
        for _ in objects(where, hdf5):
            pass
        yield hdf5


def is_data_set(item: Any) -> bool:
    """Whether an object of an HDF5 file is a data set."""
    import h5py

    return isinstance(item, h5py.Dataset)


def objects(where: str, hdf5: "h5py.File") -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and object of each group and data set, those of a group before those in its groups.

    Soft links are not followed: where there is no link to another file, what they name is here.

    Raises:
        DataError: an object is in another file, or there are too many.
    """
    import h5py

    seen = {address(hdf5)}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), hdf5)]
    for path, group in waiting:  # which grows meanwhile
        yield path, group
        if not isinstance(group, h5py.Group):
            continue
        for name in group:
            link = group.get(name, getlink=True)
            inner = (*path, name)
            if isinstance(link, h5py.ExternalLink):
                raise DataError(_elsewhere(where, f"/{'/'.join(inner)}", "a link to another file"))
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            if address(item) in seen or not isinstance(item, h5py.Group | h5py.Dataset):
                continue
            if isinstance(item, h5py.Dataset):
                _refuse_other_files(item, where)
            seen.add(address(item))
            check_limit(where, "objects", len(seen))
            check_limit(where, "nesting", len(inner))
            waiting.append((inner, item))


def check_data_set(data_set: Any, where: str) -> None:
    """Look at a data set before its numbers are read.

    Args:
        data_set: of h5py.
        where: names the file in error messages.

    Raises:
        DataError: its numbers are in other files, or many more than the file can hold.
    """
    _refuse_other_files(data_set, where)
    n_bytes = (data_set.size or 0) * data_set.dtype.itemsize
    check_unpacked(where, data_set.id.get_storage_size(), n_bytes)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set of h5py as an array, which is checked and read when NumPy asks for it.

    Args:
        data_set: of h5py.
        where: names the file in error messages.
        is_reversed: whether its axes are taken in reverse order, as MATLAB writes them.
    """

    data_set: Any
    where: str
    is_reversed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; a data set without one has none."""
        shape = self.data_set.shape or ()
        return shape[::-1] if self.is_reversed else shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data_set.size or 0

    @property
    def dtype(self) -> np.dtype:
        """Of the elements."""
        return self.data_set.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        check_data_set(self.data_set, self.where)
        array = _unpacked(self.data_set, self.data_set[()], self.where)
        array = np.asarray(array, dtype)
        return array.T if self.is_reversed else array


def stored_data_set(file: LocalFile, data_set: Any, where: str) -> StoredArray:
    """Refer to a data set of HDF5, whose numbers are read as they are asked for.

    Args:
        file: that holds it.
        data_set: of h5py.
        where: names the file in error messages.

    Raises:
        DataError: as `check_data_set`.
    """
    import h5py

    name = data_set.name
    check_data_set(data_set, where)

    def read(key: tuple[slice | int, ...]) -> np.ndarray:
        with damage_as_data_error(where, "HDF5 file"), h5py.File(file.path) as hdf5:
            return _unpacked(hdf5[name], hdf5[name][key], where)

    dtype = np.dtype(np.float64) if _packing(data_set, where) else data_set.dtype
    return StoredArray(read, data_set.shape, dtype)


def _packing(data_set: Any, where: str) -> dict[str, float]:
    """Numbers by which a data set is packed, and those without value, by their attributes."""
    if data_set.dtype.kind not in "fiu":
        return {}
    found = {}
    for name in (_SCALE, _OFFSET, *_FILLS):
        if name not in data_set.attrs:
            continue
        value = np.asarray(data_set.attrs[name])
        if value.size != 1 or value.dtype.kind not in "fiu":
            raise DataError(
                f"{where}: {name} of {data_set.name} is {value.tolist()!r:.60}, not one number. "
                "Correct the attribute"
            )
        found[name] = float(value.item())
    return found


def _unpacked(data_set: Any, stored: np.ndarray, where: str) -> np.ndarray:
    """Numbers that are meant by those that are stored, of which some stand for no value."""
    packing = _packing(data_set, where)
    if not packing:
        return stored
    numbers = stored * packing.get(_SCALE, 1.0) + packing.get(_OFFSET, 0.0)
    for name in _FILLS:
        if name in packing:
            numbers = np.where(stored == packing[name], np.nan, numbers)
    return numbers


def address(item: Any) -> int:
    """Address of an object in its HDF5 file, whatever it is called there."""
    import h5py

    return h5py.h5o.get_info(item.id).addr


def _refuse_other_files(data_set: Any, where: str) -> None:
    import h5py

    created = data_set.id.get_create_plist()
    if created.get_external_count():
        raise DataError(_elsewhere(where, data_set.name, "a data set with external storage"))
    if created.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(_elsewhere(where, data_set.name, "a virtual data set"))


def _elsewhere(where: str, name: str | None, kind: str) -> str:
    return (
        f"{where}: {name or 'a data set'} is {kind}, whose numbers are not in this file. Write "
        "them into one file, by h5py for instance: copy['signal'] = original['signal'][:]"
    )
