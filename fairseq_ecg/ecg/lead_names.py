"""Names of leads as files spell them."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fairseq_ecg.ecg.leads import LEADS, LIMB_LEADS
from fairseq_ecg.ecg.units import split_unit, unmangled

_NUMERALS = {"1": "I", "2": "II", "3": "III"}
_SPELLINGS = {lead.lower(): lead for lead in LEADS} | {
    f"d{lead.lower()}": lead for lead in _NUMERALS.values()
}
_SYNONYMS = {f"{letter}{number}": lead for letter in "dl" for number, lead in _NUMERALS.items()} | {
    f"c{number}": f"V{number}" for number in range(1, 7)
}
"""Names of leads that are those of electrodes of an EEG, and of EMGs of arms and legs, as well."""
_LEAD = {
    "lead", "derivation", "ableitung", "derivacion", "derivazione", "derivacao", "afleiding",
    "avledning", "afledning", "odprowadzenie", "svod", "zvod", "odvod", "kytkenta", "elvezetes",
    "derivasyon", "derivatia", "\u043e\u0442\u0432\u0435\u0434\u0435\u043d\u0438\u0435",
}  # fmt: skip
"""The word lead in the languages of devices, without accents."""
_ECG = {"mdc", "ecg", "ekg"}
_CHANNEL = {"channel", "ch"}
_PREFIX = re.compile(r"^(?:ecg|ekg|lead)(?=.)")
_ATTACHED = re.compile("\u5bfc\u8054|\u5c0e\u806f|\u8a98\u5c0e")
"""The word lead where no blank parts it from the name: ``V1\u5bfc\u8054``."""
_NAMED_AFTER = re.compile(r"\((?:einthoven|goldberger|wilson)\)")
_SEPARATORS = re.compile(r"[\s_.:/-]+")
_SPLIT_LETTER = re.compile(r"^(?:a v[rlf]|[vcd] [1-6])$")
_ELECTRODES_OF_EEG = re.compile(
    r"(?:fp|af|fc|ft|tp|cp|po|[fpotam])(?:z|\d{1,2})|[coin]z|(?:eeg|eog|emg|exg)\d*|loc|roc"
)
_NUMBERED = re.compile(r"([cdl])(\d+)")
_ELECTRODES_OF_LIMBS = {"r", "l", "f"}
_OTHER_ECG = re.compile(
    r"(?<![a-z])(?:ecg|ekg)|(?:ecg|ekg)(?![a-z])|ele[ck]tro[ck]ardio"
    r"|^(?:m(?:od\.?)?[vl] ?(?:i{1,3}|[1-6])|mcl ?[1-6]|c[mc] ?[1-6])$"
)
"""ECGs of no lead that is named, and modified or bipolar leads of monitors."""

OTHER_LEADS = frozenset(
    ["V7", "V8", "V9", *(f"V{n}R" for n in range(1, 10)), *"XYZ", *(f"V{axis}" for axis in "XYZ")]
)
"""Names in upper case of leads beside the twelve: posterior and right chest leads, and Frank's."""


@dataclass(frozen=True)
class _Name:
    """What a name says.

    Args:
        kept: it as it is, without blanks around it.
        lead: one of the twelve, or ``kept``.
        says_ecg: whether it has a word for ECG or lead.
        synonym: what it is called where `_SYNONYMS` alone, and no such word, makes it that lead.
        parts: words of the name without those, in lower case.
    """

    kept: str
    lead: str
    says_ecg: bool
    synonym: str
    parts: tuple[str, ...]


@lru_cache(4096)
def _parsed(name: str) -> _Name:
    kept = name.strip().strip("'\"").strip()
    text = unicodedata.normalize("NFKD", split_unit(unmangled(kept))[0]).lower().strip()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = _ATTACHED.sub(" lead ", _NAMED_AFTER.sub("", text))
    if text.startswith(
        ("-", "\N{MINUS SIGN}", "minus")
    ):  # another signal: the lead turned upside down
        return _Name(kept, kept, False, "", ())
    words = [word for word in _SEPARATORS.split(text) if word]
    parts = tuple(word for word in words if word not in _LEAD | _ECG | _CHANNEL)
    rest = " ".join(parts)
    if _SPLIT_LETTER.match(rest):
        rest = rest.replace(" ", "")
    bare = _PREFIX.sub("", rest)
    says_ecg = bare != rest or any(word in _LEAD | _ECG for word in words)
    known = _SPELLINGS.get(rest) or _SPELLINGS.get(bare)
    if known is None and any(word in _LEAD for word in words):
        known = _NUMERALS.get(rest)
    synonym = "" if known or bare not in _SYNONYMS else bare
    known = known or _SYNONYMS.get(bare)
    return _Name(kept, known or kept, says_ecg, "" if says_ecg else synonym, parts)


def standard_lead(name: str) -> str:
    """Return a lead's name as ``fairseq_ecg.ecg.leads.LEADS`` spells it.

    Case, units, the words ECG and lead, the names of MDC and the synonyms in the README of
    ``fairseq_ecg.formats`` are understood. A name that is none of the twelve leads, ``-aVR``,
    ``MLII`` or ``V7`` for instance, is returned as it is, without blanks around it.

    Args:
        name: of a lead; whether a signal called ``C3`` is one, `standard_leads` finds from the
            names beside it.
    """
    return _parsed(name).lead


def standard_leads(names: Sequence[str], are_leads: bool = False) -> list[str]:
    """Return the names of all signals of a file, those of leads as `standard_lead` does.

    ``C1`` to ``C6``, ``D1`` to ``D3`` and ``L1`` to ``L3`` are electrodes of an EEG and channels of
    an EMG as well. They are leads beside names that make the file an ECG, and no other names.

    Args:
        names: of all signals.
        are_leads: whether they are given as leads, so that no names beside them have to.
    """
    parsed = [_parsed(name) for name in names]
    accepted = {letter for letter in "cdl" if _are_leads(letter, parsed, are_leads)}
    return [
        name.lead if not name.synonym or name.synonym[0] in accepted else name.kept
        for name in parsed
    ]


def _are_leads(letter: str, names: Sequence[_Name], are_leads: bool) -> bool:
    """Whether the synonyms with a letter are leads beside these names."""
    synonyms = {name.synonym for name in names if name.synonym[:1] == letter}
    sure = {name.lead for name in names if not name.synonym} & set(LEADS)
    numbers = {
        int(match[2])
        for name in names
        for part in name.parts
        if (match := _NUMBERED.fullmatch(part)) and match[1] == letter
    }
    if any(f"{letter}{number}" not in _SYNONYMS for number in numbers):
        return False  # a bank of electrodes, C1 to C32 for instance
    if synonyms and len(sure | {_SYNONYMS[synonym] for synonym in synonyms}) == len(LEADS):
        return True  # complete
    if any(_ELECTRODES_OF_EEG.fullmatch(part) for name in names for part in name.parts):
        return False
    if are_leads:
        return True
    if letter == "d" and all(name.synonym in synonyms for name in names):
        return True
    plain = {name.lead for name in names if not name.synonym and not name.says_ecg} & set(LEADS)
    if letter != "c":
        return bool(plain)
    if {" ".join(name.parts) for name in names} >= _ELECTRODES_OF_LIMBS:
        return True
    n_limb_leads = len(plain & set(LIMB_LEADS))
    return (n_limb_leads > 1 and not synonyms <= {"c3", "c4"}) or (
        n_limb_leads == 1 and len(synonyms) == 6
    )


def is_ecg(name: str) -> bool:
    """Whether a name that is none of the twelve leads is that of an ECG all the same.

    Args:
        name: such as ``ECG``, ``EKG1``, ``MLII``, ``MCL1`` or ``V7``.
    """
    bare = " ".join(split_unit(name.strip())[0].split())
    return bare.upper() in OTHER_LEADS or _OTHER_ECG.search(bare.lower()) is not None
