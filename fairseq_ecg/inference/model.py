"""A trained network that is given recordings as they are."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from tqdm import tqdm

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.ecg.preprocessing import Preprocessing, check_choice
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.aggregation import aggregate, aggregation_of
from fairseq_ecg.inference.apart import computed_apart
from fairseq_ecg.inference.reading import read_segments
from fairseq_ecg.inference.recordings import Description, NamedRecording, recordings_in
from fairseq_ecg.inference.results import Embeddings, Prediction, Run, Saliency
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.inference.stored import TargetScale
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.modules import ECGTransformerClassifier, FrameEncoder
from fairseq_ecg.ops.frames import receptive_field
from fairseq_ecg.ops.pooling import mean_of_nonzero

ON_ERROR = ("raise", "skip")
SALIENCY_METHODS = ("attention", "rollout")


class ECGModel:
    """A network in evaluation mode, with what it needs to know of its input and its labels.

    :func:`fairseq_ecg.load_model` makes one of a checkpoint. Masking, masking of leads and the
    quantizer of pre-training are off: the same input gives the same output.

    Args:
        network: a :class:`FrameEncoder`, or an :class:`ECGTransformerClassifier`.
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
        cfg: as given.
        preprocessing: as given.
        labels: as given; empty if the network predicts none.
        aggregation: ``max`` or ``mean`` for all labels.
        scale: as given.
    """

    def __init__(
        self,
        network: FrameEncoder | ECGTransformerClassifier,
        cfg: Mapping,
        preprocessing: Preprocessing,
        labels: Sequence[str] = (),
        aggregation: Mapping[str, str] | None = None,
        scale: TargetScale | None = None,
    ):
        n_labels = network.proj.out_features if isinstance(network, ECGTransformerClassifier) else 0
        if n_labels != len(labels):
            raise DataError(
                f"the network predicts {n_labels or 'no'} labels, but {len(labels)} are named. "
                "Give the label_def.csv it was trained with"
            )
        if len(set(labels)) < len(labels):
            raise DataError(f"labels {', '.join(labels)} name one twice")
        n_rows = network.encoder.feature_extractor.conv_layers[0][0].in_channels
        if n_rows != preprocessing.n_rows:
            raise DataError(
                f"the network reads {n_rows} leads, its preprocessing makes "
                f"{preprocessing.n_rows}: {', '.join(preprocessing.leads)}"
            )
        self.network = network.eval()
        self.cfg = dict(cfg)
        self.preprocessing = preprocessing
        self.labels = tuple(labels)
        self.aggregation = aggregation_of(self.labels, aggregation)
        self.scale = scale

    def __repr__(self) -> str:
        kind = type(self.network).__name__
        labels = f"{len(self.labels)} labels, " if self.labels else ""
        leads, rate = len(self.preprocessing.leads), self.preprocessing.sample_rate
        return (
            f"<ECGModel of {kind}: {labels}{leads} leads at {rate:g} Hz, segments of "
            f"{self.preprocessing.segment_seconds:g} s, {self.device}, {self.dtype}>"
        )

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type that the network computes in."""
        return next(self.network.parameters()).dtype

    @property
    def embed_dim(self) -> int:
        """D, channels of an embedding."""
        return self.network.encoder.encoder_dim

    @property
    def frames_per_segment(self) -> int:
        """T', frames that a segment gives."""
        extractor = self.network.encoder.feature_extractor
        return extractor.output_length(self.preprocessing.segment_samples)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "ECGModel":
        """Move the network to a device, or to another floating-point type such as bfloat16.

        Raises:
            DataError: there is no such device.
        """
        if device is not None:
            try:
                torch.empty(0, device=device)
            except (RuntimeError, AssertionError) as error:
                raise DataError(f"device {device}: {error}") from error
        self.network.to(device=device, dtype=dtype)
        return self

    def predict(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        aggregation: Mapping[str, str] | str | None = None,
        batch_size: int = 32,
        progress: bool | tqdm | None = None,
        on_error: str = "raise",
        workers: int = 0,
        gain: float | None = None,
        format: str | None = None,
        **policies,
    ) -> Prediction:
        """Predict the probability of every label, for recordings and their segments.

        A regression estimates its targets, in their units, in place of probabilities.

        Args:
            ecg: one recording or many: an array ``(leads, samples)`` or ``(samples, leads)``, an
                array with recordings in front, an ECG, a DataFrame with a column for each lead, the
                path of a file, of a folder, of a manifest, of a store or of a table with a column
                ``path``, such a table as DataFrame, or a list of any of these; of any length, at
                any rate, with any leads. What ``fairseq-ecg prepare`` has standardised is not
                standardised again.
            sample_rate: of arrays, and of files that do not say it, in Hz.
            leads: names of the rows of arrays and ``.npy`` files (None: the twelve standard leads
                in standard order), and of other files that do not say them. Other leads than the
                network's, ``V7`` or Frank's for instance, are left out.
            units: of arrays and ``.npy`` files (None: mV), and of other files that do not say them.
            aggregation: ``max`` or ``mean`` over segments, by label or for all labels, where it is
                to be another one than the model's.
            batch_size: segments that go through the network together.
            progress: whether to show a progress bar; None: where there are several recordings and
                a terminal; or a bar that is there already.
            on_error: what to do about a recording that cannot be used: ``raise``, or ``skip``,
                which notes it in ``errors`` of the result.
            workers: processes that read recordings; 0: this one.
            gain: counts of the converter per mV, in place of ``units``.
            format: of files, see :func:`fairseq_ecg.formats.read_ecg`; None: as they look.
            policies: ``short``, ``tail``, ``nan_policy`` and ``missing_leads``, see
                :meth:`Preprocessing.segments`; and ``min_quality``, 0 to 1: a recording of less
                quality (:func:`fairseq_ecg.ecg.quality.quality`) cannot be used.

        Returns:
            The probabilities.

        Raises:
            DataError: the network predicts no labels, a recording cannot be used, or a label is
                unknown.
        """
        self._require_labels()
        rules = aggregation_of(
            self.labels,
            aggregation if isinstance(aggregation, str) else self.aggregation | (aggregation or {}),
        )
        run = self._run(
            recordings_in(ecg, Description(sample_rate, leads, units, gain, format)),
            self.probabilities,
            batch_size,
            progress,
            on_error,
            workers,
            policies,
        )
        return self._prediction(run, run.values(len(self.labels)), rules)

    def embed(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        batch_size: int = 32,
        progress: bool | tqdm | None = None,
        on_error: str = "raise",
        workers: int = 0,
        gain: float | None = None,
        format: str | None = None,
        **policies,
    ) -> Embeddings:
        """Encode recordings: of each channel the mean over the frames of a segment.

        Frames that are exactly zero, padded ones, do not count (fairseq_signals' ``embs.py``); a
        recording's embedding is the mean of those of its segments.

        Args:
            ecg: as for :meth:`predict`, and so are the others.
            sample_rate: likewise.
            leads: likewise.
            units: likewise.
            batch_size: likewise.
            progress: likewise.
            on_error: likewise.
            workers: likewise.
            gain: likewise.
            format: likewise.
            policies: likewise.

        Returns:
            The embeddings.

        Raises:
            DataError: a recording cannot be used.
        """
        run = self._run(
            recordings_in(ecg, Description(sample_rate, leads, units, gain, format)),
            self.embeddings,
            batch_size,
            progress,
            on_error,
            workers,
            policies,
        )
        return self._embeddings(run, run.values(self.embed_dim))

    def predict_and_embed(self, ecg: ECG | NamedRecording) -> tuple[Prediction, Embeddings]:
        """Do both for a recording by one pass through the network; the numbers are the same.

        Args:
            ecg: the recording.

        Returns:
            What :meth:`predict` and :meth:`embed` return.

        Raises:
            DataError: the network predicts no labels, or the recording cannot be used.
        """
        self._require_labels()
        run = self._run(
            recordings_in(ecg, Description()), self._probabilities_and_embeddings, 32, False
        )
        n_labels = len(self.labels)
        values = run.values(n_labels + self.embed_dim)
        return (
            self._prediction(run, values[:, :n_labels], self.aggregation),
            self._embeddings(run, values[:, n_labels:].astype(np.float32)),
        )

    def saliency(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        method: str = "attention",
        batch_size: int = 16,
        progress: bool | tqdm | None = None,
        on_error: str = "raise",
        workers: int = 0,
        gain: float | None = None,
        format: str | None = None,
        **policies,
    ) -> Saliency:
        """Tell how much every moment of recordings counts for the network.

        Args:
            ecg: as for :meth:`predict`, and so are the others.
            sample_rate: likewise.
            leads: likewise.
            units: likewise.
            method: see :meth:`saliencies`.
            batch_size: likewise.
            progress: likewise.
            on_error: likewise.
            workers: likewise.
            gain: likewise.
            format: likewise.
            policies: likewise.

        Returns:
            The saliency of every frame, and by :meth:`Saliency.on_signal` of every sample.

        Raises:
            DataError: a recording cannot be used, or there is no such method.
        """
        check_choice("method", method, SALIENCY_METHODS)
        run = self._run(
            recordings_in(ecg, Description(sample_rate, leads, units, gain, format)),
            lambda source, mask: self.saliencies(source, mask, method),
            batch_size,
            progress,
            on_error,
            workers,
            policies,
        )
        width, stride = receptive_field(self.network.encoder.feature_extractor.strides)
        rate = self.preprocessing.sample_rate
        return Saliency(run, run.values(self.frames_per_segment), stride / rate, width / rate)

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
        return self._told(self._forward(source, padding_mask))

    @torch.inference_mode()
    def embeddings(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> np.ndarray:
        """Encode prepared segments, see :meth:`embed`.

        Args:
            source: as for :meth:`probabilities`.
            padding_mask: likewise.

        Returns:
            ``(B, D)`` float32.
        """
        return self._pooled(self._forward(source, padding_mask))

    @torch.inference_mode()
    def saliencies(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        method: str = "attention",
    ) -> np.ndarray:
        """Tell how much every frame of prepared segments counts.

        Args:
            source: as for :meth:`probabilities`.
            padding_mask: likewise.
            method: ``attention``: the largest weight that the frame, as a query of the last layer,
                gives to any frame (fairseq_signals' ``saliency.py``). ``rollout``: the share of the
                frame in the mean over all frames of the output, if in every layer half of a frame
                goes by the attention and half by the residual (Abnar and Zuidema, "Quantifying
                attention flow in transformers", ACL 2020); all shares of a segment sum to 1.

        Returns:
            ``(B, T')`` float32, NaN where a frame is padding.
        """
        transformer = self.network.encoder.encoder
        before, transformer.saliency = transformer.saliency, True
        try:
            out = self._forward(source, padding_mask)
        finally:
            transformer.saliency = before
        weights, frame_mask = out["saliency"].float(), out["padding_mask"]
        if method == "attention":
            values = weights[:, -1].amax(dim=2)
        else:
            values = _rollout(weights, frame_mask)
        if frame_mask is not None:
            values = values.masked_fill(frame_mask, torch.nan)
        return values.cpu().numpy()

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write weights, config and model card into a folder.

        See :func:`fairseq_ecg.inference.pretrained.save_pretrained`.
        """
        from fairseq_ecg.inference.pretrained import save_pretrained

        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, **options) -> "ECGModel":
        """Read a model, see :func:`fairseq_ecg.load_model`."""
        from fairseq_ecg.inference.loading import load_model

        return load_model(source, **options)

    def export(self, path: str | os.PathLike, format: str | None = None, **options) -> None:
        """Write the network for other runtimes, see :func:`fairseq_ecg.inference.export.export`."""
        from fairseq_ecg.inference.export import export

        export(self, path, format, **options)

    def _require_labels(self) -> None:
        if not self.labels:
            raise DataError(
                "the network predicts no labels, it was pre-trained only: fine-tune it first. "
                "Embeddings and saliency it has"
            )

    def _forward(self, source: torch.Tensor, padding_mask: torch.Tensor | None) -> dict:
        device = self.device
        if padding_mask is not None:
            padding_mask = padding_mask.to(device)
        return self.network(source.to(device, self.dtype), padding_mask)

    def _told(self, out: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Return the probabilities or estimates of what the network gives."""
        outputs = out["out"].double().cpu()
        if self.scale is None:
            return outputs.sigmoid().numpy()
        return outputs.numpy() * np.array(self.scale.std) + np.array(self.scale.mean)

    def _pooled(self, out: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Return the embeddings of what the network gives."""
        return mean_of_nonzero(out["encoder_out"], out["padding_mask"]).float().cpu().numpy()

    @torch.inference_mode()
    def _probabilities_and_embeddings(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None
    ) -> np.ndarray:
        """``(B, C + D)`` float64."""
        out = self._forward(source, padding_mask)
        return np.concatenate([self._told(out), self._pooled(out)], axis=1)

    def _prediction(self, run: Run, values: np.ndarray, rules: Mapping[str, str]) -> Prediction:
        of_recordings = aggregate(values, run.recording_of, list(rules.values()))
        return Prediction(run, values, of_recordings, self.labels)

    def _embeddings(self, run: Run, values: np.ndarray) -> Embeddings:
        means = aggregate(values, run.recording_of, ["mean"] * self.embed_dim)
        return Embeddings(run, values, means.astype(values.dtype))

    def _run(
        self,
        recordings: Sequence[NamedRecording],
        compute: Callable[[torch.Tensor, torch.Tensor | None], np.ndarray],
        batch_size: int,
        progress: bool | tqdm | None,
        on_error: str = "raise",
        workers: int = 0,
        policies: Mapping[str, str | float | None] = MappingProxyType({}),
    ) -> Run:
        """Put the segments of recordings through ``compute``, in batches over recordings."""
        check_choice("on_error", on_error, ON_ERROR)
        if batch_size < 1:
            raise DataError(f"batch_size={batch_size}: must be positive")
        policies = dict(policies)
        min_quality = policies.pop("min_quality", 0.0)
        if not 0 <= min_quality <= 1:
            raise DataError(f"min_quality={min_quality}: give a number from 0 to 1")
        run = Run([recording.name for recording in recordings])
        batch: list[_Segment] = []

        def together(segments: Sequence[_Segment]) -> np.ndarray:
            source = torch.stack([segment.samples for segment in segments])
            padded = torch.tensor([segment.padded for segment in segments])
            mask = None
            if padded.any():
                valid = source.shape[-1] - padded
                mask = torch.arange(source.shape[-1]) >= valid.unsqueeze(1)
            return compute(source, mask)

        def leave_out(number: int, error: DataError) -> None:
            if on_error == "raise":
                raise error
            run.failed[number] = error

        def flush() -> None:
            names = run.names
            for segments, values in computed_apart(batch, together, lambda s: names[s.recording]):
                if isinstance(values, DataError):
                    leave_out(segments[0].recording, values)
                else:
                    run.rows += [(segment.recording, segment.index) for segment in segments]
                    run.computed.append(values)
            batch.clear()

        read = read_segments(recordings, self.preprocessing, policies, workers)
        with _bar(progress, len(recordings)) as bar:
            for number, (recording, found) in enumerate(zip(recordings, read, strict=True)):
                try:
                    found = self._checked(recording.name, found, min_quality)
                    run.found[number] = replace(found, segments=())  # not all in memory
                    for index, samples in enumerate(found.segments):
                        batch.append(_Segment(number, index, samples, found.padded))
                        if len(batch) == batch_size:
                            flush()
                except DataError as error:
                    leave_out(number, error)
                bar.update()
            if batch:
                flush()
        return run

    def _checked(
        self, name: str | int, found: SegmentedRecording | DataError, min_quality: float
    ) -> SegmentedRecording:
        """Refuse a recording of too little quality, or which fills no frame of the network."""
        if isinstance(found, DataError):
            raise found
        if found.quality.score < min_quality:
            raise DataError(
                f"{name}: quality {found.quality.score:g} is below {min_quality:g}: "
                f"{found.quality.text}. Leave the recording out, or lower min_quality"
            )
        if not found.padded:
            return found
        n_samples = self.preprocessing.segment_samples - found.padded
        if self.network.encoder.feature_extractor.output_length(n_samples) > 0:
            return found
        raise DataError(
            f"{name}: {n_samples} samples at {self.preprocessing.sample_rate:g} Hz are fewer than "
            "the network makes a frame of. Leave the recording out"
        )


def _bar(progress: bool | tqdm | None, n_recordings: int) -> AbstractContextManager[tqdm]:
    """Return the bar that is there, which stays open, or one of the run."""
    if isinstance(progress, tqdm):
        return nullcontext(progress)
    show = False if progress is None and n_recordings <= 1 else progress
    return progress_bar(n_recordings, "recordings", "recording", show=show)


@dataclass(frozen=True, eq=False)
class _Segment:
    """A segment that waits for its batch.

    Args:
        recording: its number.
        index: of the segment in it.
        samples: ``(rows, T)`` float32.
        padded: how many of the samples, at the end, are none.
    """

    recording: int
    index: int
    samples: torch.Tensor
    padded: int


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
