"""From the channels of a file and what a user says of them to an ECG in mV."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from fairseq_ecg.ecg.lead_names import is_ecg, standard_leads
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import ECG, with_notes
from fairseq_ecg.ecg.units import (
    field_text,
    is_counts,
    is_of_another_kind,
    millivolts_per,
    says_nothing,
    split_unit,
)
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.chunks import ChunkedSignal, LazyArray
from fairseq_ecg.limits import check_limit, check_rate

RATE_TOLERANCE = 1e-3
"""Two rates are the same if they differ by at most this part: rates that follow from times that
were rounded do, 250 and 257 Hz do not."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One signal of a file, with what the file says of it.

    Args:
        samples: ``(n_samples,)`` real, in ``unit``; `LazyArray` where the reader reads chunks.
        name: None where the file has none.
        unit: as the file writes it; None where it has none.
        sample_rate: in Hz; None where the file does not say.
        gain: counts per mV; None where the file has none, or was scaled by it.
        uncalibrated: why ``samples`` are counts in a format that has a scale, as what the signal
            does in a sentence; None where they are not.
    """

    samples: np.ndarray | LazyArray
    name: str | None = None
    unit: str | None = None
    sample_rate: float | None = None
    gain: float | None = None
    uncalibrated: str | None = None


@dataclass(frozen=True, eq=False)
class ParsedRecord:
    """What a reader finds in a file.

    Args:
        channels: the signals in the order of the file.
        metadata: what else the file says, value by name; ``left_out`` and ``doubts`` as in `ECG`.
        verify: finds reasons to doubt the samples for which all of them have to be read, where
            they are read later.
    """

    channels: Sequence[Channel]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    verify: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class Given:
    """What a user says of a recording; None is what is left to the file.

    Args:
        leads: names of the channels, in the order of the file.
        sample_rate: in Hz.
        units: of all channels, or of each.
        gain: counts of the converter per mV, of all channels or of each.
    """

    leads: Sequence[str] | None = None
    sample_rate: float | None = None
    units: str | Sequence[str] | None = None
    gain: float | Sequence[float] | None = None

    @property
    def n_leads(self) -> int | None:
        """How many there are; None where no names are given."""
        return None if self.leads is None else len(self.leads)

    def __post_init__(self) -> None:
        if isinstance(self.leads, str) or not all(
            isinstance(lead, str) for lead in (() if self.leads is None else self.leads)
        ):
            raise DataError(f"leads={self.leads!r}: give a list of names")
        try:
            is_rate = self.sample_rate is None or 0 < self.sample_rate < math.inf
        except TypeError:
            is_rate = False
        if not is_rate:
            raise DataError(f"sample_rate={self.sample_rate!r}: give a positive number (Hz)")
        if self.sample_rate is not None:
            check_rate("sample_rate", self.sample_rate)


def to_ecg(where: str, record: ParsedRecord, given: Given, at_once: int | None = None) -> ECG:
    """Make an ECG of channels.

    Beside any of the twelve leads, signals of other kinds (no voltages, of another rate or length,
    or with a name that is there twice) are left out, and named in ``metadata["left_out"]``. Where
    there are none of the twelve, but signals that the file names as an ECG (``EKG``, ``MLII``), all
    others are.

    Args:
        where: names the file in error messages.
        record: what the file holds.
        given: fills in what it does not say.
        at_once: of a longer recording, in samples, the signal is `ChunkedSignal`; None: of none.

    Returns:
        The ECG.

    Raises:
        DataError: something is neither said nor given, what is given contradicts the file, a lead
            is there twice, there are no samples, or more of anything than is plausible.
    """
    check_limit(where, "channels", len(record.channels))
    n_samples = max((channel.samples.size for channel in record.channels), default=0)
    if not n_samples:
        raise DataError(f"{where}: holds no signals")
    check_limit(where, "samples", n_samples)
    channels = [
        _called(channel, field_text(channel.name), _unit(channel)) for channel in record.channels
    ]
    names = _names(where, channels, given)
    channels = [
        _called(channel, channel.name or name, channel.unit)
        for channel, name in zip(channels, names, strict=True)
    ]
    factors = _kept(where, channels, names, given)
    kept = list(factors)
    left_out = [f"{channels[i].name}" for i in range(len(channels)) if i not in factors]
    first = channels[kept[0]]
    names = [names[i] for i in kept]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        remedy = (
            "" if set(twice) & set(LEADS) else ", or give leads, names in the order of the file"
        )
        raise DataError(
            f"{where}: lead {', '.join(twice)} is there twice. Remove or rename one of them{remedy}"
        )
    signal = ChunkedSignal([channels[i].samples for i in kept], list(factors.values()), where)
    in_memory = at_once is None or first.samples.size <= at_once
    return ECG(
        where,
        signal[:, :] if in_memory else cast(np.ndarray, signal),
        tuple(names),
        _rate(where, first.sample_rate, given.sample_rate),
        with_notes(record.metadata, left_out),
        None if first.uncalibrated or not millivolts_per(first.unit or "") else first.unit,
    )


def _unit(channel: Channel) -> str | None:
    """Unit that the file says, behind the name of the channel (``V1 (uV)``) if nowhere else."""
    unit = field_text(channel.unit)
    if says_nothing(unit) and channel.name is not None:
        named = split_unit(channel.name)[1]
        if named is not None and (millivolts_per(named) is not None or is_counts(named)):
            return named
    return unit


def _called(channel: Channel, name: str | None, unit: str | None) -> Channel:
    """Return a channel with this name and unit; most have them already, and a copy takes time."""
    if (channel.name, channel.unit) == (name, unit):
        return channel
    return replace(channel, name=name, unit=unit)


def _names(where: str, channels: Sequence[Channel], given: Given) -> list[str]:
    unnamed = any(channel.name is None for channel in channels)
    stated = standard_leads(
        [channel.name or f"signal {n}" for n, channel in enumerate(channels, 1)]
    )
    if given.leads is None:
        if unnamed and not any(name in LEADS or is_ecg(name) for name in stated):
            raise DataError(
                f"{where}: does not name its {len(stated)} leads. Give leads, the names in the "
                "order of the file"
            )
        return stated
    names = standard_leads(given.leads, are_leads=True)
    if len(names) != len(stated):
        listed = "" if unnamed else f" ({', '.join(stated)})"
        raise DataError(
            f"{where}: {len(names)} leads are given, the file has {len(stated)} signals{listed}"
        )
    for index, (name, said) in enumerate(zip(names, stated, strict=True)):
        # A name such as "ch1" says nothing about the lead, so that there is nothing to contradict.
        if said in LEADS and said != name:
            raise DataError(
                f"{where}: signal {index + 1} is lead {said} according to the file, and {name} "
                "according to the leads given. Leave out leads: the file names them"
            )
    return names


def _kept(
    where: str, channels: Sequence[Channel], names: Sequence[str], given: Given
) -> dict[int, float]:
    """Factor to mV of each channel of the ECG, by index."""
    everything = range(len(names))
    leads = [i for i in everything if names[i] in LEADS]
    ecgs = [] if leads else [i for i in everything if is_ecg(names[i])]
    wanted = leads or ecgs or everything
    factors, faults = _factors(where, channels, wanted, given)
    if ecgs:  # a name such as "ECG rate" is that of something else
        wanted = [i for i in ecgs if i not in faults] or ecgs[:1]
        longest = max(channels[i].samples.size for i in wanted)
        first = next(channels[i] for i in wanted if channels[i].samples.size == longest)
        wanted = [i for i in wanted if _are_alike(channels[i], first)]
    first = channels[wanted[0]]
    for i in wanted:
        if i in faults:
            raise DataError(f"{where}: lead {names[i]} {faults[i]}")
        if not _are_alike(channels[i], first):
            raise DataError(
                f"{where}: {first.name} has {first.samples.size} samples at {first.sample_rate} "
                f"Hz, {channels[i].name} has {channels[i].samples.size} at "
                f"{channels[i].sample_rate} Hz. Resample the file to one rate"
            )
    if leads or given.leads is not None:
        wanted = [
            i
            for i in everything
            if i in wanted
            or (i not in faults and _are_alike(channels[i], first) and names.count(names[i]) == 1)
        ]
    return {i: factors[i] for i in wanted}


def _are_alike(one: Channel, other: Channel) -> bool:
    return one.samples.size == other.samples.size and one.sample_rate == other.sample_rate


def _factors(
    where: str, channels: Sequence[Channel], wanted: Collection[int], given: Given
) -> tuple[dict[int, float], dict[int, str]]:
    """Factor to mV of each channel that has one, by index; why the others have none."""
    units = _of_each("units", given.units, len(channels), where)
    gains = _of_each("gain", given.gain, len(channels), where)
    is_for_each = not isinstance(given.units, str)
    factors, faults = {}, {}
    for i, channel in enumerate(channels):
        try:
            factors[i] = _factor(channel, units[i], gains[i], i in wanted or is_for_each)
        except ValueError as fault:
            faults[i] = str(fault)
    return factors, faults


def _of_each(option: str, value: Any, n: int, where: str) -> Sequence:
    if value is None or isinstance(value, str | int | float | np.number):
        return [value] * n
    if len(value) != n:
        raise DataError(f"{where}: {option} has {len(value)} values, the file has {n} signals")
    return list(value)


def _factor(channel: Channel, unit: str | None, gain: float | None, is_meant: bool) -> float:
    """Factor to mV from what the file states and what is given; ValueError says what is wrong.

    ``is_meant``: whether what is given is for this channel, too, if the file's unit is not known.
    """
    stated = channel.unit or ""
    if channel.gain is not None and gain is not None and not math.isclose(channel.gain, gain):
        raise ValueError(
            f"has {channel.gain:g} counts per mV according to the file, and {gain:g} according to "
            "the gain given. Leave out gain: the file says it"
        )
    gain = channel.gain if gain is None else gain
    if gain is not None and not 0 < gain < math.inf:
        raise ValueError(f"cannot have a gain of {gain}, which is the counts per mV")
    if channel.uncalibrated is None and not says_nothing(stated) and not is_counts(stated):
        factor = millivolts_per(stated)
        if factor is not None:
            if unit is not None and millivolts_per(unit) != factor:
                raise ValueError(
                    f"is in {stated} according to the file, and in {unit} according to the units "
                    "given. Leave out units: the file says them"
                )
            if gain is not None and not math.isclose(factor, 1 / gain):
                raise ValueError(
                    f"is in {stated} according to the file, so that there are no counts for a "
                    f"gain of {gain:g} per mV"
                )
            return factor
        if is_of_another_kind(stated):
            raise ValueError(f"is in {stated!r}, not in V, mV, uV or nV")
        if not is_meant or (unit is None and gain is None):
            raise ValueError(
                f"is in {stated!r}, not in V, mV, uV or nV. If that means one of these, give units"
            )
    if unit is not None and not is_counts(unit):
        factor = millivolts_per(unit)
        if factor is None:
            raise ValueError(f"cannot be read in units of {unit!r}. Give V, mV, uV, nV or counts")
        if gain is not None and not math.isclose(factor, 1 / gain):
            raise ValueError(
                f"cannot be both in {unit} and in counts with a gain of {gain:g} per mV. Give one "
                "of units and gain"
            )
        return factor
    if gain is None:
        says = "is in counts" if unit or not says_nothing(stated) else "has no unit"
        raise ValueError(
            f"{channel.uncalibrated or says}. Give units ('mV', 'uV', 'V'), or gain, the counts of "
            "the converter per mV"
        )
    return 1 / gain


def _rate(where: str, stated: float | None, given: float | None) -> float:
    if stated is None:
        if given is None:
            raise DataError(f"{where}: does not say its sampling rate. Give sample_rate in Hz")
        return float(given)
    if not 0 < stated < math.inf:
        raise DataError(f"{where}: says a sampling rate of {stated} Hz, which cannot be")
    check_rate(where, stated)
    if given is None:
        return float(stated)
    if not math.isclose(stated, given, rel_tol=RATE_TOLERANCE):
        raise DataError(
            f"{where}: is sampled at {stated:.6g} Hz according to the file, and at {given:g} Hz "
            "according to the sample_rate given. Leave out sample_rate: the file says it"
        )
    return float(given)
