"""An encoder put to use: by itself, or with a head."""

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.ops.pooling import zero_padding
from fairseq_ecg.options import Count, Probability


class FrameEncoder(nn.Module):
    """Encode without masking and without anything that only pre-training does.

    Args:
        encoder: pre-trained or not.

    Attributes:
        outputs: names of what its head gives, among what :meth:`forward` returns.
        label_output: that of them which is a number for each label of a recording, or None.
        embedding_output: that of them which is the embedding, or None.
        without_labels: what a network that predicts no labels is, and what to do with it.
    """

    outputs: ClassVar[tuple[str, ...]] = ()
    label_output: ClassVar[str | None] = None
    embedding_output: ClassVar[str | None] = None
    without_labels: ClassVar[str] = (
        "predicts no labels, it was pre-trained only: fine-tune it first. Embeddings and saliency "
        "it has"
    )

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    @staticmethod
    def encoder_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the encoder's weights among all of such a network, by their names in it."""
        return {
            key.removeprefix("encoder."): value
            for key, value in weights.items()
            if key.startswith("encoder.")
        }

    @property
    def num_outputs(self) -> int:
        """C, numbers that a head gives for a segment; 0 if there is none or it gives no numbers."""
        return 0

    def embedding(self, net_output: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one vector ``(B, D)`` of each segment of what :meth:`forward` returned.

        It is :attr:`embedding_output`, or else :attr:`Encoder.mean` of the frames.
        """
        if self.embedding_output is not None:
            return net_output[self.embedding_output]
        return self.encoder.mean(net_output["encoder_out"], net_output["padding_mask"])

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

    A head adds its modules in its constructor, and applies them in :meth:`apply_head`; one that
    gives something else than a number for each label does so in :meth:`head_outputs`. They are
    modules of the network itself, beside ``encoder``: so published checkpoints name them.

    Args:
        encoder: pre-trained or not. Its pre-training modules must be gone; it is used without
            masking.
        final_dropout: on the encoder output before pooling.
        freeze_finetune_updates: updates before the encoder trains.

    Attributes:
        labels_option: name of the option that says how many labels there are.
    """

    outputs: ClassVar[tuple[str, ...]] = ("out",)
    label_output: ClassVar[str | None] = "out"
    without_labels: ClassVar[str] = "predicts no labels: use embed"

    labels_option: ClassVar[str] = "num_labels"

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

    def head_outputs(self, encoded: Mapping[str, Any], samples: int) -> dict[str, torch.Tensor]:
        """Map what the encoder gave to what the head gives, by the names in :attr:`outputs`.

        Args:
            encoded: what :meth:`Encoder.extract_features` returned, ``x`` with dropout.
            samples: T.
        """
        return {"out": self.apply_head(encoded["x"], encoded["padding_mask"])}

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Predict for a batch.

        Returns:
            What an encoder by itself gives, but without gradient, and what the head gives, by the
            names in :attr:`outputs`.
        """
        encoded = self.encode(source, padding_mask, **wanted)
        x, frame_mask = self.final_dropout(encoded["x"]), encoded["padding_mask"]
        saliency = encoded["saliency"]
        return {
            **self.head_outputs(encoded | {"x": x}, source.shape[-1]),
            "encoder_out": zero_padding(x.detach(), frame_mask),
            "padding_mask": frame_mask,
            "saliency": None if saliency is None else saliency.detach(),
        }

    def get_logits(self, net_output: Mapping, normalize: bool = False, **_) -> Any:
        """Logits ``(B, C)``, or their log softmax over labels in float32."""
        logits = net_output["out"]
        return logits.float().log_softmax(dim=-1) if normalize else logits

    def get_targets(self, sample: Mapping, net_output: Mapping, **_) -> torch.Tensor | list:
        """Labels of a batch: ``(B, C)`` float, or the list of a path dataset as it is."""
        label = sample["label"]
        return label.float() if torch.is_tensor(label) else label

    def get_normalized_probs(
        self, net_output: Mapping, log_probs: bool, sample: Mapping | None = None
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
        return self.encoder.without_gradient_unmasked()

    def set_num_updates(self, num_updates: int) -> None:
        """Set how many updates are done, for freezing and for parts that follow a schedule."""
        self.num_updates = num_updates
        self.encoder.pass_on_num_updates(num_updates)
