# ruff: noqa: UP006, UP035 (fairseq reads the types of options by their names in typing)
"""``ecg_transformer_classifier``: diagnosis, or regression, on a pre-trained encoder."""

import logging
from dataclasses import dataclass, field
from typing import List

import torch
from fairseq.dataclass import ChoiceEnum
from omegaconf import MISSING, DictConfig, open_dict

from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.finetuning import (
    ECGTransformerFinetuningConfig,
    ECGTransformerFinetuningModel,
)
from fairseq_ecg.modules import POOLINGS, ECGTransformer, ECGTransformerClassifier
from fairseq_ecg.modules.architecture import network_options

logger = logging.getLogger(__name__)

POOLING_CHOICES = ChoiceEnum(list(POOLINGS))


@dataclass
class ECGTransformerClassificationConfig(ECGTransformerFinetuningConfig):
    """The encoder, its labels, and how much of it trains."""

    num_labels: int = field(
        default=MISSING, metadata={"help": "labels to predict, or targets to estimate"}
    )
    pooling: POOLING_CHOICES = field(
        default="mean", metadata={"help": "of the frames of a segment: mean, max or attentive"}
    )
    freeze_layers: int = field(
        default=0,
        metadata={
            "help": "lowest transformer layers that never train, and with them all that lies "
            "below; -1: the whole encoder (linear probing)"
        },
    )
    lora_rank: int = field(
        default=0,
        metadata={"help": "rank of adapters, beside which nothing of the encoder trains; 0: none"},
    )
    lora_alpha: float = field(default=16.0, metadata={"help": "adapters count alpha / rank times"})
    lora_dropout: float = field(default=0.0, metadata={"help": "on the input of adapters"})
    lora_targets: List[str] = field(
        default_factory=lambda: ["q_proj", "v_proj"],
        metadata={"help": "linear layers to adapt: q_proj, k_proj, v_proj, out_proj, fc1, fc2"},
    )


def leave_out_implied(cfg: DictConfig) -> None:
    """Take out of a classifier's configuration options that the saved network does without.

    fairseq_signals refuses a checkpoint with options that it does not have. Those stay that make
    a network which it could not build anyway.

    Args:
        cfg: configuration of the classifier, changed in place.
    """
    implied = ["freeze_layers", "checkpoint_architecture"]  # of training, not of the network
    if str(cfg.get("pooling")) == "mean":
        implied.append("pooling")
    if not cfg.get("lora_rank"):
        implied += ["lora_rank", "lora_alpha", "lora_dropout", "lora_targets"]
    with open_dict(cfg):
        for name in implied:
            cfg.pop(name, None)


@register_model("ecg_transformer_classifier", dataclass=ECGTransformerClassificationConfig)
class ECGTransformerClassificationModel(ECGTransformerClassifier, ECGTransformerFinetuningModel):
    """:class:`fairseq_ecg.modules.ECGTransformerClassifier` as a fairseq model.

    Args:
        cfg: configuration of the classifier.
        encoder: the encoder.
    """

    leave_out_implied = staticmethod(leave_out_implied)

    def __init__(self, cfg: ECGTransformerClassificationConfig, encoder: ECGTransformer):
        super().__init__(encoder, **network_options(ECGTransformerClassifier, cfg))
        self.cfg = cfg
        frozen = {id(parameter) for parameter in self.without_gradient()}
        training = sum(
            p.numel() for p in self.parameters() if p.requires_grad and id(p) not in frozen
        )
        total = sum(p.numel() for p in self.parameters())
        logger.info("%d of %d parameters train", training, total)

    def forward(self, source, padding_mask=None, **_):
        """As :meth:`fairseq_ecg.modules.ECGTransformerClassifier.forward`, whatever else is given.

        That is the rest of a batch, for instance: fairseq_signals' classifiers pass it over.
        """
        return super().forward(source, padding_mask)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Load weights as fairseq's models do.

        Raises:
            CheckpointError: the weights are those of another number of labels.
        """
        # Whoever tunes further may have put any module in the place of the head.
        stored, own = state_dict.get("proj.bias"), getattr(self.proj, "bias", None)
        if torch.is_tensor(stored) and torch.is_tensor(own) and stored.shape != own.shape:
            raise CheckpointError(
                f"the checkpoint predicts {stored.numel()} labels, but "
                f"model.num_labels={own.numel()}"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)
