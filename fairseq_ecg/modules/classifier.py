"""Linear head over pooled frames: one output for each label."""

import torch
from torch import nn

from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.modules.pooling import Pooling, build_pooling
from fairseq_ecg.options import Width


class ECGTransformerClassifier(FinetunedEncoder):
    """One logit per label (or estimate per target of a regression) from the pooled encoder output.

    ``out`` is ``(B, C)``. It fits every encoder.

    Args:
        encoder: pre-trained or not. Its pre-training modules must be gone; it is used without
            masking.
        num_labels: labels to predict, or targets to estimate.
        pooling: of the frames of a segment: mean, max or attentive.
        options: of :class:`FinetunedEncoder`.
    """

    def __init__(
        self, encoder: Encoder, *, num_labels: Width, pooling: Pooling = "mean", **options
    ):
        # By name: behind fairseq's face, models with other arguments come next.
        FinetunedEncoder.__init__(self, encoder, **options)
        self.proj = nn.Linear(encoder.encoder_dim, num_labels)
        self.init_head(self.proj)
        self.pooling = build_pooling(
            pooling, encoder.encoder_dim, encoder.attention_heads, encoder.mean
        )

    @property
    def num_outputs(self) -> int:
        """C, labels or targets."""
        return self.proj.out_features

    def apply_head(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Map frames ``(B, T', D)`` to logits ``(B, C)``."""
        return self.proj(self.pooling(x, frame_mask))

    def init_head(self, module: nn.Module) -> None:
        """Draw the weights of the linear layer anew if the module is that."""
        if module is self.proj:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
