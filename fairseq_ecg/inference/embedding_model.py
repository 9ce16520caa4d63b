"""Models that encode recordings: embeddings, and the patients of a gallery by them."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from fairseq_ecg.inference.aggregation import aggregate
from fairseq_ecg.inference.identification import (
    Gallery,
    Identification,
    check_ranks,
    gallery_members,
    saved_gallery,
)
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.inference.recordings import Description
from fairseq_ecg.inference.results import RECORDING, Embeddings, Run
from fairseq_ecg.inference.running import Compute, run_recordings


class EmbeddingModel(LoadedNetwork):
    """A network that is given recordings as they are, and encodes them.

    Attributes:
        embeddings: ``(B, L, T)`` prepared segments and their padding to ``(B, D)`` float32.
    """

    embeddings: Compute

    @property
    def embed_dim(self) -> int:
        """D, channels of an embedding."""
        raise NotImplementedError

    def embed(
        self,
        ecg,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        **options,
    ) -> Embeddings:
        """Encode recordings: of each channel the mean over the frames of a segment.

        Padded frames do not count, and of a transformer a channel of a frame that is exactly zero
        neither (fairseq_signals' ``embs.py``). ``arcface`` has an embedding of its own, of length
        1. A recording's embedding is the mean of those of its segments.

        It takes what :meth:`ECGModel.predict` takes.

        Raises:
            DataError: a recording cannot be used.
        """
        run = run_recordings(self, self.embeddings, ecg, sample_rate, leads, units, **options)
        return self._embeddings(run, run.values(self.embed_dim))

    def gallery(
        self,
        source,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        **options,
    ) -> Gallery:
        """Embed recordings of known patients, to :meth:`identify` others among them.

        Args:
            source: a table (its path, or a DataFrame) with the columns ``path`` and ``patient``; a
                manifest with classes, or a split of such a store, ``STORE/valid_gallery``; a dict
                of what :meth:`ECGModel.predict` takes, by patient; or the path of what
                :meth:`Gallery.save` wrote.
            sample_rate: as of :meth:`ECGModel.predict`.
            leads: as of :meth:`ECGModel.predict`.
            units: as of :meth:`ECGModel.predict`.
            options: as of :meth:`ECGModel.predict`; with ``on_error="skip"`` recordings that
                cannot be used are not in the gallery.

        Raises:
            DataError: the gallery says no patients, or a recording cannot be used.
        """
        if (saved := saved_gallery(source)) is not None:
            return saved
        gain, format = (options.get(name) for name in ("gain", "format"))
        description = Description(sample_rate, leads, units, gain, format)
        members = gallery_members(source, description)
        embedded = self.embed([recording for _, recording in members], **options)
        patients = [members[number][0] for number in embedded.run.used]
        names = embedded.run.recordings()[RECORDING]
        return Gallery(patients, names, embedded.of_recordings)

    def identify(
        self,
        ecg,
        gallery,
        sample_rate: float | None = None,
        leads: Sequence[str] | None = None,
        units: str | None = None,
        *,
        top: int = 5,
        threshold: float | None = None,
        **options,
    ) -> Identification:
        """Find the patients of a gallery whose ECGs are most similar to recordings.

        The similarity of two recordings is the cosine of the angle between their embeddings, that
        of a patient the largest over the patient's recordings. Any network will do, one that was
        trained to identify patients (``arcface``) best.

        Args:
            ecg: as of :meth:`ECGModel.predict`.
            gallery: what :meth:`gallery` returned or takes.
            sample_rate: as of :meth:`ECGModel.predict`, for the gallery too.
            leads: as of :meth:`ECGModel.predict`, for the gallery too.
            units: as of :meth:`ECGModel.predict`, for the gallery too.
            top: how many patients to name.
            threshold: similarity from which on a patient counts as known, if that is asked for.
            options: as of :meth:`ECGModel.predict`, for the gallery too.

        Raises:
            DataError: the gallery cannot be used, or a recording.
        """
        check_ranks(top, threshold)
        if not isinstance(gallery, Gallery):
            shown = {name: x for name, x in options.items() if not isinstance(x, tqdm)}
            gallery = self.gallery(gallery, sample_rate, leads, units, **shown)
        embedded = self.embed(ecg, sample_rate, leads, units, **options)
        similarity = gallery.similarity(embedded.of_recordings)
        return Identification(embedded.run, gallery, similarity, top, threshold)

    def _embeddings(self, run: Run, values: np.ndarray) -> Embeddings:
        means = aggregate(values, run.recording_of, ["mean"] * self.embed_dim)
        return Embeddings(run, values, means.astype(values.dtype))
