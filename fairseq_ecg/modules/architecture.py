"""From the configuration that a checkpoint records to the network, without fairseq."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from fairseq_ecg.modules.classifier import ECGTransformerClassifier
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.wav2vec2 import Wav2Vec2

CLASSIFIER = "ecg_transformer_classifier"

ENCODERS: dict[str, type[ECGTransformer]] = {
    "ecg_transformer": ECGTransformer,
    "wav2vec2": Wav2Vec2,
    "wav2vec2_cmsc": Wav2Vec2,
}
"""Class of each encoder by the name that fairseq registers it under."""


def network_options(network: type[nn.Module], cfg: Any) -> dict[str, Any]:
    """Pick from a configuration the arguments of a network, its base classes' included.

    Args:
        network: class of :mod:`fairseq_ecg.modules` whose arguments bear the config's names.
        cfg: the model's configuration: a plain mapping, one of omegaconf's, or an object with
            the values as attributes.

    Returns:
        Value by argument; choices as plain strings.
    """
    values = cfg if isinstance(cfg, Mapping) else vars(cfg)
    names = {
        name
        for base in inspect.getmro(network)
        if base.__module__.startswith("fairseq_ecg.modules")
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    options = {name: values[name] for name in sorted(names) if name in values}
    for name in ("mask_selection", "mask_channel_selection", "pooling"):
        if name in options:
            options[name] = str(options[name])
    return options


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
    name = cfg.get("_name")
    if name == CLASSIFIER:
        encoder = ECGTransformer(**network_options(ECGTransformer, cfg))
        return ECGTransformerClassifier(encoder, **network_options(ECGTransformerClassifier, cfg))
    if name not in ENCODERS:
        known = ", ".join((*ENCODERS, CLASSIFIER))
        raise ValueError(f"model {name!r} is not known here; known are {known}")
    return ENCODERS[name](**network_options(ENCODERS[name], cfg))


def network_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a configuration what :func:`build_network` makes the network of.

    Args:
        cfg: as for :func:`build_network`.

    Returns:
        Plain values by name, of which it builds the same network.
    """
    name = cfg["_name"]
    classes = [ECGTransformer, ECGTransformerClassifier] if name == CLASSIFIER else [ENCODERS[name]]
    options = {key: value for cls in classes for key, value in network_options(cls, cfg).items()}
    plain = {key: list(x) if isinstance(x, list | tuple) else x for key, x in options.items()}
    return {"_name": name, **plain}
