"""What a question about one ECG and its answer say: which attributes it has in which leads.

This is the grounding of fairseq_signals (``preprocess_ecgqa_for_classification``), by which the
answers to questions become the labels of a classifier.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fairseq_ecg.data.label_file import NO_ANSWER
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.prepare.ecg_qa.project import Question

ENTIRE = "entire"
_ALL = tuple(range(12))
_LIMB, _CHEST = _ALL[:6], _ALL[6:]
_GROUPS = {"limb leads": _LIMB, "chest leads": _CHEST}
_SINGLE = tuple(f"lead {lead}" for lead in LEADS)
LEAD_GROUPS: dict[str, tuple[int, ...]] = {
    ENTIRE: _ALL,
    "diffuse leads": _ALL,
    "frontal and horizontal leads": _ALL,
    **{name: (lead,) for lead, name in enumerate(_SINGLE)},
    **_GROUPS,
    "frontal leads": _LIMB,
    "horizontal leads": _CHEST,
    "inferior leads": (1, 2, 5),
    "inferoseptal leads": (1, 2, 5, 6, 7),
    "inferolateral leads": (0, 1, 2, 4, 5, 10, 11),
    "inferoposterior leads": (1, 2, 5, 6, 7, 8),
    "inferoposterolateral leads": (0, 1, 2, 4, 5, 6, 7, 8, 10, 11),
    "anterior leads": (8, 9),
    "anteroseptal leads": (6, 7, 8, 9),
    "anterolateral leads": (0, 4, 8, 9, 10, 11),
    "lateral leads": (0, 4, 10, 11),
    "posterior leads": (9, 10, 11),
    "septal leads": (6, 7),
}
"""Positions of the leads of each group, ascending."""

EXCLUDING, INCLUDING = "excluding uncertain symptoms", "including uncertain symptoms"
_NORMAL_RANGE = " the normal range"
_RANGE_LETTERS = 5
"""By which ranges are distinguished: below, within, above."""

_ASKED_BY_GROUP = (
    "voltage criteria (qrs) for left ventricular hypertrophy",
    "low qrs voltages in the frontal and horizontal leads",
    "high qrs voltage",
)
"""Attributes of which a question for leads is answered by all limb or all chest leads."""

_STAGES_NOT_VERIFIED = (
    "unknown stage of myocardial infarction",
    "none of myocardial infarction",
)

NAMED_WITH_LEADS = {
    "myocardial infarction": "myocardial infarction",
    "subendocardial injury": "subendocardial injury",
    "ischemic": "ischemic",
    "Myocardial infarction": "myocardial infarction",
    "ischemic ST-T changes": "ischemic ST-T changes",
}
"""Attributes whose names go on with `` in ... leads``, and what the classes without leads are
called; the first that fits counts."""

_LEAD_IN_QUESTION = re.compile(
    rf"(?<= in )(lead ({'|'.join(sorted(LEADS, key=len, reverse=True))})|{'|'.join(_GROUPS)})"
)
_BEHIND_ATTRIBUTE = "|".join(
    f"{group} leads"
    for group in (
        *("anterior", "inferior", "frontal and horizontal", "septal", "lateral", "posterior"),
        *("frontal", "horizontal", "diffuse"),
    )
)
_LEADS_OF_ATTRIBUTE = re.compile(r"(?<=in ).* leads")


class Statement(NamedTuple):
    """That an ECG has an attribute in some leads, or has it not.

    Attributes:
        attribute: its name, without the leads that some names say.
        leads: name of a group of leads; a key of `LEAD_GROUPS` but for attributes with others.
        holds: whether the ECG has it.
    """

    attribute: str
    leads: str
    holds: bool


def statements(question: Question, *, verified_only: bool) -> Iterator[Statement]:
    """Yield what a question and its answer say.

    Args:
        question: of the version ``template``. One that compares ECGs says nothing.
        verified_only: leave out what questions say that choose or query, as in the test split.

    Raises:
        DataError: the question lacks attributes or answers.
    """
    if question.relation != "single" or (verified_only and not question.verifies_one):
        return
    if not question.attributes:
        raise question.refused("has no 'attribute'. Download ECG-QA again")
    if not question.answers:
        raise question.refused("has no 'answer'. Download ECG-QA again")
    for attribute, leads, holds in _FORMS[question.form](question):
        yield Statement(_without_leads(attribute), leads, holds)


_Said = Iterator[tuple[str, str, bool]]
"""Attributes as they are named, groups of leads, and whether the ECG has them there."""


def _verified(question: Question) -> _Said:
    if len(question.attributes) != 1:
        raise question.refused(
            f"verifies {len(question.attributes)} attributes, one was expected. Download ECG-QA "
            "again"
        )
    (attribute,), answer = question.attributes, question.answers[0]
    if answer == "not sure":
        return
    if EXCLUDING in question.text:
        if answer != "no":
            yield attribute, _verified_leads(question, attribute), True
    elif INCLUDING in question.text:
        if answer != "yes":
            yield attribute, _verified_leads(question, attribute), False
    else:
        yield attribute, _verified_leads(question, attribute), answer == "yes"


def _verified_leads(question: Question, attribute: str) -> str:
    lead = _lead_in(question)
    if lead is not None:
        return lead
    behind = re.search(rf"(?<={re.escape(attribute)} in )({_BEHIND_ATTRIBUTE})", question.text)
    if behind is not None:
        group = behind.group()
        return ENTIRE if LEAD_GROUPS[group] == _ALL else group
    return ENTIRE if f"{_NORMAL_RANGE} of " in question.text else _leads_of(attribute)


def _chosen(question: Question) -> _Said:
    said = _of_certainty(question)
    if said is None:
        is_answer = question.answers.__contains__
        if _NORMAL_RANGE in question.text:
            is_answer = _is_range(question)
        said = [(attribute, is_answer(attribute)) for attribute in question.attributes]
    yield from _in_leads(question, said)


def _queried(question: Question) -> _Said:
    answers, attributes = question.answers, question.attributes
    if _lead_in(question) is not None:
        yield from _in_leads(question, [(each, each in answers) for each in attributes])
    elif "What leads" in question.text:
        yield from _queried_leads(question)
    else:
        said = _of_certainty(question)
        if said is None and answers[0] in _STAGES_NOT_VERIFIED:
            return
        if said is None:
            is_answer = _answers_query(question)
            kept = [each for each in attributes if each not in _STAGES_NOT_VERIFIED]
            said = [(each, is_answer(each)) for each in kept]
        yield from _in_leads(question, said)


_FORMS: dict[str, Callable[[Question], _Said]] = {
    "verify": _verified,
    "choose": _chosen,
    "query": _queried,
}


def _queried_leads(question: Question) -> _Said:
    """What a question for the leads of an attribute says of each lead, or group of leads."""
    attributes, answers = question.attributes, set(question.answers)
    leads: Sequence[tuple[str, bool]] = [(lead, lead in answers) for lead in _SINGLE]
    if attributes[0] in _ASKED_BY_GROUP:
        leads = [
            (group, answers.issuperset(_SINGLE[lead] for lead in positions))
            for group, positions in _GROUPS.items()
        ]
    for position, (group, holds) in enumerate(leads):
        yield attributes[position % len(attributes)], group, holds


def _of_certainty(question: Question) -> list[tuple[str, bool]] | None:
    """What is certain, of a question that says which symptoms count; None of another one."""
    if EXCLUDING in question.text:
        return [(answer, True) for answer in question.answers if answer != NO_ANSWER]
    if INCLUDING in question.text:
        return [(each, False) for each in question.attributes if each not in question.answers]
    return None


def _is_range(question: Question) -> Callable[[str], bool]:
    answer = question.answers[0][:_RANGE_LETTERS]
    return lambda attribute: attribute[:_RANGE_LETTERS] == answer


def _answers_query(question: Question) -> Callable[[str], bool]:
    if "What range " in question.text:
        return _is_range(question)
    if "What numeric features " in question.text:
        return lambda attribute: attribute.partition(" of ")[2] in question.answers
    return question.answers.__contains__


def _in_leads(question: Question, said: Sequence[tuple[str, bool]]) -> _Said:
    """Add the leads that the question names, or else the attributes."""
    lead = _lead_in(question)
    for attribute, holds in said:
        yield attribute, _leads_of(attribute) if lead is None else lead, holds


def _lead_in(question: Question) -> str | None:
    found = _LEAD_IN_QUESTION.search(question.text)
    return None if found is None else found.group()


def _leads_of(attribute: str) -> str:
    found = _LEADS_OF_ATTRIBUTE.search(attribute)
    return ENTIRE if found is None or "frontal and horizontal" in found.group() else found.group()


def _without_leads(attribute: str) -> str:
    for name, short in NAMED_WITH_LEADS.items():
        if f"{name} in" in attribute:
            return re.sub(f"{name} in.* leads", short, attribute)
    return attribute
