"""Answers to questions about one ECG or two, by the transformer over ECGs and texts."""

from typing import Any, ClassVar

import torch

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.text.ecg_language_transformer import ECGLanguageTransformer
from fairseq_ecg.modules.text.network import FinetunedTextNetwork, OneOrTwo, linear_head
from fairseq_ecg.modules.text.pairs import longest, mean_or_zero
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding
from fairseq_ecg.options import Probability, Width


class ECGLanguageTransformerClassifier(FinetunedTextNetwork):
    """A logit of each answer from the means over frames and over tokens.

    As in fairseq_signals the frames of the second ECG are taken from the separator on, so that
    the last one is left out. An encoder that MedViLL pre-trained leaves padding of texts out,
    others, also that of a checkpoint of this network, attend to it and average over it.

    Args:
        encoder: see :class:`FinetunedTextNetwork`.
        num_labels: answers.
        num_ecgs: most ECGs that a question is about, 1 or 2.
        final_dropout: on the encoder output before pooling.
        options: of :class:`FinetunedTextNetwork` and :class:`ECGLanguageTransformer`; dropout is 0
            unless it is set.
    """

    option_parts = (ECGLanguageTransformer,)
    defaults: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(ECGLanguageTransformer.regularisation_options, 0.0),
        "feature_grad_mult": 1.0,
    }
    encoder: ECGLanguageTransformer

    def __init__(
        self,
        encoder: ECGLanguageTransformer | None = None,
        *,
        num_labels: Width,
        num_ecgs: OneOrTwo = 1,
        final_dropout: Probability = 0.0,
        apply_mask: bool = False,
        **options,
    ):
        super().__init__(encoder, apply_mask=apply_mask, **options)
        if not apply_mask:
            self.encoder.mask_emb = None
        self.num_ecgs, self.n_answers = num_ecgs, num_labels
        self.final_dropout = Dropout(final_dropout)
        self.proj = linear_head((num_ecgs + 1) * self.encoder.encoder_dim, num_labels)

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Answer a batch of questions; arguments are those of :meth:`TextNetwork.forward`.

        Returns:
            ``out`` ``(B, C)``; and, without gradient, what :meth:`ECGLanguageTransformer.forward`
            returns, ``encoder_out`` in place of ``x``, padded positions zero.

        Raises:
            ValueError: there is a second ECG and ``num_ecgs`` is 1.
        """
        self.check_second(ecg_2)
        encoded = self.encode(
            ecg,
            text,
            ecg_padding_mask,
            text_padding_mask,
            ecg_2=ecg_2,
            ecg_2_padding_mask=ecg_2_padding_mask,
        )
        x = zero_padding(self.final_dropout(encoded["x"]), encoded["padding_mask"])
        end = longest(self.encoder, ecg, ecg_padding_mask)
        pooled = [mean_of_nonzero(x[:, :end])]
        if ecg_2 is not None:
            end_2 = end + max(longest(self.encoder, ecg_2, ecg_2_padding_mask), 0)
            pooled.append(mean_or_zero(x[:, end:end_2]))
        elif self.num_ecgs == 2:
            pooled.append(torch.zeros_like(pooled[0]))
        pooled.append(mean_of_nonzero(x[:, -text.shape[1] :]))
        saliency = encoded["saliency"]
        return {
            "out": self.proj(torch.cat(pooled, dim=1)),
            "encoder_out": x.detach(),
            "padding_mask": encoded["padding_mask"],
            "saliency": None if saliency is None else saliency.detach(),
        }
