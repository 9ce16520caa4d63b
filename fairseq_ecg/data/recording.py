"""Reading one ECG from disk: a ``.mat`` file of a segment, or a WFDB record."""

import io
import logging
import mmap
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fairseq_ecg.data.mat_structure import check_structure
from fairseq_ecg.data.regular import require_file
from fairseq_ecg.data.wfdb_record import ASSUMED_GAIN, WFDBRecord
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.limits import check_rate

logger = logging.getLogger(__name__)

_lead_orders_warned_of: set[tuple[str, ...]] = set()

_ASSUMED_RATE = 250.0
"""Of a WFDB record that does not say its own, in Hz."""

_PREPARE_AGAIN = "Prepare the file again"
_REMEDIES = {
    "feats": "It is no ECG as the data preparation writes them; prepare it again. Files that name "
    "WFDB records, as those of grounding, are read with task.path_dataset=true and not from stores",
    "curr_sample_rate": "Add the sampling rate of 'feats' in Hz to the file, or prepare it again",
    "idx": "Rows of label_file are found by it; prepare the file again",
    "segment_label": "Prepare the record with its annotations again",
    "label": "Add the labels to the file, or set task.label_file of ecg_classification",
    "ecg_path": "task.path_dataset=true needs files that name a WFDB record; "
    "set task.path_dataset=false for files that hold the ECG itself",
}


def read_mat(
    path: str | BinaryIO,
    where: str,
    *,
    required: Iterable[str],
    optional: Iterable[str] | None = (),
    remedy: str = _PREPARE_AGAIN,
    check: bool = True,
) -> dict[str, np.ndarray]:
    """Read some variables of a ``.mat`` file.

    Args:
        path: of the file, or the file itself, open for reading.
        where: names the file in error messages.
        required: variables that must be there.
        optional: variables to read where they are there; None: all.
        remedy: what to do about a damaged file.
        check: look at the structure first, which for a segment takes half as long as reading it;
            on some damage SciPy crashes.

    Returns:
        Arrays (at least two-dimensional) by name.

    Raises:
        DataError: the file is missing, damaged or without a required variable.
    """
    import scipy.io  # not for recordings of other formats

    required = tuple(required)
    names = None if optional is None else [*required, *optional]
    with damage_as_data_error(where, ".mat file", remedy):
        try:
            if isinstance(path, str):
                require_file(path)
            with open(path, "rb") if isinstance(path, str) else nullcontext(path) as file:
                if check:
                    check_structure(_content(file), where)
                mat = scipy.io.loadmat(file, variable_names=names)
        except FileNotFoundError:
            raise DataError(
                f"{where}: no such file. Restore it, or build the manifest again from what is there"
            ) from None
        except NotImplementedError as error:
            raise DataError(
                f"{where}: is a MATLAB 7.3 file, which cannot be read. Save it with version 7"
            ) from error
    for key in required:
        if key not in mat or mat[key].size == 0:
            raise DataError(f"{where}: has no {key!r}. {_REMEDIES.get(key, _PREPARE_AGAIN)}")
    return mat


def _content(file: BinaryIO) -> mmap.mmap | bytes:
    """Return what a file holds, mapped where it lies on this machine as it is, else read."""
    if isinstance(getattr(file, "raw", None), io.FileIO) and os.fstat(file.fileno()).st_size:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content = file.read()
    file.seek(0)
    return content


def read_integer(mat: dict[str, np.ndarray], key: str, where: str) -> int:
    """Read the variable ``key`` that must hold one integer of 32 bits, such as ``idx``."""
    value = mat[key]
    number = value.item() if value.size == 1 and value.dtype.kind in "fiu" else np.nan
    if not (np.isfinite(number) and number == int(number) and abs(number) < 2**31):
        raise DataError(
            f"{where}: {key!r} must be one integer of at most 32 bits, found {value.tolist()}. "
            f"{_PREPARE_AGAIN}"
        )
    return int(number)


def read_texts(mat: dict[str, np.ndarray], key: str, where: str) -> list[str]:
    """Read the variable ``key`` that must hold texts, without the blanks that pad them.

    Args:
        mat: variables of the file.
        key: of a matrix of characters, a text in each row, or of cells with a text each.
        where: names the file in error messages.

    Returns:
        The texts; none of an empty matrix, which an empty text is.

    Raises:
        DataError: it holds something else.
    """
    value = mat[key]
    cells = [np.asarray(cell) for cell in value.ravel()] if value.dtype.kind == "O" else [value]
    cells = [cell for cell in cells if cell.size]
    if any(cell.dtype.kind != "U" for cell in cells):
        raise DataError(f"{where}: {key!r} must be text, found {value.dtype}. {_PREPARE_AGAIN}")
    return [str(text).rstrip() for cell in cells for text in cell.ravel()]


def recording_from_mat(mat: dict[str, np.ndarray], where: str) -> Recording:
    """Check the ECG in the variables ``feats`` and ``curr_sample_rate``.

    Args:
        mat: variables of the file.
        where: names the file in error messages.

    Returns:
        The ECG.

    Raises:
        DataError: they are not an ECG and its sampling rate.
    """
    feats, rate = mat["feats"], mat["curr_sample_rate"]
    if feats.ndim != 2 or feats.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: 'feats' must be real numbers of shape (leads, samples), found "
            f"{feats.dtype} of shape {feats.shape}. {_PREPARE_AGAIN}"
        )
    if rate.size != 1 or rate.dtype.kind not in "fiu" or not 0 < rate.item() < np.inf:
        raise DataError(
            f"{where}: 'curr_sample_rate' must be one positive number (Hz), "
            f"found {rate.tolist()}. {_PREPARE_AGAIN}"
        )
    return Recording(where, feats, float(rate.item()))


def read_wfdb(
    record: str, where: str, remedy: str = "Correct 'ecg_path', or restore the record"
) -> Recording:
    """Read a WFDB record in physical units (mV).

    Args:
        record: path of the record without extension.
        where: names the file that refers to the record in error messages.
        remedy: what to do about a record that is missing; ends the message.

    Returns:
        The ECG, its leads in the order of the record; several samples of a frame as their mean.
        As the WFDB library does, a rate of 250 Hz and gains of 200 are taken where none is stated.

    Raises:
        DataError: the record is missing or damaged.
    """
    where = f"{record} (named by {where})"
    found = WFDBRecord(Path(f"{record}.hea"), where, remedy=remedy)
    if not found.signals or not found.n_frames:
        raise DataError(f"{where}: holds no signals")
    rate = found.rate or _ASSUMED_RATE
    check_rate(where, rate)
    signals = [
        samples.reshape(found.n_frames, -1).mean(axis=1) / (1.0 if signal.gain else ASSUMED_GAIN)
        for samples, signal in zip(found.read(), found.signals, strict=True)
    ]
    _warn_of_lead_order(tuple((signal.label or "").lower() for signal in found.signals), record)
    return Recording(where, np.stack(signals, axis=1).T, float(rate))


def _warn_of_lead_order(names: tuple[str, ...], record: str) -> None:
    """Warn once of each order of leads that is not the standard one."""
    standard = tuple(lead.lower() for lead in LEADS[: len(names)])
    if names[: len(LEADS)] == standard or names in _lead_orders_warned_of:
        return
    _lead_orders_warned_of.add(names)
    logger.warning(
        "%s: its leads are %s; they are taken in this order as if it were %s",
        record,
        ", ".join(names),
        ", ".join(LEADS),
    )
