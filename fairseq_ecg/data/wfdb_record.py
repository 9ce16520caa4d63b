"""WFDB records on this machine: their samples, and reasons to doubt these."""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairseq_ecg.data.regular import require_file
from fairseq_ecg.data.wfdb_header import NO_SEGMENT, WFDBHeader, WFDBSignal, header_bytes
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.limits import check_limit

ASSUMED_GAIN = 200.0
"""Counts per unit where a header states none, according to WFDB; here it is not assumed."""

_WORDS = {"16": "<{}2", "61": ">{}2"}
"""Types of words of 16 bits by format, ``i`` for signed ones."""
_DIFFERENCES = "8"
_BLOCKS = {
    "8": (1, 1),
    "16": (1, 2),
    "24": (1, 3),
    "32": (1, 4),
    "61": (1, 2),
    "80": (1, 1),
    "160": (1, 2),
    "212": (2, 3),
    "310": (3, 4),
    "311": (3, 4),
}
"""Samples, and the bytes that hold them, by format."""
_COMPRESSED = ("508", "516", "524")
_BITS = {"80": 8, "508": 8, "310": 10, "311": 10, "212": 12, "24": 24, "524": 24, "32": 32}
"""Of a sample, by format; of others 16. The lowest number stands for a sample without value."""

_FRAMES_AT_ONCE = 2**18
_ROWS = 64
_NAMED = 3
"""Doubts, and segments of one, that are named."""


class WFDBRecord:
    """A record whose files are on this machine.

    Args:
        path: of the header.
        where: names the record in error messages.
        header: what it says; read from ``path`` if None.
        remedy: what to do about a missing file; ends the message.

    Attributes:
        header: what it says.
        signals: lines on each signal, of the header or of its first segment.
        units: of each signal as `read` returns it; None: counts less their baseline, for no gain
            is stated.
        n_frames: length.
        rate: of frames in Hz, according to the header, or else to all segments; None if neither
            says it.
        doubts: reasons to doubt the record that its header and the sizes of its files give.

    Raises:
        DataError: a file is missing or no regular one, the header is damaged or contradicts
            itself or the files, or something is not plausible.
    """

    def __init__(
        self, path: Path, where: str, header: WFDBHeader | None = None, remedy: str = "Restore it"
    ):
        self.header = _read_header(path, where, remedy) if header is None else header
        self._where = where
        with damage_as_data_error(where, "WFDB record"):
            self.signals, self._spans, length = _spans(path, where, self.header, remedy)
            self.units = [self._unit(i) for i in range(len(self.signals))]
        self.n_frames = min(length, self.header.n_frames or length)
        per_frame = max((signal.per_frame for signal in self.signals), default=1)
        check_limit(where, "samples", self.n_frames * per_frame)
        own = {span.segment.rate for span in self._spans} - {None}
        self.rate = self.header.rate or (own.pop() if len(own) == 1 else None)
        self.doubts = tuple(_first_of(list(self._doubts_of_headers(length))))

    def _unit(self, i: int) -> str | None:
        """Unit of a signal, which has to be the same in all segments."""
        signal = self.signals[i]
        lines = [
            span.segment.signals[row] for span in self._spans if (row := span.rows[i]) is not None
        ]
        if not lines:  # of a layout: it has no sample that would need a gain
            return signal.unit
        units = {line.unit if line.gain else None for line in lines}
        if len(units) > 1:
            raise DataError(
                f"{self._where}: {signal.name} is in "
                f"{' and '.join(sorted(unit or 'counts' for unit in units))}, depending on the "
                "segment. Write the segments in one unit"
            )
        if any(line.per_frame != signal.per_frame for line in lines):
            raise ValueError(f"{signal.name} has several rates, depending on the segment")
        return next(iter(units))

    @property
    def can_begin_anywhere(self) -> bool:
        """Whether it can be read from any frame on; differences need all before them."""
        return all(
            signal.format != _DIFFERENCES for span in self._spans for signal in span.segment.signals
        )

    def read(self, start: int = 0, stop: int | None = None) -> list[np.ndarray]:
        """Read the frames ``start`` to ``stop``.

        Returns:
            Of each signal its samples as float64, NaN for those without value.

        Raises:
            DataError: a file is damaged.
        """
        return self._read(start, self.n_frames if stop is None else stop)

    def read_all(self) -> tuple[list[np.ndarray], tuple[str, ...]]:
        """Read everything, and compare checksums on the way.

        Returns:
            What `read` returns, and all reasons to doubt it.

        Raises:
            DataError: a file is damaged.
        """
        sums = self._no_sums()
        signals = self._read(0, self.n_frames, sums)
        return signals, self.doubts + self._doubts_of(sums)

    def doubts_of_checksums(self) -> tuple[str, ...]:
        """Go through everything, a part at a time, to compare checksums.

        Returns:
            Reasons to doubt the samples.

        Raises:
            DataError: a file is damaged.
        """
        sums = self._no_sums()
        for start in range(0, self.n_frames, _FRAMES_AT_ONCE):
            self._read(start, min(start + _FRAMES_AT_ONCE, self.n_frames), sums)
        return self._doubts_of(sums)

    def _read(
        self, start: int, stop: int, sums: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        if self._spans and not self.header.segments:
            return self._spans[0].segment.read(start, stop, None if sums is None else sums[0])
        signals = [np.full((stop - start) * each.per_frame, np.nan) for each in self.signals]
        for number, span in enumerate(self._spans):
            first, last = max(start, span.start), min(stop, span.stop)
            if first >= last:
                continue
            found = span.segment.read(
                first - span.start, last - span.start, None if sums is None else sums[number]
            )
            for signal, samples, row in zip(self.signals, signals, span.rows, strict=True):
                if row is not None:
                    begin, end = (signal.per_frame * (n - start) for n in (first, last))
                    samples[begin:end] = found[row]
        return signals

    def _no_sums(self) -> list[np.ndarray]:
        """For the sums of all counts of each signal of each span, modulo 2^16."""
        return [np.zeros(len(span.segment.signals), np.uint16) for span in self._spans]

    def _doubts_of(self, sums: Sequence[np.ndarray]) -> tuple[str, ...]:
        wrong = []
        for span, found in zip(self._spans, sums, strict=True):
            if span.length == span.segment.n_frames and span.stop <= self.n_frames:
                names = span.segment.wrong(found.tolist())
                of = f" of {span.segment.name}" if self.header.segments else ""
                wrong += [f"{', '.join(names)}{of}"] if names else []
        if not wrong:
            return ()
        return (
            "the samples do not have the checksum that the header says: "
            + "; ".join(_first_of(wrong)),
        )

    def _doubts_of_headers(self, length: int) -> Iterator[str]:
        if self.header.segments and self.header.n_frames not in (None, length):
            yield f"the header says {self.header.n_frames} frames, its segments have {length}"
        ends: dict[Path, tuple[int, int]] = {}
        for span in self._spans:
            segment = span.segment
            if self.rate and not math.isclose(segment.rate or self.rate, self.rate, rel_tol=1e-3):
                yield f"the header says {self.rate:g} Hz, {segment.name} says {segment.rate:g} Hz"
            if span.length < segment.n_frames:
                yield (
                    f"the header says {span.length} frames of {segment.name}, which has "
                    f"{segment.n_frames}"
                )
            unknown = [
                signal.name for row, signal in enumerate(segment.signals) if row not in span.rows
            ]
            if unknown:
                yield (
                    f"{', '.join(unknown)} of {segment.name} is not among the signals of the record"
                )
            for file in segment.files:
                end, _ = ends.get(file.path, (0, 0))
                ends[file.path] = max(end, file.end), file.size
        for path, (end, size) in ends.items():
            if size > end:
                yield f"{path.name} is longer than the header says"


def _read_header(path: Path, where: str, remedy: str) -> WFDBHeader:
    _size_of(path, where, remedy)
    with damage_as_data_error(where, "WFDB header"), open(path, "rb") as file:
        content = file.read(header_bytes())
    return WFDBHeader.parse(content, where, path.stem)


def _size_of(path: Path, where: str, remedy: str) -> int:
    """Bytes of a file, which has to be one."""
    try:
        require_file(path)
        return os.path.getsize(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{where}: no such WFDB record ({path.name} is missing). {remedy}"
        ) from None
    except OSError as error:
        raise DataError(f"{where}: {path.name} cannot be read ({error}). {remedy}") from error


def _first_of(parts: Sequence[str]) -> list[str]:
    more = len(parts) - _NAMED
    return [*parts[:_NAMED], *([f"and {more} more"] if more > 0 else [])]


@dataclass(frozen=True, eq=False)
class _Span:
    """Frames of a record, and the segment that holds them.

    Args:
        start: first frame.
        length: in frames.
        segment: that holds them.
        rows: of each signal of the record where the segment has it; None if it lacks it.
    """

    start: int
    length: int
    segment: "_Segment"
    rows: Sequence[int | None]

    @property
    def stop(self) -> int:
        return self.start + self.length


def _spans(
    path: Path, where: str, header: WFDBHeader, remedy: str
) -> tuple[Sequence[WFDBSignal], list[_Span], int]:
    """Return the signals of a record, its spans that have samples, and its length in frames."""
    if not header.segments:
        if not header.signals:
            return (), [], 0
        segment = _Segment(path, where, header, remedy)
        span = _Span(0, segment.n_frames, segment, range(len(segment.signals)))
        return segment.signals, [span], span.length
    signals: Sequence[WFDBSignal] = ()
    by_name = header.segments[0][1] == 0
    known: dict[str, _Segment] = {}
    spans, start = [], 0
    for name, length in header.segments:
        start += length
        if name == NO_SEGMENT:
            continue
        if name not in known:
            own = path.with_name(f"{name}.hea")
            found = _read_header(own, str(own), remedy)
            if found.segments:
                raise ValueError(f"its segment {name} has segments")
            if not signals:
                signals = found.signals
                if len(signals) != header.n_signals:
                    raise ValueError(
                        f"it says {header.n_signals} signals, {name} has {len(signals)}"
                    )
                if by_name:  # the layout, which has no samples
                    continue
            known[name] = _Segment(own, str(own), found, remedy)
        segment = known[name]
        if length > segment.n_frames:
            raise ValueError(f"it says {length} frames of {name}, which has {segment.n_frames}")
        rows = _rows(signals, segment, by_name)
        spans.append(_Span(start - length, length, segment, rows))
    return signals, spans, start


def _rows(
    signals: Sequence[WFDBSignal], segment: "_Segment", by_name: bool
) -> Sequence[int | None]:
    names = [signal.name for signal in signals]
    own = [signal.name for signal in segment.signals]
    if by_name:
        if len(set(names)) < len(names) or len(set(own)) < len(own):
            raise ValueError(f"its layout or {segment.name} has a name twice")
        return [own.index(name) if name in own else None for name in names]
    if own != names:
        raise ValueError(
            f"{segment.name} has the signals {', '.join(own)}, and not {', '.join(names)} as the "
            "segment before it"
        )
    return range(len(names))


class _Segment:
    """A record without segments: signals in files of one folder.

    Attributes:
        name: of the record.
        rate: of frames in Hz; None if the header does not say it.
        signals: lines of the header.
        n_frames: length.
        files: that hold the signals.
    """

    def __init__(self, path: Path, where: str, header: WFDBHeader, remedy: str):
        self.name, self.signals, self._where = path.stem, header.signals, where
        self.rate = header.rate
        rows: dict[str, list[int]] = {}
        for row, signal in enumerate(header.signals):
            rows.setdefault(signal.file, []).append(row)
        with damage_as_data_error(where, "WFDB record"):
            if NO_SEGMENT in rows:
                raise ValueError("it describes signals of other records and has no samples itself")
            self.files = [
                _File(
                    path.with_name(name),
                    _size_of(path.with_name(name), where, remedy),
                    of_file,
                    [header.signals[row] for row in of_file],
                    header.n_frames,
                )
                for name, of_file in rows.items()
            ]
            self.n_frames = header.n_frames or min((file.held for file in self.files), default=0)
            for file in self.files:
                file.n_frames = self.n_frames
        self._skew = max((signal.skew for signal in header.signals), default=0)

    def read(self, start: int, stop: int, sums: np.ndarray | None) -> list[np.ndarray]:
        """Read the frames ``start`` to ``stop``; add their counts, as stored, to ``sums``."""
        if any(signal.format == _DIFFERENCES for signal in self.signals) and start:
            signals = self.read(0, stop, None)
            return [
                samples[start * signal.per_frame :]
                for samples, signal in zip(signals, self.signals, strict=True)
            ]
        found: list[np.ndarray] = [np.empty(0)] * len(self.signals)
        with damage_as_data_error(self._where, "WFDB record"):
            for file in self.files:
                samples = file.read(start, min(stop + self._skew, self.n_frames), stop, sums)
                for row, of_signal in zip(file.rows, samples, strict=True):
                    found[row] = of_signal
        if self._skew:
            found = [
                _shifted(samples, signal, stop - start)
                for samples, signal in zip(found, self.signals, strict=True)
            ]
        return found

    def wrong(self, sums: Sequence[int]) -> list[str]:
        """Signals whose counts have another sum than the header says."""
        return [
            signal.name or f"signal {i + 1}"
            for i, (signal, found) in enumerate(zip(self.signals, sums, strict=True))
            if signal.checksum not in (None, found)
        ]


def _shifted(samples: np.ndarray, signal: WFDBSignal, n_frames: int) -> np.ndarray:
    """Take what lies as much later in the file as the signal is skewed."""
    result = np.full(n_frames * signal.per_frame, np.nan)
    there = samples[signal.skew * signal.per_frame :][: result.size]
    result[: there.size] = there
    return result


def _sums(words: np.ndarray) -> np.ndarray:
    """Sums of the columns modulo 2^16; long rows are added in a tenth of the time of short ones."""
    n_rows, n_columns = words.shape
    in_blocks = n_rows // _ROWS * _ROWS
    blocks = words[:in_blocks].reshape(-1, _ROWS * n_columns).sum(axis=0, dtype=np.uint16)
    rest = words[in_blocks:].sum(axis=0, dtype=np.uint16)
    return blocks.reshape(_ROWS, n_columns).sum(axis=0, dtype=np.uint16) + rest


class _File:
    """A file of samples.

    Args:
        path: of it.
        size: bytes of it.
        rows: of its signals in the header.
        signals: their lines.
        said: frames according to the header; None if it does not say.

    Attributes:
        size: bytes; of compressed samples, these.
        held: whole frames.
        n_frames: that are read at most.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        rows: Sequence[int],
        signals: Sequence[WFDBSignal],
        said: int | None,
    ):
        self.path, self.rows, self._signals, self._said = path, rows, signals, said
        first = signals[0]
        for signal in signals:
            if signal.format != first.format or signal.start not in (0, first.start):
                raise ValueError(f"signals in {path.name} have several formats or beginnings")
        if first.format not in _BLOCKS and first.format not in _COMPRESSED:
            raise ValueError(f"signals have format {first.format}, which is none of WFDB")
        self.size, self._samples, self._bytes = size, 1, 1
        self._width = sum(signal.per_frame for signal in signals)
        if first.format in _COMPRESSED:
            import soundfile

            self.size, self._width = soundfile.info(path).frames, first.per_frame
        else:
            self._samples, self._bytes = _BLOCKS[first.format]
        self.held = (self.size - first.start) * self._samples // (self._bytes * self._width)
        self.held = self.n_frames = max(self.held, 0)
        if said is not None and said > self.held:
            raise ValueError(f"{path.name} has {self.held} frames, the header says {said}")

    @property
    def end(self) -> int:
        """Where the file may end according to the header."""
        first = self._signals[0]
        frame = -(-self._width * self._bytes // self._samples)
        end = first.start - (-self.n_frames * self._width * self._bytes // self._samples)
        end += max(signal.skew for signal in self._signals) * frame
        if self._samples > 1:
            end += self._bytes - 1  # the last block may be whole
        if self._said is None:
            end += frame - 1
        block = max(signal.block for signal in self._signals)
        return -(-end // block) * block if block else end

    def read(
        self, start: int, stop: int, counted: int, sums: np.ndarray | None
    ) -> list[np.ndarray]:
        """Read the frames ``start`` to ``stop``; add the counts before ``counted`` to ``sums``."""
        if start >= stop:
            return [np.empty(0) for _ in self._signals]
        if self._signals[0].format in _WORDS:
            return self._words(start, stop, counted, sums)
        samples = []
        for row, signal, counts in zip(
            self.rows, self._signals, self._counts(start, stop), strict=True
        ):
            if sums is not None:
                to_count = counts[: (counted - start) * signal.per_frame]
                sums[row] += np.uint16(int(to_count.sum(dtype=np.int64)) % 2**16)
            of_signal = counts - float(signal.baseline)
            of_signal /= signal.gain or 1.0
            if signal.format != _DIFFERENCES:
                of_signal[counts == -(2 ** (_BITS.get(signal.format, 16) - 1))] = np.nan
            samples.append(of_signal)
        return samples

    def _words(
        self, start: int, stop: int, counted: int, sums: np.ndarray | None
    ) -> list[np.ndarray]:
        """Read words of 16 bits, as most archives have them, without wfdb.

        It takes longer over the header of such a record than all else takes to prepare it.
        """
        dtype = _WORDS[self._signals[0].format]
        offset = self._signals[0].start + 2 * start * self._width
        words = np.fromfile(
            self.path, dtype.format("i"), (stop - start) * self._width, offset=offset
        ).reshape(-1, self._width)
        if len(words) < stop - start:
            raise ValueError(f"{self.path.name} ends within frame {start + len(words)}")
        widths = [signal.per_frame for signal in self._signals]
        firsts = np.cumsum([0, *widths[:-1]])
        if sums is not None:
            found = _sums(words[: counted - start].view(dtype.format("u")))
            sums[self.rows] += np.add.reduceat(found, firsts)
        baselines = np.repeat([float(signal.baseline) for signal in self._signals], widths)
        by_column = np.ascontiguousarray(words.T)
        samples = by_column.astype(np.float64)
        samples -= baselines[:, None]
        samples /= np.repeat([signal.gain or 1.0 for signal in self._signals], widths)[:, None]
        without_value = by_column == -(2**15)
        if without_value.any():
            samples[without_value] = np.nan
        return [
            samples[first : first + width].T.reshape(-1)
            for first, width in zip(firsts, widths, strict=True)
        ]

    def _counts(self, start: int, stop: int) -> list[np.ndarray]:
        """Read samples of any format by wfdb, under names that it can read."""
        import wfdb  # costs a second to import, and most data sets do without

        lines = [f"record {len(self._signals)} 1 {self.n_frames}"]
        for i, signal in enumerate(self._signals):
            format = f"{signal.format}x{signal.per_frame}+{self._signals[0].start}"
            lines.append(f"samples {format} 1 0 0 {signal.first} 0 0 signal {i}")
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(self.path.absolute(), os.path.join(folder, "samples"))
            Path(folder, "record.hea").write_text("\n".join(lines))
            return wfdb.rdrecord(
                os.path.join(folder, "record"),
                sampfrom=start,
                sampto=stop,
                physical=False,
                smooth_frames=False,
            ).e_d_signal
