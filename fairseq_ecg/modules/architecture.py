"""From the configuration that a checkpoint records to the network, without fairseq."""

import inspect
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from torch import nn

from fairseq_ecg.messages import shortened
from fairseq_ecg.modules.classifier import ECGTransformerClassifier
from fairseq_ecg.modules.conv_extractor import parse_conv_layers
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.wav2vec2 import Wav2Vec2

CLASSIFIER = "ecg_transformer_classifier"

ENCODERS: dict[str, type[ECGTransformer]] = {
    "ecg_transformer": ECGTransformer,
    "wav2vec2": Wav2Vec2,
    "wav2vec2_cmsc": Wav2Vec2,
}
"""Class of each encoder by the name that fairseq registers it under."""

NETWORKS: dict[str, type[nn.Module]] = {**ENCODERS, CLASSIFIER: ECGTransformerClassifier}
"""Class of each network likewise."""

LEAST = {
    "codebook_negatives": 0,
    "cross_sample_negatives": 0,
    "final_dim": 0,
    "freeze_finetune_updates": 0,
    "freeze_layers": -(2**31),  # the encoder says itself how many it has
    "latent_dim": 0,
    "lora_rank": 0,
    "mask_channel_min_space": 0,
    "mask_min_space": 0,
    "num_negatives": 0,
}
"""Least value of whole numbers that are no size, by argument; a size is at least 1."""

PROBABILITIES = frozenset(
    {
        "activation_dropout",
        "attention_dropout",
        "dropout",
        "dropout_features",
        "dropout_input",
        "encoder_layerdrop",
        "final_dropout",
        "lora_dropout",
    }
)
"""Arguments from 0 to 1."""

WIDTHS = (
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "final_dim",
    "in_d",
    "latent_dim",
    "latent_groups",
    "latent_vars",
    "lora_rank",
    "num_labels",
)
"""Arguments that count channels, or what takes as much memory."""


def network_options(network: type[nn.Module], cfg: Any) -> dict[str, Any]:
    """Pick from a configuration the arguments of a network, its base classes' included.

    Args:
        network: class of :mod:`fairseq_ecg.modules` whose arguments bear the config's names.
        cfg: the model's configuration: a plain mapping, one of omegaconf's, or an object with
            the values as attributes.

    Returns:
        Value by argument; choices as plain strings.

    Raises:
        ValueError: a value is none that the argument can have.
    """
    values = cfg if isinstance(cfg, Mapping) else vars(cfg)
    kinds = {
        name: parameter.annotation
        for base in inspect.getmro(network)
        if base.__module__.startswith("fairseq_ecg.modules")
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return {
        name: _checked(name, values[name], kinds[name]) for name in sorted(kinds) if name in values
    }


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Return the value of an argument if it can be one, choices as plain strings."""
    if name == "conv_feature_layers":
        parse_conv_layers(value)
        return value
    if kind is bool:
        expected, fits = "true or false", isinstance(value, bool)
    elif kind is int:
        least = LEAST.get(name, 1)
        expected = f"a whole number from {least} on"
        fits = _is_number(value) and isinstance(value, int) and least <= value < 2**63
    elif kind is float:
        highest = 1 if name in PROBABILITIES else math.inf
        expected = "a number from 0 to 1" if highest == 1 else "a number"
        fits = _is_number(value) and (highest == math.inf or 0 <= value <= highest)
    elif kind is str:
        expected, fits = "a name", isinstance(value, str | Enum)
        value = str(value) if fits else value
    elif name == "latent_temp":
        expected = "three positive numbers"
        fits = _is_list(value) and len(value) == 3
        fits = fits and all(_is_number(number) and number > 0 for number in value)
    else:
        expected = "a list of names"
        fits = _is_list(value) and all(isinstance(element, str) for element in value)
    if not fits:
        raise ValueError(f"{name}={shortened(value)} is not {expected}")
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def largest_sizes(cfg: Mapping[str, Any]) -> dict[str, int]:
    """Return how large the network of a configuration becomes, before it is built.

    Args:
        cfg: as for :func:`build_network`.

    Returns:
        The number of ``layers`` of its transformer, and the largest ``width`` in channels and
        ``kernel`` or stride in samples or frames; 0 where the configuration says none.

    Raises:
        ValueError: there is no such network, or a value is none that its argument can have.
    """
    options = network_config(cfg)
    stated = options.get("conv_feature_layers")
    convolutions = [(0, 0, 0)] if stated is None else parse_conv_layers(stated)
    channels, kernels, strides = zip(*convolutions, strict=True)
    return {
        "layers": options.get("encoder_layers", 0),
        "width": max(*channels, *(options.get(name, 0) for name in WIDTHS)),
        "kernel": max(*kernels, *strides, options.get("conv_pos", 0)),
    }


def _network_class(cfg: Mapping[str, Any]) -> type[nn.Module]:
    name = cfg.get("_name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(
            f"model {shortened(name)} is not known here; known are {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]


def build_network(cfg: Mapping[str, Any]) -> ECGTransformer | ECGTransformerClassifier:
    """Build the network that a configuration describes, its weights drawn at random.

    Args:
        cfg: ``cfg.model`` of a checkpoint, ``_name`` among its keys. What it does not say has the
            value of the network's own default. Keys that are no argument of the network, such as
            ``model_path``, have no effect.

    Returns:
        The network, in training mode.

    Raises:
        ValueError: there is no such network, or its arguments do not go together.
    """
    network = _network_class(cfg)
    if network is not ECGTransformerClassifier:
        return network(**network_options(network, cfg))
    encoder = ECGTransformer(**network_options(ECGTransformer, cfg))
    options = network_options(network, cfg)
    if "num_labels" not in options:
        raise ValueError("num_labels, the number of labels, is missing")
    return network(encoder, **options)


def network_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a configuration what :func:`build_network` makes the network of.

    Args:
        cfg: as for :func:`build_network`.

    Returns:
        Plain values by name, of which it builds the same network.

    Raises:
        ValueError: as :func:`build_network`.
    """
    network = _network_class(cfg)
    classes = [ECGTransformer] * (network is ECGTransformerClassifier) + [network]
    options = {key: value for cls in classes for key, value in network_options(cls, cfg).items()}
    plain = {key: list(x) if isinstance(x, list | tuple) else x for key, x in options.items()}
    return {"_name": cfg["_name"], **plain}
