"""WFDB records: headers, and signal files in every format that the wfdb package decodes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.recording import load_wfdb
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import Location
from fairseq_ecg.formats.stretches import Frames, Later

_SIGNAL_FILES = (".dat", ".mat")
_EMPTY_SEGMENT = "~"
_ASSUMED_GAIN = 200.0
"""Counts per mV that wfdb puts in place of a gain that a header does not state."""
_NO_WORD = -(2**15)
"""Stands for a sample without value in 16 bits."""


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
        self._uncalibrated = {signal.name for signal in self._signals if not signal.is_calibrated}

    @property
    def can_begin_anywhere(self) -> bool:
        """Whether it can be read from any frame on; differences need all before them."""
        return not any(signal.format == "8" for signal in self._signals)

    def content(self, start: int = 0, stop: int | None = None) -> Content:
        """Read the frames ``start`` to ``stop``."""
        channels = self._channels_of_words(start, stop)
        if channels is None:
            channels = self._channels_by_wfdb(start, stop)
        channels = [
            replace(channel, samples=channel.samples * _ASSUMED_GAIN, unit=None)
            if _one_blank(channel.name) in self._uncalibrated
            else channel
            for channel in channels
        ]
        comments = {"comments": "\n".join(self._header.comments)} if self._header.comments else {}
        return Content(channels, comments)

    def _channels_of_words(self, start: int, stop: int | None) -> list[Channel] | None:
        """Read samples that are words of 16 bits in one file, as most archives have them.

        wfdb takes longer over the header of such a record than all else takes to prepare it.

        Returns:
            What wfdb would read; None where it has to, or has to tell what is wrong.
        """
        header, signals = self._header, self._header.signals
        if not signals or len(signals) != header.n_signals or not header.n_frames:
            return None
        first = signals[0]
        if not all(
            signal.is_a_word and (signal.file, signal.start) == (first.file, first.start)
            for signal in signals
        ):
            return None
        stop = header.n_frames if stop is None else stop
        shape = stop - start, len(signals)
        try:
            words = np.fromfile(
                self._path.parent / first.file,
                "<i2",
                shape[0] * shape[1],
                offset=first.start + 2 * start * shape[1],
            ).reshape(shape)
        except (OSError, ValueError):
            return None
        samples = words - np.array([float(signal.baseline) for signal in signals])
        samples /= [signal.gain for signal in signals]
        samples[words == _NO_WORD] = np.nan
        return [
            Channel(samples[:, i], signal.label, signal.unit, header.sample_rate)
            for i, signal in enumerate(signals)
        ]

    def _channels_by_wfdb(self, start: int, stop: int | None) -> list[Channel]:
        record = load_wfdb(
            os.fspath(self._path.with_suffix("")),
            self._where,
            remedy="Restore it",
            smooth_frames=False,
            sampfrom=start,
            sampto=stop,
        )
        rate = self._header.sample_rate
        return [
            Channel(
                np.asarray(samples),
                record.sig_name[i],
                self._unit(_one_blank(record.sig_name[i])) or record.units[i],
                rate and rate * record.samps_per_frame[i],
            )
            for i, samples in enumerate(record.e_p_signal or [])
        ]

    def _unit(self, name: str) -> str | None:
        """Unit of a signal of a record of segments, as these tell it."""
        if not self._header.segments:
            return None
        units = {signal.unit for signal in self._signals if signal.name == name}
        units = units or {signal.unit for signal in self._layout if signal.name == name}
        if len(units) > 1:
            raise DataError(
                f"{self._where}: {name} is in {' and '.join(sorted(units))}, depending on the "
                "segment. Write the segments in one unit"
            )
        return next(iter(units), None)

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
        is_a_word: whether they are words of 16 bits, one in a frame and not skewed.
        start: bytes before the first of them.
        gain: in counts per unit.
        is_calibrated: whether a gain is stated.
        baseline: count of 0.
        unit: of its samples.
        label: its name as it is written; None for a signal without.
    """

    file: str
    format: str
    is_a_word: bool
    start: int
    gain: float
    is_calibrated: bool
    baseline: int
    unit: str
    label: str | None

    @classmethod
    def read(cls, line: str) -> "_Signal":
        """Take a line apart, as wfdb does."""
        from wfdb.io.header import rx_signal

        match = rx_signal.match(line)
        if match is None:  # wfdb tells what is wrong
            return cls(line.split()[0], "", False, 0, _ASSUMED_GAIN, True, 0, "", None)
        gain = float(match["adc_gain"] or 0)
        return cls(
            match["file_name"],
            match["fmt"],
            match["fmt"] == "16" and match["samps_per_frame"] in ("", "1") and not match["skew"],
            int(match["byte_offset"] or 0),
            gain or _ASSUMED_GAIN,
            gain != 0,
            int(match["baseline"] or match["adc_zero"] or 0),
            match["units"] or "mV",
            match["sig_name"] or None,
        )

    @property
    def name(self) -> str:
        """Its name with one blank between words; empty for a signal without."""
        return _one_blank(self.label)


@dataclass(frozen=True)
class _Header:
    """What a header says.

    Args:
        n_signals: number of signals.
        sample_rate: of frames in Hz; None if it is not said, where wfdb takes 250.
        n_frames: length; None if it is not said.
        segments: names of the segments of a record that has several.
        signals: of a record that has one.
        comments: lines of them.
    """

    n_signals: int
    sample_rate: float | None
    n_frames: int | None
    segments: tuple[str, ...]
    signals: tuple[_Signal, ...]
    comments: tuple[str, ...]

    @classmethod
    def read(cls, location: Location) -> "_Header":
        from wfdb.io.header import parse_header_content, rx_record

        # wfdb passes over what is not ASCII.
        lines, comments = parse_header_content(location.read().decode("ascii", "ignore"))
        if not lines:
            raise DataError(f"{location}: an empty WFDB header")
        with damage_as_data_error(str(location), "WFDB header"):
            first = rx_record.match(lines[0])
            if first is None:
                raise ValueError(f"line {lines[0]!r}")
            is_segmented = bool(first["n_seg"])
            names = (line.split()[0] for line in lines[1:]) if is_segmented else ()
            return cls(
                int(first["n_sig"]),
                float(first["fs"]) if first["fs"] else None,
                int(first["sig_len"]) if first["sig_len"] else None,
                tuple(name for name in names if name != _EMPTY_SEGMENT),
                () if is_segmented else tuple(map(_Signal.read, lines[1:])),
                tuple(line.strip(" \t#") for line in comments),
            )


def _one_blank(name: str | None) -> str:
    return " ".join((name or "").split())


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
