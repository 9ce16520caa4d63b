"""Prompts for labels: a user's own, or wordings of the labeler's vocabulary."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairseq_ecg.inference.retrieval import Prompts


def prompts_for(labels: str | None, own: Path | None = None) -> "Prompts":
    """Return prompts by label.

    Args:
        labels: a set of labels of the vocabulary, or a CSV file with a column ``name``, see
            :func:`fairseq_ecg.labeler.label_table.read_label_set`. With ``own``: those that are
            meant, in their order; None: all.
        own: table of a user's own prompts.

    Raises:
        DataError: there are no such labels, or one of them has no prompt.
    """
    from fairseq_ecg.errors import DataError
    from fairseq_ecg.inference.retrieval import read_prompts
    from fairseq_ecg.labeler.label_table import read_label_set
    from fairseq_ecg.labeler.prompts import prompts_of
    from fairseq_ecg.labeler.vocabulary_files import DEFAULT, read_vocabulary

    if own is None:
        vocabulary = read_vocabulary(DEFAULT)
        return prompts_of(vocabulary, read_label_set(labels, vocabulary))
    prompts = read_prompts(own)
    if labels is None:
        return prompts
    from fairseq_ecg.data.label_file import read_label_names

    names = read_label_names(Path(labels))
    missing = [name for name in names if name not in prompts]
    if missing:
        raise DataError(f"{own}: no prompt for {missing[0]}, a label of {labels}")
    return {name: prompts[name] for name in names}
