"""Networks of ECGs and texts: ``nn.Module`` with plain arguments, BERT of transformers."""

from fairseq_ecg.modules.text.network import FinetunedTextNetwork, TextNetwork
from fairseq_ecg.modules.text.registry import (
    TEXT_NETWORKS,
    build_text_network,
    largest_text_sizes,
    text_network_class,
    text_network_config,
)

__all__ = [
    "TEXT_NETWORKS",
    "FinetunedTextNetwork",
    "TextNetwork",
    "build_text_network",
    "largest_text_sizes",
    "text_network_class",
    "text_network_config",
]
