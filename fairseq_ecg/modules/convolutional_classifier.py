"""What fairseq_signals' classifiers on encoders of convolutions have in common."""

import torch
from torch import nn

from fairseq_ecg.modules.finetuned import FinetunedEncoder


class ConvolutionalClassifier(FinetunedEncoder):
    """Base of classifiers to which padded frames are frames as any others.

    So it is in fairseq_signals. The frames that it returns are those of the encoder, which dropout
    and the head have not changed.

    Args:
        num_labels: labels to predict, or targets to estimate.
        options: of :class:`FinetunedEncoder`.
    """

    proj: nn.Linear

    @property
    def num_outputs(self) -> int:
        """C, labels or targets."""
        return self.proj.out_features

    def classify(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Map frames ``(B, T', D)``, and the samples that they are of, to logits ``(B, C)``."""
        raise NotImplementedError

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """See the base class."""
        encoded = self.encode(source, padding_mask, **wanted)
        x = encoded["x"]
        assert x is not None
        return {
            "out": self.classify(x, source),
            "encoder_out": x.detach(),
            "padding_mask": encoded["padding_mask"],
            "saliency": None,
        }

    def init_head(self, module: nn.Module) -> None:
        """See the base class."""
        if module is self.proj:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
