"""Units of voltage, and whether amplitudes are those of an ECG in mV."""

import re
import warnings
from typing import Literal

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.formats.ecg import ECG

_MILLIVOLTS_PER = {
    "v": 1e3,
    "volt": 1e3,
    "volts": 1e3,
    "mv": 1.0,
    "millivolt": 1.0,
    "millivolts": 1.0,
    "uv": 1e-3,
    "microvolt": 1e-3,
    "microvolts": 1e-3,
    "nv": 1e-6,
    "nanovolt": 1e-6,
    "nanovolts": 1e-6,
}
_COUNTS = {"adu", "adc", "adcunits", "count", "counts", "digit", "digits", "lsb", "raw"}
_SAYS_NOTHING = {"", "-", "?", "nu", "n/a", "na", "none", "unknown", "unitless", "a.u.", "au", "1"}

_UNIT_IN_BRACKETS = re.compile(r"^(.*?)\s*[(\[]\s*([^()\[\]]*?)\s*[)\]]\s*$")
_UNIT_AT_THE_END = re.compile(r"^(.+)[_\s]([munµμ]v|[munµμ]?s)$", re.IGNORECASE)

LARGEST_MILLIVOLTS = 30.0
"""Ten times what a large QRS complex measures from peak to peak."""
SMALLEST_MILLIVOLTS = 0.01
"""A tenth of what is left in the largest lead of an ECG of very low voltage."""
_TAILS = (0.5, 99.5)


def millivolts_per(unit: str) -> float | None:
    """Return the factor from a unit of voltage to mV, None for anything else.

    Args:
        unit: such as ``mV``, ``uV``, ``µV``, ``V`` or ``microvolt``, in any case.
    """
    # ``MV`` is how some devices write mV; nobody records an ECG in megavolts.
    return _MILLIVOLTS_PER.get(_folded(unit))


def is_counts(unit: str) -> bool:
    """Whether a unit says that samples are digital values of a converter."""
    return _folded(unit) in _COUNTS


def says_nothing(unit: str | None) -> bool:
    """Whether a unit is absent, or one of the words that stand for an unknown unit."""
    return unit is None or _folded(unit) in _SAYS_NOTHING


def split_unit(name: str) -> tuple[str, str | None]:
    """Part a column's name such as ``V1 (mV)``, ``V1 [uV]`` or ``V1_mV`` from its unit.

    Returns:
        The name without its unit, and the unit as it is written (None if there is none).
    """
    name = " ".join(name.split())  # many blanks take the patterns very long
    match = _UNIT_IN_BRACKETS.match(name)
    if match and (millivolts_per(match[2]) or is_counts(match[2]) or _is_unit_of_time(match[2])):
        return match[1], match[2]
    match = _UNIT_AT_THE_END.match(name)
    return (match[1], match[2]) if match else (name, None)


def _is_unit_of_time(unit: str) -> bool:
    return _folded(unit) in SECONDS_PER


SECONDS_PER = {
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "milliseconds": 1e-3,
    "us": 1e-6,
    "microsecond": 1e-6,
    "microseconds": 1e-6,
    "ns": 1e-9,
    "millisec": 1e-3,
    "min": 60.0,
    "mins": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "hour": 3600.0,
    "hours": 3600.0,
}
"""Seconds by unit of time, in lower case."""


def _folded(unit: str) -> str:
    """Return lower case without blanks, and one letter for both of Unicode's micro signs."""
    return "".join(unit.split()).lower().replace("µ", "u").replace("μ", "u")


def millivolt_doubt(ecg: ECG) -> str | None:
    """Say why samples are probably not in mV.

    The amplitude of a lead is the span of the middle 99 % of its samples, so that spikes do not
    count and a constant offset does not either; that of the ECG is the median over its leads that
    are not flat. It is doubted below 0.01 mV and above 30 mV: volts taken for mV give a few
    thousandths, microvolts and converter values hundreds and more.

    Args:
        ecg: what is said to be in mV.

    Returns:
        The reason; None if there is no doubt, or nothing but flat or empty leads to go by.
    """
    amplitudes = []
    for row in ecg.signal:
        samples = row[np.isfinite(row)]
        if samples.size:
            low, high = np.percentile(samples, _TAILS)
            amplitudes.append(high - low)
    moving = [amplitude for amplitude in amplitudes if amplitude > 0]
    if not moving:
        return None
    amplitude = float(np.median(moving))
    if amplitude > LARGEST_MILLIVOLTS:
        return (
            f"{ecg.where}: leads span {amplitude:.4g} mV, more than an ECG can. The samples look "
            "like microvolts or the counts of a converter: give units='uV', or gain in counts "
            "per mV"
        )
    if amplitude < SMALLEST_MILLIVOLTS:
        return (
            f"{ecg.where}: leads span {amplitude:.4g} mV, less than an ECG can. The samples look "
            "like volts: give units='V'"
        )
    return None


def check_millivolts(ecg: ECG, policy: Literal["error", "warn", "ignore"] = "error") -> None:
    """Act on `millivolt_doubt`.

    Args:
        ecg: what is said to be in mV.
        policy: what to do where that is doubtful.

    Raises:
        DataError: it is, and ``policy`` is ``error``.
    """
    doubt = None if policy == "ignore" else millivolt_doubt(ecg)
    if doubt is None:
        return
    if policy == "error":
        raise DataError(doubt)
    warnings.warn(doubt, stacklevel=2)
