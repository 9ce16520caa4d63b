"""Reading one 12-lead recording in mV, with all checks.

A recording is a WFDB record (``.hea`` and its signal file) or a ``.mat`` file as fairseq_signals
extracts them from a source (``feats`` and ``curr_sample_rate``).
"""

from pathlib import Path

import numpy as np
import wfdb

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.data.recording import Recording, read_mat, recording_from_mat

MILLIVOLTS = {"mv": 1.0, "uv": 1e-3}
"""Factor to mV by unit, in lower case."""


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Args:
        path: a ``.mat`` file, or a WFDB record with or without ``.hea``.

    Returns:
        The recording: ``feats`` is ``(12, n_samples)`` float64 in mV, leads in the order of
        ``fairseq_ecg.data.leads.LEADS``.

    Raises:
        DataError: The recording does not exist or cannot be read, or it lacks leads, has other
            units than mV or uV, or samples without a value.
    """
    recording = _read_mat(path) if path.suffix == ".mat" else _read_wfdb(path)
    finite = np.isfinite(recording.feats).all(axis=1)
    if not finite.all():
        undefined = [name for name, is_finite in zip(LEADS, finite, strict=True) if not is_finite]
        raise DataError(
            f"{recording.where}: samples without a value (NaN or infinite) in "
            f"{', '.join(undefined)}. Mend the recording or leave it out"
        )
    return recording


def _read_wfdb(path: Path) -> Recording:
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
    if record.p_signal is None:
        raise DataError(f"{header}: no signals")
    if record.fs != int(record.fs):
        raise DataError(f"{header}: {record.fs} Hz; the sampling rate must be a whole number")
    order = _order(record.sig_name, header)
    factors = np.array([_to_millivolts(record.units[i], record.sig_name[i], header) for i in order])
    return Recording(str(header), record.p_signal.T[order] * factors[:, None], record.fs)


def _order(names: list[str], header: Path) -> list[int]:
    """Return where each of the 12 leads is among ``names``, whatever their case."""
    places = {name.strip().lower(): i for i, name in enumerate(names)}
    missing = [lead for lead in LEADS if lead.lower() not in places]
    if missing:
        raise DataError(
            f"{header}: lacks lead {', '.join(missing)} (it has {', '.join(names)}). "
            "All 12 leads are needed"
        )
    return [places[lead.lower()] for lead in LEADS]


def _to_millivolts(unit: str, lead: str, header: Path) -> float:
    try:
        return MILLIVOLTS[unit.strip().lower()]
    except KeyError:
        raise DataError(f"{header}: lead {lead} is in {unit!r}, not in mV or uV") from None


def _read_mat(path: Path) -> Recording:
    where = str(path)
    mat = read_mat(where, where, required=("feats", "curr_sample_rate"), optional=("std",))
    if "std" in mat:
        raise DataError(f"{path}: already standardised, no longer in mV. Give the original")
    recording = recording_from_mat(mat, where)
    if len(recording.feats) != len(LEADS):
        raise DataError(f"{path}: feats has shape {recording.feats.shape}, not (12, samples)")
    return Recording(where, recording.feats.astype(np.float64), recording.sample_rate)
