"""LUDB 1.0.1, the Lobachevsky University Database: 200 ECGs of 10 s, each wave delineated."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import path_below
from fairseq_ecg.data.wfdb_header import WFDBHeader, header_bytes
from fairseq_ecg.ecg.arrangement import arrange
from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats import ECG
from fairseq_ecg.prepare.sources.archive import (
    UNITS,
    SegmentedArchive,
    add_faults,
    natural,
    patient_metadata,
    read_record,
    unpacked,
    with_metadata,
)
from fairseq_ecg.prepare.sources.ludb_diagnoses import DIAGNOSES
from fairseq_ecg.prepare.sources.waves import (
    KINDS,
    align,
    check_lengths,
    class_samples,
    read_waves,
)

_LISTED_BELOW = "<diagnoses>:"
_SEPARATOR = "; "


class LUDB(SegmentedArchive):
    """LUDB: 12 leads with onset, peak and offset of P waves, QRS complexes and T waves in each.

    Args:
        raw_root: folder that holds ``ludb.csv`` and ``data/``, the folder above it, or the folder
            of the records.
        sample_rate: of the files in Hz.
        resample: whether recordings of another rate are resampled, with their waves; without it
            they are skipped.
        separate_leads: one file for each lead, with the waves of that lead; without it one for each
            recording, with the mean onsets and offsets of all leads.
    """

    name = "ludb"

    def __init__(
        self,
        raw_root: Path,
        *,
        sample_rate: float = 500,
        resample: bool = False,
        separate_leads: bool = False,
    ):
        folder = unpacked(Path(raw_root), "ludb.csv")
        of_records = folder / "data"
        if any(of_records.glob("*.hea")):
            folder = of_records
        super().__init__(folder, sample_rate=sample_rate, resample=resample)
        self.separate_leads = separate_leads

    def records(self) -> pd.DataFrame:
        """List the records sorted by name, numbers as numbers.

        Returns:
            Columns ``path``, ``save_file`` (``1.mat``; of a lead ``1_avr.mat``), ``source``,
            ``dataset``, ``patient_id`` (the record: there is one of each patient) and, for separate
            leads, ``lead``, as the header names it. A record whose header is damaged has a
            ``fault``.

        Raises:
            DataError: there are no records.
        """
        stems = {
            path.stem
            for suffix in (".hea", ".dat")
            for path in self.raw_root.glob(f"*{suffix}")
            if not path.name.startswith(".")
        }
        if not stems:
            raise DataError(
                f"{self.raw_root}: no records (1.hea, 1.dat). Give the folder of LUDB, which holds "
                "ludb.csv and data/"
            )
        rows: list[dict[str, Any]] = []
        faults = {}
        for stem in sorted(stems, key=natural):
            common = {"source": self.name, "dataset": self.name, "patient_id": stem}
            if not self.separate_leads:
                rows.append({"path": stem, "save_file": f"{stem}.mat", **common})
                continue
            try:
                leads = self._leads(stem)
            except DataError as error:
                faults[len(rows)] = str(error)
                leads = [""]
            rows += [
                {"path": stem, "save_file": f"{stem}_{lead}.mat", **common, "lead": lead}
                for lead in leads
            ]
        return add_faults(pd.DataFrame(rows), faults)

    def _leads(self, stem: str) -> list[str]:
        """Names of the leads of a record, as its header spells them."""
        path = self.raw_root / f"{stem}.hea"
        if not path.is_file():
            raise DataError(f"{path}: no such header. Download it: it belongs to the record")
        with damage_as_data_error(str(path), "WFDB header"), open(path, "rb") as file:
            content = file.read(header_bytes())
        header = WFDBHeader.parse(content, str(path), stem)
        names = [signal.name for signal in header.signals]
        known = {standard_lead(name) for name in names} & set(LEADS)
        if not names or len(known) < len(names):
            raise DataError(
                f"{path}: has the signals {', '.join(names) or 'none'}, which are not some of the "
                "12 leads, each once. Download it again"
            )
        return names

    def _record(self, record: Mapping[str, Any]) -> Path:
        return self.raw_root / path_below(
            str(self.raw_root), record["path"], "a record", "the archive"
        )

    def read(self, record: Mapping[str, Any]) -> ECG:
        """Read a record, or one lead of it.

        Returns:
            The recording with ``metadata`` ``units``, ``age`` (years), ``sex`` (female 1, male 0)
            and ``diagnoses``, joined by ``; ``.
        """
        path = self._record(record)
        ecg = read_record(record, path.with_name(f"{path.name}.hea"), self.verify)
        comments = str(ecg.metadata.get("comments", "")).split("\n")
        # The first three lines are age, sex, and what comes next.
        first = comments.index(_LISTED_BELOW) + 1 if _LISTED_BELOW in comments else 3
        diagnoses = [text for text in comments[first:] if text]
        ecg = arrange(ecg, [record["lead"]] if self.separate_leads else LEADS)
        return with_metadata(
            ecg,
            {
                "units": UNITS,
                **patient_metadata(comments[:first]),
                "diagnoses": _SEPARATOR.join(diagnoses),
            },
        )

    def segment(self, record: Mapping[str, Any], ecg: ECG) -> dict[str, Any]:
        """Make the file of a recording, or of one lead.

        Returns:
            ``label`` ``(1, 82)`` int64, of `DIAGNOSES`; ``curr_sample_rate``; ``feats`` ``(12 or 1,
            n_samples)`` float64 in mV; and what `class_samples` makes of the waves.

        Raises:
            DataError: a diagnosis is not one of LUDB's, annotations are missing or damaged, a wave
                is longer than is plausible, or see `at_rate`.
        """
        feats = self.at_rate(ecg)
        label = _label(ecg)
        path = self._record(record)
        rate = self.sample_rate
        of_leads = [read_waves(path, lead.lower(), ecg.sample_rate, rate) for lead in ecg.leads]
        if self.separate_leads:
            waves = of_leads[0]
            check_lengths(waves, ("qrs", "t"), rate, f"{ecg.where}, lead {record['lead']}")
        else:
            waves = {
                kind: align((wave for waves in of_leads for wave in waves[kind]), rate)
                for kind in KINDS
            }
            check_lengths(waves, KINDS, rate, f"{ecg.where}, mean of the leads")
        classes = class_samples(waves, feats.shape[1])
        return {"label": label, "curr_sample_rate": rate, "feats": feats, **classes}

    def labels(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Return 1 for every diagnosis of a record, else 0: column ``idx``, then `DIAGNOSES`."""
        values = np.zeros((len(meta), len(DIAGNOSES)), np.int64)
        for row, text in enumerate(meta["diagnoses"].fillna("")):
            values[row, [DIAGNOSES.index(name) for name in text.split(_SEPARATOR) if name]] = 1
        labels = pd.DataFrame(values, columns=list(DIAGNOSES))
        labels.insert(0, "idx", meta["idx"].to_numpy())
        return labels


def _label(ecg: ECG) -> np.ndarray:
    label = np.zeros((1, len(DIAGNOSES)), np.int64)
    for name in filter(None, ecg.metadata["diagnoses"].split(_SEPARATOR)):
        if name not in DIAGNOSES:
            near = get_close_matches(name, DIAGNOSES, 1)
            raise DataError(
                f"{ecg.where}: {name!r} is not one of LUDB's {len(DIAGNOSES)} diagnoses. Correct "
                "the line of the header" + (f", to {near[0]!r} perhaps" if near else "")
            )
        label[0, DIAGNOSES.index(name)] = 1
    return label
