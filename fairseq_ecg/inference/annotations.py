"""Delineations in files: masks, and annotations of WFDB records."""

import tempfile
from pathlib import Path

import numpy as np

from fairseq_ecg.ecg.arrangement import derive_limb_leads
from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.delineation import ALL_LEADS, Mask
from fairseq_ecg.jobs.files import replacing, write_file

SYMBOLS = {"p": "p", "qrs": "N", "t": "t"}
"""Of the peak of each wave, as in LUDB; kinds of QRS complexes are not distinguished."""


def write_mask(mask: Mask, path: Path) -> None:
    """Write a mask as ``.npz``.

    It has ``classes`` ``(n_leads, n_samples)`` uint8, their names by number in ``names``, ``leads``
    and ``sample_rate`` in Hz.
    """
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(
            file,
            classes=mask.classes,
            names=np.array(sorted(CLASSES, key=CLASSES.__getitem__)),
            leads=np.array(mask.leads),
            sample_rate=mask.sample_rate,
        )


def write_annotations(mask: Mask, ecg: ECG, record: Path) -> list[Path]:
    """Write the waves of each lead as annotations of a WFDB record, as LUDB has them.

    Of every wave its onset ``(``, its peak ``p``, ``N`` or ``t``, and its offset ``)`` are written;
    the peak is where the lead, or of a delineation of all leads their sum, is farthest from the
    straight line between onset and offset.

    Args:
        mask: of the recording.
        ecg: the recording.
        record: path of the record, without extension; that of a file is the name of the lead in
            lower case, or ``all``. A lead without waves gets no file.

    Returns:
        The files.
    """
    import wfdb  # costs a second to import

    complete = derive_limb_leads(ecg)
    signal = np.nan_to_num(np.asarray(complete.signal[:, :], dtype=np.float64))
    written = []
    for row, lead in enumerate(mask.leads):
        rows = slice(None) if lead == ALL_LEADS else [complete.leads.index(lead)]
        path = record.with_name(f"{record.name}.{lead.lower()}")
        samples, symbols = [], []
        for wave, first, last in mask.waves(row):
            samples += [first, _peak(signal[rows, first : last + 1]) + first, last]
            symbols += ["(", SYMBOLS[wave], ")"]
        if not samples:
            path.unlink(missing_ok=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            # WFDB allows neither digits in extensions nor any character in names.
            wfdb.wrann(
                *("record", "ann", np.array(samples), np.array(symbols)),
                fs=mask.sample_rate,
                write_dir=folder,
            )
            write_file(path, Path(folder, "record.ann").read_bytes())
        written.append(path)
    return written


def _peak(wave: np.ndarray) -> int:
    """Return which sample of ``(n_leads, n)`` is farthest from the line between the ends."""
    share = np.linspace(0, 1, wave.shape[1])
    line = wave[:, :1] + share * (wave[:, -1:] - wave[:, :1])
    return int(np.abs(wave - line).sum(axis=0).argmax())
