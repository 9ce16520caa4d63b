"""Answers to questions without their text: what the ECG alone gives away."""

from typing import Any, ClassVar

import torch
from torch import nn

from fairseq_ecg.modules.ecg_transformer import ConvTransformer, ECGTransformer
from fairseq_ecg.modules.text.network import AnsweringNetwork, OneOrTwo, linear_head, one_or_two
from fairseq_ecg.modules.text.pairs import join_pair, mean_or_zero, second_frame_mask
from fairseq_ecg.ops.pooling import mean_of_nonzero
from fairseq_ecg.options import Width


class DeafTransformerQA(AnsweringNetwork, ConvTransformer):
    """A logit of each answer from the means over the frames of one ECG or two.

    As in fairseq_signals padded frames take part in the means, and where first ECGs differ in
    length the mean is over the first few frames: their number is reduced as samples are.

    Args:
        num_labels: answers.
        num_ecgs: most ECGs that a question is about, 1 or 2.
        options: of :class:`fairseq_ecg.modules.ecg_transformer.ConvTransformer`; dropout, and the
            factor on the gradient of convolutions, are 0 unless they are set.
    """

    regularisation_options = ECGTransformer.regularisation_options
    defaults: ClassVar[dict[str, Any]] = dict.fromkeys(regularisation_options, 0.0)
    n_leads: int

    def __init__(self, *, num_labels: Width, num_ecgs: OneOrTwo = 1, **options):
        super().__init__(**{**self.defaults, **options})
        self.num_ecgs = one_or_two(num_ecgs)
        if num_ecgs == 2:
            self.sep_embedding = nn.Parameter(torch.empty(self.encoder_dim).uniform_())
        self.n_answers = num_labels
        self.proj = linear_head(num_ecgs * self.encoder_dim, num_labels)

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor | None = None,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Answer a batch of questions; arguments are those of :meth:`TextNetwork.forward`.

        Returns:
            ``out`` ``(B, C)``, and ``padding_mask`` ``(B, T)`` or None, T being frames of the first
            ECG, one separator and frames of the second (both only if there is one).

        Raises:
            ValueError: there is a second ECG and ``num_ecgs`` is 1.
        """
        self.check_second(ecg_2)
        x, first_mask = self.embed_frames(ecg, ecg_padding_mask)
        padding_mask = first_mask
        end = x.shape[1]
        if first_mask is not None and first_mask.any():
            end = max(int(self.frame_count((~first_mask).sum(dim=1)).max()), 1)
        if ecg_2 is not None:
            other = self.embed_frames(ecg_2)[0]
            other_mask = second_frame_mask(self, ecg_2_padding_mask, other.shape[1])
            x, padding_mask = join_pair(x, self.sep_embedding, other, first_mask, other_mask)
        x = self.encoder(x, padding_mask)[0]
        pooled = [mean_of_nonzero(x[:, :end])]
        if self.num_ecgs == 2:
            rest = x[:, end:] if ecg_2 is not None else x[:, :0]
            pooled.append(mean_or_zero(rest))
        return {"out": self.proj(torch.cat(pooled, dim=1)), "padding_mask": padding_mask}

    def embed_ecg(
        self, ecg: torch.Tensor, ecg_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See :meth:`TextNetwork.embed_ecg`."""
        x, mask = self.embed_frames(ecg, ecg_padding_mask)
        return mean_of_nonzero(self.encoder(x, mask)[0], mask)

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others.

        No batch without a second ECG has use for the separator.
        """
        return self.num_ecgs > 1 or super().trains_in_turns
