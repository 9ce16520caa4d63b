"""The twelve leads: their names, selections of them, and the rows of an ECG they fill."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS = LEADS[:6]

_INDEX_OF_NAME = {name.lower(): index for index, name in enumerate(LEADS)}
_EXAMPLE = "Give a list of lead names or of numbers from 0 to 11, such as \"['II', 'V1']\""


def lead_indices(leads: str | int | Iterable[int | str] | None) -> list[int]:
    """Standard positions of the leads a user names.

    Args:
        leads: list of names (in any case) and positions 0 to 11, one of them alone, or text that
            says so: a Python literal (``"['II', 'V1']"``, ``"0"``) or names and positions between
            commas (``"II,V1"``, ``"[II, V1]"``). None: all twelve.

    Returns:
        Positions 0 to 11 in the order given.

    Raises:
        ValueError: no such thing, an unknown lead, a lead named twice, or no lead at all.
    """
    if leads is None:
        return list(range(len(LEADS)))
    parsed: object = _parsed(leads) if isinstance(leads, str) else leads
    if isinstance(parsed, str | int | np.integer):
        parsed = [parsed]
    if not isinstance(parsed, Iterable) or isinstance(parsed, Mapping | bytes):
        raise ValueError(f"{leads!r} is not a list of leads. {_EXAMPLE}")
    indices = [_lead_index(lead) for lead in parsed]
    if not indices:
        raise ValueError(f"{leads!r} names no lead. {_EXAMPLE}")
    if len(set(indices)) < len(indices):
        raise ValueError(f"{leads!r} names a lead twice")
    return indices


def leads_as_text(leads: str | int | Iterable[int | str] | None) -> str | None:
    """Write leads as fairseq_signals reads them from a configuration: a list as Python's literal.

    Args:
        leads: as :func:`lead_indices` reads them.

    Returns:
        Such text as it is, what is no list of leads, too: reading it raises the error.
    """
    try:
        if leads is None or isinstance(ast.literal_eval(str(leads)), list | tuple):
            return leads if leads is None else str(leads)
    except (ValueError, SyntaxError):
        pass
    try:
        return str(lead_indices(leads))
    except ValueError:
        return str(leads)


def _parsed(text: str) -> object:
    """Read a Python literal, or else names and positions between commas."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        words = [word.strip(" '\"") for word in text.strip().strip("[]()").split(",")]
        return [word for word in words if word]


def _lead_index(lead: object) -> int:
    if isinstance(lead, str):
        name = lead.strip().lower()
        index = int(name) if name.isdecimal() else _INDEX_OF_NAME.get(name)
    elif isinstance(lead, int | np.integer) and not isinstance(lead, bool):
        index = int(lead)
    else:
        index = None
    if index is None or not 0 <= index < len(LEADS):
        raise ValueError(f"unknown lead {lead!r}; the leads are {', '.join(LEADS)} (0 to 11)")
    return index


@dataclass(frozen=True)
class LeadSelection:
    """Which leads of a recording become which rows of an ECG.

    Args:
        leads: standard positions of the leads to load, in the order of their rows.
        bucket: leads of which each item has one, drawn at random. The other leads then come
            first, in standard order, and the drawn one last.
        pad: whether the ECG has twelve rows, each lead in its standard position and zeros in place
            of leads that are not selected.

    Raises:
        ValueError: ``bucket`` together with ``pad``, or a bucket lead that is not loaded.
    """

    leads: tuple[int, ...] = tuple(range(len(LEADS)))
    bucket: tuple[int, ...] | None = None
    pad: bool = False

    def __post_init__(self) -> None:
        if self.bucket is None:
            return
        if self.pad:
            raise ValueError(
                "leads_bucket and enable_padding_leads exclude each other: set one of them"
            )
        missing = [LEADS[lead] for lead in self.bucket if lead not in self.leads]
        if missing:
            raise ValueError(
                f"leads_bucket holds {', '.join(missing)}, which leads_to_load does not. "
                "Add these leads to leads_to_load or drop them from the bucket"
            )

    def draw(self, rng: np.random.RandomState | None) -> list[int]:
        """Leads of one item; ``rng`` is needed where one is drawn from a bucket."""
        if self.bucket is None:
            return list(self.leads)
        assert rng is not None
        return self._with_bucket_lead(int(rng.choice(self.bucket, size=1)[0]))

    def rows(self, leads: list[int]) -> list[int]:
        """Lead in each row of an ECG of which ``leads`` were drawn."""
        return list(range(len(LEADS))) if self.pad else leads

    def row_layouts(self) -> Iterator[list[int]]:
        """Lead in each row, for every outcome of the draw."""
        if self.bucket is None:
            yield self.rows(list(self.leads))
        else:
            yield from map(self._with_bucket_lead, self.bucket)

    def _with_bucket_lead(self, drawn: int) -> list[int]:
        return [*sorted(set(self.leads) - set(self.bucket or ())), drawn]
