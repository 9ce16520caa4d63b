"""Texts: the report of each ECG, as networks that pre-train on both read it."""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.collation import BatchCheck, Columns, Crop
from fairseq_ecg.data.randomness import Draws, Stream
from fairseq_ecg.data.sources import SegmentBatch, Variables
from fairseq_ecg.data.targets.target import Completed, Target
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.text.alignment import draw_pairs
from fairseq_ecg.data.text.tokenizer import KEPT_FREE
from fairseq_ecg.data.text.word_masks import WordMasking
from fairseq_ecg.errors import DataError

logger = logging.getLogger(__name__)

_OWN_TOKENS = 2
"""``[CLS]`` and ``[SEP]``."""

_SHORT = 10
"""Tokens of the longest texts that MedViLL leaves out."""

FORMS = ("corrected", "fairseq_signals")


class Generators(NamedTuple):
    """What fairseq_signals draws from for a batch.

    Args:
        numpy: negatives.
        python: order of words.
        torch: what becomes of masked tokens.
    """

    numpy: np.random.RandomState
    python: random.Random
    torch: torch.Generator

    @classmethod
    def seeded(
        cls, numpy_seed: int | None, python_seed: int | None, torch_seed: int | None
    ) -> "Generators":
        """Return those that draw what the global ones of fairseq_signals do after these seeds."""
        rng = torch.Generator()
        if torch_seed is not None:
            rng.manual_seed(torch_seed)
        return cls(np.random.RandomState(numpy_seed), random.Random(python_seed), rng)

    @classmethod
    def of_batch(cls, draws: Draws, stream: Stream) -> "Generators":
        """Return those of one use of a batch."""
        seeds = draws.of_batch(stream).randint(2**32, size=3, dtype=np.int64)
        return cls.seeded(*seeds.tolist())


class TokenTarget(Target):
    """Tokens of a text of each segment.

    In ``net_input`` they are ``text`` ``(B, N)`` int64, ``text_padding_mask`` ``(B, N)`` bool and
    its negation ``text_attention_mask``; the ECGs beside them are ``ecg`` and ``ecg_padding_mask``.
    Segments whose texts have too few tokens are left out of batches, before their ECGs are joined;
    N is that of the longest text, also of those.

    Args:
        tokenizer: of the texts.
        variable: of segments, that holds the text.
        max_text_size: texts are cut to this number of tokens less two, ``[CLS]`` and ``[SEP]``
            included, as in fairseq_signals. None: they are not cut.
        fewest: of texts that are left out, the most tokens, ``[CLS]`` and ``[SEP]`` included.

    Raises:
        ValueError: ``max_text_size`` leaves no word.
    """

    ecg_key: ClassVar[str] = "ecg"
    padding_mask_key: ClassVar[str] = "ecg_padding_mask"
    sorts_by_size: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        variable: str = "text",
        *,
        max_text_size: int | None = 512,
        fewest: int = 0,
    ):
        self.tokenizer, self.variable, self.fewest = tokenizer, variable, fewest
        self.max_text_size = max_text_size
        self.max_tokens = None if max_text_size is None else max_text_size - KEPT_FREE
        if self.max_tokens is not None and self.max_tokens <= _OWN_TOKENS:
            raise ValueError(
                f"max_text_size={max_text_size}: texts are cut to two tokens fewer, [CLS] and "
                "[SEP] included, which leaves no word. Set it to 5 at least"
            )
        self.variables = Variables(optional=(variable,))
        self.leaves_out = fewest > 0
        self._cut = _Tally(
            "have more than the %s tokens that max_text_size=%s leaves them, and are cut to these",
            *(self.max_tokens, max_text_size),
        )
        self._short = _Tally("have no more than %s tokens, and are left out", fewest)

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        return {self.variable: self._texts_of(segments)}

    def complete(self, columns: Columns, check: BatchCheck, draws: Draws) -> Completed:
        """See `Target.complete`."""
        tokens = self.tokenizer(list(columns[self.variable]), self.max_tokens)
        self._cut.count(tokens.n_cut > 0, check.name)
        is_kept = (tokens.ids != self.tokenizer.id_of("[PAD]")).sum(dim=1) > self.fewest
        self._short.count(~is_kept, check.name)
        found = {"ids": tokens.ids, "text_padding_mask": tokens.padding_mask}
        return Completed(found, None if is_kept.all() else np.flatnonzero(is_kept))

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`."""
        return {"net_input": _inputs(dict(columns))}

    def begin_epoch(self) -> None:
        """See `Target.begin_epoch`; says how many texts of the one before were cut or left out."""
        self._cut.say()
        self._short.say()

    def notes(self) -> dict[str, Any]:
        """See `Target.notes`."""
        return {
            "vocabulary": self.tokenizer.vocabulary,
            "lower_case": self.tokenizer.lower_case,
            "max_text_size": self.max_text_size,
        }

    def _texts_of(self, segments: SegmentBatch) -> list[str]:
        texts = segments.texts(self.variable)
        for row, found in enumerate(texts):
            if found is None or len(found) > 1:
                fault = "has no text" if found is None else f"holds {len(found)} texts"
                raise DataError(
                    f"{segments.where(row)}: {fault} where one is needed, in {self.variable!r}. "
                    "Prepare the file again with its report, or leave it out of the manifest"
                )
        return [found[0] if found else "" for found in texts]


class TextTarget(TokenTarget):
    """The report of each segment, for pre-training on ECGs and texts.

    Beside what `TokenTarget` says, batches have ``is_aligned`` ``(B,)`` float32 where texts are
    exchanged, 0 where a row has the text of another, with its padding mask and labels; and where
    words are masked ``mlm_labels`` ``(B, N)`` int64, `word_masks.IGNORED` where nothing is to be
    predicted.

    Texts are exchanged between rows whose ``diagnoses`` differ, as sets, and whose tokens do. Of a
    segment without them the text is its one diagnosis. Masks are those of a record whatever batch
    it is in.

    Args:
        tokenizer: of the texts.
        negatives: whether texts are exchanged.
        mlm_prob: share of tokens that is masked, by words. None: none is.
        medvill: leave out texts of 10 tokens or fewer, as MedViLL does.
        form: how batches are made: ``corrected``; or as ``fairseq_signals`` makes them, where both
            rows of a pair that differ in the list of diagnoses have the text of one of them, while
            with masked words each has its own text beneath the padding mask of that one, nothing
            is exchanged if the first row has no ``diagnoses``, paddings count as words that may be
            masked, and texts without a word stay.
        generators: of that form: drawn from in place of those of each batch.
        options: of `TokenTarget`.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        negatives: bool = False,
        mlm_prob: float | None = None,
        medvill: bool = False,
        form: str = "corrected",
        generators: Generators | None = None,
        **options: Any,
    ):
        if form not in FORMS:
            raise ValueError(f"form {form!r}: choose one of {', '.join(FORMS)}")
        self.corrected = form == "corrected"
        fewest = _SHORT if medvill else _OWN_TOKENS if self.corrected else 0
        super().__init__(tokenizer, fewest=fewest, **options)
        self.negatives, self.generators = negatives, generators
        self.masking = None if mlm_prob is None else WordMasking(tokenizer, mlm_prob)
        self.variables = Variables(optional=(self.variable, "diagnoses"))

    def columns(self, segments: SegmentBatch) -> Columns:
        """See `Target.columns`."""
        found = segments.texts("diagnoses")
        diagnoses = [None if one is None else [text.strip() for text in one] for one in found]
        return {**super().columns(segments), "diagnoses": diagnoses}

    def complete(self, columns: Columns, check: BatchCheck, draws: Draws) -> Completed:
        """See `Target.complete`; masks words too, of all rows before any is left out."""
        found, rows = super().complete(columns, check, draws)
        if self.masking is None:
            return Completed(found, rows)
        ids: Any = found["ids"]
        padding_mask: Any = found["text_padding_mask"]
        if self.corrected:
            masked = self.masking.of_texts(ids, padding_mask, draws.of_rows(Stream.WORDS))
        else:
            generators = self.generators or Generators.of_batch(draws, Stream.WORDS)
            masked = self.masking.of_batch(ids, generators.python, generators.torch)
        return Completed({**found, "masked_ids": masked.ids, "mlm_labels": masked.labels}, rows)

    def collate(
        self, columns: Columns, check: BatchCheck, crop: Crop, draws: Draws
    ) -> dict[str, Any]:
        """See `Target.collate`."""
        found: dict[str, Any] = dict(columns)
        batch: dict[str, Any] = {}
        if self._exchanges(columns):
            text_of, batch["is_aligned"] = self._exchanged(found, draws)
            # In fairseq_signals masked texts and their labels stay where they are.
            keys = ("ids", "masked_ids", "mlm_labels") if self.corrected else ("ids",)
            exchanged = (key for key in (*keys, "text_padding_mask") if key in found)
            found |= {key: found[key][text_of] for key in exchanged}
        if "mlm_labels" in found:
            batch["mlm_labels"] = found["mlm_labels"]
        return {"net_input": _inputs(found), **batch}

    def _exchanges(self, columns: Columns) -> bool:
        """Whether texts are exchanged."""
        has_diagnoses = columns.get("diagnoses", [None])[0] is not None
        return self.negatives and (self.corrected or has_diagnoses)

    def _exchanged(self, columns: dict[str, Any], draws: Draws) -> tuple[Tensor, Tensor]:
        """Draw whose text each row has.

        Returns:
            Its row ``(B,)`` int64, and ``is_aligned`` ``(B,)`` float32.
        """
        texts, ids = columns[self.variable], columns["ids"]
        listed = columns.get("diagnoses") or [None] * len(texts)
        missing: list[Any] = [None, []] if self.corrected else [None]
        diagnoses = [
            [text] if own in missing else own for text, own in zip(texts, listed, strict=True)
        ]
        text_of, is_aligned = torch.arange(len(ids)), torch.ones(len(ids))
        for row, partner in self._pairs(diagnoses, ids, draws):
            text_of[row] = partner
            if self.corrected:
                text_of[partner] = row
            is_aligned[[row, partner]] = 0
        return text_of, is_aligned

    def _pairs(
        self, diagnoses: Sequence[list[str]], ids: Tensor, draws: Draws
    ) -> list[tuple[int, int]]:
        if not self.corrected:
            generators = self.generators or Generators.of_batch(draws, Stream.NEGATIVES)
            return draw_pairs(
                len(ids), lambda one, other: diagnoses[one] != diagnoses[other], generators.numpy
            )

        def differ(one: int, other: int) -> bool:
            of_one, of_other = set(diagnoses[one]), set(diagnoses[other])
            return of_one != of_other and not torch.equal(ids[one], ids[other])

        return draw_pairs(len(ids), differ, draws.of_batch(Stream.NEGATIVES))


class _Tally:
    """Counts texts that something is the matter with, over all processes that load.

    Args:
        what: is the matter with them; a message of `logging`.
        arguments: of the message.
    """

    def __init__(self, what: str, *arguments: Any):
        self._what, self._arguments = what, arguments
        # In shared memory: texts so far, those of this epoch, and texts of this epoch altogether.
        self._counts = torch.zeros(3, dtype=torch.int64).share_memory_()

    def count(self, are_counted: Tensor, name: Callable[[int], str]) -> None:
        """Count texts of a batch, and warn when it is the first time.

        Args:
            are_counted: ``(B,)`` bool.
            name: of the file of a row.
        """
        number = int(are_counted.sum())
        is_first = number > 0 and int(self._counts[0]) == 0
        self._counts += torch.tensor([number, number, len(are_counted)])
        if is_first:
            first = name(int(are_counted.int().argmax()))
            self._say(logging.WARNING, number, len(are_counted), f", {first} first")

    def say(self) -> None:
        """Say how many there were in this epoch, and count anew."""
        number, total = self._counts[1:].tolist()
        if number:
            self._say(logging.INFO, number, total, " of the last epoch")
        self._counts[1:] = 0

    def _say(self, level: int, number: int, total: int, which: str) -> None:
        counts = number, total, which
        logger.log(level, f"%d of %d texts%s: they {self._what}", *counts, *self._arguments)


def _inputs(columns: dict[str, Any]) -> dict[str, Tensor]:
    """Inputs of a network: the tokens, masked ones if there are any."""
    return {
        "text": columns.get("masked_ids", columns["ids"]),
        "text_padding_mask": columns["text_padding_mask"],
        "text_attention_mask": ~columns["text_padding_mask"],
    }
