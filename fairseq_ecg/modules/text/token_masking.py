"""Which tokens of a text are to be predicted, and what stands in their place (BERT's masking)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from fairseq_ecg.ops.masking import SpanMasking, compute_mask_indices
from fairseq_ecg.ops.philox import Stream, random_words
from fairseq_ecg.ops.philox.reference import below, uniform


class MaskedTokens(NamedTuple):
    """Masked tokens of a batch, each ``(B, N)``.

    Attributes:
        selected: bool, True where a token is to be predicted.
        hidden: bool, True where the mask embedding stands in its place.
        replaced: bool, True where another token does; selected tokens that are neither stay.
        tokens: int64, which other token.
    """

    selected: torch.Tensor
    hidden: torch.Tensor
    replaced: torch.Tensor
    tokens: torch.Tensor

    @classmethod
    def only_selected(cls, selected: torch.Tensor) -> "MaskedTokens":
        """Return tokens that are to be predicted and stay what they are."""
        none = torch.zeros_like(selected)
        return cls(selected, none, none.clone(), none.long())


@dataclass(frozen=True)
class TokenMasking:
    """How tokens are masked (BERT, https://arxiv.org/abs/1810.04805, section 3.1).

    Args:
        vocab_size: tokens of the vocabulary.
        selected: share of tokens that are to be predicted.
        hidden: share of these in whose place the mask embedding stands.
        replaced: share of these in whose place any token of the vocabulary stands.
        kept: share of these that stay.

    Raises:
        ValueError: a share is none, or the last three do not sum to 1.
    """

    vocab_size: int
    selected: float
    hidden: float
    replaced: float
    kept: float

    def __post_init__(self) -> None:
        shares = (self.selected, self.hidden, self.replaced, self.kept)
        if not all(0 <= share <= 1 for share in shares) or abs(sum(shares[1:]) - 1) > 1e-6:
            raise ValueError(
                f"mask_ratio={[*shares]}: give the share of tokens to predict, and of these the "
                "shares that are hidden, replaced and kept, which sum to 1"
            )

    @property
    def replaced_of_shown(self) -> float:
        """Share of the tokens that are not hidden in whose place another one stands."""
        shown = self.replaced + self.kept
        return self.replaced / shown if shown else 0.0

    def draw(self, shape: tuple[int, int], padding_mask: torch.Tensor | None) -> MaskedTokens:
        """Draw a batch from NumPy's and PyTorch's global streams, as fairseq_signals does.

        All rows have as many tokens selected as the one with the fewest.

        Args:
            shape: B and N.
            padding_mask: ``(B, N)`` bool on the CPU, True where padded; None if nothing is.
        """
        spans = SpanMasking(self.selected, 1)
        masked = MaskedTokens.only_selected(
            torch.from_numpy(compute_mask_indices(shape, padding_mask, spans))
        )
        for row, selected in enumerate(masked.selected.numpy()):
            positions = np.flatnonzero(selected)
            number = int(len(positions) * self.hidden + np.random.rand())
            hidden = np.random.choice(positions, number, replace=False)
            masked.hidden[row, hidden] = True
            shown = len(positions) - number
            number = int(shown * self.replaced_of_shown + np.random.rand())
            if number > 0:
                tokens = torch.randint(self.vocab_size, (number,))
                # The order in which a set gives its elements decides what is drawn.
                rest = list(set(positions.tolist()) - set(hidden.tolist()))
                replaced = np.random.choice(rest, number, replace=False)
                masked.replaced[row, replaced] = True
                masked.tokens[row, replaced] = tokens
        return masked

    def draw_of(
        self, origins: torch.Tensor, shape: tuple[int, int], padding_mask: torch.Tensor | None
    ) -> MaskedTokens:
        """Draw each row from random numbers of its own.

        What is masked in a row depends, besides, only on how many tokens are selected: as many as
        in the row with the fewest. Words of ``Stream.MASKED_TOKENS`` are, in lane 0, what rounds
        three numbers at random; in lane 1 ranks of the tokens, the first of which are selected, the
        first of these hidden and the next replaced; and in lane 2 other tokens.

        Args:
            origins: ``(B, 4)`` int64, see :func:`fairseq_ecg.ops.philox.origin`.
            shape: B and N.
            padding_mask: as of :meth:`draw`, on the device of ``origins``.
        """
        rows, width = shape
        lanes = torch.arange(3, device=origins.device)
        words = random_words(origins, Stream.MASKED_TOKENS, lanes, max(width, 3))
        fractions = uniform(words[:, 0, :3]).double()
        ranks, tokens = words[:, 1, :width], below(words[:, 2, :width], self.vocab_size)
        valid = torch.full((rows,), width, device=origins.device)
        if padding_mask is not None:
            ranks = ranks.masked_fill(padding_mask, 2**32)
            valid = (~padding_mask).sum(dim=1)
        ranks = ranks.argsort(dim=1, stable=True).argsort(dim=1)
        number = (self.selected * valid + fractions[:, 0]).long().min(valid).min()
        hidden = (number * self.hidden + fractions[:, 1]).long().min(number).unsqueeze(1)
        shown = number - hidden
        replaced = (shown * self.replaced_of_shown + fractions[:, 2:]).long().min(shown)
        return MaskedTokens(
            selected=ranks < number,
            hidden=ranks < hidden,
            replaced=(ranks >= hidden) & (ranks < hidden + replaced),
            tokens=tokens,
        )
