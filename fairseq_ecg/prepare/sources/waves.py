"""P waves, QRS complexes and T waves: from annotations of them to a class of each sample."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairseq_ecg.errors import DataError, damage_as_data_error

KINDS = ("p", "qrs", "t")
"""Kinds of waves, in the order of their classes; the last class is none of them."""

LONGEST = {"p": 0.3, "qrs": 0.3, "t": 0.4}
"""Seconds from onset to offset of a wave that is plausible (fairseq_signals)."""

SAME_WAVE = 0.2
"""Seconds within which peaks of several leads are those of one wave (fairseq_signals)."""


class Wave(NamedTuple):
    """A wave in one lead, in samples.

    Attributes:
        onset: its first sample.
        peak: its annotated sample between.
        offset: its last sample.
    """

    onset: int
    peak: int
    offset: int


def read_waves(
    record: Path, lead: str, sample_rate: float, desired_rate: float
) -> dict[str, list[Wave]]:
    """Read the waves of one lead of a WFDB record.

    Args:
        record: path without extension.
        lead: extension of the file of annotations.
        sample_rate: of the record in Hz.
        desired_rate: rate in Hz at which the samples of the waves are counted; they are rounded,
            halves to the even number.

    Returns:
        The waves by kind, see `find_waves`.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = f"{record}.{lead}"
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such annotations. Download the file: it belongs to the record")
    with damage_as_data_error(path, "file of annotations", "Download it again"):
        import wfdb  # costs a second to import

        found = wfdb.rdann(str(record), lead)
    samples = [round(sample * desired_rate / sample_rate) for sample in found.sample.tolist()]
    return find_waves(samples, found.symbol, path)


def find_waves(samples: Iterable[int], symbols: Iterable[str], where: str) -> dict[str, list[Wave]]:
    """Find the waves that annotations delimit, as fairseq_signals does.

    ``(`` is an onset, ``)`` an offset, ``p`` and ``t`` are the peaks of such waves, any other
    symbol is that of a QRS complex. An offset ends a wave of the peak before it, which begins at
    the last onset since the offset before, or at its peak where there is none.

    Args:
        samples: of the annotations, in their order.
        symbols: of the annotations.
        where: names the file in error messages.

    Returns:
        The waves by kind, each in the order of the offsets.

    Raises:
        DataError: an offset has no peak before it.
    """
    waves: dict[str, list[Wave]] = {kind: [] for kind in KINDS}
    onset = peak = None
    kind = ""
    for sample, symbol in zip(samples, symbols, strict=True):
        if symbol == "(":
            onset = sample
        elif symbol != ")":
            peak, kind = sample, symbol if symbol in ("p", "t") else "qrs"
        elif peak is None:
            raise DataError(
                f"{where}: the wave that ends at sample {sample} has no peak. Correct the file, or "
                "download it again"
            )
        else:
            waves[kind].append(Wave(peak if onset is None else onset, peak, sample))
            onset = None
    return waves


def align(waves: Iterable[Wave], sample_rate: float) -> list[Wave]:
    """Make one wave of those that several leads have at about the same time.

    In the order of the peaks, a wave belongs to the group before it if its peak is less than
    `SAME_WAVE` behind that of the first wave of the group.

    Args:
        waves: of one kind, of all leads.
        sample_rate: in Hz.

    Returns:
        Of each group, the means of onsets, peaks and offsets, rounded down.
    """
    groups: list[list[Wave]] = []
    for wave in sorted(waves, key=lambda wave: wave.peak):
        if groups and wave.peak - groups[-1][0].peak < int(SAME_WAVE * sample_rate):
            groups[-1].append(wave)
        else:
            groups.append([wave])
    return [
        Wave(*(sum(samples) // len(group) for samples in zip(*group, strict=True)))
        for group in groups
    ]


def check_lengths(
    waves: Mapping[str, Sequence[Wave]], kinds: Iterable[str], sample_rate: float, where: str
) -> None:
    """Refuse waves that are longer than is plausible, see `LONGEST`.

    Args:
        waves: by kind.
        kinds: that are checked.
        sample_rate: in Hz.
        where: names the recording in the message.

    Raises:
        DataError: a wave is longer.
    """
    for kind in kinds:
        most = int(LONGEST[kind] * sample_rate)
        for wave in waves[kind]:
            if wave.offset - wave.onset > most:
                raise DataError(
                    f"{where}: the {kind} wave from sample {wave.onset} to {wave.offset} is longer "
                    f"than {LONGEST[kind]:g} s. Correct its annotation, or leave the record out"
                )


def class_samples(waves: Mapping[str, Iterable[Wave]], n_samples: int) -> dict[str, np.ndarray]:
    """Make the classes of the samples of a recording.

    Args:
        waves: by kind.
        n_samples: length of the recording.

    Returns:
        ``(1, n_samples)`` each: ``p``, ``qrs`` and ``t``, int64, 1 from onset to offset of a wave,
        both included, else 0; ``none``, 1 less these, which is -1 where two waves overlap;
        ``segment_label``, int64, position of the class: 0, 1, 2 or, of none, 3, of waves that
        overlap the first; ``segment_mask``, bool, true before the first and after the last sample
        that is in a wave, which nobody has annotated.
    """
    marks = {kind: np.zeros((1, n_samples), np.int64) for kind in KINDS}
    for kind, mark in marks.items():
        for wave in waves[kind]:
            mark[0, wave.onset : wave.offset + 1] = 1
    marked = sum(marks.values())
    marks["none"] = 1 - marked
    mask = np.ones((1, n_samples), bool)
    (annotated,) = np.nonzero(marked[0])
    if len(annotated):
        mask[0, annotated[0] : annotated[-1] + 1] = False
    label = np.argmax(list(marks.values()), axis=0).astype(np.int64)
    return {**marks, "segment_label": label, "segment_mask": mask}
