"""What a packed file is, which a recording may be in."""

import zipfile

from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.location import Location

ZIP = b"PK\x03\x04"
"""What a zip archive starts with: one of NumPy, a workbook, or an archive of files."""

_WORKBOOK = "xl/workbook.xml"
_OTHERS = (
    (0, b"\x1f\x8b", "is packed by gzip. Let its name end in .gz, or unpack it"),
    (0, b"BZh", "is packed by bzip2. Unpack it"),
    (0, b"\xfd7zXZ\0", "is packed by xz. Unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "is packed by Zstandard. Unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "is an archive of 7-Zip. Unpack it"),
    (0, b"Rar!\x1a\x07", "is an archive of RAR. Unpack it"),
    (257, b"ustar", "is an archive of tar. Unpack it"),
    (0, b"PK\x05\x06", "is an empty archive"),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is a workbook of Excel before 2007 (.xls), or another document of that time. Save it as "
        "CSV, or as .xlsx",
    ),
    (0, b"%PDF-", "is a document (PDF). Get the recording in a format with numbers"),
)
"""Offset and bytes of what is no recording, and what it is."""


def refuse_packed(location: Location, start: bytes) -> None:
    """Refuse a file that is no recording, but may hold one.

    Args:
        location: of the file.
        start: its first bytes.

    Raises:
        DataError: it is one of those, with what to do.
    """
    for offset, signature, what in _OTHERS:
        if start.startswith(signature, offset):
            raise DataError(f"{location}: {what}")


def format_of_zip(location: Location) -> str:
    """Return the format of a recording in a zip archive.

    Returns:
        ``npz`` or ``xlsx``.

    Raises:
        DataError: it is an archive of files, or damaged.
    """
    if location.suffix == ".npz":
        return "npz"
    with (
        location.open() as file,
        damage_as_data_error(str(location), "archive"),
        zipfile.ZipFile(file) as archive,
    ):
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if _WORKBOOK in names:
        return "xlsx"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    kind = "an archive"
    if "xl/workbook.bin" in names or "content.xml" in names:
        kind = "a workbook or document. Save it as CSV or .xlsx, or else"
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    (example, *_) = names or [""]
    raise DataError(
        f"{location}: is {kind} of {len(names)} files ({listed}). Unpack it, or name one of the "
        f"files in it: zip://{example}::{location}"
    )
