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
    WRITTEN_IN_TRAINING,
    CheckpointError,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_strictly,
)
from fairseq_ecg.compat.stored_config import (
    check_network,
    encoder_weights,
    literal,
    model_config,
    stored_section,
)
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.models.ecg_transformer import (
    ECGTransformerConfig,
    ECGTransformerModel,
    TransformerConfig,
)
from fairseq_ecg.models.wav2vec2 import Wav2Vec2CMSCModel, Wav2Vec2Config, Wav2Vec2Model
from fairseq_ecg.modules import ECGTransformer, FinetunedEncoder, merge_lora
from fairseq_ecg.modules.architecture import CLASSIFIER
from fairseq_ecg.modules.conv_extractor import shortened
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
    checkpoint_architecture: bool = field(
        default=False,
        metadata={
            "help": "with no_pretrained_weights: the architecture of model_path, not of this "
            "configuration"
        },
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
            encoder, architecture = untrained_encoder(cfg)
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


@dataclass(frozen=True)
class StoredEncoder:
    """A pre-trained encoder as it lies in a checkpoint.

    Attributes:
        name: of its kind, a key of :data:`ENCODERS`.
        cfg: its configuration, with fine-tuning's regularisation.
        weights: by name; those of heads of pre-training may be among them.
        task: configuration of the task that trained it.
    """

    name: str
    cfg: DictConfig
    weights: dict[str, torch.Tensor]
    task: dict[str, Any]

    @property
    def architecture(self) -> dict[str, Any]:
        """Value by name in :data:`ARCHITECTURE`."""
        return {name: self.cfg[name] for name in ARCHITECTURE}


def stored_encoder(cfg: ECGTransformerFinetuningConfig) -> StoredEncoder:
    """Read the encoder at ``cfg.model_path``.

    An already fine-tuned model gives its encoder, adapters merged into it.

    Args:
        cfg: configuration of the fine-tuned model.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the checkpoint does not hold such an encoder; keys are named.
        DataError: the encoder is larger than is plausible.
    """
    source = cfg.model_path
    state = load_checkpoint(source)
    stored, weights = model_config(state, source), state["model"]
    name = stored.get("_name")
    if not isinstance(name, str) or name not in (*ENCODERS, CLASSIFIER):
        raise CheckpointError(
            f"{source} holds a {shortened(name)}, whose encoder cannot be fine-tuned; "
            f"known are {', '.join(ENCODERS)} and {CLASSIFIER}"
        )
    check_network(stored, weights, source, encoder_only=True)
    regularised = literal(stored, source) | {key: cfg[key] for key in REGULARISATION}
    with damage_as_checkpoint_error(source, WRITTEN_IN_TRAINING):
        if name == CLASSIFIER:
            name, weights = "ecg_transformer", encoder_weights(weights)
            if stored.get("lora_rank"):
                weights = merge_lora(weights, stored["lora_alpha"] / stored["lora_rank"])
        merged = merge_with_parent(
            ENCODERS[name][1](),
            OmegaConf.create(regularised | {"all_gather": False}),
            remove_missing=True,
        )
    return StoredEncoder(name, merged, weights, stored_section(state, source, "task"))


def load_encoder(cfg: ECGTransformerFinetuningConfig) -> tuple[ECGTransformer, dict[str, Any]]:
    """Build the encoder of a checkpoint with its weights.

    The architecture is the checkpoint's; the class too, so that a pre-trained network goes on to
    spend its random numbers as in fairseq_signals.

    Args:
        cfg: configuration of the fine-tuned model, ``model_path`` set.

    Returns:
        The encoder without pre-training heads, and with a mask embedding only if
        ``cfg.apply_mask``; and its architecture, value by name in :data:`ARCHITECTURE`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the checkpoint does not hold such an encoder, or one trained on signals
            that were normalised or filtered otherwise; keys are named.
        DataError: the encoder is larger than is plausible.
    """
    stored = stored_encoder(cfg)
    for option in ("normalize", "filter"):
        trained_with = bool(stored.task.get(option, False))
        if trained_with != bool(cfg[option]):
            raise CheckpointError(
                f"{cfg.model_path} was trained with task.{option}={trained_with}; "
                f"set task.{option} to the same"
            )
    with damage_as_checkpoint_error(cfg.model_path, WRITTEN_IN_TRAINING):
        # Only now options are read that decide nothing of the weights, such as those of masks.
        encoder = ENCODERS[stored.name][0].build_model(stored.cfg)
    if hasattr(encoder, "remove_pretraining_modules"):
        encoder.remove_pretraining_modules()
    load_strictly(encoder, stored.weights, cfg.model_path, ignored=PRETRAINING_MODULES)
    if not cfg.apply_mask:
        encoder.mask_emb = None
    elif encoder.mask_emb is None:
        encoder.mask_emb = nn.Parameter(torch.empty(encoder.encoder_dim).uniform_())
    return encoder, stored.architecture


def untrained_encoder(
    cfg: ECGTransformerFinetuningConfig,
) -> tuple[ECGTransformer, dict[str, Any]]:
    """Build an encoder whose weights are drawn at random.

    As in fairseq_signals its architecture is that of the configuration, also where there is a
    ``cfg.model_path`` of another one; but that is said.

    Args:
        cfg: configuration of the fine-tuned model; with ``checkpoint_architecture`` the
            architecture is that of the encoder at ``model_path``.

    Returns:
        The encoder, and its architecture where that is not what the configuration says.

    Raises:
        FileNotFoundError, CheckpointError, DataError: as :func:`stored_encoder`, if the
            architecture is to be the checkpoint's.
        DataError: there is no ``model_path`` then.
    """
    if cfg.checkpoint_architecture:
        if not cfg.model_path:
            raise DataError(
                "model.checkpoint_architecture=true needs model.model_path, the checkpoint whose "
                "architecture is meant"
            )
        architecture = stored_encoder(cfg).architecture
        return ECGTransformerModel.build_model(OmegaConf.merge(cfg, architecture)), architecture
    if cfg.model_path:
        _say_what_is_built(cfg)
    return ECGTransformerModel.build_model(cfg), {}


def _say_what_is_built(cfg: ECGTransformerFinetuningConfig) -> None:
    """Warn where ``no_pretrained_weights`` makes another network than the one at ``model_path``."""
    try:
        architecture = stored_encoder(cfg).architecture
    except (FileNotFoundError, CheckpointError, DataError) as error:
        logger.warning(
            "model.no_pretrained_weights=true: not compared with a checkpoint: %s", error
        )
        return
    here, there = (
        ", ".join(
            f"{name}={values[name]}" for name in ARCHITECTURE if cfg[name] != architecture[name]
        )
        for values in (cfg, architecture)
    )
    if here:
        logger.warning(
            "model.no_pretrained_weights=true: the network has the architecture of this "
            "configuration (%s), not that of %s (%s). For the latter with new weights add "
            "+model.checkpoint_architecture=true; for its weights too leave out "
            "model.no_pretrained_weights",
            here,
            cfg.model_path,
            there,
        )
