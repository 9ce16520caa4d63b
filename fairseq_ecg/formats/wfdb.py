"""WFDB records: headers, and signal files in every format that the wfdb package decodes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.recording import load_wfdb
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import Location

_SIGNAL_FILES = (".dat", ".mat")
_EMPTY_SEGMENT = "~"
_ASSUMED_GAIN = 200.0
"""Counts per mV that wfdb puts in place of a gain that a header does not state."""


def read_wfdb(
    location: Location, given: Given, stretch: tuple[int, int | None] = (0, None)
) -> Content:
    """Read a WFDB record.

    Args:
        location: the header.
        given: what the user says; not needed here.
        stretch: first frame to read, and the one to stop before; None: all of them.

    Returns:
        The signals in their units, invalid samples as NaN. Each keeps its own rate where they have
        several samples a frame. ``metadata`` holds the lines of comments, joined, as ``comments``.
    """
    where = str(location)
    if not location.exists():
        raise DataError(f"{where}: no such WFDB header")
    header = _Header.read(location)
    with _files_on_disk(location, header) as path:
        record = load_wfdb(
            os.fspath(path.with_suffix("")),
            where,
            remedy="Restore it",
            smooth_frames=False,
            sampfrom=stretch[0],
            sampto=stretch[1],
        )
        uncalibrated = _uncalibrated(Location(os.fspath(path)), header)
    signals = record.e_p_signal or []
    channels = []
    for i, samples in enumerate(signals):
        name = record.sig_name[i]
        rate = record.fs * record.samps_per_frame[i] if header.states_rate else None
        unit = record.units[i]
        if _one_blank(name or "") in uncalibrated:
            samples, unit = samples * _ASSUMED_GAIN, None
        channels.append(Channel(np.asarray(samples), name, unit, rate))
    return Content(channels, {"comments": "\n".join(record.comments)} if record.comments else {})


def n_frames_of(location: Location) -> int | None:
    """Tell the length of a record that can be read in stretches, by its header.

    Args:
        location: the header.

    Returns:
        Its length in frames; None if the header does not say it, the record has several segments
        or lies behind a URL, or a signal has several samples a frame.
    """
    if location.is_url or not location.exists():
        return None
    with damage_as_data_error(str(location), "WFDB header"):
        import wfdb

        header = wfdb.rdheader(os.fspath(Path(location.address).with_suffix("")))
    if isinstance(header, wfdb.MultiRecord) or set(header.samps_per_frame or ()) != {1}:
        return None
    return header.sig_len


def header_of(location: Location) -> Location:
    """Return the header of the record that a path names, with whatever extension or none."""
    if location.suffix == ".hea":
        return location
    of_record = location.beside(f"{location.name}.hea")
    if location.suffix in _SIGNAL_FILES and not of_record.exists():
        return location.beside(f"{location.stem}.hea")
    return of_record


@dataclass(frozen=True)
class _Header:
    """What of a header has to be known beside what wfdb tells.

    Args:
        states_rate: whether there is a sampling rate; wfdb puts 250 Hz in its place.
        segments: names of the segments of a record that has several.
        signal_files: named in the header.
        uncalibrated: names of signals of which no gain is stated, empty for those without name.
    """

    states_rate: bool
    segments: tuple[str, ...]
    signal_files: tuple[str, ...]
    uncalibrated: frozenset[str]

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
        if "/" in record:
            names = tuple(line[0] for line in rest if line[0] != _EMPTY_SEGMENT)
            return cls(len(fields) > 1, names, (), frozenset())
        return cls(
            len(fields) > 1,
            (),
            tuple(dict.fromkeys(line[0] for line in rest)),
            frozenset(" ".join(line[8:]) for line in rest if len(line) < 3 or _is_zero(line[2])),
        )


def _one_blank(name: str) -> str:
    return " ".join(name.split())


def _is_zero(gain: str) -> bool:
    """Whether a gain, with its baseline and unit behind it, is the 0 of uncalibrated signals."""
    try:
        return float(gain.partition("(")[0].partition("/")[0]) == 0
    except ValueError:
        return False  # wfdb refuses it


def _uncalibrated(location: Location, header: _Header) -> frozenset[str]:
    """Return the names of signals of which the record or a segment states no gain."""
    segments = [_Header.read(location.beside(f"{name}.hea")) for name in header.segments]
    return header.uncalibrated.union(*(segment.uncalibrated for segment in segments))


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
            for file in part.signal_files:
                if file != _EMPTY_SEGMENT:
                    location.beside(_plain(file, location)).copy_to(Path(folder))
        yield Path(folder) / location.name


def _plain(name: str, location: Location) -> str:
    """Refuse names that lead out of the folder: headers of strangers do not choose what to copy."""
    if name != os.path.basename(name) or name in ("", ".", ".."):
        raise DataError(f"{location}: names the file {name!r}, which is not in its folder")
    return name
