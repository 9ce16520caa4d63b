"""Making a model of what lies in a file, in a folder or on the Hugging Face hub."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.label_file import LABEL_DEFINITION, read_label_names
from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.inference.aggregation import ECG_FM_LABELS
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.pretrained import CONFIG, WEIGHTS, read_pretrained
from fairseq_ecg.inference.stored import StoredModel, read_checkpoint
from fairseq_ecg.messages import shortened
from fairseq_ecg.modules import ECGTransformerClassifier

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.pt)")
"""``owner/name``; what ends in ``.pt`` is a path, whether it exists or not."""

CHECKPOINT_SUFFIX = ".pt"


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
    untrained_seed: int | None = None,
    allow_damaged: bool | None = None,
) -> ECGModel:
    """Read a trained network, ready to be given recordings.

    Checkpoints of fairseq_signals and of this package are alike, pre-trained (``wav2vec2``,
    ``wav2vec2_cmsc``, ``ecg_transformer``) and fine-tuned (``ecg_transformer_classifier``) ones.
    The architecture is the one that the checkpoint records. Every weight must find its place, no
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
        preprocessing: in place of the one that the checkpoint tells.
        missing_leads: in place of that of the preprocessing.
        mean_path: text file of the mean of each of the twelve leads, and
        std_path: of the standard deviation, for a network that was trained on leads normalised by
            them (``task.normalize``) and does not hold them itself.
        filename: of the ``.pt`` file in a folder or repository that holds several.
        revision: of a repository on the hub: branch, tag or commit.
        untrained_seed: if given, the weights are not those of the checkpoint, but drawn anew with
            this seed, as a baseline.
        allow_damaged: read a ``.pt`` file although its checksums differ. None: whether the
            environment variable ``FAIRSEQ_ECG_ALLOW_DAMAGED`` is ``1``.

    Returns:
        The model, in evaluation mode.

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
    stored = _stored(source, filename, revision, allow_damaged)
    network = stored.network(untrained_seed)
    n_labels = network.proj.out_features if isinstance(network, ECGTransformerClassifier) else 0
    prepared = preprocessing or stored.preprocessing(statistics)
    if missing_leads is not None:
        prepared = replace(prepared, missing_leads=missing_leads)
    labels = _labels(labels, stored, n_labels)
    aggregation = stored.aggregation if aggregation is None else aggregation
    try:
        model = ECGModel(network, stored.cfg, prepared, labels, aggregation, stored.scale)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, _floating(dtype))


def _floating(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return the floating-point type of a name."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not getattr(found, "is_floating_point", False):
        raise DataError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    return found


def _stored(
    source: str | os.PathLike,
    filename: str | None,
    revision: str | None,
    allow_damaged: bool | None,
) -> StoredModel:
    """Read what a path or a repository holds."""
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

    def download(*patterns: str) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(patterns)
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
            f"{repository} is neither a path nor a repository that can be reached: {error}"
        ) from error


def _labels(
    given: Sequence[str] | str | os.PathLike | None, stored: StoredModel, n_labels: int
) -> tuple[str, ...]:
    """Find the names of the labels, see :func:`load_model`."""
    if given is not None:
        names, where = given, "the labels given"
        if isinstance(given, str | os.PathLike):
            names, where = read_label_names(Path(given)), given
        return _checked(names, n_labels, stored, where)
    if not n_labels:
        return ()
    if stored.labels is not None:
        return _checked(stored.labels, n_labels, stored, "what is stored with it")
    place = stored.path.parent / LABEL_DEFINITION
    if place.is_file():
        return _checked(read_label_names(place), n_labels, stored, place)
    hint = ""
    if isinstance(stored.label_file, str):
        hint = f", which was {LABEL_DEFINITION} beside {shortened(stored.label_file)}"
    if n_labels == len(ECG_FM_LABELS):
        hint += ", or if this is ECG-FM's mimic_iv_ecg_finetuned.pt labels=ECG_FM_LABELS of "
        hint += "fairseq_ecg.inference"
    warnings.warn(
        f"{stored.path}: its labels have no names and are numbered. Put the label_def.csv it was "
        f"trained with beside it, or give labels='.../label_def.csv'{hint}",
        stacklevel=3,
    )
    return tuple(f"label_{number}" for number in range(n_labels))


def _checked(
    names: Sequence[str], n_labels: int, stored: StoredModel, where: object
) -> tuple[str, ...]:
    if len(names) != n_labels:
        raise DataError(
            f"{stored.path} predicts {n_labels or 'no'} labels, {where} names {len(names)}. "
            "Give a fine-tuned checkpoint and the label_def.csv it was trained with"
        )
    return tuple(names)
