"""One ECG, as every reader of this room returns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ECG:
    """A recording in mV.

    Args:
        where: names the file (and the place in it) in error messages.
        signal: ``(n_leads, n_samples)`` real, in mV; NaN where a sample has no value.
        leads: name of each row; the twelve standard leads spelled as in
            ``fairseq_ecg.data.leads.LEADS``, no name twice.
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
    def n_samples(self) -> int:
        """Length in samples."""
        return self.signal.shape[1]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate
