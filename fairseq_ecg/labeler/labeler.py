"""Labels from the free text of ECG reports."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.labeler.inference import Block, Inference
from fairseq_ecg.labeler.knowledge_graph import KnowledgeGraph
from fairseq_ecg.labeler.languages import Language, Translated, Translator, known_languages
from fairseq_ecg.labeler.mentions import Attribution
from fairseq_ecg.labeler.reading import Reader, Reading
from fairseq_ecg.labeler.results import Finding, LabelerResults
from fairseq_ecg.labeler.rewriting import STATEMENT_END
from fairseq_ecg.labeler.semantics import Semantics, choose
from fairseq_ecg.labeler.terms import Vocabulary
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary

# Zero-width characters, marks of direction, byte order marks: nothing is to be seen of them.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_LINE_END = re.compile("[\r\n\u0085\u2028\u2029]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class Statement(NamedTuple):
    """A statement of a report.

    Attributes:
        text: as it is written.
        language: its own, or that of the report; None for English.
    """

    text: str
    language: Language | None = None

    @property
    def code(self) -> str:
        """The code of its language; nothing for English."""
        return self.language.code if self.language else ""


class Labeler:
    """Finds entities and their descriptors in reports.

    Args:
        vocabulary: what to look for.
        semantics: how to understand it.
    """

    def __init__(self, vocabulary: Vocabulary, semantics: Semantics):
        self.vocabulary = vocabulary
        self.semantics = semantics
        self.languages = known_languages() if semantics.languages else ()
        self._translator = Translator(self.languages, vocabulary) if self.languages else None
        self._reader = Reader(
            vocabulary,
            semantics,
            self._translator.is_foreign if self._translator else None,
        )
        self._attribution = Attribution(vocabulary, semantics)
        self._inference = Inference(vocabulary, semantics)

    @classmethod
    def from_vocabulary(
        cls,
        source: Path | str = "default",
        *,
        mode: Literal["default", "compatible", "mended"] = "default",
        semantics: Semantics | None = None,
        corrected: bool | None = None,
        overlay: Path | str | Iterable[Path | str] = (),
    ) -> "Labeler":
        """Read a vocabulary.

        Args:
            source: folder of a vocabulary, of this project or ECG-FM; ``default``: the one
                that comes with the package.
            mode: ``default``; ``compatible``: what ECG-FM's labeler makes of its vocabulary, its
                faults included; ``mended``: without the two worst of them.
            semantics: choices one by one, instead of those of the mode.
            corrected: correct what is wrong in ECG-FM's vocabulary; None: in the default mode.
            overlay: changes to the vocabulary, one or several: files, or names of those that come
                with the package (``fairseq-ecg label overlays`` lists them).

        Raises:
            DataError: A file is missing, or has names that are unknown or contradict each other.
        """
        chosen = choose(mode)
        vocabulary = read_vocabulary(
            source,
            corrected=mode == "default" if corrected is None else corrected,
            overlays=(overlay,) if isinstance(overlay, Path | str) else overlay,
        )
        return cls(vocabulary, semantics or chosen)

    @property
    def graph(self) -> KnowledgeGraph:
        """Entities and their parents."""
        return self._inference.graph

    def label(self, texts: Iterable[object], progress: bool = False) -> LabelerResults:
        """Label texts.

        Args:
            texts: reports; of a Series the index is kept. What is missing counts as empty.
            progress: show a progress bar.

        Returns:
            What was found.

        Raises:
            DataError: The texts are a single one, or the index of the Series has the same entry
                twice.
        """
        if isinstance(texts, str):
            raise DataError(f"texts are {texts[:40]!r}; give a list of texts, or use find")
        series = texts if isinstance(texts, pd.Series) else pd.Series(list(texts), dtype=object)
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()].tolist()[0]
            raise DataError(
                f"index {twice!r} of the texts occurs twice; results could not be distinguished: "
                "reset the index"
            )
        words = [_as_text(value) for value in series.tolist()]
        unique = dict.fromkeys(words)
        for text in progress_bar(list(unique), "labeling", "text", show=progress):
            unique[text] = self.find(text)
        return LabelerResults(series, [unique[text] for text in words], self.vocabulary.patterns)

    def find(self, text: str) -> Finding:
        """Label one text."""
        text, language = self._translated(text)
        if language is not None and not language.is_read:
            return Finding(Reading(text, (), (text,)), (), (), language.code, is_read=False)
        reading = self._reader.read(text)
        mentions = tuple(self._attribution.mentions(reading))
        blocks: list[tuple[int, Block]] = [
            (i, self._inference.block(mention))
            for i, mention in enumerate(mentions)
            if not mention.negated
        ]
        compounds = self._inference.compounds([block for _, block in blocks])
        last = max((i for i, block in blocks if block.entities), default=-1)
        # Tables are joined by numbers: behind the last entity that holds, a compound takes the
        # number of one that is denied ("nearest"), and with it what is left of its descriptors.
        left = {i: block.descriptors for i, block in blocks if not block.entities}
        blocks += [
            (i, block.with_descriptors(left.get(i, ())))
            for i, block in enumerate(compounds, start=last + 1)
        ]
        return Finding(reading, mentions, tuple(blocks), language.code if language else None)

    def statements(self, text: str) -> list[Statement]:
        """Return the statements of a text, those that are cut off left out."""
        text = self._clean(text)
        parts = [part for part in self._reader.statements(text) if part]
        if self._translator is None:
            return [Statement(part) for part in parts]
        language = self._translator.translate(text).language
        return [Statement(part, self._translator.language_of(part, language)) for part in parts]

    def covered(self, statement: Statement) -> tuple[int, str]:
        """Return how many patterns a statement has, and its words that belong to none."""
        text, language = statement
        if language is not None and not language.is_read:
            reading = Reading(text, (), (text,))
        else:
            reading = self._reader.read(language.translate(text) if language else text)
        return len(reading.patterns), reading.stripped

    def _translated(self, text: str) -> Translated:
        text = self._clean(text)
        return self._translator.translate(text) if self._translator else Translated(text)

    def _clean(self, text: str) -> str:
        return _cleaned(text) if self.semantics.clean else text

    def why(self, text: str, label: str) -> list[str]:
        """Explain a label of a text.

        Args:
            text: a report.
            label: name of an entity, or ``<Entity> - <Descriptor>``.

        Returns:
            A line for each way to the label: the mention in the text, the steps from it, and the
            probability. None where the label does not hold; of a text in a language that is not
            read, a line that says so.

        Raises:
            DataError: There is no such label.
        """
        entity, descriptor = self.vocabulary.require_label(
            label, f"vocabulary {self.vocabulary.name}"
        )
        language = self._translated(text).language
        if language is not None and not language.is_read:
            return [f"nothing is found in the text: {language.name} is not read"]
        finding = self.find(text)
        origin = "" if language is None else f", translated from {language.name}"
        lines = []
        for _, block in finding.blocks:
            for row in block.entities:
                if row.name != entity:
                    continue
                of_row = {item.name for item in block.descriptors if item.number == row.number}
                if descriptor and descriptor not in of_row:
                    continue
                steps = self._steps(block, row.number)
                lines.append(f"{steps} (p = {row.probability:g}{origin})")
        return list(dict.fromkeys(lines))

    def _steps(self, block: Block, number: int) -> str:
        rows = {row.number: row for row in block.entities}
        row = rows[number]
        if row.origin is None or row.origin not in rows:
            kind = "in the text" if row.source == "text" else row.source
            names = [item.name for item in block.descriptors if item.number == number]
            described = f" [{', '.join(names)}]" if names else ""
            return f"{row.name}{described}: {kind}"
        before = self._steps(block, row.origin)
        if row.source.startswith("sup - "):
            path = self.graph.paths(rows[row.origin].name, row.name)[0]
            return " -> ".join([before, *path[1:]])
        return f"{before} -> {row.name} ({row.source.partition(' - ')[0]})"


def _as_text(value: object) -> str:
    """Return a text as it is, nothing for what is missing, and the writing of anything else."""
    if isinstance(value, str):
        return value
    return "" if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)) else str(value)


def _cleaned(text: str) -> str:
    """Replace what only looks different, or does not look at all."""
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _CONTROL.sub(" ", _LINE_END.sub(STATEMENT_END, text))
