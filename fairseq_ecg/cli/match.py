"""``fairseq-ecg match``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import LimitedChoice

from fairseq_ecg.cli.options import CSV, File, Integer, SeveralValues
from fairseq_ecg.cli.outputs import say_left_out
from fairseq_ecg.cli.prompting import prompts_for
from fairseq_ecg.cli.recordings import Checkpoint, Recording, TextUse, check_shown
from fairseq_ecg.data.names import printable
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGTextModel, Similarity

_WHAT = Parameter(group=Group("what recordings are compared with", validator=LimitedChoice(1, 1)))


def match(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    texts: Annotated[
        tuple[str, ...], _WHAT, SeveralValues, Parameter(metavar="SENTENCE|FILE")
    ] = (),
    labels: Annotated[str | None, _WHAT, Parameter(metavar="SET|CSV")] = None,
    prompts: Annotated[CSV | None, _WHAT] = None,
    top: Integer = 5,
    out: File | None = None,
    segments: File | None = None,
    use: TextUse = TextUse(),
) -> int:
    """Compare recordings with sentences, or with labels that the network was not trained for.

    A network of contrastive pre-training (ecg_text_clip) gives the cosine similarity of recording
    and sentence, M3AE and MedViLL the probability that they belong together; over the segments of a
    recording it is the mean. The score of a label is the mean over its prompts: it orders
    recordings, and is no probability.

    Args:
        texts: sentences, or files with one a line
        labels: score labels, by their wordings in the vocabulary of the labeler: a set of it
            (mimic_iv_ecg), or a label_def.csv
        prompts: score labels by your own sentences: a table with the columns label and prompt
        top: how many texts to print for each recording, the most similar first
        out: table to write in place of printing, a row for each recording with its similarity to
            every text: .csv, .tsv, .parquet or .json
        segments: table to write with a row for each segment, beside --out
    """
    check_shown(top, out, segments)
    from fairseq_ecg.inference.retrieval import read_texts

    sentences = read_texts(texts)
    by_label = {} if texts else prompts_for(labels, prompts)

    def compare(model: "ECGTextModel", found: Sequence, options: dict) -> "Similarity":
        if texts:
            return model.similarity(found, sentences, **options)
        return model.zero_shot(found, by_label, **options)

    def compute(model, found, options):
        similarity = compare(model, found, options)
        return similarity.columns(), similarity.errors

    if out:
        files: dict[str, Path | None] = {"recordings": out, "segments": segments}
        settings = ("match", sentences, sorted(by_label.items()))
        return use.run(checkpoint, recordings, files, settings, compute)
    found, _ = use.described.find(recordings, set())
    similarity = compare(use.load(checkpoint), found, use.of_all_uses())
    if not len(similarity.of_recordings):
        raise DataError(next(iter(similarity.errors.values())))
    print(_printed(similarity, top))
    return say_left_out(similarity.errors)


def _printed(similarity: "Similarity", top: int) -> str:
    """Write the most similar texts of each recording."""
    lines = []
    for name, rows in similarity.top(top).groupby(level=0, sort=False):
        lines.append(f"{printable(str(name))}:")
        lines += [f"  {row.similarity:6.3f}  {printable(row.text)}" for row in rows.itertuples()]
    return "\n".join(lines)
