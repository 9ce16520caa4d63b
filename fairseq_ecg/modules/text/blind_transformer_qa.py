"""Answers to questions without any ECG: what the wording alone gives away."""

from typing import Any

import torch

from fairseq_ecg.modules.text.network import AnsweringNetwork, linear_head
from fairseq_ecg.modules.text.token_tables import TokenTables
from fairseq_ecg.modules.transformer import TransformerNetwork
from fairseq_ecg.ops.pooling import mean_of_nonzero
from fairseq_ecg.options import Width


class BlindTransformerQA(AnsweringNetwork, TokenTables, TransformerNetwork):
    """A logit of each answer from the mean over the tokens of the question.

    Args:
        num_labels: answers.
        options: of :class:`TokenTables` and :class:`TransformerNetwork`.
    """

    output = "x"

    def __init__(self, *, num_labels: Width, **options):
        super().__init__(**options)
        self.n_answers = num_labels
        self.proj = linear_head(self.encoder_dim, num_labels)

    def forward(
        self,
        ecg: torch.Tensor | None,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Answer a batch of questions; arguments are those of :meth:`TextNetwork.forward`.

        Returns:
            ``x`` ``(B, C)``, logits, and ``padding_mask`` ``(B, N)``, the text's.
        """
        tokens = self.add_positions(self.embed_words(text), 0)
        x, _ = self.encoder(tokens, text_padding_mask)
        return {
            "x": self.proj(mean_of_nonzero(x, text_padding_mask)),
            "padding_mask": text_padding_mask,
        }
