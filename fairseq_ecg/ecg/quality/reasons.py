"""Reasons to doubt a recording."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why the quality of a recording, or of a chunk of it, is not the best.

    Attributes:
        kind: of the reason, one word; the same for all recordings.
        text: a clause that says what was found.
        factor: what the quality is multiplied by, 0 to 1. Below 0.5 the reason alone makes a
            recording doubted.
    """

    kind: str
    text: str
    factor: float


def listed(names: Sequence[str]) -> str:
    """Join names of leads, as in a sentence: ``V1``, ``V1 and V2``, ``V1, V2 and V3``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
