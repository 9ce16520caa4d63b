"""Units of voltage, and whether amplitudes are those of an ECG in mV."""

import re
import unicodedata
import warnings
from functools import lru_cache
from typing import Literal

import numpy as np

from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.errors import DataError

_VOLTAGE = re.compile(r"(m|u|n|milli|mili|micro|mikro|nano|)(?:v|volt|volts|volte|voltio|voltios)")
"""Units of voltage as `_folded` leaves them."""
_MILLIVOLTS_PER = {"": 1e3, "m": 1.0, "u": 1e-3, "n": 1e-6} | {
    word: factor
    for factor, words in ((1.0, ("milli", "mili")), (1e-3, ("micro", "mikro")), (1e-6, ("nano",)))
    for word in words
}
_ANOTHER_KIND = re.compile(
    r"%.*|.*/(?:s|sec|s2|s\^2|min|m2|l|dl|cm)|bpm|rpm|[kmhn]?pa|m?bar|mmhg|cmh2o|torr|psi"
    r"|[km]?\u03c9|[km]?ohms?|[nm]?siemens|[num]?s|m?g|gs|[mu]?l|[munp]?a|lx|lux|[kmg]?hz|dbm?"
    r"|[\u00b0o]?[cfk]|deg.*|celsius|kelvin|[cmkn]?m|secs?|seconds?|min|h|rad|bool(?:ean)?"
)
"""Units of anything but a voltage."""
_COUNTS = {"adu", "adc", "adcunits", "count", "counts", "digit", "digits", "lsb", "raw"}
_SAYS_NOTHING = {"", "-", "?", "nu", "n/a", "na", "none", "unknown", "unitless", "a.u", "au", "1"}

_UNIT_IN_BRACKETS = re.compile(r"^(.*?)\s*[(\[]\s*([^()\[\]]*?)\s*[)\]]\s*$")
_UNIT_AT_THE_END = re.compile(
    r"^(.+)[_\s]([munµμ](?:v|volts?)|(?:milli|micro|nano)volts?|[munµμ]?s)$", re.IGNORECASE
)

LARGEST_MILLIVOLTS = 30.0
"""Ten times what a large QRS complex measures from peak to peak."""
SMALLEST_MILLIVOLTS = 0.01
"""A tenth of what is left in the largest lead of an ECG of very low voltage."""
_TAILS = (0.5, 99.5)


def millivolts_per(unit: str) -> float | None:
    """Return the factor from a unit of voltage to mV, None for anything else.

    Args:
        unit: such as ``mV``, ``uV``, ``µV``, ``V``, ``mVolt`` or ``microvolt``, in any case.
    """
    # ``MV`` is how some devices write mV; nobody records an ECG in megavolts.
    match = _VOLTAGE.fullmatch(_folded(unit))
    return _MILLIVOLTS_PER[match[1]] if match else None


def is_of_another_kind(unit: str) -> bool:
    """Whether a unit is known to be one of something else than a voltage, ``mmHg`` for instance."""
    return _ANOTHER_KIND.fullmatch(_folded(unit)) is not None


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
    word: seconds
    for seconds, words in (
        (1.0, "s sec secs second seconds"),
        (1e-3, "ms msec millisec millisecond milliseconds"),
        (1e-6, "us microsecond microseconds"),
        (1e-9, "ns"),
        (60.0, "min mins minute minutes"),
        (3600.0, "hour hours"),
    )
    for word in words.split()
}
"""Seconds by unit of time, in lower case."""


@lru_cache(256)
def _folded(unit: str) -> str:
    """Return lower case without blanks, brackets and hyphens, and ``u`` for every micro sign."""
    text = unicodedata.normalize("NFKC", unmangled(unit)).strip()
    bare = "".join(text.split()).strip("[](){}.").replace("-", "") or text
    # The third is the micro sign of DOS, read as Latin-1.
    return re.sub("[µμæ]", "u", bare.lower())


def field_text(value: object) -> str | None:
    """Return what a field of fixed width says, None for nothing: programs in C end it with NUL."""
    return ("" if value is None else str(value)).partition("\0")[0].strip() or None


def unmangled(text: str) -> str:
    """Return what UTF-8 says that was read as Latin-1 or Windows-1252, ``ÂµV`` for instance."""
    for encoding in ("latin-1", "cp1252"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


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
    for row in range(len(ecg.leads)):
        samples = ecg.signal[row : row + 1, :]  # of a long recording one lead is read at a time
        samples = samples[np.isfinite(samples)]
        if samples.size:
            low, high = np.percentile(samples, _TAILS)
            amplitudes.append(high - low)
    moving = [amplitude for amplitude in amplitudes if amplitude > 0]
    if not moving:
        return None
    amplitude = float(np.median(moving))
    if SMALLEST_MILLIVOLTS <= amplitude <= LARGEST_MILLIVOLTS:
        return None
    is_large = amplitude > LARGEST_MILLIVOLTS
    unit = "uV" if is_large else "V"
    spans = (
        f"{ecg.where}: leads span {amplitude:.4g} mV, {'more' if is_large else 'less'} than an ECG"
    )
    looks = "microvolts or the counts of a converter" if is_large else "volts"
    if ecg.stated_unit is None:
        remedy = f"give units='{unit}'" + (", or gain in counts per mV" if is_large else "")
    else:
        remedy = (
            f"the file says {ecg.stated_unit}. Correct its header, or read it in Python and give "
            f"the signal of the ECG to ecg_from_array with units='{unit}'"
        )
    return f"{spans} can. The samples look like {looks}: {remedy}"


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
