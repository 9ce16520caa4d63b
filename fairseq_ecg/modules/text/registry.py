"""The table of networks of ECGs and texts: from names and options, without fairseq."""

from collections.abc import Mapping
from typing import Any

from fairseq_ecg.errors import shortened
from fairseq_ecg.modules.registry import plain_config, sizes_of
from fairseq_ecg.modules.text.bert import BASE_SIZES
from fairseq_ecg.modules.text.blind_transformer_qa import BlindTransformerQA
from fairseq_ecg.modules.text.deaf_transformer_qa import DeafTransformerQA
from fairseq_ecg.modules.text.ecg_language_transformer_classifier import (
    ECGLanguageTransformerClassifier,
)
from fairseq_ecg.modules.text.ecg_text_clip import ECGTextCLIP
from fairseq_ecg.modules.text.m3ae import M3AE
from fairseq_ecg.modules.text.m3ae_qa import M3AEQA
from fairseq_ecg.modules.text.medvill import MedViLL
from fairseq_ecg.modules.text.network import TextNetwork
from fairseq_ecg.modules.text.resnet_lstm_classifier import ResNetLSTMClassifier
from fairseq_ecg.options import complete, options_of

TEXT_NETWORKS: dict[str, type[TextNetwork]] = {
    "m3ae": M3AE,
    "m3ae_qa": M3AEQA,
    "ecg_text_clip": ECGTextCLIP,
    "medvill": MedViLL,
    "ecg_language_transformer_classifier": ECGLanguageTransformerClassifier,
    "blind_transformer_qa": BlindTransformerQA,
    "deaf_transformer_qa": DeafTransformerQA,
    "resnet_lstm_classifier": ResNetLSTMClassifier,
}
"""Class of each network of ECGs and texts, by name."""


def text_network_class(name: object) -> type[TextNetwork] | None:
    """Return the class of a network of ECGs and texts; None if none is known by the name."""
    return TEXT_NETWORKS.get(name) if isinstance(name, str) else None


def build_text_network(cfg: Mapping[str, Any]) -> TextNetwork:
    """Build the network that a configuration describes, its weights drawn at random.

    Args:
        cfg: ``cfg.model`` of a checkpoint, ``_name`` among its keys; see
            :func:`fairseq_ecg.modules.registry.build_network`. Nothing is fetched.

    Raises:
        ValueError: there is no such network, or its options do not go together.
        ImportError: the extra ``text`` is not installed.
    """
    network = _class_of(cfg)
    options = complete(network, cfg)
    if "bert_config" in options_of(network):
        options["bert_config"] = options.get("bert_config") or BASE_SIZES
    return network(**options)


def text_network_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a configuration what :func:`build_text_network` makes the network of.

    Raises:
        ValueError: there is no such network, or an option cannot have its value.
    """
    return plain_config(cfg, options_of(_class_of(cfg)))


def largest_text_sizes(cfg: Mapping[str, Any]) -> dict[str, int]:
    """Return how large a network becomes, see :func:`fairseq_ecg.modules.registry.largest_sizes`.

    Raises:
        ValueError: there is no such network, or an option cannot have its value.
    """
    return sizes_of(cfg, options_of(_class_of(cfg)))


def _class_of(cfg: Mapping[str, Any]) -> type[TextNetwork]:
    network = text_network_class(cfg.get("_name"))
    if network is None:
        name, known = shortened(cfg.get("_name")), ", ".join(TEXT_NETWORKS)
        raise ValueError(f"network {name} is not known here; known are {known}")
    return network
