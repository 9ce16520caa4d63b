"""Heads that classify every sample: which wave of the ECG it belongs to, if any."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.ecg.delineation import CLASSES, NO_WAVE, class_count, delineate
from fairseq_ecg.modules.convolutional import check_odd
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.ops.frames import frames_to_samples
from fairseq_ecg.options import ClassIndices, Kernel, Probability, Width


class Segmentor(FinetunedEncoder):
    """Logits of the class of every sample, ``segment_out`` ``(B, T, classes)``.

    Frames are classified, and of an encoder with fewer frames than samples their logits are
    interpolated, see :func:`fairseq_ecg.ops.frames.frames_to_samples`. There are as many classes as
    ``label_idx`` names, but four at least, as fairseq_signals has.

    Args:
        encoder: any.
        label_idx: index of each class by its name; none is no wave.
        options: of :class:`FinetunedEncoder`.

    Raises:
        ValueError: two classes have one index, or one is negative, or there is no class ``none``.
    """

    outputs: ClassVar[tuple[str, ...]] = ("segment_out",)
    label_output: ClassVar[str | None] = None
    without_labels: ClassVar[str] = "delineates waves and predicts no labels: use segment, or embed"

    def __init__(self, encoder: Encoder, *, label_idx: ClassIndices = CLASSES, **options):
        FinetunedEncoder.__init__(self, encoder, **options)
        indices = sorted(label_idx.values())
        if len(set(indices)) < len(indices) or min(indices, default=0) < 0:
            raise ValueError(
                f"label_idx={dict(label_idx)}: give every class an index of its own, from 0 on"
            )
        if NO_WAVE not in label_idx:
            raise ValueError(
                f"label_idx={dict(label_idx)}: name the class of samples in no wave {NO_WAVE!r}"
            )
        self.label_idx = dict(label_idx)
        self.segment = nn.Conv1d(encoder.encoder_dim, class_count(label_idx), 1)

    def apply_head(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Map frames ``(B, T', D)`` to logits ``(B, T', classes)``; padded ones as any others."""
        return self.segment(x.transpose(1, 2)).transpose(1, 2)

    def head_outputs(self, encoded: Mapping[str, Any], samples: int) -> dict[str, torch.Tensor]:
        """See :meth:`FinetunedEncoder.head_outputs`."""
        frames = self.apply_head(encoded["x"], encoded["padding_mask"])
        return {"segment_out": frames_to_samples(frames, samples, *self.encoder.frame_centres)}

    def get_logits(
        self, net_output: Mapping, normalize: bool = False, sample: Mapping | None = None, **_
    ) -> Any:
        """Logits of samples.

        Args:
            net_output: what :meth:`forward` returned.
            normalize: return log probabilities over classes in float32.
            sample: the batch; its ``segment_mask`` ``(B, T)`` is True where a sample does not
                count.

        Returns:
            ``(B, T, classes)``, or if any sample is masked ``(N, classes)`` of the others, one
            recording after the other.
        """
        logits = _counting(net_output["segment_out"], sample)
        return logits.float().log_softmax(dim=-1) if normalize else logits

    def get_targets(
        self, sample: Mapping, net_output: Mapping, **_
    ) -> torch.Tensor | list[torch.Tensor]:
        """Classes of samples, ``(B, T)`` or ``(N,)`` int64: those of :meth:`get_logits`."""
        return _counting(sample["segment_label"], sample)

    def get_normalized_probs(
        self, net_output: Mapping, log_probs: bool, sample: Mapping | None = None
    ) -> torch.Tensor:
        """(Log) probabilities of the classes of every sample, ``(B, T, classes)`` float32."""
        log_probabilities = net_output["segment_out"].float().log_softmax(dim=-1)
        return log_probabilities if log_probs else log_probabilities.exp()

    def inference(self, source: torch.Tensor) -> dict[str, Any]:
        """Run the network on a batch, or on one recording ``(L, T)``, as it is.

        Neither the mode of evaluation nor gradients are switched.
        """
        return self(source.unsqueeze(0) if source.dim() == 2 else source)

    def delineate_ecg(self, source: torch.Tensor) -> list[dict[str, list[int]]]:
        """Find where waves begin and end.

        Args:
            source: as of :meth:`inference`.

        Returns:
            For each recording what :func:`fairseq_ecg.ecg.delineation.delineate` gives.
        """
        classes = self.inference(source)["segment_out"].argmax(dim=-1)
        return delineate(classes.cpu().numpy(), self.label_idx)


class CGMSegmentor(Segmentor):
    """A segmentor that also predicts labels of the whole recording, ``cls_out`` ``(B, C)``.

    The classification-guided module of UNet 3+ (https://arxiv.org/abs/2004.08790). It sees what an
    encoder returns as ``scales``, averaged to the length of the shortest; frames of others.

    Args:
        encoder: any.
        num_labels: labels to predict.
        cgm_dim: channels of its convolutions.
        cgm_kernel_size: frames that they span; an odd number.
        cgm_dropout: of whole channels, between them.
        options: of :class:`Segmentor`.

    Raises:
        ValueError: the kernel is even.
    """

    outputs = ("segment_out", "cls_out")
    label_output = "cls_out"

    def __init__(
        self,
        encoder: Encoder,
        *,
        num_labels: Width,
        cgm_dim: Width = 512,
        cgm_kernel_size: Kernel = 17,
        cgm_dropout: Probability = 0.2,
        **options,
    ):
        Segmentor.__init__(self, encoder, **options)
        check_odd("cgm_kernel_size", cgm_kernel_size)
        width, same = sum(encoder.scale_dims) or encoder.encoder_dim, cgm_kernel_size // 2
        self.classify = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.GELU(),
            nn.Conv1d(width, cgm_dim, cgm_kernel_size, padding=same),
            nn.BatchNorm1d(cgm_dim),
            nn.GELU(),
            nn.Dropout1d(cgm_dropout),
            nn.Conv1d(cgm_dim, cgm_dim, cgm_kernel_size, padding=same),
            nn.BatchNorm1d(cgm_dim),
            nn.GELU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(cgm_dim, num_labels),
        )
        self.num_labels = num_labels

    @property
    def num_outputs(self) -> int:
        """C, labels."""
        return self.num_labels

    def head_outputs(self, encoded: Mapping[str, Any], samples: int) -> dict[str, torch.Tensor]:
        """See :meth:`FinetunedEncoder.head_outputs`."""
        scales = encoded.get("scales") or [encoded["x"].transpose(1, 2)]
        last = len(scales) - 1
        averaged = [F.avg_pool1d(x, 2 ** (last - i)) for i, x in enumerate(scales[:last])]
        labels = self.classify(torch.cat([*averaged, scales[last]], dim=1))
        return Segmentor.head_outputs(self, encoded, samples) | {"cls_out": labels}

    def get_logits(
        self, net_output: Mapping, normalize: bool = False, sample: Mapping | None = None, **_
    ) -> list[torch.Tensor]:
        """Logits of samples, see :meth:`Segmentor.get_logits`, and of labels ``(B, C)``."""
        labels = net_output["cls_out"]
        labels = labels.float().log_softmax(dim=-1) if normalize else labels
        return [Segmentor.get_logits(self, net_output, normalize, sample), labels]

    def get_targets(self, sample: Mapping, net_output: Mapping, **_) -> list[torch.Tensor]:
        """Classes of samples, see :meth:`Segmentor.get_targets`, and labels ``(B, C)`` float."""
        return [_counting(sample["segment_label"], sample), sample["label"].float()]


def _counting(values: torch.Tensor, sample: Mapping | None) -> torch.Tensor:
    """Values ``(B, T, ...)`` of the samples that count, all of them as they are if all do."""
    mask = None if sample is None else sample.get("segment_mask")
    if mask is None or not mask.any():
        return values
    return values[~mask.bool()]
