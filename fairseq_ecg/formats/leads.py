"""Names of leads as files spell them, and ECGs with the leads that somebody needs."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.units import split_unit

_SPELLINGS = {lead.lower(): lead for lead in LEADS} | {
    **{f"d{roman}": lead for roman, lead in (("i", "I"), ("ii", "II"), ("iii", "III"))},
    **{f"d{number}": LEADS[number - 1] for number in (1, 2, 3)},
    **{f"l{number}": LEADS[number - 1] for number in (1, 2, 3)},
    **{f"c{number}": f"V{number}" for number in range(1, 7)},
}
_NUMBERS = {"1": "I", "2": "II", "3": "III"}
"""What ``Lead 1`` means; a number alone is the number of a channel."""
_WORDS = {"mdc", "ecg", "ekg", "lead", "derivation", "channel", "ch"}
_PREFIX = re.compile(r"^(?:ecg|ekg|lead)(?=.)")
_NAMED_AFTER = re.compile(r"\((?:einthoven|goldberger|wilson)\)")
_SEPARATORS = re.compile(r"[\s_.:/-]+")
_SPLIT_LETTER = re.compile(r"^(?:a v[rlf]|[vcd] [1-6])$")

OTHER_LEADS = frozenset(
    ["V7", "V8", "V9", *(f"V{n}R" for n in range(1, 10)), *"XYZ", *(f"V{axis}" for axis in "XYZ")]
)
"""Names in upper case of leads beside the twelve: posterior and right chest leads, and Frank's."""

LIMB_LEADS = LEADS[:6]
OF_I_AND_II = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""Einthoven's and Goldberger's leads as sums of I and II."""


@lru_cache(4096)
def standard_lead(name: str) -> str:
    """Return a lead's name as ``fairseq_ecg.data.leads.LEADS`` spells it.

    Case, units, the words ECG and lead, the names of MDC and the synonyms in the room's README
    are understood. A name that is none of the twelve leads, ``-aVR``, ``MLII`` or ``V7`` for
    instance, is returned as it is, without blanks around it.
    """
    kept = name.strip().strip("'\"").strip()
    text = unicodedata.normalize("NFKC", split_unit(kept)[0]).lower().strip()
    if text.startswith(
        ("-", "\N{MINUS SIGN}", "minus")
    ):  # another signal: the lead turned upside down
        return kept
    words = [word for word in _SEPARATORS.split(_NAMED_AFTER.sub("", text)) if word]
    rest = " ".join(word for word in words if word not in _WORDS)
    if _SPLIT_LETTER.match(rest):
        rest = rest.replace(" ", "")
    known = _SPELLINGS.get(rest) or _SPELLINGS.get(_PREFIX.sub("", rest))
    if known is None and "lead" in words:
        known = _NUMBERS.get(rest)
    return known or kept


def derive_limb_leads(ecg: ECG) -> ECG:
    """Add the limb leads that are missing, where at least two are there.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven, Goldberger),
    or what follows of these for the first two limb leads present.

    Returns:
        The ECG with all six limb leads, the derived ones last; unchanged if there are fewer than
        two to derive from.
    """
    present = [lead for lead in LIMB_LEADS if lead in ecg.leads]
    missing = [lead for lead in LIMB_LEADS if lead not in ecg.leads]
    if len(present) < 2 or not missing:
        return ecg
    first, second = (ecg.signal[ecg.leads.index(lead)] for lead in present[:2])
    basis = np.array([OF_I_AND_II[lead] for lead in present[:2]])
    derived = []
    for lead in missing:
        of_first, of_second = np.array(OF_I_AND_II[lead]) @ np.linalg.inv(basis)
        derived.append(float(of_first) * first + float(of_second) * second)
    return replace(ecg, signal=np.concatenate([ecg.signal, derived]), leads=(*ecg.leads, *missing))


def arrange(
    ecg: ECG,
    leads: Sequence[str] = LEADS,
    missing: Literal["error", "nan", "zero", "derive"] = "error",
) -> ECG:
    """Return an ECG with exactly the leads asked for, in this order.

    Args:
        ecg: with leads in any order; those not asked for are dropped.
        leads: names, spelled in any way that `standard_lead` knows.
        missing: what becomes of leads that are not there: an error, rows of NaN, rows of zeros,
            or limb leads derived of two others and an error for the rest. To derive what can be
            and fill the rest, arrange what `derive_limb_leads` returns.

    Raises:
        DataError: a lead is missing.
        ValueError: a lead is asked for twice, or ``missing`` is none of the four.
    """
    if missing not in ("error", "nan", "zero", "derive"):
        raise ValueError(f"missing={missing!r}: choose error, nan, zero or derive")
    names = tuple(standard_lead(lead) for lead in leads)
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(leads)} names a lead twice")
    source = derive_limb_leads(ecg) if missing == "derive" else ecg
    row_of = {name: row for row, name in enumerate(source.leads)}
    absent = [name for name in names if name not in row_of]
    if absent and missing in ("error", "derive"):
        raise DataError(
            f"{ecg.where}: lacks lead {', '.join(absent)} (it has {', '.join(ecg.leads)})"
        )
    fill = 0.0 if missing == "zero" else np.nan
    signal = np.full((len(names), ecg.n_samples), fill, dtype=source.signal.dtype)
    for row, name in enumerate(names):
        if name in row_of:
            signal[row] = source.signal[row_of[name]]
    return replace(ecg, signal=signal, leads=names)
