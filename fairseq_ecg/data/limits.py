"""What a recording, a file or a network can plausibly be: the one table of limits.

Readers compare what a file says with these limits before they allocate or loop, so that a small
file that lies about its size costs nothing. The environment variable ``FAIRSEQ_ECG_LIMITS`` moves
limits, as in ``FAIRSEQ_ECG_LIMITS=channels=5000,highest_rate=2e6``.
"""

import os
from dataclasses import dataclass

from fairseq_ecg.data.errors import DataError

VARIABLE = "FAIRSEQ_ECG_LIMITS"
"""Environment variable with limits in place of those of `LIMITS`: ``name=value``, by comma."""


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
    "bytes": Limit(64 * 2**30, "bytes when unpacked"),
    "nesting": Limit(50, "levels of nesting"),
    "options": Limit(20_000, "values in a configuration"),
    "layers": Limit(200, "layers"),
    "width": Limit(100_000, "channels of a layer"),
    "kernel": Limit(100_000, "samples or frames of a convolution"),
    "parameters": Limit(2e9, "parameters"),
    "segment": Limit(1e6, "samples of a segment"),
}
"""Limits by name."""


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
    side = "fewer than the least" if limit.is_least else "more than the most"
    raise DataError(
        f"{where}: says {value:,.10g} {limit.what}, {side} that is plausible ({bound:,.10g}). If "
        f"that is right, set {VARIABLE}={name}={value:.10g} in the environment"
    )
