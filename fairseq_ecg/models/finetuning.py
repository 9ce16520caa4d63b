"""Taking a pre-trained encoder out of a checkpoint."""

# ruff: noqa: UP045 (fairseq reads the types of options by their names in typing)

from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import BaseFairseqModel
from omegaconf import OmegaConf
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
from fairseq_ecg.modules import ECGTransformer, merge_lora
from fairseq_ecg.modules.wav2vec2 import PRETRAINING_MODULES

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


class ECGTransformerFinetuningModel(BaseFairseqModel):
    """What all models on a pre-trained encoder have in common."""

    def forward(self, source, padding_mask=None, **_):
        """Return what the encoder says of each frame, before any pooling.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            See :meth:`fairseq_ecg.modules.ECGTransformer.forward`.
        """
        return self.encode(source, padding_mask)


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
