"""Linear probes: how much of the labels is in the embeddings of a network that is left as it is."""

from fairseq_ecg.inference.probe.embedding import EmbeddingCache, Features
from fairseq_ecg.inference.probe.fitting import Fitting, fit_probe
from fairseq_ecg.inference.probe.linear import LinearProbe

__all__ = ["EmbeddingCache", "Features", "Fitting", "LinearProbe", "fit_probe"]
