"""HDF5 files of one recording."""

from typing import Any

import numpy as np

from fairseq_ecg.data.errors import damage_as_data_error
from fairseq_ecg.formats.channels import Content, Given
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.stretches import StoredArray
from fairseq_ecg.formats.variables import content_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""What an HDF5 file starts with."""


def read_hdf5(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read an HDF5 file.

    Data sets and attributes at any depth are variables by the last part of their name; where a
    name is there twice, the one nearest to the root counts.
    """
    import h5py

    where = str(location)
    local = None if at_once is None else location.local()
    with (
        location.open() if local is None else open(local.path, "rb") as file,
        damage_as_data_error(where, "HDF5 file"),
        h5py.File(file) as hdf5,
    ):
        found: list[tuple[int, str, Any]] = []

        def collect(path: str, item: Any) -> None:
            depth = path.count("/") + 1
            if isinstance(item, h5py.Dataset):
                is_long = local is not None and max(item.shape or (0,)) > at_once
                values = stored_data_set(local, item, where) if is_long else item
                found.append((depth, path.rpartition("/")[2], values))
            found.extend((depth, name, value) for name, value in item.attrs.items())

        found.extend((0, name, value) for name, value in hdf5.attrs.items())
        hdf5.visititems(collect)
        variables: dict[str, Any] = {}
        for _, name, value in sorted(found, key=lambda entry: entry[0]):
            variables.setdefault(name, value)
        return content_of(where, variables, given)


def stored_data_set(file: LocalFile, data_set: Any, where: str) -> StoredArray:
    """Refer to a data set of HDF5, whose numbers are read as they are asked for.

    Args:
        file: that holds it.
        data_set: of h5py.
        where: names the file in error messages.
    """
    import h5py

    name = data_set.name

    def read(key: tuple[slice | int, ...]) -> np.ndarray:
        with damage_as_data_error(where, "HDF5 file"), h5py.File(file.path) as hdf5:
            return hdf5[name][key]

    return StoredArray(read, data_set.shape, data_set.dtype)
