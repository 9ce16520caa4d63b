"""An encoder put to use: by itself, or with a head."""

import contextlib
from collections.abc import Mapping

import torch
from torch import nn

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding
from fairseq_ecg.options import Count, Probability


class FrameEncoder(nn.Module):
    """Encode without masking and without anything that only pre-training does.

    Args:
        encoder: pre-trained or not.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    @property
    def num_outputs(self) -> int:
        """C, numbers that a head gives for a segment; 0 if there is none or it gives no numbers."""
        return 0

    def embedding(self, net_output: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one vector ``(B, D)`` of each segment of what :meth:`forward` returned.

        It is the mean over frames that are neither padded nor zero (fairseq_signals' ``embs.py``).
        """
        return mean_of_nonzero(net_output["encoder_out"], net_output["padding_mask"])

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Encode a batch.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.
            wanted: ``saliency`` and ``hidden_states`` of :meth:`Encoder.extract_features`.

        Returns:
            ``encoder_out`` ``(B, T', D)`` with padded frames zero, ``padding_mask`` ``(B, T')`` or
            None, and ``saliency`` ``(B, layers, T', T')`` or None.
        """
        encoded = self.encoder.extract_features(source, padding_mask, **wanted)
        frame_mask = encoded["padding_mask"]
        return {
            "encoder_out": zero_padding(encoded["x"], frame_mask),
            "padding_mask": frame_mask,
            "saliency": encoded["saliency"],
        }


class FinetunedEncoder(FrameEncoder):
    """Base of networks that are an encoder with a head.

    A head adds its modules in its constructor, and applies them in :meth:`apply_head`. They are
    modules of the network itself, beside ``encoder``: so published checkpoints name them.

    Args:
        encoder: pre-trained or not. Its pre-training modules must be gone; it is used without
            masking.
        final_dropout: on the encoder output before pooling.
        freeze_finetune_updates: updates before the encoder trains.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        final_dropout: Probability = 0.0,
        freeze_finetune_updates: Count = 0,
    ):
        super().__init__(encoder)
        self.freeze_finetune_updates = freeze_finetune_updates
        self.num_updates = 0
        self.final_dropout = Dropout(final_dropout)

    def encode(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Run the encoder, without gradient as long as it is frozen.

        Arguments and result are those of :meth:`Encoder.extract_features`.
        """
        frozen = self.num_updates < self.freeze_finetune_updates
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return self.encoder.extract_features(source, padding_mask, **wanted)

    def apply_head(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Map frames ``(B, T', D)``, of which ``(B, T')`` says True where padded, to the output."""
        raise NotImplementedError

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Predict for a batch.

        Returns:
            What an encoder by itself gives, but without gradient, and ``out``, what the head gives.
        """
        encoded = self.encode(source, padding_mask, **wanted)
        x, frame_mask = self.final_dropout(encoded["x"]), encoded["padding_mask"]
        saliency = encoded["saliency"]
        return {
            "out": self.apply_head(x, frame_mask),
            "encoder_out": zero_padding(x.detach(), frame_mask),
            "padding_mask": frame_mask,
            "saliency": None if saliency is None else saliency.detach(),
        }

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

    def init_head(self, module: nn.Module) -> None:
        """Draw the weights of a module anew if it is one of the head's that are not as torch's."""

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.freeze_finetune_updates > 0 or self.encoder.trains_in_turns

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        unmasked = [] if self.encoder.mask_emb is None else [self.encoder.mask_emb]
        return list({id(p): p for p in [*self.encoder.without_gradient(), *unmasked]}.values())

    def set_num_updates(self, num_updates: int) -> None:
        """Set how many updates are done, for freezing and for parts that follow a schedule."""
        self.num_updates = num_updates
        for module in self.encoder.modules():
            set_updates = getattr(module, "set_num_updates", None)
            if set_updates is not None:
                set_updates(num_updates)
