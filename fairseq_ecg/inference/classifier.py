"""A trained network that tells labels, with what its checkpoint says about its input."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.data.conditioning import Conditioning, LeadStatistics
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.file_dataset import FileECGDataset
from fairseq_ecg.data.leads import lead_indices
from fairseq_ecg.data.recording import Recording
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.prepare.signals import segments_of

OPTIONS = {
    "sample_rate": "sample_rate",
    "leads_to_load": "leads_to_load",
    "enable_padding_leads": "pad_leads",
    "filter": "filter",
    "normalize": "normalize",
    "mean_path": "mean_path",
    "std_path": "std_path",
}
"""Option of a data set by the key of the task that sets it."""


class Classifier:
    """A network in evaluation mode and the conditioning of its input.

    Args:
        model: called with ``source`` ``(B, L, T)``, returns a dict with logits ``out`` ``(B, C)``.
        task: configuration of the task that trained it, value by key.
        labels: names of the C labels.
    """

    def __init__(self, model: nn.Module, task: dict, labels: Sequence[str]):
        if task.get("leads_bucket"):
            raise DataError(
                "the network was trained on leads drawn at random (task.leads_bucket), "
                "so that there is no one input to give it"
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.labels = tuple(labels)
        self.options = {
            option: task[key] for key, option in OPTIONS.items() if task.get(key) is not None
        }

    @classmethod
    def load(
        cls, path: str | os.PathLike, labels: Sequence[str], untrained_seed: int | None = None
    ) -> "Classifier":
        """Build the network of a checkpoint.

        Args:
            path: a fine-tuned checkpoint.
            labels: names of its labels.
            untrained_seed: if given, the weights are not those of the checkpoint, but drawn anew
                with this seed.

        Returns:
            The network.

        Raises:
            DataError: The checkpoint has another number of labels.
            CheckpointError: It cannot be used.
        """
        if untrained_seed is None:
            model = build_model_from_checkpoint(path)
        else:
            torch.manual_seed(untrained_seed)
            model = build_model_from_checkpoint(path, pretrained=False)
        cfg = load_checkpoint(path)["cfg"]
        n_labels = cfg["model"].get("num_labels")
        if n_labels != len(labels):
            raise DataError(
                f"{path} tells {n_labels or 'no'} labels, the label definition names "
                f"{len(labels)}. Give a fine-tuned checkpoint and the label_def.csv it was "
                "trained with"
            )
        return cls(model, cfg.get("task") or {}, labels)

    def dataset(self, manifest: Path, label_file: Path) -> FileECGDataset:
        """Return the segments of a manifest, in its order, as the network needs them.

        Args:
            manifest: ``<split>.tsv``.
            label_file: ``y.npy``.
        """
        return FileECGDataset(
            manifest, label=True, label_file=label_file, pad=True, shuffle=False, **self.options
        )

    @torch.inference_mode()
    def probabilities(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> np.ndarray:
        """Return the probability of every label.

        Args:
            source: conditioned segments, ``(B, L, T)`` float32.
            padding_mask: ``(B, L, T)`` bool, True where padded.

        Returns:
            ``(B, C)`` float64.
        """
        if padding_mask is not None:
            padding_mask = padding_mask.to(self.device)
        out = self.model(source=source.to(self.device), padding_mask=padding_mask)["out"]
        return out.double().sigmoid().cpu().numpy()

    def of_recording(
        self, recording: Recording, sample_rate: int, segment_samples: int
    ) -> dict[str, float]:
        """Return the probability of every label for a recording: the mean over its segments.

        Args:
            recording: 12 leads in mV, as ``fairseq_ecg.prepare.recordings`` reads them.
            sample_rate: of the data that the network was trained with, in Hz.
            segment_samples: length of its segments in samples.

        Returns:
            Probability by label.

        Raises:
            DataError: The recording is shorter than one segment.
        """
        segments = segments_of(
            recording.feats, recording.sample_rate, sample_rate, segment_samples
        ).ecg
        if not len(segments):
            raise DataError(
                f"{recording.where}: shorter than one segment of {segment_samples / sample_rate} s"
            )
        conditioning = self._conditioning()
        leads = lead_indices(self.options.get("leads_to_load"))
        source = torch.stack(
            [
                conditioning(Recording(recording.where, segment, sample_rate), leads).float()
                for segment in segments
            ]
        )
        return dict(zip(self.labels, self.probabilities(source).mean(axis=0), strict=True))

    def _conditioning(self) -> Conditioning:
        options = self.options
        statistics = None
        if options.get("normalize"):
            statistics = LeadStatistics.read(options["mean_path"], options["std_path"])
        return Conditioning(
            pad_leads=options.get("pad_leads", False),
            sample_rate=options.get("sample_rate"),
            filter=options.get("filter", False),
            statistics=statistics,
        )
