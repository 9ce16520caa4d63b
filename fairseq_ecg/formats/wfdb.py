"""WFDB records, wherever they lie."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fairseq_ecg.data.wfdb_header import NO_SEGMENT, WFDBHeader, header_bytes
from fairseq_ecg.data.wfdb_record import WFDBRecord
from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord
from fairseq_ecg.formats.chunks import Frames, LazyArray
from fairseq_ecg.formats.location import Location

_SIGNAL_FILES = (".dat", ".mat")


def read_wfdb(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a WFDB record.

    Args:
        location: the header.
        given: what the user says; not needed here.
        at_once: frames that are read at once at most; None: all.

    Returns:
        The signals in their units, invalid samples as NaN. Each keeps its own rate where they have
        several samples a frame. ``metadata`` holds the lines of comments, joined, as ``comments``,
        and reasons to doubt the signals as `DOUBTS`.
    """
    where = str(location)
    if not location.exists():
        raise DataError(f"{where}: no such WFDB header")
    header = _header(location)
    with _files_on_disk(location, header) as path:
        record = WFDBRecord(path, where, header)
        is_long = at_once is not None and record.n_frames > at_once
        # What was fetched is gone when it is asked for.
        if is_long and not location.is_url and record.can_begin_anywhere:
            return _parsed(record, _lazy_arrays(record), record.doubts, record.doubts_of_checksums)
        return _parsed(record, *record.read_all())


def _lazy_arrays(record: WFDBRecord) -> list[LazyArray]:
    """Samples of each signal, which are read as they are asked for."""
    frames = Frames(record.read)
    return [
        LazyArray(frames, i, each.per_frame * record.n_frames, np.dtype(np.float64), each.per_frame)
        for i, each in enumerate(record.signals)
    ]


def _parsed(
    record: WFDBRecord,
    samples: Sequence[np.ndarray | LazyArray],
    doubts: tuple[str, ...],
    verify: Callable[[], tuple[str, ...]] = tuple,
) -> ParsedRecord:
    rate, metadata = record.rate, {}
    if record.header.comments:
        metadata["comments"] = "\n".join(record.header.comments)
    channels = [
        Channel(of_signal, signal.label, unit, rate and rate * signal.per_frame)
        for of_signal, signal, unit in zip(samples, record.signals, record.units, strict=True)
    ]
    return ParsedRecord(channels, with_notes(metadata, doubts=doubts), verify)


def header_of(location: Location) -> Location:
    """Return the header of the record that a path names, with whatever extension or none."""
    if location.suffix == ".hea":
        return location
    of_record = location.beside(f"{location.name}.hea")
    if location.suffix in _SIGNAL_FILES and not of_record.exists():
        return location.beside(f"{location.stem}.hea")
    return of_record


def _header(location: Location) -> WFDBHeader:
    return WFDBHeader.parse(location.read(header_bytes()), str(location), location.stem)


@contextmanager
def _files_on_disk(location: Location, header: WFDBHeader) -> Iterator[Path]:
    """Path of the header where all files of the record are beside it."""
    if not location.is_url:
        yield Path(location.address)
        return
    with tempfile.TemporaryDirectory() as folder:
        headers = {location: header}
        for name, _ in header.segments:
            segment = location.beside(f"{name}.hea")
            if name != NO_SEGMENT and segment not in headers:
                headers[segment] = _header(segment)
        for each, part in headers.items():
            each.copy_to(Path(folder))
            for file in dict.fromkeys(signal.file for signal in part.signals):
                if file != NO_SEGMENT:
                    each.beside(file).copy_to(Path(folder))
        yield Path(folder) / location.name
