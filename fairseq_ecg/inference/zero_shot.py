"""Labels by prompts: a network of ECGs and texts as one that scores labels."""

from collections.abc import Mapping

import numpy as np
import torch

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.inference.results import OfSegments
from fairseq_ecg.inference.retrieval import Prompts, check_prompts
from fairseq_ecg.inference.text_model import ECGTextModel


class ZeroShot:
    """A network of ECGs and texts as one that scores labels, by their prompts.

    Args:
        model: the network.
        prompts: see :meth:`ECGTextModel.zero_shot`.
    """

    def __init__(self, model: ECGTextModel, prompts: Prompts):
        self.model, self.prompts = model, check_prompts(prompts)
        self.labels = tuple(self.prompts)
        self.aggregation: Mapping[str, str] = dict.fromkeys(self.labels, "mean")
        self._compare = model.comparison_of_labels(self.prompts)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to recordings before."""
        return self.model.preprocessing

    def probabilities(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> np.ndarray:
        """Scores ``(B, C)`` of prepared segments; they order them, and are no probabilities."""
        return self._compare(source, padding_mask)

    def predict(self, ecg, **options) -> OfSegments:
        """Scores of recordings as they are, see :meth:`ECGTextModel.zero_shot`."""
        return self.model.zero_shot(ecg, self.prompts, **options)
