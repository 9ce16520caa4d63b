"""HDF5 files of one recording."""

from typing import Any

from fairseq_ecg.data.errors import damage_as_data_error
from fairseq_ecg.formats.channels import Content, Given
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.variables import content_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""What an HDF5 file starts with."""


def read_hdf5(location: Location, given: Given) -> Content:
    """Read an HDF5 file.

    Data sets and attributes at any depth are variables by the last part of their name; where a
    name is there twice, the one nearest to the root counts.
    """
    import h5py

    where = str(location)
    with (
        location.open() as file,
        damage_as_data_error(where, "HDF5 file"),
        h5py.File(file) as hdf5,
    ):
        found: list[tuple[int, str, Any]] = []

        def collect(path: str, item: Any) -> None:
            depth = path.count("/") + 1
            if isinstance(item, h5py.Dataset):
                found.append((depth, path.rpartition("/")[2], item))
            found.extend((depth, name, value) for name, value in item.attrs.items())

        found.extend((0, name, value) for name, value in hdf5.attrs.items())
        hdf5.visititems(collect)
        variables: dict[str, Any] = {}
        for _, name, value in sorted(found, key=lambda entry: entry[0]):
            variables.setdefault(name, value)
        return content_of(where, variables, given)
