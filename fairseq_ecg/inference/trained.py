"""A trained network that is given prepared segments."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.aggregation import aggregation_of
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.inference.stored import TargetScale
from fairseq_ecg.modules import FinetunedEncoder, FrameEncoder

NO_CLASS = -1e9
"""Score of a class that a network does not know: lower than any other."""


class TrainedNetwork(LoadedNetwork):
    """A network in evaluation mode, with what it needs to know of its input and its labels.

    Args:
        network: an encoder alone or with a head.
        cfg: configuration of which :func:`fairseq_ecg.modules.build_network` makes the same network
            but for its weights.
        preprocessing: what is done to recordings before.
        labels: names of the C labels of a classifier.
        aggregation: ``max`` or ``mean`` over segments by label; labels it does not name are
            aggregated as in ECG-FM's quick start.
        scale: units of the targets of a regression; None: outputs are logits of labels.

    Raises:
        DataError: there are not as many labels as the network predicts, or two of the same name, or
            the preprocessing makes other rows than the network reads.

    Attributes:
        network: the ``nn.Module`` itself: ``(B, L, T)`` prepared segments to a dict.
        aggregation: ``max`` or ``mean`` for all labels. The others are as given.
    """

    def __init__(
        self,
        network: FrameEncoder | FinetunedEncoder,
        cfg: Mapping,
        preprocessing: Preprocessing,
        labels: Sequence[str] = (),
        aggregation: Mapping[str, str] | str | None = None,
        scale: TargetScale | None = None,
    ):
        n_labels = network.num_outputs
        if n_labels != len(labels):
            raise DataError(
                f"the network predicts {n_labels or 'no'} labels, but {len(labels)} are named. "
                "Give the label_def.csv it was trained with"
            )
        if len(set(labels)) < len(labels):
            raise DataError(f"labels {', '.join(labels)} name one twice")
        super().__init__(network, network.encoder.n_leads, cfg, preprocessing)
        self.labels = tuple(labels)
        self.aggregation = aggregation_of(self.labels, aggregation)
        self.scale = scale

    @property
    def embed_dim(self) -> int:
        """D, channels of an embedding."""
        return self.network.encoder.encoder_dim

    @property
    def frames_per_segment(self) -> int:
        """T', frames that a segment gives."""
        return self.frame_count(self.preprocessing.segment_samples)

    def frame_count(self, n_samples: int) -> int:
        """Return T', frames that the network makes of samples."""
        return self.network.encoder.frame_count(n_samples)

    @torch.inference_mode()
    def probabilities(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> np.ndarray:
        """Predict the probability of every label for prepared segments; a regression, estimates.

        Args:
            source: ``(B, L, T)`` float, as :meth:`Preprocessing.segments` or the data preparation
                makes them.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where padded.

        Returns:
            ``(B, C)`` float64.

        Raises:
            DataError: the network predicts no labels.
        """
        self._require_labels()
        return self._outputs(self._forward(source, padding_mask))

    @torch.inference_mode()
    def embeddings(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> np.ndarray:
        """Encode prepared segments, as :meth:`probabilities` takes them, to ``(B, D)`` float32."""
        return self._pooled(self._forward(source, padding_mask))

    @torch.inference_mode()
    def saliencies(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        method: str = "attention",
    ) -> np.ndarray:
        """Measure how much every frame of prepared segments counts.

        Args:
            source: as for :meth:`probabilities`.
            padding_mask: as for :meth:`probabilities`.
            method: ``attention``: the largest weight that the frame, as a query of the last layer,
                gives to any frame (fairseq_signals' ``saliency.py``). ``rollout``: the share of the
                frame in the mean over all frames of the output, if in every layer half of a frame
                goes by the attention and half by the residual (Abnar and Zuidema, "Quantifying
                attention flow in transformers", ACL 2020); all shares of a segment sum to 1.

        Returns:
            ``(B, T')`` float32, NaN where a frame is padding.

        Raises:
            DataError: the network has no attention.
        """
        out = self._forward(source, padding_mask, saliency=True)
        if out["saliency"] is None:
            raise DataError("the network has no attention, so that it has no saliency")
        weights, frame_mask = out["saliency"].float(), out["padding_mask"]
        if method == "attention":
            values = weights[:, -1].amax(dim=2)
        else:
            values = _rollout(weights, frame_mask)
        if frame_mask is not None:
            values = values.masked_fill(frame_mask, torch.nan)
        return values.cpu().numpy()

    @torch.inference_mode()
    def scores(self, source: torch.Tensor, padding_mask: torch.Tensor | None = None) -> np.ndarray:
        """Score the classes of every sample of prepared segments.

        Arguments are those of :meth:`probabilities`.

        Returns:
            ``(B, T, 4)`` float32 logits, by `fairseq_ecg.ecg.delineation.CLASSES`; `NO_CLASS` of a
            class that the network does not know.

        Raises:
            DataError: the network delineates no waves.
        """
        classes = self._require_waves()
        found = self._forward(source, padding_mask)["segment_out"].float().cpu().numpy()
        scores = np.full((*found.shape[:-1], len(CLASSES)), NO_CLASS, np.float32)
        for name, index in classes.items():
            if name in CLASSES:
                scores[..., CLASSES[name]] = found[..., index]
        return scores

    @property
    def wave_classes(self) -> Mapping[str, int]:
        """Index of each class of samples by name; empty if the network delineates no waves."""
        return getattr(self.network, "label_idx", {})

    def _require_waves(self) -> Mapping[str, int]:
        if not self.wave_classes:
            raise DataError(
                "the network delineates no waves: segment needs a segmentor, as the task "
                "ecg_segmentation trains one (unet_segmentor for instance)"
            )
        return self.wave_classes

    def _require_labels(self) -> None:
        if not self.labels:
            raise DataError(f"the network {self.network.without_labels}")

    def _forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None, **wanted: bool
    ) -> dict:
        device = self.device
        if padding_mask is not None:
            padding_mask = padding_mask.to(device)
        return self.network(source.to(device, self.dtype), padding_mask, **wanted)

    def _outputs(self, out: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Return the probabilities or estimates of what the network gives."""
        outputs = out[self.network.label_output].double().cpu()
        if self.scale is None:
            return outputs.sigmoid().numpy()
        return outputs.numpy() * np.array(self.scale.std) + np.array(self.scale.mean)

    def _pooled(self, out: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Return the embeddings of what the network gives."""
        return self.network.embedding(out).float().cpu().numpy()

    @torch.inference_mode()
    def _probabilities_and_embeddings(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None
    ) -> np.ndarray:
        """``(B, C + D)`` float64."""
        out = self._forward(source, padding_mask)
        return np.concatenate([self._outputs(out), self._pooled(out)], axis=1)


def _rollout(weights: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """Share of every frame in the pooled output: ``(B, layers, T, T)`` to ``(B, T)``."""
    rows, layers, frames, _ = weights.shape
    pooled = torch.ones(rows, 1, frames, device=weights.device)
    if frame_mask is not None:
        pooled = pooled.masked_fill(frame_mask.unsqueeze(1), 0)
    pooled = pooled / pooled.sum(dim=2, keepdim=True)
    for layer in reversed(range(layers)):
        pooled = (pooled + pooled @ weights[:, layer]) / 2
    return pooled.squeeze(1)
