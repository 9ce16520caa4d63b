"""The encoder of a fine-tuned model: out of a checkpoint, or with new weights."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError
from torch import nn

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_strictly,
)
from fairseq_ecg.compat.stored_config import (
    check_network,
    decided_by_weights,
    literal,
    model_config,
    stored_section,
)
from fairseq_ecg.errors import CheckpointError, DataError, shortened
from fairseq_ecg.modules import ENCODERS, Encoder, merge_lora
from fairseq_ecg.modules.registry import head_class, networks
from fairseq_ecg.modules.text import text_network_class

logger = logging.getLogger(__name__)

CONDITIONING = ("normalize", "filter")
"""Options of tasks that have to be those with which an encoder was trained."""


def pretrained_encoder(
    model_path: str | os.PathLike, cfg: Any, keeps_mask: bool = False
) -> Encoder:
    """Take the encoder out of a checkpoint, whatever ``cfg.model_path`` says.

    Args:
        model_path: the ``.pt`` file.
        cfg: as for :func:`own_config`.
        keeps_mask: as for :func:`load_encoder`.

    Returns:
        See :func:`load_encoder`.

    Raises:
        CheckpointError: the checkpoint does not hold such an encoder.
    """
    cfg = own_config(cfg)
    with open_dict(cfg):
        cfg.model_path = os.fspath(model_path)
    return load_encoder(cfg, keeps_mask)


def own_config(cfg: Any) -> DictConfig:
    """Copy the configuration of a fine-tuned model; what it lacks of a task is off.

    Args:
        cfg: a plain dataclass, or one of omegaconf's.
    """
    cfg = OmegaConf.structured(cfg) if is_dataclass(cfg) else cfg.copy()
    for option in CONDITIONING:
        try:
            _ = cfg[option]
        except InterpolationResolutionError:
            cfg[option] = False
    return cfg


@dataclass(frozen=True)
class StoredEncoder:
    """A pre-trained encoder as it lies in a checkpoint.

    Attributes:
        name: of its kind, a key of :data:`fairseq_ecg.modules.ENCODERS`.
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
        """Value by name of what its weights decide."""
        return {name: self.cfg[name] for name in ENCODERS[self.name].architecture_options}


def stored_encoder(cfg: DictConfig) -> StoredEncoder:
    """Read the encoder at ``cfg.model_path``.

    An already fine-tuned model gives its encoder, adapters merged into it; a network of ECGs and
    texts its ECG encoder.

    Args:
        cfg: configuration of the fine-tuned model.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the checkpoint does not hold such an encoder; keys are named.
        DataError: the encoder is larger than is plausible.
    """
    source = cfg.model_path
    state = load_checkpoint(source)
    stored, weights = _ecg_network(model_config(state, source), state["model"], source)
    name = stored.get("_name")
    known = networks()
    if not isinstance(name, str) or name not in known:
        *others, last = known
        raise CheckpointError(
            f"{source} holds a {shortened(name)}, whose encoder cannot be fine-tuned; "
            f"known are {', '.join(others)} and {last}"
        )
    name, head = known[name]
    check_network(stored, weights, source, encoder_only=True)
    chosen_anew = [key for key in ENCODERS[name].regularisation_options if key in cfg]
    regularised = literal(stored, source) | {key: cfg[key] for key in chosen_anew}
    with damage_as_checkpoint_error(source, WRITTEN_IN_TRAINING):
        if head is not None:
            weights = head_class(ENCODERS[name], head).encoder_weights(weights)
            if stored.get("lora_rank"):
                weights = merge_lora(weights, stored["lora_alpha"] / stored["lora_rank"])
        merged = merge_with_parent(
            MODEL_DATACLASS_REGISTRY[name](),
            OmegaConf.create(regularised | {"all_gather": False}),
            remove_missing=True,
        )
    return StoredEncoder(name, merged, weights, stored_section(state, source, "task"))


def _ecg_network(
    cfg: dict[str, Any], weights: dict[str, torch.Tensor], source: object
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Take the ECG encoder out of a network of ECGs and texts, if it is one that has such a one."""
    network = text_network_class(cfg.get("_name"))
    if network is None or network.ecg_encoder_prefix is None:
        return cfg, weights
    cfg = network.ecg_encoder_config(decided_by_weights(cfg, weights, source))
    prefix = network.ecg_encoder_prefix
    return cfg, {key[len(prefix) :]: x for key, x in weights.items() if key.startswith(prefix)}


def compare_tasks(
    stored: Mapping[str, Any], own: Mapping[str, Any], path: str | os.PathLike
) -> None:
    """Refuse a checkpoint whose task had another value of an option that has to be the same.

    Args:
        stored: options of that task by name; of those that it lacks any value will do.
        own: options of the task at hand.
        path: of the checkpoint.

    Raises:
        CheckpointError: an option has another value.
    """
    for name, value in own.items():
        if stored.get(name, value) != value:
            raise CheckpointError(
                f"{path} was trained with task.{name}={shortened(stored[name])}; set task.{name} "
                "to the same"
            )


def load_encoder(cfg: DictConfig, keeps_mask: bool = False) -> Encoder:
    """Build the encoder of a checkpoint with its weights.

    The architecture is the checkpoint's; the class too, so that a pre-trained network goes on to
    spend its random numbers as in fairseq_signals.

    Args:
        cfg: configuration of the fine-tuned model, ``model_path`` set.
        keeps_mask: whether a mask embedding that the checkpoint has is kept in any case.

    Returns:
        The encoder without pre-training heads, and with a mask embedding only if
        ``cfg.apply_mask`` or ``keeps_mask``; its attribute ``architecture`` is that of
        :class:`StoredEncoder`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the checkpoint does not hold such an encoder, or one trained on signals
            that were normalised or filtered otherwise; keys are named.
        DataError: the encoder is larger than is plausible.
    """
    stored = stored_encoder(cfg)
    trained_with = {name: bool(stored.task.get(name, False)) for name in CONDITIONING}
    compare_tasks(trained_with, {name: bool(cfg[name]) for name in CONDITIONING}, cfg.model_path)
    with damage_as_checkpoint_error(cfg.model_path, WRITTEN_IN_TRAINING):
        # Only now options are read that decide nothing of the weights, such as those of masks.
        encoder = MODEL_REGISTRY[stored.name].build_model(stored.cfg)
    encoder.remove_pretraining_modules()
    load_strictly(encoder, stored.weights, cfg.model_path, ignored=encoder.pretraining_modules)
    if not ("apply_mask" in cfg and cfg.apply_mask):
        encoder.mask_emb = encoder.mask_emb if keeps_mask else None
    elif encoder.mask_emb is None:
        encoder.mask_emb = nn.Parameter(torch.empty(encoder.encoder_dim).uniform_())
    encoder.architecture = stored.architecture
    return encoder


def untrained_encoder(name: str, cfg: DictConfig) -> Encoder:
    """Build an encoder whose weights are drawn at random.

    As in fairseq_signals its architecture is that of the configuration, also where there is a
    ``cfg.model_path`` of another one; but that is said.

    Args:
        name: of its kind, a key of :data:`fairseq_ecg.modules.ENCODERS`.
        cfg: configuration of the fine-tuned model; with ``checkpoint_architecture`` the
            architecture is that of the encoder at ``model_path``.

    Returns:
        The encoder; its attribute ``architecture`` is what the configuration does not say.

    Raises:
        FileNotFoundError, CheckpointError, DataError: as :func:`stored_encoder`, if the
            architecture is to be the checkpoint's.
        DataError: there is no ``model_path`` then.
    """
    architecture = {}
    if cfg.checkpoint_architecture:
        if not cfg.model_path:
            raise DataError(
                "model.checkpoint_architecture=true needs model.model_path, the checkpoint whose "
                "architecture is meant"
            )
        architecture = stored_encoder(cfg).architecture
    elif cfg.model_path:
        _say_what_is_built(cfg)
    encoder = MODEL_REGISTRY[name].build_model(OmegaConf.merge(cfg, architecture))
    encoder.architecture = architecture
    return encoder


def _say_what_is_built(cfg: DictConfig) -> None:
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
            f"{name}={values[name]}" for name in architecture if cfg[name] != architecture[name]
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
