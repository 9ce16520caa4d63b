"""Taking a pre-trained encoder out of a checkpoint."""

# ruff: noqa: UP045 (fairseq reads the types of options by their names in typing)

import logging
import os
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import BaseFairseqModel
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError
from torch import nn

from fairseq_ecg.compat.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_strictly,
    model_config,
)
from fairseq_ecg.models.ecg_transformer import (
    ECGTransformerConfig,
    ECGTransformerModel,
    TransformerConfig,
)
from fairseq_ecg.models.wav2vec2 import Wav2Vec2CMSCModel, Wav2Vec2Config, Wav2Vec2Model
from fairseq_ecg.modules import ECGTransformer, FinetunedEncoder, merge_lora
from fairseq_ecg.modules.wav2vec2 import PRETRAINING_MODULES
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding

logger = logging.getLogger(__name__)

ARCHITECTURE = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "layer_norm_first",
    "extractor_mode",
    "conv_feature_layers",
    "in_d",
    "conv_bias",
    "conv_pos",
    "conv_pos_groups",
)
"""What the weights of an encoder decide, whatever a YAML says."""

REGULARISATION = (
    "dropout",
    "activation_dropout",
    "dropout_input",
    "attention_dropout",
    "encoder_layerdrop",
    "feature_grad_mult",
)
"""What fine-tuning decides anew, whatever pre-training used."""

ENCODERS: dict[str, tuple[type[ECGTransformer], type[ECGTransformerConfig]]] = {
    "ecg_transformer": (ECGTransformerModel, ECGTransformerConfig),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config),
    "wav2vec2_cmsc": (Wav2Vec2CMSCModel, Wav2Vec2Config),
}


@dataclass
class FinetuningConfig(FairseqDataclass):
    """Where the encoder comes from."""

    model_path: Optional[str] = field(
        default=None, metadata={"help": "checkpoint of the pre-trained encoder"}
    )
    no_pretrained_weights: bool = field(
        default=False, metadata={"help": "start from random weights in spite of model_path"}
    )
    freeze_finetune_updates: int = field(
        default=0, metadata={"help": "updates before the encoder trains"}
    )


@dataclass
class TransformerFinetuningConfig(FinetuningConfig, TransformerConfig):
    """A pre-trained transformer, without dropout unless asked for."""

    dropout: float = field(default=0.0, metadata={"help": "dropout inside the transformer"})
    activation_dropout: float = field(
        default=0.0, metadata={"help": "after the GELU of a perceptron"}
    )
    dropout_input: float = field(
        default=0.0, metadata={"help": "on the input of the transformer, after projection"}
    )
    attention_dropout: float = field(default=0.0, metadata={"help": "on attention weights"})
    encoder_layerdrop: float = field(
        default=0.0, metadata={"help": "probability of leaving out a layer in training"}
    )
    final_dropout: float = field(
        default=0.0, metadata={"help": "on the encoder output before pooling"}
    )


@dataclass
class ECGTransformerFinetuningConfig(TransformerFinetuningConfig, ECGTransformerConfig):
    """A pre-trained ECG transformer whose convolutions stay as they are unless asked for."""

    feature_grad_mult: float = field(
        default=0.0, metadata={"help": "factor on the convolutions' gradient; 0 freezes them"}
    )


class ECGTransformerFinetuningModel(FinetunedEncoder, BaseFairseqModel):
    """What all models on a pre-trained encoder have in common.

    Args:
        cfg: configuration of the model.
        encoder: the encoder.
    """

    def __init__(self, cfg: ECGTransformerFinetuningConfig, encoder: ECGTransformer):
        super().__init__(
            encoder,
            final_dropout=cfg.final_dropout,
            freeze_finetune_updates=cfg.freeze_finetune_updates,
        )
        self.cfg = cfg

    @property
    def architecture(self) -> dict[str, Any]:
        """What the encoder's checkpoint says about it, value by name in :data:`ARCHITECTURE`."""
        return getattr(self.encoder, "architecture", {})

    @classmethod
    def build_model(cls, cfg: ECGTransformerFinetuningConfig, task=None):
        """Build the model, on the encoder at ``cfg.model_path`` if there is one.

        Args:
            cfg: its configuration, a plain dataclass or one of omegaconf's. What it takes over
                from a task and cannot, as it was made without one, is off.
            task: has no meaning here.

        Raises:
            CheckpointError: the checkpoint does not hold such an encoder.
        """
        cfg = _own_config(cfg)
        if cfg.model_path and not cfg.no_pretrained_weights:
            encoder, architecture = load_encoder(cfg)
        else:
            encoder, architecture = ECGTransformerModel.build_model(cfg), {}
        encoder.architecture = architecture
        for name, value in architecture.items():
            if cfg[name] != value:
                logger.info("model.%s is %s, as in %s", name, value, cfg.model_path)
                cfg[name] = value
        return cls(cfg, encoder)

    def forward(self, source, padding_mask=None, **_):
        """Return what the encoder says of each frame, before any pooling.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            See :meth:`fairseq_ecg.modules.ECGTransformer.forward`.
        """
        return self.encode(source, padding_mask)

    def get_logits(self, net_output, normalize=False, aggregate=False, **_):
        """Encoder output as logits: frames ``(B, T', D)``, or their mean ``(B, D)`` (aggregate).

        Args:
            net_output: of a model on an encoder, with ``encoder_out``, or of :meth:`forward`.
            normalize: return log probabilities over the last dimension in float32.
            aggregate: pool the frames.
        """
        frames = net_output["encoder_out" if "encoder_out" in net_output else "x"]
        pool = mean_of_nonzero if aggregate else zero_padding
        logits = pool(frames, net_output["padding_mask"])
        return logits.float().log_softmax(dim=-1) if normalize else logits


def pretrained_encoder(
    model_path: str | os.PathLike, cfg: ECGTransformerFinetuningConfig
) -> ECGTransformer:
    """Take the encoder out of a checkpoint, whatever ``cfg.model_path`` says.

    Args:
        model_path: the ``.pt`` file.
        cfg: as of :meth:`ECGTransformerFinetuningModel.build_model`.

    Returns:
        See :func:`load_encoder`.

    Raises:
        CheckpointError: the checkpoint does not hold such an encoder.
    """
    cfg = _own_config(cfg)
    with open_dict(cfg):
        cfg.model_path = os.fspath(model_path)
    encoder, encoder.architecture = load_encoder(cfg)
    return encoder


def _own_config(cfg: ECGTransformerFinetuningConfig) -> DictConfig:
    """Copy a configuration, and turn off what no task can tell it."""
    cfg = OmegaConf.structured(cfg) if is_dataclass(cfg) else cfg.copy()
    for option in ("normalize", "filter"):
        try:
            _ = cfg[option]
        except InterpolationResolutionError:
            cfg[option] = False
    return cfg


def encoder_config(cfg: ECGTransformerFinetuningConfig, state: dict[str, Any]) -> dict[str, Any]:
    """Return the stored configuration of an encoder, with fine-tuning's regularisation.

    Args:
        cfg: configuration of the fine-tuned model.
        state: the checkpoint at ``cfg.model_path``.

    Raises:
        CheckpointError: the checkpoint holds no ECG encoder, or one trained on signals that were
            normalised or filtered otherwise.
    """
    stored = model_config(state, cfg.model_path)
    task = state["cfg"].get("task") or {}
    for option in ("normalize", "filter"):
        if bool(task.get(option, False)) != bool(cfg[option]):
            raise CheckpointError(
                f"{cfg.model_path} was trained with task.{option}={task.get(option, False)}; "
                f"set task.{option} to the same"
            )
    return stored | {name: cfg[name] for name in REGULARISATION} | {"all_gather": False}


def load_encoder(cfg: ECGTransformerFinetuningConfig) -> tuple[ECGTransformer, dict[str, Any]]:
    """Build the encoder of a checkpoint with its weights.

    The architecture is the checkpoint's; the class too, so that a pre-trained network goes on to
    spend its random numbers as in fairseq_signals. An already fine-tuned model gives its encoder,
    adapters merged into it.

    Args:
        cfg: configuration of the fine-tuned model, ``model_path`` set.

    Returns:
        The encoder without pre-training heads, and with a mask embedding only if
        ``cfg.apply_mask``; and its architecture, value by name in :data:`ARCHITECTURE`.

    Raises:
        CheckpointError: the checkpoint does not hold such an encoder; keys are named.
    """
    state = load_checkpoint(cfg.model_path)
    stored = encoder_config(cfg, state)
    weights = state["model"]
    name = stored.get("_name")
    if name == "ecg_transformer_classifier":
        name = "ecg_transformer"
        weights = {
            key.removeprefix("encoder."): value
            for key, value in weights.items()
            if key.startswith("encoder.")
        }
        if stored.get("lora_rank"):
            weights = merge_lora(weights, stored["lora_alpha"] / stored["lora_rank"])
    if name not in ENCODERS:
        raise CheckpointError(
            f"{cfg.model_path} holds a {name!r}, whose encoder cannot be fine-tuned; "
            f"known are {', '.join(ENCODERS)} and ecg_transformer_classifier"
        )
    model, dataclass_ = ENCODERS[name]
    merged = merge_with_parent(dataclass_(), OmegaConf.create(stored | {}), remove_missing=True)
    encoder = model.build_model(merged)
    if hasattr(encoder, "remove_pretraining_modules"):
        encoder.remove_pretraining_modules()
    load_strictly(encoder, weights, cfg.model_path, ignored=PRETRAINING_MODULES)
    if not cfg.apply_mask:
        encoder.mask_emb = None
    elif encoder.mask_emb is None:
        encoder.mask_emb = nn.Parameter(torch.empty(encoder.encoder_dim).uniform_())
    return encoder, {name: merged[name] for name in ARCHITECTURE}
