"""``fairseq-ecg identify``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import File, Integer, Number
from fairseq_ecg.cli.recordings import Checkpoint, EmbeddingUse, Recording

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel
    from fairseq_ecg.inference import Gallery as Embedded


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The recordings of known patients.

    Attributes:
        gallery: recordings of known patients: table with the columns path and patient, manifest
            with classes, STORE/valid_gallery, or what --save-gallery wrote
        save_gallery: embedded gallery to write, for later runs with the same checkpoint: .csv, .tsv
            or .parquet
    """

    gallery: Annotated[str, Parameter(metavar="GALLERY")]
    save_gallery: File | None = None

    def identity(self, use: EmbeddingUse) -> str:
        """Return a checksum of what results depend on."""
        from fairseq_ecg.inference.identification import (
            gallery_members,
            identity_of,
            saved_gallery,
        )
        from fairseq_ecg.inference.parts import identity_of_recordings

        if (saved := saved_gallery(self.gallery)) is not None:
            return repr((saved.patients, saved.embeddings.tobytes()))
        members = gallery_members(self.gallery, use.described.description())
        return identity_of(members, identity_of_recordings)

    def embedded(self, model: "ECGModel", use: EmbeddingUse, options: dict) -> "Embedded":
        """Embed the gallery, and write it if that is asked for."""
        described = vars(use.described.description())
        given = {name: described[name] for name in ("sample_rate", "leads", "units", "gain")}
        policies = {name: x for name, x in options.items() if name not in ("progress", "on_error")}
        policies |= {"format": described["format"]}
        embedded = model.gallery(self.gallery, **given, **policies)
        if self.save_gallery is not None:
            embedded.save(self.save_gallery)
        return embedded


def identify(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    out: File,
    gallery: Gallery,
    top: Integer = 5,
    threshold: Number | None = None,
    use: EmbeddingUse = EmbeddingUse(),
) -> int:
    """Find the patients of a gallery whose ECGs are most similar to recordings.

    The similarity of two recordings is the cosine of the angle between their embeddings, from -1 to
    1; that of a patient the largest over the patient's recordings. Networks that were trained to
    identify patients (arcface) do best, but any will do. A run that was interrupted goes on where
    it was.

    Args:
        out: table to write, a row for each recording and rank: .csv, .tsv or .parquet
        top: patients to name for each recording, the most similar first
        threshold: also say whether each of these patients counts as known, from this similarity on;
            training reports the one at which errors of both kinds are equal as eer_threshold
    """
    from fairseq_ecg.inference.identification import check_ranks

    check_ranks(top, threshold)
    embedded = []

    def compute(model, recordings, options):
        if not embedded:
            embedded.append(gallery.embedded(model, use, options))
        found = model.identify(recordings, embedded[0], top=top, threshold=threshold, **options)
        return found.columns(), found.errors

    settings = ("identify", gallery.identity(use), top, threshold)
    return use.run(checkpoint, recordings, {"matches": out}, settings, compute)
