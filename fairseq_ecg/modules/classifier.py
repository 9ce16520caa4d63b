"""Multi-label diagnosis on top of an encoder."""

import contextlib

import torch
from torch import nn

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding


class ECGTransformerClassifier(nn.Module):
    """One logit per label from the pooled encoder output.

    Args:
        encoder: an :class:`ECGTransformer`, pre-trained or not. Its pre-training heads must be
            gone; it is used without masking.
        num_labels: C, labels.
        final_dropout: probability on the encoder output before pooling.
        freeze_finetune_updates: updates during which the encoder gets no gradient.
    """

    def __init__(
        self,
        encoder: ECGTransformer,
        *,
        num_labels: int,
        final_dropout: float = 0.0,
        freeze_finetune_updates: int = 0,
    ):
        super().__init__()
        self.freeze_finetune_updates = freeze_finetune_updates
        self.num_updates = 0
        self.encoder = encoder
        self.final_dropout = Dropout(final_dropout)
        self.proj = nn.Linear(encoder.encoder_dim, num_labels)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """Classify a batch.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            ``out`` ``(B, C)`` logits, ``encoder_out`` ``(B, T', D)`` with padded frames zero,
            ``padding_mask`` ``(B, T')`` or None, and ``saliency`` ``(B, layers, T', T')`` or
            None; all but ``out`` without gradient.
        """
        frozen = self.num_updates < self.freeze_finetune_updates
        with torch.no_grad() if frozen else contextlib.nullcontext():
            encoded = self.encoder.extract_features(source, padding_mask)
        x, frame_mask = self.final_dropout(encoded["x"]), encoded["padding_mask"]
        saliency = encoded["saliency"]
        return {
            "out": self.proj(mean_of_nonzero(x, frame_mask)),
            "encoder_out": zero_padding(x.detach(), frame_mask),
            "padding_mask": frame_mask,
            "saliency": None if saliency is None else saliency.detach(),
        }

    def set_num_updates(self, num_updates: int) -> None:
        """Tell how many updates are done, for freezing and for parts that follow a schedule."""
        self.num_updates = num_updates
        for module in self.encoder.modules():
            if hasattr(module, "set_num_updates"):
                module.set_num_updates(num_updates)

    def get_logits(self, net_output: dict, normalize: bool = False, **_) -> torch.Tensor:
        """Logits ``(B, C)``, or their log softmax over labels in float32."""
        logits = net_output["out"]
        return logits.float().log_softmax(dim=-1) if normalize else logits

    def get_targets(self, sample: dict, net_output: dict, **_) -> torch.Tensor | list:
        """Labels of a batch: ``(B, C)`` float, or the list of a path dataset as it is."""
        label = sample["label"]
        return label.float() if torch.is_tensor(label) else label

    def get_normalized_probs(
        self, net_output: dict, log_probs: bool, sample: dict | None = None
    ) -> torch.Tensor:
        """(Log) probability of each label on its own, ``(B, C)`` float32."""
        logits = self.get_logits(net_output).float()
        return nn.functional.logsigmoid(logits) if log_probs else logits.sigmoid()
