"""Named arrays (``.npz``, ``.mat``, HDF5) of which one is the signal and others describe it."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError, damage_as_data_error, shortened
from fairseq_ecg.formats.arrays import as_rows, check_npy, stored_npy
from fairseq_ecg.formats.channels import RATE_TOLERANCE, Channel, Given, ParsedRecord
from fairseq_ecg.formats.location import LocalFile, Location
from fairseq_ecg.limits import check_limit, check_unpacked, limit_of

NAMES = {
    "signal": (
        "signal", "signals", "ecg", "ekg", "data", "feats", "val", "p_signal", "waveform",
        "waveforms", "tracing", "tracings", "values", "x",
    ),
    "leads": (
        "leads", "lead_names", "lead_name", "lead", "sig_name", "sig_names", "signal_names",
        "channels", "channel_names", "ch_names",
    ),
    "sample_rate": (
        "sample_rate", "sampling_rate", "samplerate", "samplingrate", "sample_frequency",
        "sampling_frequency", "samplingfrequency", "curr_sample_rate", "frequency", "freq", "fs",
        "sfreq", "srate", "sampling_rate_hz", "sample_rate_hz", "samplefreq", "samplingfreq",
        "samp_rate", "samp_freq", "fs_hz", "fsamp",
    ),
    "units": ("units", "unit"),
    "gain": ("gain", "adc_gain", "counts_per_mv"),
}  # fmt: skip
"""Names of variables by what they hold, the preferred ones first; in any case."""

DESCRIBES = frozenset(name for names in NAMES.values() for name in names)
"""All of them."""

_TIMES = {"t", "time", "times", "timestamp", "timestamps"}
_FEW = 64
"""Arrays without a longer side are no signals where there are others: matrices, tables."""

_CPSC_2018 = {"sex", "age", "data"}
"""What a recording of the China Physiological Signal Challenge of 2018 consists of."""

_SEPARATORS = re.compile(r"[,;|\s]+")

Path = tuple[str, ...]
"""Names of the groups or structs that hold a variable, and its own."""


def parse_variables(where: str, variables: Mapping[Path, Any], given: Given) -> ParsedRecord:
    """Find an ECG among variables.

    The signal is the variable with one of `NAMES`, the arrays that are named as leads are, or the
    only array of at least two dimensions. What describes it is looked for beside it first, then in
    the structs or groups around it, then in others. Variables as fairseq_signals writes them
    (``feats`` and ``curr_sample_rate``) are known to be in mV, unless ``std`` is there, and in the
    standard order where there are twelve leads; so are those of CPSC 2018.

    Args:
        where: names the file in error messages.
        variables: arrays, numbers and texts by path.
        given: number of leads where the file has no names.

    Raises:
        DataError: there is no signal, something that describes it is no name, rate or unit, or the
            file contradicts itself.
    """
    found = _Variables(where, variables)
    arrays = found.arrays_by_lead()
    path = found.signal(unless=arrays)
    if path is None:
        return _record_by_lead(found, arrays, given)
    values = variables[path]
    names = {name[-1].lower() for name in variables if name[:-1] == path[:-1]}
    leads, units = found.texts("leads", path), found.texts("units", path)
    if {"feats", "curr_sample_rate"} <= names:
        if "std" in names:
            raise DataError(f"{where}: already standardised, no longer in mV. Give the original")
        units = units or ["mV"]
        if leads is None and given.leads is None:
            if len(LEADS) not in np.shape(values):
                raise DataError(
                    f"{where}: feats has shape {np.shape(values)}, not (12, samples). Give leads"
                )
            leads = list(LEADS)
    elif names == _CPSC_2018 and len(LEADS) in np.shape(values):
        leads, units = leads or list(LEADS), units or ["mV"]
    rows = as_rows(values, len(leads) if leads else given.n_leads, where)
    units = _for_each(where, "units", units, len(rows))
    gains = _for_each(where, "gain", found.numbers("gain", path), len(rows))
    rate = found.rate(path, given)
    return ParsedRecord(
        [
            Channel(row, leads[i] if leads else None, units[i], rate, gains[i])
            for i, row in enumerate(rows)
        ],
        with_notes({}, found.others([path], rows.shape[1])),
    )


def _record_by_lead(found: "_Variables", arrays: "_ByLead", given: Given) -> ParsedRecord:
    """Make channels of arrays that each hold a lead."""
    channels, chosen = [], []
    for lead in filter(arrays.__contains__, LEADS):
        ((name, path),) = arrays[lead]
        (row,) = as_rows(found.variables[path], 1, found.where)
        (unit,) = _for_each(found.where, "units", found.texts("units", path), 1)
        (gain,) = _for_each(found.where, "gain", found.numbers("gain", path), 1)
        channels.append(Channel(row, name, unit, found.rate(path, given), gain))
        chosen.append(path)
    return ParsedRecord(channels, with_notes({}, found.others(chosen, channels[0].samples.size)))


_ByLead = Mapping[str, Sequence[tuple[str, Path]]]
"""Names and paths of arrays by the lead that they hold."""


class _Variables:
    """Variables of a file, which are looked for.

    Args:
        where: names the file in error messages.
        variables: arrays, numbers and texts by path.
    """

    def __init__(self, where: str, variables: Mapping[Path, Any]):
        self.where, self.variables = where, variables

    def arrays_by_lead(self) -> _ByLead:
        """Arrays that each hold a lead; empty where there are none.

        Where there are several sets of them, beats that were averaged beside the recording for
        instance, the one with the most leads counts, of these the one with the longest arrays.

        Raises:
            DataError: there are several sets of the same size.
        """
        sets: dict[Path, dict[str, list[tuple[str, Path]]]] = {}
        has_matrix = False
        for path, value in self.variables.items():
            n_axes = sum(n > 1 for n in np.shape(value)) if _is_numeric(value) else 0
            if n_axes < 1 or max(np.shape(value)) <= _FEW:
                continue
            has_matrix |= n_axes > 1
            found = _lead_in(path) if n_axes == 1 else None
            if found is not None:
                pattern, name = found
                leads = sets.setdefault(pattern, {})
                leads.setdefault(standard_lead(name), []).append((name, path))

        def size(leads: _ByLead) -> tuple[int, int]:
            ((_, path), *_) = next(iter(leads.values()))
            return len(leads), max(np.shape(self.variables[path]))

        chosen = max(sets.values(), key=size, default={})
        if len(chosen) < (2 if has_matrix else 1):
            return {}
        equal = [pattern for pattern, leads in sets.items() if size(leads) == size(chosen)]
        if len(equal) > 1 or any(len(arrays) > 1 for arrays in chosen.values()):
            names = ", ".join("/".join(pattern) for pattern in equal)
            raise DataError(
                f"{self.where}: has leads of several recordings ({names}). Write each into a file "
                "of its own"
            )
        return chosen

    def signal(self, unless: Mapping[str, Any]) -> Path | None:
        """Path of the array that holds all leads.

        Args:
            unless: there are arrays that each hold a lead, so that a vector is no signal.

        Returns:
            None where the leads are in arrays of their own.

        Raises:
            DataError: nothing is known to be the signal.
        """
        for name in NAMES["signal"]:
            for path in sorted(self.variables, key=len):
                if path[-1:] and path[-1].lower() == name and self._may_be_signal(path, unless):
                    return path
        if unless:
            return None
        arrays = [
            path
            for path, value in self.variables.items()
            if np.ndim(value) > 1 and min(np.shape(value)) > 0 and _is_numeric(value)
        ]
        large = [path for path in arrays if max(np.shape(self.variables[path])) > _FEW] or arrays
        if len(large) != 1:
            names = [path[-1] for path in self.variables if path]
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise DataError(
                f"{self.where}: none of its variables ({listed or 'there are none'}) is known to "
                "be the signal. Call it 'signal'"
            )
        return large[0]

    def _may_be_signal(self, path: Path, unless: Mapping[str, Any]) -> bool:
        value = self.variables[path]
        if value is None or isinstance(value, str | bytes):
            return False
        is_vector = sum(n > 1 for n in np.shape(value)) < 2
        return not (unless and is_vector)

    def _near(self, what: str, path: Path) -> Iterator[tuple[bool, Any]]:
        """What describes a signal, the nearest first, and whether it is about this signal.

        Beside its own attributes, these are variables in the groups or structs around it. All
        others may be about another signal, and those of another array or its group are.
        """
        names = NAMES[what]
        found = [
            other
            for other, value in self.variables.items()
            if other and other != path and other[-1].lower() in names and value is not None
        ]
        found.sort(key=lambda other: (len(other), names.index(other[-1].lower())))
        around = [other for other in found if other[:-1] == path[: len(other) - 1]]
        around.sort(key=len, reverse=True)
        yield from ((True, self.variables[other]) for other in around)
        of_signals = {
            other[:-1]
            for other, value in self.variables.items()
            if other and other[-1].lower() in NAMES["signal"] and _is_numeric(value)
        }
        for other in found:
            group = other[:-1]
            if other not in around and group not in self.variables and group not in of_signals:
                yield False, self.variables[other]

    def texts(self, what: str, path: Path) -> list[str] | None:
        """Names or units of a signal; None where there are no such texts."""
        texts = (_texts(self.where, what, value) for _, value in self._near(what, path))
        return next(filter(None, texts), None)

    def numbers(self, what: str, path: Path) -> list[float] | None:
        """Numbers that describe a signal; None where there are none."""
        value = next((value for _, value in self._near(what, path)), None)
        return None if value is None else _numbers(self.where, what, value)

    def rate(self, path: Path, given: Given) -> float | None:
        """Sampling rate of a signal in Hz; None where the file does not say.

        Raises:
            DataError: it is no rate, or there are several, and none is the one given.
        """
        rates: dict[bool, list[float]] = {True: [], False: []}
        for is_its_own, value in self._near("sample_rate", path):
            if rates[True] and not is_its_own:
                break
            found = _numbers(self.where, "sample_rate", value)
            if len(set(found)) != 1 or not 0 < found[0] < np.inf:
                raise DataError(
                    f"{self.where}: the sampling rate must be one positive number (Hz), is "
                    f"{shortened(found, 100)}"
                )
            rates[is_its_own].append(found[0])
        stated = rates[True] or rates[False]
        if not stated:
            return None
        differ = [
            rate for rate in stated if not math.isclose(rate, stated[0], rel_tol=RATE_TOLERANCE)
        ]
        if not differ:
            return stated[0]
        if not rates[True] and given.sample_rate is not None:
            for rate in stated:
                if math.isclose(rate, given.sample_rate, rel_tol=RATE_TOLERANCE):
                    return rate
        listed = ", ".join(f"{rate:g}" for rate in dict.fromkeys(stated))
        remedy = "Correct the file" if rates[True] else "Give one of them as sample_rate"
        raise DataError(f"{self.where}: says several sampling rates ({listed} Hz). {remedy}")

    def others(self, chosen: Sequence[Path], n_samples: int) -> list[str]:
        """Names of arrays that are signals as well: as long, or named as signals or leads are."""
        names = []
        for path, value in self.variables.items():
            if path in chosen or not path or not _is_numeric(value) or path[-1].lower() in _TIMES:
                continue
            longest = max(np.shape(value), default=0)
            if longest > _FEW and (
                longest == n_samples
                or path[-1].lower() in NAMES["signal"]
                or _lead_in(path) is not None
            ):
                names.append("/".join(path))
        return names


def _lead_in(path: Path) -> tuple[Path, str] | None:
    """Take the name of a lead out of a path: what is left of it, and the name.

    In HDF5 files of ml4h it is a part of its own (``strip/I``), or the end of one (``strip_I``),
    with numbers of recordings below it.
    """
    for index in reversed(range(len(path))):
        prefix, _, end = path[index].rpartition("_")
        for rest, name in (("", path[index]), (prefix, end)):
            if standard_lead(name) in LEADS:
                return (*path[:index], f"{rest}*", *path[index + 1 :]), name
    return None


def _is_numeric(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind in "fiu"


def _texts(where: str, what: str, value: Any) -> list[str] | None:
    """Return names or units from whatever array or sequence holds them; None without texts."""
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        for item in _flat(where, value)
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    if len(texts) == 1 and "," in texts[0]:  # one text such as "I,II,V1"
        texts = texts[0].split(",")
    elif len(texts) == 1 and what == "leads":  # or "I II V1"
        words = _SEPARATORS.split(texts[0].strip())
        if all(standard_lead(word) in LEADS for word in words):
            texts = words
    return [text.strip() for text in texts]


def _flat(where: str, value: Any) -> list[Any]:
    """Return the items of nested arrays and lists, which is how MATLAB's cells are read."""
    check_limit(where, "columns", getattr(value, "size", 0))
    items = list(islice(_items(value), int(limit_of("columns")) + 1))
    check_limit(where, "columns", len(items))
    return items


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for element in value:
            yield from _items(element)
    elif isinstance(value, str | bytes) or np.ndim(value) == 0:
        yield np.asarray(value).item() if hasattr(value, "dtype") else value
    else:
        yield from _items(np.asarray(value).ravel().tolist())


def _numbers(where: str, what: str, value: Any) -> list[float]:
    try:
        return [float(item) for item in _flat(where, value)]
    except (TypeError, ValueError):
        raise DataError(f"{where}: its {what} is {shortened(value, 100)}, not a number") from None


def _for_each(where: str, what: str, values: list | None, n: int) -> list:
    if values is None or len(values) == 1:
        return [values[0] if values else None] * n
    if len(values) != n:
        raise DataError(f"{where}: has {n} leads, and {len(values)} values of {what}")
    return values


def read_npz(location: Location, given: Given, at_once: int | None = None) -> ParsedRecord:
    """Read a ``.npz`` file: a signal, and leads, rate, units and gain where they are in it."""
    where = str(location)
    with (
        location.open() as file,
        damage_as_data_error(where, ".npz file"),
        np.load(file, allow_pickle=False) as archive,
    ):
        shapes, n_packed, n_bytes = {}, 0, 0
        for member in archive.zip.infolist():
            n_packed, n_bytes = n_packed + member.compress_size, n_bytes + member.file_size
            check_unpacked(where, n_packed, n_bytes)
            with archive.zip.open(member) as array:
                name = member.filename.removesuffix(".npy")
                shapes[name] = check_npy(array, where, member.file_size)
        variables: dict[Path, Any] = {}
        for name, shape in shapes.items():
            if at_once is None or max(shape, default=0) <= at_once:
                variables[name,] = archive[name]
                continue
            with archive.zip.open(f"{name}.npy") as packed:
                copy = LocalFile.copy_of(packed, f"{location.stem}.npy")
            variables[name,] = stored_npy(copy, where)
        return parse_variables(where, variables, given)
