"""``fairseq-ecg embed``."""

from fairseq_ecg.cli.options import File
from fairseq_ecg.cli.recordings import Checkpoint, EmbeddingUse, Recording


def embed(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    out: File,
    segments: File | None = None,
    use: EmbeddingUse = EmbeddingUse(),
) -> int:
    """Encode recordings as vectors.

    The outputs of the encoder are averaged over the frames of a segment and over the segments of a
    recording. Pre-trained networks do as well as fine-tuned ones; nothing is masked. A run that was
    interrupted goes on where it was.

    Args:
        out: to write, a row for each recording: .csv, .tsv or .parquet, or .npy, an array float32
            with <name>.rows.csv beside it, which says what its rows are
        segments: to write, a row for each segment of each recording: likewise
    """

    def compute(model, recordings, options):
        embeddings = model.embed(recordings, **options)
        return embeddings.columns(), embeddings.errors

    files = {"recordings": out, "segments": segments}
    return use.run(checkpoint, recordings, files, ("embed",), compute, arrays=True)
