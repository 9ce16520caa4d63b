"""Headers of WFDB records, as header(5) of the WFDB library describes them.

The parser of the wfdb package matches the beginnings of fields and passes over what follows, knows
neither all names nor any letter but those of ASCII, and takes longer than all else that is done to
prepare a record.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from fairseq_ecg.data.names import plain_name
from fairseq_ecg.errors import DataError, damage_as_data_error, shortened
from fairseq_ecg.limits import check_limit, limit_of

NO_SEGMENT = "~"
"""In place of a segment: there are no samples; of a signal's file: the signal is only described."""

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_COUNTER = rf"(?:/(?:[+-]?{_NUMBER})?)?(?:\([+-]?{_NUMBER}\))?"
_RATE = re.compile(rf"({_NUMBER}){_COUNTER}", re.ASCII)
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_GAIN = re.compile(rf"([+-]?{_NUMBER})?(?:\(([+-]?\d+)\))?(?:/(\S*))?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)

_N_WHOLE = 5
"""Fields of whole numbers behind the gain: resolution, zero, first sample, checksum, block size."""
_LARGEST_COUNT = 2.0**31


class WFDBSignal(NamedTuple):
    """Line of a header on a signal.

    Attributes:
        file: that holds it, in the folder of the header; `NO_SEGMENT` if there is none.
        format: of its samples, such as ``212``.
        per_frame: samples in a frame.
        skew: frames that it lies behind the others in the file.
        start: bytes before its first sample; samples, where they are compressed.
        gain: in counts per unit; None if it is not stated.
        baseline: count of 0.
        unit: of its samples.
        first: count that differences begin at.
        checksum: sum of all counts as they are stored, modulo 2^16; None if it is not stated.
        block: bytes that the file is filled up to a multiple of; 0: it is not.
        label: its name as it is written; None if it has none.
    """

    file: str
    format: str
    per_frame: int
    skew: int
    start: int
    gain: float | None
    baseline: int
    unit: str
    first: int
    checksum: int | None
    block: int
    label: str | None

    @property
    def name(self) -> str:
        """Its name with one blank between words; empty for a signal without."""
        return " ".join((self.label or "").split())


@dataclass(frozen=True)
class WFDBHeader:
    """What a header says.

    Attributes:
        n_signals: number of signals.
        rate: of frames in Hz; None if it is not said.
        n_frames: length; None if it is not said.
        signals: of a record without segments.
        segments: name and length in frames of each; empty for a record without.
        comments: lines of them.
    """

    n_signals: int
    rate: float | None
    n_frames: int | None
    signals: tuple[WFDBSignal, ...]
    segments: tuple[tuple[str, int], ...]
    comments: tuple[str, ...]

    @classmethod
    def parse(cls, content: bytes, where: str, record: str) -> "WFDBHeader":
        """Take a header apart.

        Args:
            content: of the file; lines that are not UTF-8 are Latin-1.
            where: names the file in error messages.
            record: name of the file without its extension.

        Raises:
            DataError: it is no header, contradicts itself, says what is not plausible, or names
                files of other folders.
        """
        check_limit(where, "header", len(content))
        lines, comments = [], []
        for raw in content.removeprefix(b"\xef\xbb\xbf").splitlines():
            line = _decoded(raw).strip()
            if line.startswith("#"):
                comments.append(line.strip(" \t#"))
            elif line:
                lines.append(line)
        if not lines:
            raise DataError(f"{where}: an empty WFDB header")
        with damage_as_data_error(where, "WFDB header", "Get it again, or correct it"):
            first, *others = lines
            return _parse(first.split(), others, tuple(comments), where, record)


def header_bytes() -> int:
    """Bytes of a header that are read at most: one more than `WFDBHeader.parse` takes."""
    return int(limit_of("header")) + 1


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _parse(
    first: list[str], lines: list[str], comments: tuple[str, ...], where: str, record: str
) -> WFDBHeader:
    """Take the first line, in fields, and the others apart."""
    name, n_segments = _name(first[0], record)
    if len(first) < 2 or not first[1].isdecimal():
        raise ValueError(f"line {_shown(first)} does not say how many signals there are")
    n_signals = int(first[1])
    check_limit(where, "channels", n_signals)
    rate = _rate(first[2]) if len(first) > 2 else None
    n_frames = None
    if len(first) > 3:
        if not first[3].isdecimal():
            raise ValueError(f"length {first[3]!r} is no number of samples")
        n_frames = int(first[3]) or None
        check_limit(where, "samples", n_frames or 0)
    n_lines, what = (n_signals, "signals") if n_segments is None else (n_segments, "segments")
    if n_segments is not None:
        check_limit(where, "record_segments", n_segments)
    if len(lines) != n_lines:
        raise DataError(
            f"{where}: says {n_lines} {what}, and lists {len(lines)}. Get the header again, or "
            "correct it"
        )
    folder = name.rpartition("/")[0]
    signals: tuple[WFDBSignal, ...] = ()
    segments: tuple[tuple[str, int], ...] = ()
    if n_segments is None:
        signals = tuple(_signal(line, where, folder) for line in lines)
        if not any(signal.checksum for signal in signals):
            # Nobody wrote them: that all of them are 0 by chance is out of the question.
            signals = tuple(signal._replace(checksum=None) for signal in signals)
        per_frame = max((signal.per_frame for signal in signals), default=1)
        check_limit(where, "samples", (n_frames or 0) * per_frame)
    else:
        segments = tuple(_segment(line, where, folder) for line in lines)
        check_limit(where, "samples", sum(length for _, length in segments))
    return WFDBHeader(n_signals, rate, n_frames, signals, segments, comments)


def _name(text: str, record: str) -> tuple[str, int | None]:
    """Part the name of a record, which may have folders before it, from its number of segments."""
    name, slash, last = text.rpartition("/")
    is_number = slash and last.isdecimal()
    # "ge/00001" in 00001.hea has a folder before its name, "ge/3" in ge.hea three segments.
    if not is_number or (last == record and name.rpartition("/")[2] != record):
        return text, None
    if not int(last):
        raise ValueError("it says 0 segments")
    return name, int(last)


def _rate(text: str) -> float | None:
    """Rate of frames; the counter that may stand behind it is of no use here."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is no sampling rate")
    return float(match[1]) or None


def _signal(line: str, where: str, folder: str) -> WFDBSignal:
    fields = line.split(None, 2 + _N_WHOLE + 1)
    if len(fields) < 2:
        raise ValueError(f"line {_shown(line)} says no format")
    whole: list[int] = []
    for text in fields[3 : 3 + _N_WHOLE]:
        if not _WHOLE.fullmatch(text):
            break
        whole.append(int(text))
    described = line.split(None, 3 + len(whole))[3 + len(whole) :]
    numbers: list[int | None] = [*whole, *[None] * (_N_WHOLE - len(whole))]
    _, zero, first, checksum, block = numbers
    # The signals of a record mostly share these: they are taken apart once.
    of_format = _format(fields[1])
    gain, baseline, unit = _gain(fields[2] if len(fields) > 2 else "")
    if baseline is None:
        baseline = zero or 0
    if abs(baseline) > _LARGEST_COUNT or abs(first or 0) > _LARGEST_COUNT:
        raise ValueError(f"line {_shown(line)} has counts of more than 32 bits")
    return WFDBSignal(
        fields[0] if fields[0] == NO_SEGMENT else _in_folder(fields[0], where, folder, "a signal"),
        *of_format,
        *(gain, baseline, unit),
        first or 0,
        None if checksum is None else checksum % 2**16,
        max(block or 0, 0),
        described[0] if described else None,
    )


@lru_cache(256)
def _format(text: str) -> tuple[str, int, int, int]:
    """Return format, samples in a frame, skew and bytes before the samples."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is no format")
    return match[1], int(match[2] or 1) or 1, int(match[3] or 0), int(match[4] or 0)


@lru_cache(256)
def _gain(text: str) -> tuple[float | None, int | None, str]:
    """Return counts per unit and baseline, None where they are not stated, and the unit."""
    match = _GAIN.fullmatch(text)
    gain = float(match[1] or 0) if match else math.nan
    if match is None or (gain and not 0 < 2 * _LARGEST_COUNT / abs(gain) < math.inf):
        raise ValueError(f"{_shown(text)} is no gain")
    return gain or None, int(match[2]) if match[2] else None, match[3] or "mV"


def _segment(line: str, where: str, folder: str) -> tuple[str, int]:
    name, *length = line.split()
    if len(length) != 1 or not length[0].isdecimal():
        raise ValueError(f"line {_shown(line)} does not say how long the segment is")
    if name != NO_SEGMENT:
        name = _in_folder(name, where, folder, "a segment")
    return name, int(length[0])


@lru_cache(256)
def _in_folder(name: str, where: str, folder: str, what: str) -> str:
    """Name of a file beside the header.

    Headers that were written from above their folder have it before their own name and those of
    their files.
    """
    if folder and not folder.startswith("/") and ".." not in folder.split("/"):
        name = name.removeprefix(f"{folder}/")
    return plain_name(where, name, f"the file of {what}")


def _shown(text: str | list[str]) -> str:
    return shortened(" ".join(text) if isinstance(text, list) else text, 60)
