"""A trained network that is given recordings as they are."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch

from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.ecg.preprocessing import Preprocessing, check_choice
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.aggregation import aggregate, aggregation_of
from fairseq_ecg.inference.delineation import OVERLAP, Delineation, DelineationRun
from fairseq_ecg.inference.embedding_model import EmbeddingModel
from fairseq_ecg.inference.export import export
from fairseq_ecg.inference.loading import (
    answer_names,
    label_names,
    read_stored,
    tokenizer_of,
)
from fairseq_ecg.inference.pretrained import save_pretrained
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.results import Embeddings, Prediction, Run, Saliency
from fairseq_ecg.inference.running import run_recordings
from fairseq_ecg.inference.stored import StoredModel
from fairseq_ecg.inference.text_model import ECGTextModel
from fairseq_ecg.inference.trained import TrainedNetwork
from fairseq_ecg.ops.frames import receptive_field

SALIENCY_METHODS = ("attention", "rollout")


class ECGModel(TrainedNetwork, EmbeddingModel):
    """A :class:`TrainedNetwork` that is given recordings as they are.

    :func:`fairseq_ecg.load_model` makes one of a checkpoint. Masking, masking of leads and the
    quantizer of pre-training are off: the same input gives the same output.
    """

    def predict(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        aggregation: Mapping[str, str] | str | None = None,
        **options,
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
            options: of :func:`fairseq_ecg.inference.running.run_recordings`: ``batch_size``,
                ``progress``, ``on_error``, ``workers``, ``gain``, ``format``, and policies.

        Returns:
            The probabilities.

        Raises:
            DataError: the network predicts no labels, a recording cannot be used, or a label is
                unknown.
        """
        self._require_labels()
        if not isinstance(aggregation, str):
            aggregation = {**self.aggregation, **(aggregation or {})}
        rules = aggregation_of(self.labels, aggregation)
        run = run_recordings(self, self.probabilities, ecg, sample_rate, leads, units, **options)
        return self._prediction(run, run.values(len(self.labels)), rules)

    def answer(self, *_, **__) -> NoReturn:
        """Say what to call: the network reads no questions.

        Raises:
            DataError: always.
        """
        raise DataError(self.instead)

    @property
    def instead(self) -> str:
        """What to do with the network in place of asking it questions."""
        use = "predict" if self.labels else "segment" if self.wave_classes else "embed"
        return f"the network reads no texts and answers no questions: use {use}"

    def segment(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        **options,
    ) -> Delineation:
        """Delineate the P waves, QRS complexes and T waves of recordings.

        A network of one lead delineates every lead of a recording by itself, another one all leads
        together. It takes what :meth:`predict` takes, but for ``short`` and ``tail``: a recording
        of any length is covered to its end. One that is longer than a segment is cut into segments
        of which each repeats half of the one before; over what two share their scores fade into
        each other, so that there is no seam. One that is shorter is filled up with its own
        reflection at its end, which is cut off again. Scores are brought back to the rate of the
        recording before each sample is given a class.

        Returns:
            Onsets, offsets and masks, in the time of each recording.

        Raises:
            DataError: the network delineates no waves, or a recording cannot be used.
        """
        self._require_waves()
        for name in ("short", "tail", "overlap"):
            if name in options:
                raise DataError(f"segment covers recordings of any length: leave out {name}=")
        gathered = partial(
            DelineationRun,
            resampler=self.preprocessing.resampler,
            sample_rate=self.preprocessing.sample_rate,
        )
        whole: dict[str, Any] = {"short": "reflect", "overlap": OVERLAP, "run_class": gathered}
        run = run_recordings(self, self.scores, ecg, sample_rate, leads, units, **options, **whole)
        assert isinstance(run, DelineationRun)
        return Delineation(run)

    def predict_and_embed(self, ecg: ECG | NamedRecording) -> tuple[Prediction, Embeddings]:
        """Do both for a recording by one pass through the network; the numbers are the same.

        Raises:
            DataError: the network predicts no labels, or the recording cannot be used.
        """
        self._require_labels()
        run = run_recordings(self, self._probabilities_and_embeddings, ecg, progress=False)
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
        **options,
    ) -> Saliency:
        """Measure how much every moment of recordings counts for the network.

        It takes what :meth:`predict` takes; ``batch_size`` is 16, and ``method`` one of
        :meth:`saliencies`.

        Returns:
            The saliency of every frame, and by :meth:`Saliency.on_signal` of every sample.

        Raises:
            DataError: a recording cannot be used, or there is no such method.
        """
        check_choice("method", method, SALIENCY_METHODS)
        compute = partial(self.saliencies, method=method)
        options = {"batch_size": 16} | options
        run = run_recordings(self, compute, ecg, sample_rate, leads, units, **options)
        width, stride = receptive_field(self.network.encoder.strides)
        rate = self.preprocessing.sample_rate
        return Saliency(run, run.values(self.frames_per_segment), stride / rate, width / rate)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write weights, config and model card into a folder.

        See :func:`fairseq_ecg.inference.pretrained.save_pretrained`.
        """
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, **options) -> "ECGModel":
        """Read a model, see :func:`fairseq_ecg.load_model`."""
        model = load_model(source, **options)
        if not isinstance(model, cls):
            raise DataError(f"{source} holds a network of ECGs and texts: use load_model")
        return model

    def export(self, path: str | os.PathLike, format: str | None = None, **options) -> None:
        """Write the network for other runtimes, see :func:`fairseq_ecg.inference.export.export`."""
        export(self, path, format, **options)

    def _prediction(self, run: Run, values: np.ndarray, rules: Mapping[str, str]) -> Prediction:
        of_recordings = aggregate(values, run.recording_of, list(rules.values()))
        return Prediction(run, values, of_recordings, self.labels)


def load_model(
    source: str | os.PathLike,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    labels: Sequence[str] | str | os.PathLike | None = None,
    aggregation: Mapping[str, str] | str | None = None,
    preprocessing: Preprocessing | None = None,
    missing_leads: str | None = None,
    mean_path: str | os.PathLike | None = None,
    std_path: str | os.PathLike | None = None,
    filename: str | None = None,
    revision: str | None = None,
    tokenizer: str | os.PathLike | None = None,
    untrained_seed: int | None = None,
    allow_damaged: bool | None = None,
) -> ECGModel | ECGTextModel:
    """Read a trained network, ready to be given recordings.

    Checkpoints of fairseq_signals and of this package are alike, pre-trained (``wav2vec2``,
    ``wav2vec2_cmsc``, ``ecg_transformer``), fine-tuned (``ecg_transformer_classifier``) and trained
    from scratch (``nejedly2021resnet_classifier``) ones, of every network that is registered.
    The architecture is the one that the checkpoint records. Every weight must fit, no
    code in the file is run, and no file is opened because a checkpoint names it.

    Args:
        source: a ``.pt`` file, a folder that :meth:`ECGModel.save_pretrained` wrote or that holds
            one ``.pt`` file, or the id of a repository on the Hugging Face hub that holds the like.
        device: where to compute; None: a GPU if there is one.
        dtype: to compute in, ``torch.bfloat16`` or ``"bfloat16"`` for instance; None: float32.
        labels: names of the labels in the order of the network, or a ``label_def.csv`` that has
            them. None: those stored with the network, else those in the ``label_def.csv`` beside
            it; if there are none labels are numbered, with a warning.
        aggregation: see :meth:`ECGModel.predict`.
        preprocessing: in place of the one that the checkpoint gives.
        missing_leads: in place of that of the preprocessing.
        mean_path: text file of the mean of each of the twelve leads, and
        std_path: of the standard deviation, for a network that was trained on leads normalised by
            them (``task.normalize``) and does not hold them itself.
        filename: of the ``.pt`` file in a folder or repository that holds several.
        revision: of a repository on the hub: branch, tag or commit.
        tokenizer: of a network of ECGs and texts, in place of the vocabulary that is stored with
            it: a ``vocab.txt``, a folder that holds one, or the name of a BERT on the hub such as
            ``bert-base-uncased``, which alone is fetched.
        untrained_seed: if given, the weights are not those of the checkpoint, but drawn anew with
            this seed, as a baseline.
        allow_damaged: read a ``.pt`` file although its checksums differ. None: whether the
            environment variable ``FAIRSEQ_ECG_ALLOW_DAMAGED`` is ``1``.

    Returns:
        The model, in evaluation mode; of a network of ECGs and texts one that answers questions.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file would run code.
        CheckpointError: it cannot be read or is damaged, or its weights do not fit its architecture
            or are not finite; keys are named.
        DataError: the labels are not those of the network, its preprocessing cannot be known, it
            is larger than is plausible, or there is no such device or dtype.
    """
    statistics = None
    if mean_path is not None or std_path is not None:
        if mean_path is None or std_path is None or preprocessing is not None:
            raise DataError("mean_path and std_path need each other, and take no preprocessing")
        statistics = LeadStatistics.read(mean_path, std_path)
    stored = read_stored(source, filename, revision, allow_damaged)
    aggregation = stored.aggregation if aggregation is None else aggregation

    def prepared(n_rows: int | None) -> Preprocessing:
        found = preprocessing or stored.preprocessing(statistics, n_rows)
        return found if missing_leads is None else replace(found, missing_leads=missing_leads)

    build = _ecg_model if stored.texts is None else _text_model
    model = build(stored, prepared, labels, aggregation, tokenizer, untrained_seed)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, _floating(dtype))


def _ecg_model(
    stored: StoredModel,
    prepared: Callable[[int | None], Preprocessing],
    labels: Sequence[str] | str | os.PathLike | None,
    aggregation: Mapping[str, str] | str | None,
    tokenizer: str | os.PathLike | None,
    untrained_seed: int | None,
) -> ECGModel:
    if tokenizer is not None:
        raise DataError(f"{stored.path}: the network reads no texts: leave out the tokenizer")
    network = stored.network(untrained_seed)
    preprocessing = prepared(network.encoder.n_leads)
    names = label_names(labels, stored, network.num_outputs)
    with _naming(stored):
        return ECGModel(network, stored.cfg, preprocessing, names, aggregation, stored.scale)


def _text_model(
    stored: StoredModel,
    prepared: Callable[[int | None], Preprocessing],
    labels: Sequence[str] | str | os.PathLike | None,
    aggregation: Mapping[str, str] | str | None,
    tokenizer: str | os.PathLike | None,
    untrained_seed: int | None,
) -> ECGTextModel:
    network, cfg = stored.text_network(untrained_seed)
    preprocessing = prepared(network.n_leads)
    names = answer_names(labels, stored, network.n_answers)
    words, longest = tokenizer_of(tokenizer, stored)
    with _naming(stored):
        return ECGTextModel(network, cfg, preprocessing, names, aggregation, words, longest)


@contextmanager
def _naming(stored: StoredModel) -> Iterator[None]:
    """Name the file in the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{stored.path}: {error}") from None


def _floating(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return the floating-point type of a name."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not getattr(found, "is_floating_point", False):
        raise DataError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    return found
