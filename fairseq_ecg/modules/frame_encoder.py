"""An encoder by itself, with the face of a classifier."""

import torch
from torch import nn

from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.ops.pooling import zero_padding


class FrameEncoder(nn.Module):
    """Encode without masking and without anything that only pre-training does.

    It gives what :class:`ECGTransformerClassifier` gives but for logits, and its weights bear the
    same names, so that whoever uses one can use the other.

    Args:
        encoder: an :class:`ECGTransformer`, pre-trained or not.
    """

    def __init__(self, encoder: ECGTransformer):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """Encode a batch.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            ``encoder_out`` ``(B, T', D)`` with padded frames zero, ``padding_mask`` ``(B, T')`` or
            None, and ``saliency`` ``(B, layers, T', T')`` or None.
        """
        encoded = self.encoder.extract_features(source, padding_mask)
        frame_mask = encoded["padding_mask"]
        return {
            "encoder_out": zero_padding(encoded["x"], frame_mask),
            "padding_mask": frame_mask,
            "saliency": encoded["saliency"],
        }
