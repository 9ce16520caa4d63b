"""M3AE that answers questions about ECGs."""

import torch
from torch import nn

from fairseq_ecg.modules.text.m3ae import M3AE, draw_as_bert
from fairseq_ecg.modules.text.network import FinetunedTextNetwork, OneOrTwo, one_or_two
from fairseq_ecg.options import Width


class M3AEQA(FinetunedTextNetwork):
    """Give a logit of each answer to a question about one ECG or two.

    A perceptron reads the vectors of the question and of the ECGs. Rows without a second ECG are
    read as if no other row had one.

    Source: Oh et al., "ECG-QA: a comprehensive question answering dataset combined with
    electrocardiogram", NeurIPS 2023, https://arxiv.org/abs/2306.15681.

    Args:
        encoder: see :class:`FinetunedTextNetwork`.
        num_labels: C, answers to choose from.
        num_ecgs: most ECGs that a question is about, 1 or 2.
        options: of :class:`FinetunedTextNetwork` and :class:`M3AE`.

    Raises:
        ValueError: options do not go together.
    """

    option_parts = (M3AE,)
    ecg_encoder_prefix = "encoder.ecg_encoder."
    architecture_options = M3AE.architecture_options
    encoder: M3AE

    def __init__(
        self,
        encoder: M3AE | None = None,
        *,
        num_labels: Width,
        num_ecgs: OneOrTwo = 1,
        **options,
    ):
        super().__init__(encoder, **options)
        dim = self.encoder.encoder_dim
        if self.encoder.hidden_dim != dim:
            raise ValueError(
                f"model.hidden_dim={self.encoder.hidden_dim} and model.encoder_embed_dim={dim} must"
                " be equal to answer questions: pre-train with as many channels in both"
            )
        self.num_ecgs = one_or_two(num_ecgs)
        self.n_answers = num_labels
        separator = getattr(self.encoder, "sep_embedding", None)  # of one that answered before
        if num_ecgs == 2 and separator is None:
            separator = nn.Parameter(torch.empty(dim).uniform_())
        self.encoder.register_parameter("sep_embedding", separator if num_ecgs == 2 else None)
        self.head = nn.Sequential(
            nn.Linear(2 * dim, 2 * dim),
            nn.LayerNorm(2 * dim),
            nn.GELU(),
            nn.Linear(2 * dim, num_labels),
        ).apply(draw_as_bert)

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, torch.Tensor]:
        """Answer the questions of a batch, see :class:`TextNetwork`.

        Returns:
            ``out`` ``(B, C)``, logits of the answers.

        Raises:
            ValueError: there is a second ECG, and ``num_ecgs`` is 1.
        """
        encoded = self.encode(
            ecg,
            text,
            ecg_padding_mask,
            text_padding_mask,
            ecg_2,
            ecg_2_padding_mask,
            mask=False,
            features_only=True,
        )
        return {"out": self.head(encoded["multi_modal_cls_feats"])}

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others.

        No batch without a second ECG has use for the separator.
        """
        return self.num_ecgs > 1 or super().trains_in_turns
