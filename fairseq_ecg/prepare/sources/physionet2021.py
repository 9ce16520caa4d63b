"""PhysioNet/Computing in Cardiology Challenge 2021, version 1.0.3."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.ecg.recording import DOUBTS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.prepare.sources.archive import (
    UNITS,
    add_faults,
    drop_empty_columns,
    file_names,
    files_below,
    natural,
    read_record,
    read_table,
    unpacked,
    with_metadata,
)
from fairseq_ecg.prepare.sources.source import Source

SUBSETS = (
    "cpsc_2018",
    "cpsc_2018_extra",
    "georgia",
    "ptb-xl",
    "chapman_shaoxing",
    "ningbo",
    "ptb",
    "st_petersburg_incart",
)

_COMMENT = re.compile(r"\s*#?\s*([A-Za-z][\w ]*?)\s*:\s*(.*?)\s*$")
_START = re.compile(r"\s(?P<time>\d\d:\d\d:\d\d(?:\.\d+)?)\s+(?P<date>\d\d/\d\d/\d{4})\s*$")
_UNKNOWN = {"", "unknown"}
_SEX = {"female": 1, "f": 1, "male": 0, "m": 0}
_COLUMNS = {"Age": "age", "Dx": "diagnosis", "Sex": "sex"}
_KEYS = {key.lower(): key for key in ("Age", "Dx", "Sex", "Rx", "Hx", "Sx")}


class PhysioNet2021(Source):
    """The training data of PhysioNet/CinC 2021: 88,253 recordings in eight sub-sets.

    Args:
        raw_root: the archive's folder, its folder ``training``, or the folder of one sub-set.
        weights_path: ``weights.csv`` of the challenge's evaluation, whose rows are the classes;
            without it there are no labels.
        weight_abbrev_path: ``weights_abbreviations.csv``, which names the classes; without it their
            codes name them.
        uncombined: one label for every code of classes that are scored as one.

    Raises:
        DataError: names of classes are given, and no classes.
    """

    name = "physionet2021"

    def __init__(
        self,
        raw_root: Path,
        *,
        weights_path: Path | None = None,
        weight_abbrev_path: Path | None = None,
        uncombined: bool = False,
    ):
        if weight_abbrev_path is not None and weights_path is None:
            raise DataError(f"{weight_abbrev_path}: names classes. Give weights_path, too")
        folder, self.subset = _folder_of_subsets(Path(raw_root))
        super().__init__(folder)
        self.weights_path = None if weights_path is None else Path(weights_path)
        self.weight_abbrev_path = None if weight_abbrev_path is None else Path(weight_abbrev_path)
        self.uncombined = uncombined

    def records(self) -> pd.DataFrame:
        """List the records sorted by path, numbers as numbers.

        Returns:
            Columns ``path`` (``georgia/g1/E00001``), ``dataset`` (the sub-set), ``save_file``,
            ``source``. A name that a sub-set holds twice has a ``fault``.

        Raises:
            DataError: there are no records.
        """
        paths = sorted(self._paths(), key=natural)
        if not paths:
            raise DataError(
                f"{self.raw_root}: no records ({', '.join(SUBSETS)}). Give the archive's folder, "
                "or that of a sub-set"
            )
        records = pd.DataFrame({"path": paths})
        records["dataset"] = records["path"].str.partition("/")[0]
        records["save_file"] = file_names(records["path"], f"{self.name}_")
        records["source"] = self.name
        names = records["dataset"] + "/" + records["path"].str.rpartition("/")[2]
        first = records["path"].groupby(names).transform("first")
        again = records.index[names.duplicated()]
        return add_faults(
            records,
            {
                row: f"{self.raw_root / records.at[row, 'path']}: the sub-set holds this record "
                f"already, as {first[row]}. Remove one of them"
                for row in again
            },
        )

    def _paths(self) -> set[str]:
        """Records of all sub-sets, relative to the folder of sub-sets, without extension."""
        paths = set()
        for folder in self.raw_root.iterdir():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            if self.subset in (None, folder.name):
                # In a sub-set a signal without header is a record, too: a damaged one.
                kinds = (".hea", ".mat") if folder.name in SUBSETS else (".hea",)
                found = files_below(folder, kinds)
                paths |= {f"{folder.name}/{path.rpartition('.')[0]}" for path in found}
        return paths

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read a record.

        Returns:
            The recording with ``metadata`` ``base_date``, ``base_time`` (None where the header has
            none), ``units`` and ``comments``, the lines of the header's comments.
        """
        header = self.raw_root / f"{record['path']}.hea"
        ecg = read_record(record, header, self.verify)
        # In one column: a header may name what another column is called.
        lines = [
            text if key == "comments" else f"{key}: {text}"
            for key, text in ecg.metadata.items()
            if key != DOUBTS
        ]
        metadata = {**_start(header), "units": UNITS, "comments": "\n".join(lines)}
        return with_metadata(ecg, metadata)

    def describe(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Replace ``comments`` by what they say, and drop empty columns.

        Returns:
            At the end what the comments name, in the order of the alphabet as fairseq_signals has
            it: ``Age`` as ``age`` (years, the text of the header, which may be ``NaN``), ``Dx`` as
            ``diagnosis`` (SNOMED CT codes joined by commas), ``Hx``, ``Rx``, ``Sex`` as ``sex``
            (female 1, male 0), ``Sx``, and any other, with ``comment_`` before it where a column
            has that name already; lines that name nothing are in ``comments``. What is unknown is
            empty.
        """
        if "comments" not in meta:
            return drop_empty_columns(meta)
        said = pd.DataFrame([_said(text) for text in meta["comments"]], index=meta.index)
        said = said.reindex(columns=sorted({*said, *_COLUMNS})).astype(object)
        said["Age"] = said["Age"].mask(said["Age"].str.lower() == "nan", "NaN")
        said["Sex"] = said["Sex"].str.lower().map(_SEX).astype("Int64")
        meta = meta.drop(columns="comments")
        taken = {*meta, *_COLUMNS.values()}
        names = _COLUMNS | {key: f"comment_{key}" for key in said if key in taken}
        return drop_empty_columns(pd.concat([meta, said.rename(columns=names)], axis=1))

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame | None:
        """Look for the classes of the challenge in every record's diagnosis.

        Returns:
            Column ``idx``, then for each class 1 where one of its codes is diagnosed, else 0; None
            without `weights_path`. Codes of no class are ignored, and a record without diagnosis
            has none.

        Raises:
            DataError: the tables of classes do not agree, or a file is missing.
        """
        if self.weights_path is None:
            return None
        diagnoses = meta.get("diagnosis", pd.Series(None, index=meta.index, dtype=object))
        of_record = [
            set() if pd.isna(codes) else set(str(codes).removesuffix(".0").split(","))
            for codes in diagnoses
        ]
        labels = {
            name: np.array([not codes.isdisjoint(found) for found in of_record], dtype=np.int64)
            for name, codes in self._classes().items()
        }
        return pd.DataFrame({"idx": meta["idx"].to_numpy(), **labels})

    def _classes(self) -> dict[str, set[str]]:
        """Codes of each class by its name."""
        codes = _first_column(self.weights_path)
        names = codes
        if self.weight_abbrev_path is not None:
            names = _first_column(self.weight_abbrev_path)
        if self.uncombined:
            codes, names = (
                [one for combined in classes for one in combined.split("|")]
                for classes in (codes, names)
            )
        if len(codes) != len(names):
            raise DataError(
                f"{self.weight_abbrev_path}: names {len(names)} classes, {self.weights_path} has "
                f"{len(codes)}. Take both from one version of the evaluation"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{self.weight_abbrev_path or self.weights_path}: names a class twice")
        return {name: set(code.split("|")) for name, code in zip(names, codes, strict=True)}


def _folder_of_subsets(raw_root: Path) -> tuple[Path, str | None]:
    """Return the folder that holds sub-sets, and the only one to take if the user named it."""
    folder = unpacked(raw_root, "training")
    if (folder / "training").is_dir():
        return folder / "training", None
    holds_records = any(raw_root.glob("*.hea"))
    holds_subsets = any((raw_root / subset).is_dir() for subset in SUBSETS)
    if holds_records or (raw_root.absolute().name in SUBSETS and not holds_subsets):
        return raw_root.absolute().parent, raw_root.absolute().name
    return raw_root, None


def _start(header: Path) -> dict[str, str | None]:
    """Date and time of a recording in ISO 8601; headers that write them otherwise have none."""
    lines = header.read_text(encoding="latin-1").splitlines()
    match = _START.search(next(line for line in lines if line.strip() and line[0] != "#"))
    if match is None:
        return {"base_date": None, "base_time": None}
    return {"base_date": "-".join(reversed(match["date"].split("/"))), "base_time": match["time"]}


def _said(comments: Any) -> dict[str, str]:
    """Values of a header's comments by key; None is said of what is unknown."""
    said: dict[str, str] = {}
    for line in comments.splitlines() if isinstance(comments, str) else ():
        match = _COMMENT.match(line)
        key, value = match.groups() if match else ("comments", line.strip())
        key = _KEYS.get(key.lower(), key)
        if value.lower() in _UNKNOWN:
            continue
        if key == "Dx":
            value = "".join(value.split())
        joint = "," if key == "Dx" else "; "
        said[key] = f"{said[key]}{joint}{value}" if key in said else value
    return said


def _first_column(path: Path) -> list[str]:
    """Names of the rows of a table of weights."""
    table = read_table(path, dtype=str)
    return [name.strip() for name in table.iloc[:, 0]]
