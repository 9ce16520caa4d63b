"""From the channels of a file and what a user says of them to an ECG in mV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.data.limits import check_limit, check_rate
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.leads import standard_lead
from fairseq_ecg.formats.stretches import Later, Stretches
from fairseq_ecg.formats.units import is_counts, millivolts_per, says_nothing

RATE_TOLERANCE = 1e-3
"""Two rates are the same if they differ by at most this part: rates that follow from times that
were rounded do, 250 and 257 Hz do not."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One signal of a file, with what the file says of it.

    Args:
        samples: ``(n_samples,)`` real, in ``unit``; `Later` where the reader reads stretches.
        name: None where the file has none.
        unit: as the file writes it; None where it has none.
        sample_rate: in Hz; None where the file does not tell.
        gain: counts per mV; None where the file has none, or was scaled by it.
    """

    samples: np.ndarray | Later
    name: str | None = None
    unit: str | None = None
    sample_rate: float | None = None
    gain: float | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """What a reader finds in a file.

    Args:
        channels: the signals in the order of the file.
        metadata: what else the file says, value by name.
    """

    channels: Sequence[Channel]
    metadata: Mapping[str, Any] = field(default_factory=dict)


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


def to_ecg(where: str, content: Content, given: Given, at_once: int | None = None) -> ECG:
    """Make an ECG of channels.

    Beside any of the twelve leads, signals of other kinds (no voltages, of another rate or length,
    or with a name that is there twice) are left out, and named in ``metadata["left_out"]``.

    Args:
        where: names the file in error messages.
        content: what the file holds.
        given: fills in what it does not say.
        at_once: of a longer recording, in samples, the signal is `Stretches`; None: of none.

    Returns:
        The ECG.

    Raises:
        DataError: something is neither said nor given, what is given contradicts the file, a lead
            is there twice, or there are no samples.
    """
    if not content.channels or not any(channel.samples.size for channel in content.channels):
        raise DataError(f"{where}: holds no signals")
    check_limit(where, "channels", len(content.channels))
    check_limit(where, "samples", max(channel.samples.size for channel in content.channels))
    names = _names(where, content.channels, given)
    factors = _factors(where, content.channels, names, given)
    channels = [
        replace(channel, name=name) for channel, name in zip(content.channels, names, strict=True)
    ]
    wanted = [i for i, name in enumerate(names) if name in LEADS or given.leads is not None]
    wanted = wanted or list(range(len(names)))
    first = channels[wanted[0]]
    kept, left_out = [], []
    for i, channel in enumerate(channels):
        alike = (
            channel.samples.size == first.samples.size and channel.sample_rate == first.sample_rate
        )
        if i in wanted and not alike:
            raise DataError(
                f"{where}: {first.name} has {first.samples.size} samples at {first.sample_rate} "
                f"Hz, {channel.name} has {channel.samples.size} at {channel.sample_rate} Hz. "
                "Resample the file to one rate"
            )
        if i in wanted or (alike and factors[i] is not None and names.count(names[i]) == 1):
            kept.append(i)
        else:
            left_out.append(channel.name)
    names = [names[i] for i in kept]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{where}: lead {', '.join(twice)} is there twice. Remove or rename one of them"
        )
    metadata = dict(content.metadata)
    if left_out:
        metadata["left_out"] = ", ".join(left_out)
    signal = Stretches([channels[i].samples for i in kept], [factors[i] for i in kept], where)
    in_memory = at_once is None or first.samples.size <= at_once
    return ECG(
        where,
        signal[:, :] if in_memory else signal,
        tuple(names),
        _rate(where, first.sample_rate, given.sample_rate),
        metadata,
    )


def _names(where: str, channels: Sequence[Channel], given: Given) -> list[str]:
    stated = [None if channel.name is None else standard_lead(channel.name) for channel in channels]
    if given.leads is None:
        if None in stated:
            raise DataError(
                f"{where}: does not name its {len(stated)} leads. Give leads, the names in the "
                "order of the file"
            )
        return stated
    names = [standard_lead(lead) for lead in given.leads]
    if len(names) != len(stated):
        listed = "" if None in stated else f" ({', '.join(stated)})"
        raise DataError(
            f"{where}: {len(names)} leads are given, the file has {len(stated)} signals{listed}"
        )
    for place, (name, said) in enumerate(zip(names, stated, strict=True)):
        # A name such as "ch1" says nothing about the lead, so that there is nothing to contradict.
        if said in LEADS and said != name:
            raise DataError(
                f"{where}: signal {place + 1} is lead {said} according to the file, and {name} "
                "according to the leads given. Leave out leads: the file names them"
            )
    return names


def _factors(
    where: str, channels: Sequence[Channel], names: Sequence[str], given: Given
) -> list[float | None]:
    """Factor to mV of each channel, None for a signal that is no voltage."""
    units = _of_each("units", given.units, len(channels), where)
    gains = _of_each("gain", given.gain, len(channels), where)
    has_leads = any(name in LEADS for name in names)
    factors = []
    for channel, name, unit, gain in zip(channels, names, units, gains, strict=True):
        try:
            factors.append(_factor(channel.unit, channel.gain, unit, gain))
        except ValueError as fault:
            if name in LEADS or given.leads is not None or not has_leads:
                raise DataError(f"{where}: lead {name} {fault}") from None
            factors.append(None)
    return factors


def _of_each(option: str, value: Any, n: int, where: str) -> Sequence:
    if value is None or isinstance(value, str | int | float | np.number):
        return [value] * n
    if len(value) != n:
        raise DataError(f"{where}: {option} has {len(value)} values, the file has {n} signals")
    return list(value)


def _factor(
    stated: str | None, stated_gain: float | None, unit: str | None, gain: float | None
) -> float:
    """Factor to mV from what the file states and what is given; ValueError says what is wrong."""
    if stated_gain is not None and gain is not None and not math.isclose(stated_gain, gain):
        raise ValueError(
            f"has {stated_gain:g} counts per mV according to the file, and {gain:g} according to "
            "the gain given. Leave out gain: the file says it"
        )
    gain = stated_gain if gain is None else gain
    if gain is not None and not 0 < gain < math.inf:
        raise ValueError(f"cannot have a gain of {gain}, which is the counts per mV")
    if not says_nothing(stated) and not is_counts(stated):
        factor = millivolts_per(stated)
        if factor is None:
            raise ValueError(f"is in {stated!r}, not in V, mV, uV or nV")
        if unit is not None and millivolts_per(unit) != factor:
            raise ValueError(
                f"is in {stated} according to the file, and in {unit} according to the units "
                "given. Leave out units: the file says them"
            )
        if gain is not None and not math.isclose(factor, 1 / gain):
            raise ValueError(
                f"is in {stated} according to the file, so that there are no counts for a gain of "
                f"{gain:g} per mV"
            )
        return factor
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
            f"{says}. Give units ('mV', 'uV', 'V'), or gain, the counts of the converter per mV"
        )
    return 1 / gain


def _rate(where: str, stated: float | None, given: float | None) -> float:
    if stated is None and given is None:
        raise DataError(f"{where}: does not say its sampling rate. Give sample_rate in Hz")
    if stated is None:
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
