"""Workbooks (``.xlsx``), whose sheet is read as a table in text is."""

import io
import zipfile
from importlib.util import find_spec

import pandas as pd

from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Given, ParsedRecord
from fairseq_ecg.formats.delimited import read_table
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.table_layout import Text
from fairseq_ecg.limits import check_limit, check_unpacked

_REMEDY = "Save the sheet of the recording as CSV"
_FEW_LINES = 64
"""Lines of a sheet that is about another, which has more."""


def read_xlsx(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read the sheet of a workbook that holds a table.

    Raises:
        DataError: openpyxl is not installed, the workbook is damaged, or several sheets are tables.
    """
    where = str(location)
    if find_spec("openpyxl") is None:
        raise DataError(
            f"{where}: is a workbook, which openpyxl reads. Install it (pip install "
            f"'fairseq-ecg[xlsx]'), or save the sheet as CSV"
        )
    with (
        location.open() as file,
        damage_as_data_error(where, "workbook (.xlsx)", _REMEDY),
    ):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            n_packed = sum(member.compress_size for member in members)
            n_bytes = sum(member.file_size for member in members)
            check_unpacked(where, n_packed, n_bytes)
            check_limit(where, "workbook", n_bytes)
        sheets = pd.read_excel(file, sheet_name=None, header=None, dtype=object, engine="openpyxl")
    sheets = {name: sheet for name, sheet in sheets.items() if sheet.size}
    long = {name: sheet for name, sheet in sheets.items() if len(sheet) > _FEW_LINES} or sheets
    if len(long) != 1:
        listed = ", ".join(map(repr, long))
        raise DataError(
            f"{where}: is a workbook of several tables ({listed}). {_REMEDY}"
            if long
            else f"{where}: is a workbook without a table"
        )
    (sheet,) = long.values()
    lines = sheet.map(_text).to_csv(sep="\t", header=False, index=False).encode()
    return read_table(Text(where, lambda: io.BytesIO(lines)), given, at_once)


def _text(cell: object) -> object:
    """Return a cell as a text has it: texts in one line, times with all their digits."""
    if isinstance(cell, str):
        return " ".join(cell.split())
    return cell if isinstance(cell, int | float) else "" if pd.isna(cell) else str(cell)
