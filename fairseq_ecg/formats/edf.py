"""EDF, EDF+ and BDF."""

import io
import warnings
from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.formats.stretches import Frames, Later

_TRUNCATED = r"(Incomplete data record|\w+ header indicates (?!-1 ))"
"""How edfio's warnings of missing data start; -1 records is what an interrupted writer leaves."""
_HEADER_BYTES = slice(184, 192)
_N_RECORDS = slice(236, 244)
_N_SIGNALS = slice(252, 256)
_BEFORE_LENGTHS = 216
"""Bytes that the header has for each signal before the samples of it in a data record."""
_PART_BYTES = 2**24
"""Of a long file, how much is read at a time to look for gaps."""
_SAMPLE_BYTES = {"EDF": 2, "BDF": 3}


def read_edf(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read an EDF or EDF+ file."""
    return _read(location, "EDF", at_once)


def read_bdf(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read a BDF or BDF+ file."""
    return _read(location, "BDF", at_once)


def _read(location: Location, kind: str, at_once: int | None) -> Content:
    where = str(location)
    if at_once is not None:
        file = location.local()
        with damage_as_data_error(where, f"{kind} file"):
            records = _Records(file, kind, where)
        if records.longest > at_once:
            return records.content()
    with location.on_disk() as path, damage_as_data_error(where, f"{kind} file"):
        edf = _parse(path, kind)
        _check_continuous(edf, kind, where)
        return Content(
            [_channel(signal, signal.data) for signal in edf.signals],
            _metadata(edf),
        )


def _parse(file: Any, kind: str) -> Any:
    """Read a file with edfio; one that is cut off is an error."""
    import edfio

    read = {"EDF": edfio.read_edf, "BDF": edfio.read_bdf}[kind]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_TRUNCATED)
        # Latin-1 holds ASCII, which the format asks for, and the micro sign that devices write.
        return read(file, header_encoding="latin-1")


def _check_continuous(edf: Any, kind: str, where: str) -> None:
    if not edf.is_continuous:
        raise DataError(f"{where}: has gaps ({kind}+D). Cut it into continuous files")


def _channel(signal: Any, samples: np.ndarray | Later) -> Channel:
    name = signal.label.strip() or None
    return Channel(samples, name, signal.physical_dimension, signal.sampling_frequency)


def _metadata(edf: Any) -> dict[str, str]:
    return {
        "patient": edf.local_patient_identification,
        "recording": edf.local_recording_identification,
    }


class _Records:
    """Data records of a long file, of which some are read as if they were a file of their own."""

    def __init__(self, file: LocalFile, kind: str, where: str):
        self._file, self._kind, self._where = file, kind, where
        with open(file.path, "rb") as opened:
            head = opened.read(_HEADER_BYTES.stop)
            self._head = head + opened.read(int(head[_HEADER_BYTES]) - len(head))
            n_bytes = opened.seek(0, io.SEEK_END) - len(self._head)
        n_signals = int(self._head[_N_SIGNALS])
        start = 256 + n_signals * _BEFORE_LENGTHS
        lengths = [int(self._head[start + 8 * i :][:8]) for i in range(n_signals)]
        self._record_bytes = sum(lengths) * _SAMPLE_BYTES[kind]
        self._n_records, rest = divmod(n_bytes, self._record_bytes)
        said = int(self._head[_N_RECORDS])
        if rest or said not in (self._n_records, -1):
            raise ValueError(f"{said} data records, of which {self._n_records} are whole")
        self._longest = max(lengths)

    @property
    def longest(self) -> int:
        """Samples of the channel that has most."""
        return self._longest * self._n_records

    def content(self) -> Content:
        """Channels that are read as they are asked for."""
        self._check_continuous()
        edf = self._part(0, 1)
        frames = Frames(self._samples)
        return Content(
            [
                _channel(
                    signal,
                    Later(
                        frames,
                        i,
                        signal.samples_per_data_record * self._n_records,
                        np.dtype(np.float64),
                        signal.samples_per_data_record,
                    ),
                )
                for i, signal in enumerate(edf.signals)
            ],
            _metadata(edf),
        )

    def _part(self, start: int, stop: int) -> Any:
        """Parse the data records ``start`` to ``stop``."""
        with damage_as_data_error(self._where, f"{self._kind} file"):
            with open(self._file.path, "rb") as file:
                file.seek(len(self._head) + start * self._record_bytes)
                records = file.read((stop - start) * self._record_bytes)
            head = bytearray(self._head)
            head[_N_RECORDS] = b"%-8d" % (stop - start)
            return _parse(io.BytesIO(head + records), self._kind)

    def _samples(self, start: int, stop: int) -> list[np.ndarray]:
        return [signal.data for signal in self._part(start, stop).signals]

    def _check_continuous(self) -> None:
        at_a_time = max(_PART_BYTES // self._record_bytes, 2)
        for start in range(0, self._n_records, at_a_time - 1):
            edf = self._part(start, min(start + at_a_time, self._n_records))
            _check_continuous(edf, self._kind, self._where)
