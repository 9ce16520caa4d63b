"""One output for each label on top of an encoder."""

import contextlib
from collections.abc import Sequence

import torch
from torch import nn

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.lora import LoRA, add_lora
from fairseq_ecg.modules.pooling import build_pooling
from fairseq_ecg.ops.pooling import zero_padding


class FinetunedEncoder(nn.Module):
    """An encoder that goes on to learn, perhaps only after some updates.

    Args:
        encoder: an :class:`ECGTransformer`, pre-trained or not. Its pre-training heads must be
            gone; it is used without masking.
        final_dropout: probability on the encoder output before pooling.
        freeze_finetune_updates: updates during which the encoder gets no gradient.
    """

    def __init__(
        self,
        encoder: ECGTransformer,
        *,
        final_dropout: float = 0.0,
        freeze_finetune_updates: int = 0,
    ):
        super().__init__()
        self.freeze_finetune_updates = freeze_finetune_updates
        self.num_updates = 0
        self.encoder = encoder
        self.final_dropout = Dropout(final_dropout)

    def encode(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """Run the encoder, without gradient as long as it is frozen.

        Returns:
            See :meth:`ECGTransformer.forward`.
        """
        frozen = self.num_updates < self.freeze_finetune_updates
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return self.encoder.extract_features(source, padding_mask)

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.freeze_finetune_updates > 0 or self.encoder.trains_in_turns

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        unmasked = [] if self.encoder.mask_emb is None else [self.encoder.mask_emb]
        return list({id(p): p for p in [*self.encoder.without_gradient(), *unmasked]}.values())

    def set_num_updates(self, num_updates: int) -> None:
        """Tell how many updates are done, for freezing and for parts that follow a schedule."""
        self.num_updates = num_updates
        for module in self.encoder.modules():
            if hasattr(module, "set_num_updates"):
                module.set_num_updates(num_updates)


class ECGTransformerClassifier(FinetunedEncoder):
    """One logit per label (or estimate per target of a regression) from the pooled encoder output.

    Args:
        encoder: an :class:`ECGTransformer`, pre-trained or not. Its pre-training heads must be
            gone; it is used without masking.
        num_labels: C, labels.
        final_dropout: probability on the encoder output before pooling.
        freeze_finetune_updates: updates during which the encoder gets no gradient.
        pooling: of the frames, one of :data:`fairseq_ecg.modules.pooling.POOLINGS`.
        freeze_layers: lowest transformer layers that never train, and with them all that lies
            below, adapters included. 0: none; -1: the whole encoder.
        lora_rank: rank of adapters, beside which nothing of the encoder trains. 0: none.
        lora_alpha: adapters count alpha / rank times.
        lora_dropout: probability on the input of adapters.
        lora_targets: names of the linear layers that are adapted.

    Raises:
        ValueError: the encoder has fewer layers than are to be frozen, LoRA's targets are not in
            it, or its adapters would be frozen, all of them.
    """

    def __init__(
        self,
        encoder: ECGTransformer,
        *,
        num_labels: int,
        final_dropout: float = 0.0,
        freeze_finetune_updates: int = 0,
        pooling: str = "mean",
        freeze_layers: int = 0,
        lora_rank: int = 0,
        lora_alpha: float = 16.0,
        lora_dropout: float = 0.0,
        lora_targets: Sequence[str] = ("q_proj", "v_proj"),
    ):
        # By name: behind fairseq's face, models with other arguments come next.
        FinetunedEncoder.__init__(
            self,
            encoder,
            final_dropout=final_dropout,
            freeze_finetune_updates=freeze_finetune_updates,
        )
        self.proj = nn.Linear(encoder.encoder_dim, num_labels)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)
        # Last, so that a seed gives the same head whatever is done to the encoder.
        self.pooling = build_pooling(pooling, encoder.encoder_dim, encoder.encoder.heads)
        if lora_rank:
            add_lora(encoder, LoRA(lora_rank, lora_alpha, lora_dropout, tuple(lora_targets)))
        encoder.freeze(freeze_layers)
        if lora_rank and not any(p.requires_grad for p in encoder.parameters()):
            raise ValueError(
                f"freeze_layers={freeze_layers} freezes every adapter of lora_rank={lora_rank}: "
                "drop one of the two"
            )

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
        encoded = self.encode(source, padding_mask)
        x, frame_mask = self.final_dropout(encoded["x"]), encoded["padding_mask"]
        saliency = encoded["saliency"]
        return {
            "out": self.proj(self.pooling(x, frame_mask)),
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
