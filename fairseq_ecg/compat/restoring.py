"""Model and task as a checkpoint describes them, and as the user wants them otherwise."""

import logging
import os
from typing import Any

from fairseq.checkpoint_utils import get_maybe_sharded_checkpoint_filename
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import BaseFairseqModel
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from omegaconf import DictConfig, OmegaConf

from fairseq_ecg.compat.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_trained,
    model_config,
)
from fairseq_ecg.data.errors import DataError

logger = logging.getLogger(__name__)

Overrides = dict[str, dict[str, Any]]
"""Value by key by section (``task``, ``model``, ``criterion``); of any section under ``""``."""

OF_THE_MACHINE = {"backend": None, "compile": None}
"""Keys of the task that say where it was trained, and nothing of where it is used."""


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
        task: that builds the model; None: the one that the checkpoint describes.
        strict: whether every weight must find its place, and no place may stay random.
        state: what is in the file, if it was read before.

    Returns:
        The model with its weights; the configuration, with sections ``task``, ``model`` and
        ``criterion``; and the task.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file cannot be used.
        DataError: an override names no option.
    """
    path = get_maybe_sharded_checkpoint_filename(os.fspath(path), suffix, 0, 1)
    logger.info("loading model from %s", path)
    state = load_checkpoint(path) if state is None else state
    saved = {"model": model_config(state, path)}
    for section in ("task", "criterion"):
        if not state["cfg"].get(section):
            raise CheckpointError(f"{path} has no cfg.{section}: it is no checkpoint of a training")
        saved[section] = dict(state["cfg"][section])
    saved["task"] |= OF_THE_MACHINE
    for section, values in overrides.items():
        _override(saved, section, values)
    saved["model"] |= {"model_path": None, "no_pretrained_weights": True}
    # Of one tree, as options of the task refer to others.
    tree = OmegaConf.create({"common": {"seed": seed}, **saved})
    if task is None:
        task = setup_task(tree.task, from_checkpoint=True)
    model = task.build_model(tree.model, from_checkpoint=True)
    load_trained(model, state, path, strict)
    return model, tree, task


def _override(saved: Overrides, section: str, values: dict[str, Any]) -> None:
    """Change the checkpoint's configuration, in one section or (``""``) wherever a key occurs."""
    if section:
        saved[section] |= values
        registries = {"task": TASK_DATACLASS_REGISTRY, "criterion": CRITERION_DATACLASS_REGISTRY}
        known = registries.get(section, {}).get(saved[section]["_name"])
        for key in values if known is not None else ():
            if key not in known.__dataclass_fields__:
                raise DataError(f"{section}.{key}: {saved[section]['_name']} has no such option")
        return
    for key, value in values.items():
        holders = [options for options in saved.values() if key in options]
        if not holders:
            raise DataError(
                f"model_overrides: {key!r} is no option of the checkpoint's task, model or "
                "criterion"
            )
        for options in holders:
            options[key] = value
