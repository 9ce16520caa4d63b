"""The table of networks of ECGs and texts: from names and options, without fairseq."""

from collections.abc import Mapping
from typing import Any

from fairseq_ecg.errors import shortened
from fairseq_ecg.modules.text.blind_transformer_qa import BlindTransformerQA
from fairseq_ecg.modules.text.deaf_transformer_qa import DeafTransformerQA
from fairseq_ecg.modules.text.ecg_language_transformer_classifier import (
    ECGLanguageTransformerClassifier,
)
from fairseq_ecg.modules.text.medvill import MedViLL
from fairseq_ecg.modules.text.network import TextNetwork
from fairseq_ecg.modules.text.resnet_lstm_classifier import ResNetLSTMClassifier
from fairseq_ecg.options import chosen

TEXT_NETWORKS: dict[str, type[TextNetwork]] = {
    "medvill": MedViLL,
    "ecg_language_transformer_classifier": ECGLanguageTransformerClassifier,
    "blind_transformer_qa": BlindTransformerQA,
    "deaf_transformer_qa": DeafTransformerQA,
    "resnet_lstm_classifier": ResNetLSTMClassifier,
}
"""Class of each network of ECGs and texts, by name."""


def build_text_network(cfg: Mapping[str, Any]) -> TextNetwork:
    """Build the network that a configuration describes, its weights drawn at random.

    Args:
        cfg: ``cfg.model`` of a checkpoint, ``_name`` among its keys; see
            :func:`fairseq_ecg.modules.registry.build_network`. Nothing is fetched.

    Raises:
        ValueError: there is no such network, or its options do not go together.
        ImportError: the extra ``text`` is not installed.
    """
    name = cfg.get("_name")
    if name not in TEXT_NETWORKS:
        known = ", ".join(TEXT_NETWORKS)
        raise ValueError(f"network {shortened(name)} is not known here; known are {known}")
    return TEXT_NETWORKS[name](**chosen(TEXT_NETWORKS[name], cfg))
