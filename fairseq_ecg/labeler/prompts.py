"""Sentences that say a label, out of the vocabulary: prompts of networks that read texts."""

from collections.abc import Iterable

from fairseq_ecg.labeler.label_table import LabelSet
from fairseq_ecg.labeler.terms import DESCRIBED, ENTITY, Vocabulary


def prompts_of(vocabulary: Vocabulary, labels: LabelSet) -> dict[str, tuple[str, ...]]:
    """Return the wordings of each label: its name, abbreviations and patterns.

    Args:
        vocabulary: whose entities the labels are.
        labels: several entities may be one label, which then has the wordings of all.

    Returns:
        Wordings by label, each once whatever its case. Of an entity with a descriptor, such as
        ``Infarction - Anterior``, it is the descriptor before the wordings of the entity.
    """
    return {
        label: _each_once(text for name in names for text in _wordings(name, vocabulary))
        for label, names in labels.sources.items()
    }


def _wordings(name: str, vocabulary: Vocabulary) -> list[str]:
    entity, _, descriptor = name.partition(DESCRIBED)
    of_entity = [
        pattern.text
        for pattern in vocabulary.patterns
        if pattern.kind == ENTITY
        and [(one.entity, one.descriptors) for one in pattern.entities] == [(entity, ())]
        and not set("<>") & set(pattern.text)  # which stand for numbers and marks
    ]
    wordings = [entity, *vocabulary.entities[entity].aka, *of_entity]
    return [f"{descriptor} {text}" if descriptor else text for text in wordings]


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(text.lower(), text)
    return tuple(found.values())
