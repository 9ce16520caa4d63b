"""Whole words that are masked, for a network to predict (https://arxiv.org/abs/1810.04805).

Of the tokens that are chosen 8 in 10 become ``[MASK]`` and 1 any token; the others stay. A word is
masked with all of its tokens.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.text.tokenizer import SPECIAL, Tokenizer

IGNORED = -100
"""Label of a token that is not to be predicted."""

MOST = 512
"""Most tokens of a text that are masked."""

_MASKED, _RANDOM = 0.8, 0.5
"""Share of chosen tokens that are masked, and of the others those that become any token."""


class MaskedWords(NamedTuple):
    """Texts with some words masked.

    Args:
        ids: ``(B, L)`` int64.
        labels: ``(B, L)`` int64, the id that is to be predicted; `IGNORED` elsewhere.
    """

    ids: Tensor
    labels: Tensor


@dataclass(frozen=True)
class WordMasking:
    """Masks words.

    Args:
        tokenizer: that made the tokens.
        probability: share of the tokens of a text that is chosen, at least one and at most `MOST`.
    """

    tokenizer: Tokenizer
    probability: float

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError(f"mlm_prob={self.probability}: give a share of tokens, 0.15 say")

    def of_texts(
        self, ids: Tensor, padding_mask: Tensor, states: Iterable[np.random.RandomState]
    ) -> MaskedWords:
        """Mask words of each text by itself, whatever it is padded to.

        Args:
            ids: ``(B, L)`` int64.
            padding_mask: ``(B, L)`` bool.
            states: of each text.
        """
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        kinds = torch.ones(2, *ids.shape, dtype=torch.float64)
        any_ids = torch.zeros_like(ids)
        lengths = (~padding_mask).sum(dim=1).tolist()
        for row, (length, rng) in enumerate(zip(lengths, states, strict=True)):
            words = self._words(ids[row, :length].tolist())
            order = rng.permutation(len(words)).tolist()
            chosen[row, self._chosen([words[word] for word in order], length)] = True
            kinds[:, row, :length] = torch.from_numpy(rng.random_sample((2, length)))
            any_ids[row, :length] = torch.from_numpy(
                rng.randint(len(self.tokenizer), size=length, dtype=np.int64)
            )
        return self._masked(ids, chosen, kinds[0] < _MASKED, kinds[1] < _RANDOM, any_ids)

    def of_batch(self, ids: Tensor, words_rng: random.Random, rng: torch.Generator) -> MaskedWords:
        """Mask words as `DataCollatorForWholeWordMask` of transformers 4 does.

        Paddings are words too, of which none is masked in the end: a text has the fewer masked
        tokens the more it is padded.

        Args:
            ids: ``(B, L)`` int64.
            words_rng: shuffles the words.
            rng: draws what becomes of the tokens.
        """
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        for row, tokens in enumerate(ids.tolist()):
            words = self._words(tokens)
            words_rng.shuffle(words)
            chosen[row, self._chosen(words, len(tokens))] = True
        masked, random_ = (
            torch.bernoulli(torch.full(ids.shape, share), generator=rng).bool()
            for share in (_MASKED, _RANDOM)
        )
        any_ids = torch.randint(len(self.tokenizer), ids.shape, generator=rng)
        return self._masked(ids, chosen, masked, random_, any_ids)

    def _words(self, ids: Sequence[int]) -> list[list[int]]:
        """Positions of the tokens of each word; ``[CLS]`` and ``[SEP]`` are none."""
        words: list[list[int]] = []
        vocabulary = self.tokenizer.vocabulary
        for position, token in enumerate(vocabulary[index] for index in ids):
            if token in ("[CLS]", "[SEP]"):
                continue
            if words and token.startswith("##"):
                words[-1].append(position)
            else:
                words.append([position])
        return words

    def _chosen(self, words: Iterable[Sequence[int]], length: int) -> list[int]:
        """Positions of the first words that are together as long as is wanted."""
        most = min(MOST, max(1, round(length * self.probability)))
        chosen: list[int] = []
        for word in words:
            if len(chosen) + len(word) <= most:
                chosen += word
        return chosen

    def _masked(
        self, ids: Tensor, chosen: Tensor, is_masked: Tensor, is_random: Tensor, any_ids: Tensor
    ) -> MaskedWords:
        special = torch.tensor([self.tokenizer.id_of(token) for token in SPECIAL])
        chosen = chosen & ~torch.isin(ids, special)
        labels = ids.where(chosen, torch.tensor(IGNORED))
        masked = ids.where(~(chosen & is_masked), torch.tensor(self.tokenizer.id_of("[MASK]")))
        return MaskedWords(any_ids.where(chosen & ~is_masked & is_random, masked), labels)
