"""A recording: in mV with named leads, or as training stores it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairseq_ecg.errors import DataError

DOUBTS = "doubts"
"""Of metadata: reasons to doubt what was read."""

LEFT_OUT = "left_out"
"""Of metadata: signals of the file that are not in what was read."""


@dataclass(frozen=True, eq=False)
class ECG:
    """A recording in mV.

    Args:
        where: names the file (and the position in it) in error messages.
        signal: ``(n_leads, n_samples)`` real, in mV; NaN where a sample has no value. Of a long
            recording that is read lazily, what has shape, dtype and ``[rows, start:stop]`` alone
            (`fairseq_ecg.formats.chunks.ChunkedSignal`).
        leads: name of each row; the twelve standard leads spelled as in
            ``fairseq_ecg.ecg.leads.LEADS``, no name twice.
        sample_rate: in Hz.
        metadata: what else the file says, value by name; under ``left_out`` the signals of the
            file that are not in ``signal``, under ``doubts`` a tuple of sentences, each a reason
            to doubt what was read.
        stated_unit: of the samples, as the file writes it; None where it was given.
    """

    where: str
    signal: np.ndarray
    leads: tuple[str, ...]
    sample_rate: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stated_unit: str | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt what was read."""
        return tuple(self.metadata.get(DOUBTS, ()))

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.signal.shape[1]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True, eq=False)
class Recording:
    """An ECG as it is stored.

    Args:
        where: names file, manifest and line in error messages.
        feats: ``(L, T)`` real, rows in standard order of the leads.
        sample_rate: in Hz.
        leads: which are to be loaded, if its file says that.
    """

    where: str
    feats: np.ndarray
    sample_rate: float
    leads: list[int | str] | None = None

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.feats.shape[1]

    def check_n_samples(self, expected: int) -> None:
        """Raise DataError if the length is not that of the manifest."""
        if self.n_samples == expected:
            return
        n_rows, n_columns = self.feats.shape
        if n_rows == expected:
            raise DataError(
                f"{self.where}: the ECG has shape ({n_rows}, {n_columns}) and looks transposed. "
                "Store it as (leads, samples)"
            )
        raise DataError(
            f"{self.where}: the ECG has {n_columns} samples, the manifest says {expected}. "
            "The file changed since the manifest was built: build the manifest again"
        )


def with_notes(
    metadata: Mapping[str, Any], left_out: Sequence[str] = (), doubts: Sequence[str] = ()
) -> dict[str, Any]:
    """Return metadata with further signals that are left out, and further doubts.

    Args:
        metadata: value by name, which may have some of either.
        left_out: names of signals.
        doubts: sentences.
    """
    noted = dict(metadata)
    names = ", ".join([*filter(None, [noted.pop(LEFT_OUT, None)]), *left_out])
    reasons = (*noted.pop(DOUBTS, ()), *doubts)
    return noted | ({LEFT_OUT: names} if names else {}) | ({DOUBTS: reasons} if reasons else {})


def check_doubts(where: str, doubts: Sequence[str]) -> None:
    """Refuse a recording that there is reason to doubt.

    Args:
        where: names the file.
        doubts: the reasons.

    Raises:
        DataError: there are any.
    """
    if doubts:
        raise DataError(
            f"{where}: {'; '.join(doubts)}. Get the recording again, or leave out --verify "
            "(in Python verify=True)"
        )
