"""EDF, EDF+ and BDF."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord
from fairseq_ecg.formats.chunks import Frames, LazyArray
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.limits import check_limit

_FILE_FIELDS = {
    "version": 8,
    "patient": 80,
    "recording": 80,
    "start": 16,
    "n_bytes": 8,
    "reserved": 44,
    "n_records": 8,
    "duration": 8,
    "n_signals": 4,
}
"""Fields of the header and their widths in bytes."""
_SIGNAL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "filters": 80,
    "n_samples": 8,
    "reserved": 32,
}
"""Fields that the header has for each signal, one field of all signals after the other."""
_FIELD_BYTES = 256
"""Of the fields of the file, and of those of a signal."""
_SAMPLE_BYTES = {"EDF": 2, "BDF": 3}
_PART_BYTES = 2**24
"""Of a long file, how much is read at a time to look for gaps."""
_ENDS = ("min", "max")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""Numbers with a comma that may part thousands as well as decimals."""


def _read(kind: str, location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    where = str(location)
    file = location.local()
    with damage_as_data_error(where, f"{kind} file"):
        with open(file.path, "rb") as opened:
            header = _Header(where, kind, opened)
        return _Records(where, file, header).record(given, at_once)


read_edf = partial(_read, "EDF")
"""Read an EDF or EDF+ file."""
read_bdf = partial(_read, "BDF")
"""Read a BDF or BDF+ file."""


@dataclass(frozen=True)
class _Scale:
    """What turns counts into samples.

    Args:
        factor: of a count to which ``offset`` was added.
        offset: in counts; without calibration zero is in the middle of the converter's range.
        fault: why there is no calibration; None where there is one.
    """

    factor: float
    offset: float
    fault: str | None = None


class _Header:
    """What the header says, with faults of programs that write headers undone.

    Texts may end in NUL, and numbers have a decimal comma.

    Args:
        where: names the file in error messages.
        kind: EDF or BDF.
        file: open at its beginning.
    """

    def __init__(self, where: str, kind: str, file: Any):
        self.kind = kind
        (self.file,) = _fields(file.read(_FIELD_BYTES), _FILE_FIELDS, 1)
        n_signals = _whole("signals", self.file["n_signals"])
        self.n_bytes = _FIELD_BYTES * (n_signals + 1)
        if n_signals < 1 or _whole("bytes of the header", self.file["n_bytes"]) != self.n_bytes:
            raise ValueError(f"a header of {self.file['n_bytes']} bytes for {n_signals} signals")
        check_limit(where, "channels", n_signals)
        self.signals = _fields(file.read(_FIELD_BYTES * n_signals), _SIGNAL_FIELDS, n_signals)
        self.samples = [
            _whole("samples of a data record", each["n_samples"]) for each in self.signals
        ]
        if min(self.samples) < 0 or not any(self.samples):
            raise ValueError("data records without samples")
        self.record_bytes = sum(self.samples) * _SAMPLE_BYTES[kind]
        self.duration = self._number(self.file["duration"])
        if not 0 <= self.duration < math.inf:
            raise ValueError(f"data records that last {self.file['duration']!r} s")
        self.n_records, self.doubts = self._extent(file.seek(0, io.SEEK_END) - self.n_bytes)
        if self.file["reserved"].startswith(f"{kind}+D") and not self.has_times:
            self.doubts += (f"it says that it has gaps ({kind}+D), and not where",)
        check_limit(where, "samples", self.longest)

    def _extent(self, n_bytes: int) -> tuple[int, tuple[str, ...]]:
        """Return how many data records there are, and what is doubtful about that."""
        said = _whole("data records", self.file["n_records"])
        whole, rest = divmod(n_bytes, self.record_bytes)
        if not whole or said > whole or said < -1:
            raise ValueError(f"{said} data records, of which {whole} are whole")
        if said < 1 and rest:  # -1 is what an interrupted writer leaves
            return whole, (f"its last data record is not whole: {rest} bytes of it are there",)
        if rest:
            return said, (f"{n_bytes - said * self.record_bytes} bytes follow its data records",)
        if said not in (-1, whole):
            return whole, (f"it has {whole} data records, its header says {said}",)
        return whole, ()

    @property
    def longest(self) -> int:
        """Samples of the signal that has most."""
        return max(self.samples) * self.n_records

    @property
    def signal_numbers(self) -> list[int]:
        """Indices of the signals that are not annotations."""
        return [i for i in range(len(self.signals)) if not self._is_annotation(i)]

    def _is_annotation(self, signal: int) -> bool:
        return self.signals[signal]["label"] == f"{self.kind} Annotations"

    @property
    def has_times(self) -> bool:
        """Whether annotations say when each data record begins."""
        return any(n and self._is_annotation(i) for i, n in enumerate(self.samples))

    def of_part(self, n_records: int) -> bytes:
        """Return the header of a file of some of the data records, without these faults.

        Annotations without samples are not in it.
        """
        kept = [i for i, n in enumerate(self.samples) if n or not self._is_annotation(i)]
        file = self.file | {
            "n_bytes": f"{_FIELD_BYTES * (len(kept) + 1)}",
            "n_records": f"{n_records}",
            "duration": self.file["duration"].replace(",", ".") if self.duration else "1",
            "n_signals": f"{len(kept)}",
        }
        texts = [file[name].ljust(width) for name, width in _FILE_FIELDS.items()]
        for name, width in _SIGNAL_FIELDS.items():
            texts += [
                (f"{self.samples[i]}" if name == "n_samples" else self.signals[i][name]).ljust(
                    width
                )
                for i in kept
            ]
        return "".join(texts).encode("latin-1")

    def channel(self, signal: int, samples: np.ndarray | LazyArray) -> Channel:
        """Return a signal with what the header says of it."""
        return Channel(
            samples,
            self.signals[signal]["label"] or None,
            self.signals[signal]["unit"],
            self.samples[signal] / self.duration if self.duration else None,
            uncalibrated=self.scale(signal).fault,
        )

    def scale(self, signal: int) -> "_Scale":
        """Return what turns counts of a signal into its unit."""
        low, high = (self._number(self.signals[signal][f"physical_{end}"]) for end in _ENDS)
        least, most = (self._number(self.signals[signal][f"digital_{end}"]) for end in _ENDS)
        fault = self._fault(signal, low, high, least, most)
        if fault is None:
            factor = (high - low) / (most - least)
            offset = high / factor - most if factor else math.inf
            if math.isfinite(factor) and math.isfinite(offset):
                return _Scale(factor, offset)
            fault = "its physical range is out of all proportion"
        middle = (least + most + 1) // 2 if least < most else 0.0
        return _Scale(1.0, -middle, f"has no calibration ({fault})")

    def _fault(self, signal: int, *ends: float) -> str | None:
        """Say why the ends of the physical and the digital range make no calibration."""
        for kind, (low, high) in (("physical", ends[:2]), ("digital", ends[2:])):
            for end, number in zip(_ENDS, (low, high), strict=True):
                if math.isnan(number):
                    text = self.signals[signal][f"{kind}_{end}"]
                    said = f"{text!r}, which is no clear number" if text else "missing"
                    return f"its {kind} {end}imum is {said}"
            if low == high:
                return f"its {kind} minimum and maximum are the same"
        if ends[3] < ends[2] and ends[1] > ends[0]:
            return "its digital maximum is below its digital minimum"
        return None

    def _number(self, text: str) -> float:
        """Return a number with decimal point or comma; NaN for anything else."""
        if _THOUSANDS.fullmatch(text) and not self._has_decimal_commas:
            return math.nan  # 5,000 may be 5 and 5000
        if _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        try:
            return _finite(text)
        except ValueError:
            return math.nan

    @property
    def _has_decimal_commas(self) -> bool:
        """Whether a number of the header has a comma that cannot part thousands."""
        texts = [self.file["duration"]]
        texts += [each[name] for each in self.signals for name in ("physical_min", "physical_max")]
        return any(
            _DECIMAL_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text) for text in texts
        )


def _fields(content: bytes, widths: dict[str, int], n: int) -> list[dict[str, str]]:
    """Cut ``n`` times the fields, of which each comes ``n`` times, into their texts."""
    if len(content) < n * _FIELD_BYTES:
        raise ValueError("the file ends within its header")
    texts: list[dict[str, str]] = [{} for _ in range(n)]
    offset = 0
    for name, width in widths.items():
        for each in texts:
            # Latin-1 holds ASCII, which the format asks for, and the micro sign of devices.
            field = content[offset : offset + width].partition(b"\0")[0].decode("latin-1")
            each[name] = field.rstrip() if width > 8 else field.strip()
            offset += width
    return texts


def _finite(text: str) -> float:
    number = math.nan if "_" in text else float(text)  # Python takes 1_000 for 1000
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number


def _whole(what: str, text: str) -> int:
    number = _finite(text.replace(",", "."))
    if number != int(number):
        raise ValueError(f"{what}: {text!r} is no whole number")
    return int(number)


class _Records:
    """Data records of a file, of which some are read as if they were a file of their own."""

    def __init__(self, where: str, file: LocalFile, header: _Header):
        self._where, self._file, self._header = where, file, header

    def record(self, given: Given, at_once: int | None) -> ParsedRecord:
        """Return channels; those of a long file are read as they are asked for.

        Raises:
            DataError: there are gaps, or neither the file nor what is given says a sampling rate.
        """
        header = self._header
        if not header.duration and given.sample_rate is None:
            raise DataError(
                f"{self._where}: says that its data records last 0 s, so that it has no sampling "
                "rate. Give sample_rate in Hz"
            )
        self._check_continuous()
        samples: Sequence[np.ndarray | LazyArray]
        if at_once is not None and header.longest > at_once:
            frames = Frames(self._samples)
            samples = [
                LazyArray(frames, i, n * header.n_records, np.dtype(np.float64), n)
                for i, n in enumerate(header.samples[k] for k in header.signal_numbers)
            ]
        else:
            samples = self._samples(0, header.n_records)
        metadata = {"patient": header.file["patient"], "recording": header.file["recording"]}
        return ParsedRecord(
            [
                header.channel(number, row)
                for number, row in zip(header.signal_numbers, samples, strict=True)
            ],
            with_notes(metadata, doubts=header.doubts),
        )

    def _part(self, start: int, stop: int) -> Any:
        """Parse the data records ``start`` to ``stop`` with edfio."""
        import edfio

        read: Any = {"EDF": edfio.read_edf, "BDF": edfio.read_bdf}[self._header.kind]
        with damage_as_data_error(self._where, f"{self._header.kind} file"):
            with open(self._file.path, "rb") as file:
                file.seek(self._header.n_bytes + start * self._header.record_bytes)
                records = file.read((stop - start) * self._header.record_bytes)
            return read(self._header.of_part(stop - start) + records, header_encoding="latin-1")

    def _samples(self, start: int, stop: int) -> list[np.ndarray]:
        signals = self._part(start, stop).signals
        scales = [self._header.scale(number) for number in self._header.signal_numbers]
        return [
            (signal.digital + scale.offset) * scale.factor
            for signal, scale in zip(signals, scales, strict=True)
        ]

    def _check_continuous(self) -> None:
        header = self._header
        if not header.has_times:
            return
        at_a_time = max(_PART_BYTES // header.record_bytes, 2)
        for start in range(0, header.n_records, at_a_time - 1):
            if not self._part(start, min(start + at_a_time, header.n_records)).is_continuous:
                raise DataError(
                    f"{self._where}: has gaps ({header.kind}+D). Cut it into continuous files"
                )
