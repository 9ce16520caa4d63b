"""Finding a model: in a file, in a folder or on the Hugging Face hub."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from fairseq_ecg.data.label_file import LABEL_DEFINITION, read_answer_names, read_label_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import CheckpointError, DataError, shortened
from fairseq_ecg.hub import only_cached, reason
from fairseq_ecg.inference.aggregation import ECG_FM_LABELS
from fairseq_ecg.inference.pretrained import CONFIG, WEIGHTS, read_pretrained
from fairseq_ecg.inference.stored import StoredModel, read_checkpoint

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.pt)")
"""``owner/name``; what ends in ``.pt`` is a path, whether it exists or not."""

CHECKPOINT_SUFFIX = ".pt"


def read_stored(
    source: str | os.PathLike,
    filename: str | None,
    revision: str | None,
    allow_damaged: bool | None,
) -> StoredModel:
    """Read what a path or a repository on the hub holds; see :func:`fairseq_ecg.load_model`."""
    path = Path(source)
    if isinstance(source, str) and not path.exists() and HUB_ID.fullmatch(source):
        path = _downloaded(source, filename, revision)
    if not path.is_dir():
        return read_checkpoint(path, allow_damaged)
    if filename is None and (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return read_pretrained(path)
    return read_checkpoint(_only_checkpoint(path, filename), allow_damaged)


def _only_checkpoint(folder: Path, filename: str | None) -> Path:
    if filename is not None:
        return folder / filename
    found = sorted(path.name for path in folder.glob(f"*{CHECKPOINT_SUFFIX}"))
    if len(found) == 1:
        return folder / found[0]
    raise CheckpointError(_which(folder, found))


def _which(where: str | Path, found: Sequence[str]) -> str:
    if found:
        return f"{where} holds {', '.join(found)}: say which one by filename='{found[0]}'"
    return f"{where} holds neither {CONFIG} with {WEIGHTS} nor a {CHECKPOINT_SUFFIX} file"


def _downloaded(repository: str, filename: str | None, revision: str | None) -> Path:
    """Bring from the hub what a model needs, and return its folder in the cache."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"{repository} is no path. To get it from the Hugging Face hub: "
            "pip install 'fairseq-ecg[hub]'",
            name="huggingface_hub",
        ) from error
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = only_cached()

    def download(*patterns: str) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=offline,
            )
        )

    try:
        if filename is None:
            folder = download(CONFIG, WEIGHTS, LABEL_DEFINITION)
            if (folder / WEIGHTS).is_file() or list(folder.glob(f"*{CHECKPOINT_SUFFIX}")):
                return folder
            files = huggingface_hub.list_repo_files(repository, revision=revision)
            found = [name for name in files if name.endswith(CHECKPOINT_SUFFIX)]
            if len(found) != 1:
                raise CheckpointError(_which(f"the repository {repository}", found))
            filename = found[0]
        return download(filename, LABEL_DEFINITION)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{repository} is neither a path nor a repository that can be reached: "
            f"{reason(error, offline)}"
        ) from error


def label_names(
    given: Sequence[str] | str | os.PathLike | None, stored: StoredModel, n_labels: int
) -> tuple[str, ...]:
    """Find the names of the labels of a network, see :func:`fairseq_ecg.load_model`."""
    if given is not None:
        if isinstance(given, str | os.PathLike):
            return _checked(read_label_names(Path(given)), n_labels, stored, given)
        return _checked(given, n_labels, stored, "the labels given")
    if not n_labels:
        return ()
    if stored.labels is not None:
        return _checked(stored.labels, n_labels, stored, "what is stored with it")
    beside = stored.path.parent / LABEL_DEFINITION
    if beside.is_file():
        return _checked(read_label_names(beside), n_labels, stored, beside)
    hint = ""
    if isinstance(stored.label_file, str):
        hint = f", which was {LABEL_DEFINITION} beside {shortened(stored.label_file)}"
    if n_labels == len(ECG_FM_LABELS):
        hint += ", or if this is ECG-FM's mimic_iv_ecg_finetuned.pt labels=ECG_FM_LABELS of "
        hint += "fairseq_ecg.inference"
    warnings.warn(
        f"{stored.path}: its labels have no names and are numbered. Put the label_def.csv it was "
        f"trained with beside it, or give labels='.../label_def.csv'{hint}",
        stacklevel=4,
    )
    return tuple(f"label_{number}" for number in range(n_labels))


ANSWERS = "answers.csv"
"""File of the ECG-QA project with the names of all answers."""


def answer_names(
    given: Sequence[str] | str | os.PathLike | None, stored: StoredModel, n_answers: int
) -> tuple[str, ...]:
    """Find the names of the answers of a network, see :func:`fairseq_ecg.load_model`."""
    if not n_answers:
        return ()  # given names are those of labels that it is prompted for
    if given is not None:
        if isinstance(given, str | os.PathLike):
            return _checked(read_answer_names(Path(given)), n_answers, stored, given, "answers")
        return _checked(given, n_answers, stored, "the answers given", "answers")
    if stored.labels is not None:
        return _checked(stored.labels, n_answers, stored, "what is stored with it", "answers")
    for beside in (stored.path.parent / name for name in (LABEL_DEFINITION, ANSWERS)):
        if beside.is_file():
            return _checked(read_answer_names(beside), n_answers, stored, beside, "answers")
    warnings.warn(
        f"{stored.path}: its answers have no names and are numbered. Put the {ANSWERS} of the "
        f"ECG-QA project that it was trained with beside it, or give labels='.../{ANSWERS}' "
        "(--label-def)",
        stacklevel=4,
    )
    return tuple(f"answer_{number}" for number in range(n_answers))


def tokenizer_of(
    given: str | os.PathLike | None, stored: StoredModel
) -> tuple[Tokenizer | None, int | None]:
    """Find what makes tokens for a network, and ``task.max_text_size`` of its training.

    Raises:
        CheckpointError: the vocabulary that is stored with it cannot be used.
        DataError: the one that is given cannot be.
        FileNotFoundError: there is no such vocabulary.
    """
    texts = stored.texts
    assert texts is not None
    if given is not None:
        return Tokenizer.load(given), texts.max_text_size
    if texts.vocabulary is None:
        return None, texts.max_text_size
    try:
        return Tokenizer(*texts.vocabulary), texts.max_text_size
    except DataError as error:
        raise CheckpointError(
            f"{stored.path}: {error}. Give the vocabulary that it was trained with as tokenizer"
        ) from error


def _checked(
    names: Sequence[str], n_labels: int, stored: StoredModel, where: object, what: str = "labels"
) -> tuple[str, ...]:
    if len(names) != n_labels:
        raise DataError(
            f"{stored.path} predicts {n_labels or 'no'} {what}, {where} names {len(names)}. "
            f"Give a fine-tuned checkpoint and the {LABEL_DEFINITION} it was trained with"
        )
    return tuple(names)
