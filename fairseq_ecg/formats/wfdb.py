"""WFDB records: headers, and signal files in every format that the wfdb package decodes."""

import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.recording import load_wfdb
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.stretches import Frames, Later

if TYPE_CHECKING:
    import wfdb

_SIGNAL_FILES = (".dat", ".mat")
_EMPTY_SEGMENT = "~"
_DIGITS = re.compile(r"\d*")
_ASSUMED_GAIN = 200.0
"""Counts per mV that wfdb puts in place of a gain that a header does not state."""


def read_wfdb(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read a WFDB record.

    Args:
        location: the header.
        given: what the user says; not needed here.
        at_once: frames that are read at once at most; None: all.

    Returns:
        The signals in their units, invalid samples as NaN. Each keeps its own rate where they have
        several samples a frame. ``metadata`` holds the lines of comments, joined, as ``comments``.
    """
    where = str(location)
    if not location.exists():
        raise DataError(f"{where}: no such WFDB header")
    header = _Header.read(location)
    with _files_on_disk(location, header) as path:
        record = _Record(path, where, header)
        is_long = at_once is not None and (header.n_frames or 0) > at_once
        # What was fetched is gone when it is asked for.
        if is_long and not location.is_url and record.can_begin_anywhere:
            return record.content_later()
        return record.content()


class _Record:
    """A record whose files are on this machine.

    Args:
        path: of the header.
        where: names the record in error messages.
        header: what of it is known already.
    """

    def __init__(self, path: Path, where: str, header: "_Header"):
        self._path, self._where, self._header = path, where, header
        folder = Location(os.fspath(path))
        parts = [header, *(_Header.read(folder.beside(f"{name}.hea")) for name in header.segments)]
        signals = [signal for part in parts for signal in part.signals]
        # The layout of a record of segments says which signals there are, not how they are stored.
        self._signals = [signal for signal in signals if signal.file != _EMPTY_SEGMENT]
        self._layout = [signal for signal in signals if signal.file == _EMPTY_SEGMENT]
        self._uncalibrated = {signal.name for signal in self._signals if signal.gain == 0}

    @property
    def can_begin_anywhere(self) -> bool:
        """Whether it can be read from any frame on; differences need all before them."""
        return not any(signal.format == "8" for signal in self._signals)

    def _unit(self, name: str, record: "wfdb.Record", i: int) -> str | None:
        """Unit of a signal, None where none is stated."""
        if name in self._uncalibrated:
            return None
        if not self._header.segments:
            return record.units[i]
        units = {signal.unit for signal in self._signals if signal.name == name}
        units = units or {signal.unit for signal in self._layout if signal.name == name}
        if len(units) > 1:
            raise DataError(
                f"{self._where}: {name} is in {' and '.join(sorted(units))}, depending on the "
                "segment. Write the segments in one unit"
            )
        return next(iter(units), None)

    def content(self, start: int = 0, stop: int | None = None) -> Content:
        """Read the frames ``start`` to ``stop``."""
        record = load_wfdb(
            os.fspath(self._path.with_suffix("")),
            self._where,
            remedy="Restore it",
            smooth_frames=False,
            sampfrom=start,
            sampto=stop,
        )
        channels = []
        for i, samples in enumerate(record.e_p_signal or []):
            name = record.sig_name[i]
            key = _one_blank(name or "")
            rate = record.fs * record.samps_per_frame[i] if self._header.states_rate else None
            if key in self._uncalibrated:
                samples = samples * _ASSUMED_GAIN
            channels.append(Channel(np.asarray(samples), name, self._unit(key, record, i), rate))
        comments = {"comments": "\n".join(record.comments)} if record.comments else {}
        return Content(channels, comments)

    def content_later(self) -> Content:
        """Read the first frame, and the others as they are asked for."""
        beginning = self.content(0, 1)
        frames = Frames(self._samples)
        channels = [
            replace(
                channel,
                samples=Later(
                    frames,
                    i,
                    channel.samples.size * self._header.n_frames,
                    channel.samples.dtype,
                    channel.samples.size,
                ),
            )
            for i, channel in enumerate(beginning.channels)
        ]
        return replace(beginning, channels=channels)

    def _samples(self, start: int, stop: int) -> list[np.ndarray]:
        return [channel.samples for channel in self.content(start, stop).channels]


def header_of(location: Location) -> Location:
    """Return the header of the record that a path names, with whatever extension or none."""
    if location.suffix == ".hea":
        return location
    of_record = location.beside(f"{location.name}.hea")
    if location.suffix in _SIGNAL_FILES and not of_record.exists():
        return location.beside(f"{location.stem}.hea")
    return of_record


@dataclass(frozen=True)
class _Signal:
    """Line of a header on a signal.

    Args:
        file: that holds it.
        format: of its samples.
        gain: in counts per unit; 0 where none is stated, in whose place wfdb puts 200.
        unit: of its samples.
        name: empty for those without.
    """

    file: str
    format: str
    gain: float
    unit: str
    name: str

    @classmethod
    def read(cls, line: list[str]) -> "_Signal":
        """Take the words of a line."""
        stated, _, unit = (line[2] if len(line) > 2 else "").partition("/")
        try:
            gain = float(stated.partition("(")[0] or 0)
        except ValueError:
            gain = math.nan  # wfdb refuses it
        format = _DIGITS.match(line[1] if len(line) > 1 else "")[0]
        return cls(line[0], format, gain, unit or "mV", " ".join(line[8:]))


@dataclass(frozen=True)
class _Header:
    """What of a header has to be known beside what wfdb tells.

    Args:
        states_rate: whether there is a sampling rate; wfdb puts 250 Hz in its place.
        n_frames: length; None if it is not said.
        segments: names of the segments of a record that has several.
        signals: of a record that has one.
    """

    states_rate: bool
    n_frames: int | None
    segments: tuple[str, ...]
    signals: tuple[_Signal, ...]

    @classmethod
    def read(cls, location: Location) -> "_Header":
        lines = [
            line.split()
            for line in location.read().decode("utf-8", "replace").splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
        if not lines:
            raise DataError(f"{location}: an empty WFDB header")
        (record, *fields), *rest = lines
        states_rate = len(fields) > 1
        n_frames = int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else None
        if "/" in record:
            names = tuple(line[0] for line in rest if line[0] != _EMPTY_SEGMENT)
            return cls(states_rate, n_frames, names, ())
        return cls(states_rate, n_frames, (), tuple(map(_Signal.read, rest)))


def _one_blank(name: str) -> str:
    return " ".join(name.split())


@contextmanager
def _files_on_disk(location: Location, header: _Header) -> Iterator[Path]:
    """Path of the header where wfdb finds all files of the record beside it."""
    if not location.is_url:
        yield Path(location.address)
        return
    with tempfile.TemporaryDirectory() as folder:
        headers = {location.name: header}
        for name in header.segments:
            segment = location.beside(_plain(f"{name}.hea", location))
            headers[segment.name] = _Header.read(segment)
        for name, part in headers.items():
            location.beside(name).copy_to(Path(folder))
            for file in dict.fromkeys(signal.file for signal in part.signals):
                if file != _EMPTY_SEGMENT:
                    location.beside(_plain(file, location)).copy_to(Path(folder))
        yield Path(folder) / location.name


def _plain(name: str, location: Location) -> str:
    """Refuse names that lead out of the folder: headers of strangers do not choose what to copy."""
    if name != os.path.basename(name) or name in ("", ".", ".."):
        raise DataError(f"{location}: names the file {name!r}, which is not in its folder")
    return name
