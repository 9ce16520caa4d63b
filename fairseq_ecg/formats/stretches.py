"""Long records, of which a stretch is read at a time."""

from dataclasses import dataclass, replace

import numpy as np

from fairseq_ecg.formats.channels import Given, to_ecg
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.wfdb import read_wfdb


@dataclass(frozen=True)
class Stretches:
    """Signal of a WFDB record in mV that is read as it is asked for.

    Args:
        location: the header.
        given: what the user says of the record.
        leads: of the rows.
        n_samples: length in samples.
    """

    location: Location
    given: Given
    leads: tuple[str, ...]
    n_samples: int

    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples."""
        return len(self.leads), self.n_samples

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        """Read ``[rows, start:stop]``.

        Raises:
            DataError: the record is damaged there.
        """
        rows, samples = key
        start, stop, _ = samples.indices(self.n_samples)
        if start >= stop:
            return np.empty((len(self.leads), 0))[rows]
        return _read(self.location, self.given, start, stop).signal[rows]


def in_stretches(location: Location, given: Given, n_samples: int, at_once: int) -> ECG:
    """Read the beginning of a WFDB record, and the rest as it is asked for.

    Args:
        location: the header.
        given: what the user says of the record.
        n_samples: length of the record in samples.
        at_once: length of the beginning in samples.

    Returns:
        The recording in mV; its signal is a `Stretches`.

    Raises:
        DataError: as `read_ecg`.
    """
    beginning = _read(location, given, 0, at_once)
    signal = Stretches(location, given, beginning.leads, n_samples)
    return replace(beginning, signal=signal)


def _read(location: Location, given: Given, start: int, stop: int) -> ECG:
    return to_ecg(str(location), read_wfdb(location, given, (start, stop)), given)
