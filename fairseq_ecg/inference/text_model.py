"""A trained network of ECGs and texts that is given recordings and questions as they are."""

import difflib
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import NoReturn

import numpy as np
import torch

from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.inference.aggregation import aggregate, aggregation_of
from fairseq_ecg.inference.answers import Answers
from fairseq_ecg.inference.embedding_model import EmbeddingModel
from fairseq_ecg.inference.pretrained import save_pretrained
from fairseq_ecg.inference.questions import AskedSegments, questions_in
from fairseq_ecg.inference.recordings import Description
from fairseq_ecg.inference.results import Run
from fairseq_ecg.inference.retrieval import Prompts, Similarity, check_prompts, means_of_labels
from fairseq_ecg.inference.running import (
    Compute,
    Segment,
    padding_mask_of,
    run_recordings,
    run_segments,
)
from fairseq_ecg.inference.segmented import SegmentedRecording
from fairseq_ecg.inference.trained_text import TrainedTextNetwork


class ECGTextModel(TrainedTextNetwork, EmbeddingModel):
    """A :class:`TrainedTextNetwork` that is given recordings and questions as they are.

    :func:`fairseq_ecg.load_model` makes one of a checkpoint of a network of ECGs and texts. Masking
    is off: the same input gives the same output.
    """

    def answer(
        self,
        ecg,
        question: str | Sequence[str] | None = None,
        second=None,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        choices: Sequence[str] | None = None,
        threshold: float = 0.5,
        aggregation: Mapping[str, str] | str | None = None,
        gain: float | None = None,
        format: str | None = None,
        **options,
    ) -> Answers:
        """Answer questions about recordings.

        A recording that is longer than those of training, 10 s in the published data, is cut into
        segments, and of each answer the mean of the probabilities is taken; the segments of two
        recordings are compared one by one. Questions go through the network beside others of as
        many tokens alone, and about as many ECGs: an answer depends on no other question.

        Args:
            ecg: one recording or many, see :meth:`ECGModel.predict`; or, without ``question``, a
                table of recordings with a column ``question``, and ``second`` where questions are
                about two.
            question: one for all recordings, one for each, or several about one recording. One that
                is longer than the network takes is cut, with a warning.
            second: the other recordings, where questions are about two.
            sample_rate: as of :meth:`ECGModel.predict`, and so are ``leads`` and ``units``.
            leads: see there.
            units: see there.
            choices: the answers that could be right, of those that the network knows; None: all.
            threshold: probability above which an answer is given.
            aggregation: ``mean`` or ``max`` over segments, by answer or for all of them, where it
                is to be another one than the model's.
            gain: see :meth:`ECGModel.predict`.
            format: see there.
            options: of :func:`fairseq_ecg.inference.running.run_segments`: ``batch_size``,
                ``progress``, ``on_error``, ``workers``, and policies.

        Returns:
            The probabilities of all answers that could be right.

        Raises:
            DataError: the network answers no questions, or none about two ECGs, a question has no
                word, a choice is no answer that it knows, or a recording cannot be used.
        """
        self.require_answers()
        columns = self._columns_of(choices)
        labels = tuple(self.labels[column] for column in columns)
        if not isinstance(aggregation, str):
            aggregation = {**self.aggregation, **(aggregation or {})}
        of_all = aggregation_of(self.labels, aggregation)
        rules = [of_all[label] for label in labels]
        description = Description(sample_rate, leads, units, gain, format)
        questions = questions_in(ecg, question, second, description)
        if self.network.num_ecgs < 2 and any(one.second for one in questions):
            raise DataError("the network answers questions about one ECG: leave out the second")
        texts = list(dict.fromkeys(one.text for one in questions if one.is_asked))
        rows, cut = self._tokens_of(texts)

        def kind_of(number: int, found: SegmentedRecording) -> Hashable:
            assert isinstance(found, AskedSegments)
            n_tokens = len(rows[questions[number].text])
            return n_tokens, found.padded, found.second_padded

        def compute(segments: Sequence[Segment]) -> np.ndarray:
            asked = [questions[segment.recording] for segment in segments]
            return self._of_segments(segments, torch.stack([rows[one.text] for one in asked]))

        run = run_segments(self, compute, questions, kind_of=kind_of, **options)
        of_segments = run.values(len(self.labels))[:, columns]
        used = [questions[number] for number in run.used]
        return Answers(
            run,
            of_segments,
            aggregate(of_segments, run.recording_of, rules),
            labels,
            used,
            [cut[one.text] for one in used],
            threshold,
        )

    def embed_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Embed texts in the space in which :meth:`embed` embeds recordings.

        Args:
            texts: one or many; one that is longer than the network takes is cut, with a warning.

        Returns:
            ``(M, D)`` float32, each of length one.

        Raises:
            DataError: the network has no such space, or a text has no word.
        """
        listed = _listed(texts)
        rows, _ = self._tokens_of(listed)
        return self.text_embeddings([rows[text] for text in listed])

    def similarity(
        self,
        ecg,
        texts: str | Sequence[str],
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        **options,
    ) -> Similarity:
        """Compare recordings with texts.

        A network of contrastive pre-training gives the cosine of the angle between the embeddings,
        others the probability that an ECG and a text belong together. A recording that is longer
        than those of training is cut into segments, over which the mean is taken.

        Args:
            ecg: one recording or many, see :meth:`ECGModel.predict`.
            texts: one or many; one that is longer than the network takes is cut, with a warning.
            sample_rate: as of :meth:`ECGModel.predict`, and so are ``leads`` and ``units``.
            leads: see there.
            units: see there.
            options: see there: ``batch_size``, ``progress``, ``on_error``, ``workers``, and
                policies.

        Raises:
            DataError: the network does not compare them, a text has no word, or a recording cannot
                be used.
        """
        listed = _listed(texts)
        compare = self.comparison(listed)
        run = run_recordings(self, compare, ecg, sample_rate, leads, units, **options)
        return _similarity(run, run.values(len(listed)), listed)

    def zero_shot(
        self,
        ecg,
        prompts: Prompts,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        **options,
    ) -> Similarity:
        """Score labels that the network was not trained for, by sentences that say them.

        The score of a label is the mean :meth:`similarity` to its sentences. It orders recordings,
        as AUROC asks, and is no probability; scores of labels are not comparable with each other.
        For a network of contrastive pre-training this is the order of the cosine to the mean of the
        sentences' embeddings, which is how MERL (https://arxiv.org/abs/2403.06659) is evaluated.

        Args:
            ecg: one recording or many, see :meth:`ECGModel.predict`.
            prompts: by label one sentence or several, such as
                ``{"Atrial fibrillation": ["atrial fibrillation", "rhythm is afib"]}``.
            sample_rate: as of :meth:`ECGModel.predict`, and so are ``leads`` and ``units``.
            leads: see there.
            units: see there.
            options: see :meth:`similarity`.

        Returns:
            The scores, a column for each label.

        Raises:
            DataError: there are no prompts; and as :meth:`similarity`.
        """
        compare = self.comparison_of_labels(prompts)
        run = run_recordings(self, compare, ecg, sample_rate, leads, units, **options)
        return _similarity(run, run.values(len(prompts)), tuple(map(str, prompts)))

    def comparison(self, texts: Sequence[str]) -> Compute:
        """Return what compares prepared segments ``(B, L, T)`` with M texts, ``(B, M)``.

        Raises:
            DataError: as :meth:`similarity`.
        """
        rows, _ = self._tokens_of(list(dict.fromkeys(texts)))
        tokens = [rows[text] for text in texts]
        if not self.network.shares_space:
            return lambda source, mask: self.alignments(source, tokens, mask)
        embedded = self.text_embeddings(tokens)
        return lambda source, mask: self.embeddings(source, mask) @ embedded.T

    def comparison_of_labels(self, prompts: Prompts) -> Compute:
        """Return what scores labels of prepared segments ``(B, L, T)``, see :meth:`zero_shot`.

        Raises:
            DataError: as :meth:`zero_shot`.
        """
        listed = check_prompts(prompts)
        compare = self.comparison([text for texts in listed.values() for text in texts])
        numbers = list(map(len, listed.values()))
        return lambda source, mask: means_of_labels(compare(source, mask), numbers)

    def predict(self, *_, **__) -> NoReturn:
        """Say what to call: the network predicts no labels of recordings alone.

        Raises:
            DataError: always.
        """
        raise DataError(self.instead)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write weights, config, vocabulary and model card into a folder.

        See :func:`fairseq_ecg.inference.pretrained.save_pretrained`.
        """
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike, **options) -> "ECGTextModel":
        """Read a model, see :func:`fairseq_ecg.load_model`.

        Raises:
            DataError: it holds a network of ECGs alone; and as there.
        """
        from fairseq_ecg.inference.model import load_model

        model = load_model(source, **options)
        if not isinstance(model, cls):
            raise DataError(f"{source} holds a network of ECGs alone: use load_model")
        return model

    def export(self, *_, **__) -> NoReturn:
        """Say that export to other runtimes is for networks of ECGs alone.

        Raises:
            DataError: always.
        """
        raise DataError(
            "networks that read texts are not exported to other runtimes; save_pretrained writes "
            "a folder that load_model reads"
        )

    @property
    def instead(self) -> str:
        """What to do with the network in place of what networks of ECGs alone do."""
        if self.labels:
            return (
                "the network answers questions about ECGs, it predicts no labels: use ask "
                "(in Python answer)"
            )
        return (
            "the network was pre-trained on ECGs with texts, it predicts no labels: use embed or "
            "match (in Python zero_shot), or fine-tune it first"
        )

    def _columns_of(self, choices: Sequence[str] | None) -> list[int]:
        """Columns of the answers that could be right."""
        if choices is None:
            return list(range(len(self.labels)))
        if isinstance(choices, str) or not choices:
            raise DataError(f"choices={shortened(choices)}: give names of answers")
        by_name = {name: column for column, name in enumerate(self.labels)}
        for name in choices:
            if name not in by_name:
                raise DataError(_unknown(name, self.labels))
        return [by_name[name] for name in dict.fromkeys(choices)]

    def _tokens_of(self, texts: Sequence[str]) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
        """Tokens of each text, ``(N,)``, and how many are cut, with a warning."""
        tokens = self.tokens(texts)
        lengths = (~tokens.padding_mask).sum(dim=1).tolist()
        rows = [ids[:length] for ids, length in zip(tokens.ids, lengths, strict=True)]
        cut = tokens.n_cut.tolist()
        self.warn_of_cut(texts, cut)
        return dict(zip(texts, rows, strict=True)), dict(zip(texts, cut, strict=True))

    def _of_segments(self, segments: Sequence[Segment], text: torch.Tensor) -> np.ndarray:
        """Probabilities of the answers, of segments ``(1 or 2, L, T)`` and as many tokens each."""
        ecgs = torch.stack([segment.samples for segment in segments]).unbind(dim=1)
        found = [segment.of for segment in segments]
        padded = [[one.padded for one in found], [one.second_padded for one in found]]
        inputs: dict[str, torch.Tensor] = {}
        for name, ecg, counts in zip(("ecg", "ecg_2"), ecgs, padded, strict=False):
            mask = padding_mask_of(counts, ecg.shape[-1])
            mask = torch.zeros(ecg.shape[::2], dtype=torch.bool) if mask is None else mask
            inputs |= {name: ecg, f"{name}_padding_mask": mask.unsqueeze(1).expand_as(ecg)}
        no_padding = torch.zeros_like(text, dtype=torch.bool)
        return self.answer_probabilities(text=text, text_padding_mask=no_padding, **inputs)


def _listed(texts: str | Sequence[str]) -> tuple[str, ...]:
    listed = (texts,) if isinstance(texts, str) else tuple(texts)
    if not listed:
        raise DataError("no texts: give one at least")
    return listed


def _similarity(run: Run, of_segments: np.ndarray, names: tuple[str, ...]) -> Similarity:
    means = aggregate(of_segments, run.recording_of, ["mean"] * len(names))
    return Similarity(run, of_segments, means.astype(of_segments.dtype), names)


def _unknown(name: object, known: Sequence[str]) -> str:
    """Say that an answer is not known, which are, and which may be meant."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=3)
    meant = f" Did you mean {', '.join(by_lower[one] for one in near)}?" if near else ""
    return f"the network knows no answer {shortened(name)}.{meant} It knows {', '.join(known)}"
