"""Model and task as a checkpoint describes them, and as the user wants them otherwise."""

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from fairseq.checkpoint_utils import get_maybe_sharded_checkpoint_filename
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import BaseFairseqModel
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from omegaconf import MISSING, DictConfig, OmegaConf

from fairseq_ecg.compat.checkpoint import (
    NOTES,
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_trained,
    notes_in,
)
from fairseq_ecg.compat.stored_config import (
    NO_OTHER_FILE,
    check_network,
    check_sizes,
    decided_by_weights,
    has_network,
    literal,
    model_config,
    stored_section,
)
from fairseq_ecg.errors import CheckpointError, DataError, shortened

logger = logging.getLogger(__name__)

Overrides = dict[str, dict[str, Any]]
"""Value by key by section (``task``, ``model``, ``criterion``); of any section under ``""``."""

OF_THE_MACHINE = {"backend": None, "compile": None}
"""Keys of the task that say where it was trained, and nothing of where it is used."""

PATHS = {
    "task": ("data", "label_file", "mean_path", "std_path", "tokenizer"),
    "criterion": ("weights_file",),
}
"""Options that name files, by section. Those of a checkpoint are another machine's, or were
written by a stranger: they are opened where a user names them too. Only of ``label_file`` a
checkpoint is accepted, as published commands want it: it is an array, and nothing of it is shown
but metrics. In place of ``tokenizer`` is the vocabulary that a checkpoint notes."""

_PUBLISHED = {"task.tokenizer": "bert-base-uncased"}
"""Values of these options that name no file."""


def sorted_overrides(values: dict[str, Any]) -> Overrides:
    """Sort values by section.

    Args:
        values: dicts by section, single values by key, or both.
    """
    overrides: Overrides = {"task": {}, "model": {}, "criterion": {}, "": {}}
    for key, value in values.items():
        if key in overrides and isinstance(value, dict):
            overrides[key] |= value
        else:
            overrides[""][key] = value
    return overrides


def restore(
    path: str | os.PathLike,
    overrides: Overrides,
    seed: int = 1,
    suffix: str = "",
    labelled: bool | None = None,
    *,
    task: FairseqTask | None = None,
    strict: bool = True,
    state: dict[str, Any] | None = None,
) -> tuple[BaseFairseqModel, DictConfig, FairseqTask]:
    """Build the model and the task of a checkpoint; neither YAML nor pre-trained file is needed.

    Args:
        path: the ``.pt`` file.
        overrides: what comes before the checkpoint's configuration.
        seed: of the task.
        suffix: ``checkpoint.checkpoint_suffix``, before the extension of the file's name.
        labelled: whether data are read with labels, by the task; None: not at all.
        task: that builds the model; None: the one that the checkpoint describes.
        strict: whether every weight must be used, and no parameter may stay random.
        state: what is in the file, if it was read before.

    Returns:
        The model with its weights; the configuration, with sections ``task``, ``model`` and
        ``criterion``; and the task. Configuration and task name no file that overrides do not
        name.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file cannot be used.
        DataError: an override names no option, or the checkpoint a file that is to be read and
            that no override names.
    """
    path = get_maybe_sharded_checkpoint_filename(os.fspath(path), suffix, 0, 1)
    logger.info("loading model from %s", path)
    state = load_checkpoint(path) if state is None else state
    saved = {"model": model_config(state, path)}
    for section in ("task", "criterion"):
        saved[section] = stored_section(state, path, section)
        if not isinstance(saved[section].get("_name"), str):
            raise CheckpointError(
                f"{path} has no cfg.{section}, it is no checkpoint of a training; "
                f"{WRITTEN_IN_TRAINING}"
            )
    saved["model"] = decided_by_weights(saved["model"], state["model"], path)
    if has_network(saved["model"].get("_name")):
        if strict:
            check_network(saved["model"], state["model"], path)
        else:
            check_sizes(saved["model"], path)
    saved = literal(saved, path)
    saved["task"] |= OF_THE_MACHINE
    for section, values in overrides.items():
        _override(saved, section, values)
    # Of a BERT an override may say some sizes alone.
    saved["model"] = decided_by_weights(saved["model"], state["model"], path)
    named = _take_out_paths(saved, overrides, labelled)
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        noted = notes_in(state)
    for option in _files_to_read(saved, labelled, noted):
        if option in named:
            raise DataError(
                f"{path} was trained with {option}={shortened(named[option])}, and no file is "
                f"opened because a checkpoint names it: give {option}, the same if you trust it"
            )
    saved["model"] |= NO_OTHER_FILE
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        # Of one tree, as options of the task refer to others.
        tree = OmegaConf.create({"common": {"seed": seed}, **saved})
        if task is None:
            task = setup_task(tree.task, from_checkpoint=True)
        model = task.build_model(tree.model, from_checkpoint=True)
    if "vocabulary" in noted and "tokenizer" not in overrides["task"] | overrides[""]:
        task.load_state_dict({NOTES: noted})
    load_trained(model, state, path, strict)
    return model, tree, task


def _take_out_paths(
    saved: Overrides, overrides: Overrides, labelled: bool | None
) -> dict[str, Any]:
    """Remove the options of `PATHS` that nobody overrides; return what the checkpoint said."""
    named = {}
    for section, keys in PATHS.items():
        for key in keys:
            if key == "label_file" and labelled:
                continue
            if key not in overrides[section] | overrides[""]:
                value, option = saved[section].pop(key, None), f"{section}.{key}"
                if value not in (None, MISSING, _PUBLISHED.get(option)):
                    named[option] = value
    return named


def _files_to_read(
    saved: Overrides, labelled: bool | None, noted: Mapping[str, Any]
) -> Iterator[str]:
    """Options, as ``section.key``, whose files will be opened."""
    if labelled is None:
        return
    yield "task.data"
    if "vocabulary" not in noted:
        yield "task.tokenizer"
    if saved["task"].get("normalize"):
        yield from ("task.mean_path", "task.std_path")
    if labelled and saved["criterion"].get("report_cinc_score"):
        yield "criterion.weights_file"


def _override(saved: Overrides, section: str, values: dict[str, Any]) -> None:
    """Change the checkpoint's configuration, in one section or (``""``) wherever a key occurs."""
    if section:
        saved[section] |= values
        registries = {"task": TASK_DATACLASS_REGISTRY, "criterion": CRITERION_DATACLASS_REGISTRY}
        known = registries[section].get(saved[section]["_name"]) if section in registries else None
        for key in values if known is not None else ():
            if key not in known.__dataclass_fields__:
                raise DataError(f"{section}.{key}: {saved[section]['_name']} has no such option")
        return
    for key, value in values.items():
        holders = [options for options in saved.values() if key in options]
        if not holders and key not in NO_OTHER_FILE:
            raise DataError(
                f"model_overrides: {key!r} is no option of the checkpoint's task, model or "
                "criterion"
            )
        for options in holders:
            options[key] = value
