"""WFDB records: a header ``.hea`` and its signal files."""

import re
from pathlib import Path

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.leads import standard_lead

_MILLIVOLTS_PER = {"mv": 1.0, "uv": 1e-3, "v": 1e3, "nv": 1e-6}


def read_wfdb_record(path: Path) -> ECG:
    """Read a record.

    Args:
        path: of the record, with or without ``.hea``.

    Returns:
        The standard leads it has, in mV; other signals are left out. ``metadata`` holds the lines
        of comments, joined, as ``comments``.

    Raises:
        DataError: the record is missing or damaged, holds no standard lead or one twice, or a lead
            is uncalibrated or no voltage.
    """
    import wfdb  # costs a second to import

    name = path.with_suffix("") if path.suffix == ".hea" else path
    header = name.with_name(name.name + ".hea")
    if not header.is_file():
        raise DataError(f"{header}: no such WFDB header")
    try:
        record = wfdb.rdrecord(str(name))
    except FileNotFoundError as error:
        raise DataError(f"{header}: its signal file is missing ({error})") from error
    except Exception as error:  # wfdb fails on damage with whatever its parser tripped over
        raise DataError(f"{header}: not a readable WFDB record ({error})") from error
    names = [standard_lead(lead or "") for lead in record.sig_name or []]
    rows = [i for i, lead in enumerate(names) if lead in LEADS]
    leads = tuple(names[i] for i in rows)
    if not leads or record.p_signal is None:
        raise DataError(f"{header}: none of the standard leads {', '.join(LEADS)}")
    if len(set(leads)) < len(leads):
        raise DataError(f"{header}: a lead is there twice ({', '.join(leads)})")
    _require_gain(header, leads)
    factors = np.array([_millivolts_per(header, names[i], record.units[i]) for i in rows])
    metadata = {"comments": "\n".join(record.comments)} if record.comments else {}
    signal = record.p_signal.T[rows] * factors[:, None]
    return ECG(str(header), signal, leads, float(record.fs), metadata)


def _millivolts_per(header: Path, lead: str, unit: str) -> float:
    try:
        return _MILLIVOLTS_PER[unit.strip().lower()]
    except KeyError:
        raise DataError(f"{header}: lead {lead} is in {unit!r}, not in V, mV, uV or nV") from None


def _require_gain(header: Path, leads: tuple[str, ...]) -> None:
    """Refuse leads whose gain is absent or 0, where wfdb takes 200 counts per mV."""
    text = header.read_text(encoding="latin-1")
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    for number, fields in enumerate(lines[1:], 1):
        if standard_lead(fields[-1]) not in leads:
            continue
        gain = re.match(r"[-+.\deE]+", fields[2]) if len(fields) > 2 else None
        if gain is None or float(gain[0]) == 0:
            raise DataError(
                f"{header}: signal {number} has no gain, its samples are counts of a converter. "
                "Write counts per mV into the header"
            )
