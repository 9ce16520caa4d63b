"""What a labeler found, as tables."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from fairseq_ecg.labeler.inference import Block
from fairseq_ecg.labeler.mentions import Mentioned
from fairseq_ecg.labeler.reading import Reading
from fairseq_ecg.labeler.terms import Pattern

SAMPLE = "sample"


@dataclass(frozen=True)
class Finding:
    """What one text says.

    Attributes:
        reading: the text and the patterns in it.
        mentions: entities that it mentions.
        blocks: position and conclusions of those that hold, then of compounds.
        language: code of the text's language (ISO 639, or a script); None for English.
        is_read: whether texts of that language are read; of those that are not nothing is found.
    """

    reading: Reading
    mentions: tuple[Mentioned, ...]
    blocks: tuple[tuple[int, Block], ...]
    language: str | None = None
    is_read: bool = True

    @cached_property
    def labels_flat(self) -> dict[str, float]:
        """The highest probability of each label, in the order of the alphabet."""
        highest: dict[str, float] = {}
        for _, block in self.blocks:
            for name, probability in block.flat.items():
                if probability > highest.get(name, -1.0):
                    highest[name] = probability
        return dict(sorted(highest.items()))


class LabelerResults:
    """What a labeler found in some texts, as tables in the shapes of ECG-FM's labeler.

    A table is built when it is asked for. ``sample`` is the index of a text.

    Args:
        texts: as they were given.
        findings: of each text.
        patterns: of the vocabulary.
    """

    def __init__(self, texts: pd.Series, findings: Sequence[Finding], patterns: Sequence[Pattern]):
        self.texts = texts
        self.findings = findings
        self._patterns = patterns

    def _samples(self) -> Iterator[tuple[object, Finding]]:
        return zip(self.texts.index.tolist(), self.findings, strict=True)

    @cached_property
    def text_results(self) -> pd.DataFrame:
        """``text`` as rewritten, ``unmatched`` and ``stripped``, by ``sample``.

        ``unmatched`` is what no pattern took, ``stripped`` the ASCII letters, digits and blanks of
        it.
        """
        readings = [finding.reading for finding in self.findings]
        return pd.DataFrame(
            {
                "text": [reading.text for reading in readings],
                "unmatched": [reading.unmatched for reading in readings],
                "stripped": [_NOT_ASCII_WORDS.sub("", part.unmatched).strip() for part in readings],
            },
            index=self.texts.index.rename(SAMPLE),
            dtype=object,  # strings of Arrow hold no lone surrogates, a text may
        )

    @property
    def unmatched(self) -> pd.Series:
        """Words that no pattern took, of texts where there are some, by ``sample``."""
        stripped = [finding.reading.stripped for finding in self.findings]
        words = pd.Series(stripped, self.texts.index.rename(SAMPLE), dtype=object, name="unmatched")
        return words[words != ""]

    @cached_property
    def languages(self) -> pd.DataFrame:
        """Of texts that are not in English ``language`` and whether it ``is_read``, by ``sample``.

        Of texts in a language that is not read nothing is found, which is not to say that they
        deny anything.
        """
        rows = [
            (sample, finding.language, finding.is_read)
            for sample, finding in self._samples()
            if finding.language is not None
        ]
        return _table(rows, [SAMPLE], ["language", "is_read"])

    @cached_property
    def pattern_results(self) -> pd.DataFrame:
        """Patterns in the order of each text, by ``sample``: ``idx``, ``type`` and ``pattern``."""
        rows = [
            (sample, i, self._patterns[pattern].kind, self._patterns[pattern].text)
            for sample, finding in self._samples()
            for i, pattern in enumerate(finding.reading.patterns)
        ]
        return _table(rows, [SAMPLE], ["idx", "type", "pattern"])

    @property
    def patterns(self) -> pd.DataFrame:
        """``pattern_results``."""
        return self.pattern_results

    def _rows(self, of: Literal["entities", "descriptors"]) -> Iterator[tuple[tuple, Any]]:
        """Index, name and source of each row of all blocks, and the row itself."""
        for sample, finding in self._samples():
            for number, block in finding.blocks:
                for row in getattr(block, of):
                    source = _source(row.source, sample, number, row.origin)
                    yield (sample, number, row.number, row.name, source), row

    @cached_property
    def entities(self) -> pd.DataFrame:
        """``name``, ``source`` and ``prob`` by ``sample``, ``pattern`` and ``entity``."""
        rows = [(*common, row.probability) for common, row in self._rows("entities")]
        return _table(rows, [SAMPLE, "pattern", "entity"], ["name", "source", "prob"])

    @cached_property
    def descriptors(self) -> pd.DataFrame:
        """``name`` and ``source`` by ``sample``, ``pattern`` and ``entity``."""
        rows = [common for common, _ in self._rows("descriptors")]
        return _table(rows, [SAMPLE, "pattern", "entity"], ["name", "source"])

    @cached_property
    def negated(self) -> pd.DataFrame:
        """``name`` of entities that a text denies, by ``sample`` (with ``negation="clause"``)."""
        rows = [
            (sample, mention.entity)
            for sample, finding in self._samples()
            for mention in finding.mentions
            if mention.negated
        ]
        return _table(rows, [SAMPLE], ["name"])

    @cached_property
    def labels(self) -> pd.DataFrame:
        """``name``, ``prob`` and ``label_type`` (entity or descriptor) by ``sample``."""
        rows = [
            (sample, *label)
            for sample, finding in self._samples()
            for _, block in finding.blocks
            for label in block.labels
        ]
        return _table(rows, [SAMPLE], ["name", "prob", "label_type"])

    @cached_property
    def labels_flat(self) -> pd.DataFrame:
        """``name`` and its highest ``prob`` by ``sample``, names in the order of the alphabet."""
        rows = [
            (sample, name, probability)
            for sample, finding in self._samples()
            for name, probability in finding.labels_flat.items()
        ]
        return _table(rows, [SAMPLE], ["name", "prob"])


def _source(source: str, sample: object, number: int, origin: int | None) -> str:
    if origin is not None:
        return f"{source} [({sample!r}, {number}, {origin})]"
    return source if source == "text" else f"{source} [{sample}]"


_NOT_ASCII_WORDS = re.compile("[^a-zA-Z0-9 ]")
_DTYPES = {"prob": "float64", "idx": "int64", "is_read": "bool"}


def _table(rows: list[tuple], index: list[str], columns: list[str]) -> pd.DataFrame:
    names = [*index, *columns]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    table = pd.DataFrame(dict(zip(names, map(list, values), strict=True)), columns=names)
    if not rows:
        table = table.astype({name: _DTYPES.get(name, object) for name in columns})
    return table.set_index(index)
