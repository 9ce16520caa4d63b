"""What a recording, a file or a network can plausibly be: the one table of limits.

Readers compare what a file says with these limits before they allocate or loop, so that a small
file that lies about its size costs nothing. The environment variable ``FAIRSEQ_ECG_LIMITS`` moves
limits, as in ``FAIRSEQ_ECG_LIMITS=channels=5000,highest_rate=2e6``.
"""

import os
from dataclasses import dataclass

from fairseq_ecg.errors import DataError

VARIABLE = "FAIRSEQ_ECG_LIMITS"
"""Environment variable with limits in place of those of `LIMITS`: ``name=value``, by comma."""

FREELY_UNPACKED = 256 * 2**20
"""Bytes that may come out of a file however small it is."""


@dataclass(frozen=True)
class Limit:
    """A bound of something that a file says.

    Args:
        value: the bound; itself allowed.
        what: what is bounded, with its unit, as it stands in messages behind a number.
        is_least: whether values below it, in place of those above it, are refused.
    """

    value: float
    what: str
    is_least: bool = False


LIMITS = {
    "lowest_rate": Limit(10, "Hz", is_least=True),
    "highest_rate": Limit(200_000, "Hz"),
    "samples": Limit(4e9, "samples of a lead"),
    "channels": Limit(2_000, "channels"),
    "columns": Limit(100_000, "columns"),
    "bytes": Limit(64 * 2**30, "bytes when unpacked"),
    "workbook": Limit(2 * 2**30, "bytes of a workbook when unpacked"),
    "expansion": Limit(100, "times its packed size"),
    "description": Limit(64 * 2**20, "bytes of a description"),
    "store_segments": Limit(1e8, "segments of a store"),
    "nesting": Limit(50, "levels of nesting"),
    "record_segments": Limit(10_000, "segments of a WFDB record"),
    "header": Limit(2**24, "bytes of a WFDB header"),
    "elements": Limit(1_000_000, "tags"),
    "objects": Limit(100_000, "groups, data sets and cells"),
    "nodes": Limit(1_000_000, "values with what aliases repeat"),
    "options": Limit(20_000, "values in a configuration"),
    "layers": Limit(200, "layers"),
    "width": Limit(100_000, "channels of a layer"),
    "kernel": Limit(100_000, "samples or frames of a convolution"),
    "parameters": Limit(2e9, "parameters"),
    "segment": Limit(1e6, "samples of a segment"),
    "vocabulary": Limit(1_000_000, "tokens of a vocabulary"),
}
"""Limits by name; the README of ``fairseq_ecg.formats`` says what they are far from."""


def limit_of(name: str) -> float:
    """Return a limit: what `VARIABLE` says of it, or else its value in `LIMITS`.

    Raises:
        DataError: `VARIABLE` has no name of a limit and number where one should be.
    """
    value = LIMITS[name].value
    for entry in filter(None, os.environ.get(VARIABLE, "").split(",")):
        moved, _, text = entry.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = None
        if moved.strip() not in LIMITS or number is None or not number > 0:
            raise DataError(
                f"{VARIABLE}: {entry!r} is no limit. Give name=number, by comma; names are "
                f"{', '.join(LIMITS)}"
            )
        if moved.strip() == name:
            value = number
    return value


def check_limit(where: str, name: str, value: float) -> None:
    """Compare what a file says with a limit.

    Args:
        where: names the file in the error message.
        name: of the limit, in `LIMITS`.
        value: what the file says.

    Raises:
        DataError: it is beyond the limit, or no number.
    """
    bound = limit_of(name)
    limit = LIMITS[name]
    if (value >= bound) if limit.is_least else (value <= bound):
        return
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = float("inf")
    said = f"{where}: says {number:,.10g} {limit.what}"
    if not number > 0:
        raise DataError(f"{said}, which cannot be")
    side = "fewer than the least" if limit.is_least else "more than the most"
    moved = int(number) if number.is_integer() else number
    raise DataError(
        f"{said}, {side} that is plausible ({bound:,.10g}). If that is right, set "
        f"{VARIABLE}={name}={moved} in the environment"
    )


def check_rate(where: str, rate: float) -> None:
    """Compare a sampling rate in Hz with the lowest and the highest.

    Args:
        where: names the file in the error message.
        rate: in Hz.

    Raises:
        DataError: it is beyond one of them, or no number.
    """
    check_limit(where, "lowest_rate", rate)
    check_limit(where, "highest_rate", rate)


def check_unpacked(where: str, n_packed: int | None, n_bytes: int) -> None:
    """Compare what comes out of a packed file with what is plausible.

    Args:
        where: names the file in the error message.
        n_packed: its size in bytes; None where it is not known, or is not packed.
        n_bytes: what comes out, in bytes.

    Raises:
        DataError: it is too much, or too many times the packed size.
    """
    check_limit(where, "bytes", n_bytes)
    if n_packed is not None and n_bytes > FREELY_UNPACKED:
        check_limit(where, "expansion", n_bytes / max(n_packed, 1))
