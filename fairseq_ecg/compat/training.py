"""Patches that stock fairseq's training loop needs before ECG models train on it."""

import functools
import inspect
import logging
import os
import shutil
import sys
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import ModuleType

import fairseq.checkpoint_utils
import fairseq.distributed.utils
import fairseq.logging.progress_bar
import fairseq.models.distributed_fairseq_model
import fairseq.trainer
import fairseq.utils
import torch
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.file_io import PathManager
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    check_numbers,
    damage_as_checkpoint_error,
    load_checkpoint,
    num_updates_of,
)
from fairseq_ecg.compat.csv_log import CsvLog
from fairseq_ecg.compat.stored_config import literal
from fairseq_ecg.compat.sweeps import reset_metrics, seed_python_too
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.jobs.files import remove_unfinished, replacing

logger = logging.getLogger(__name__)

GAP = "is_gap"
"""Key of a batch that stands in for one that nothing is left of: it runs, and counts nowhere."""


def patch_fairseq() -> None:
    """Apply all patches; a second call changes nothing."""
    fairseq.checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    PathManager.copy = staticmethod(copy_whole)
    trainer = fairseq.trainer.Trainer
    _patch(trainer, "__init__", _init_trainer)
    _patch(trainer, "load_checkpoint", _load_into_trainer)
    _patch(trainer, "_prepare_sample", _fill_gap)
    _patch(trainer, "clip_grad_norm", _clip_and_check_losses)
    _patch(trainer, "_reduce_and_log_stats", _log_without_waiting)
    _patch(fairseq.models.BaseFairseqModel, "load_state_dict", _load_finite_weights)
    _patch(
        fairseq.models.distributed_fairseq_model, "DistributedDataParallel", _distribute_any_device
    )
    _patch(fairseq.distributed.utils, "all_gather_list", _gather_without_gpus)
    _patch(fairseq.logging.progress_bar, "progress_bar", _progress_bar_with_csv)
    _patch(metrics, "reset", reset_metrics)
    _patch(fairseq.utils, "set_torch_seed", seed_python_too)
    if "fairseq_cli.train" in sys.modules:
        _patch(sys.modules["fairseq_cli.train"], "get_valid_stats", _best_of_each_subset)


def _patch(owner: ModuleType | type, name: str, replacement: Callable) -> None:
    """Replace a function or class, which the replacement is given as its first argument."""
    original = getattr(owner, name)
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original, updated=())
    def patched(*args, **kwargs):
        return replacement(original, *args, **kwargs)

    setattr(owner, name, patched)


def load_checkpoint_to_cpu(path, arg_overrides=None, load_on_all_ranks=False):
    """Read a checkpoint for fairseq's trainer, without running its code.

    Args:
        path: the ``.pt`` file.
        arg_overrides: configuration values to overwrite by name.
        load_on_all_ranks: accepted as in fairseq; a local file may be read by all ranks at once.

    Returns:
        The state with ``cfg`` as a ``DictConfig`` in which nothing is resolved.

    Raises:
        FileNotFoundError, CheckpointError: as :func:`load_checkpoint`.
        CheckpointError: it is no state of a training.
    """
    path = PathManager.get_local_path(path)
    state = load_checkpoint(path)
    num_updates_of(state, path)
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        if state.get("cfg") is not None:
            cfg = literal(state["cfg"], path)
            state["cfg"] = OmegaConf.create(cfg, flags={"allow_objects": True})
            if arg_overrides is not None:
                overwrite_args_by_name(state["cfg"], arg_overrides)
        state = fairseq.checkpoint_utils._upgrade_state_dict(state)
        last = state["optimizer_history"][-1]
        if last["optimizer_name"] == "FairseqAdam":
            # The same optimizer and state under stock fairseq's class name.
            last["optimizer_name"] = "Adam"
    return state


def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
    """Copy a file so that its new name never shows a part of it.

    fairseq copies a checkpoint to ``checkpoint_last.pt`` byte by byte; a run killed meanwhile
    could not be resumed.

    Args:
        src_path: the file.
        dst_path: its copy.
        overwrite: whether an existing file may be replaced.

    Returns:
        Whether the copy was made.
    """
    if not overwrite and os.path.exists(dst_path):
        logger.error("not copied: %s exists", dst_path)
        return False
    path = Path(dst_path)
    remove_unfinished(path.parent, names={path.name})
    with replacing(path, durable=True) as unfinished:
        shutil.copyfile(src_path, unfinished)
    return True


def leave_out_untrained(model: torch.nn.Module) -> None:
    """Have a model not count as trained what no gradient reaches, until the trainer has it.

    fairseq counts what requires a gradient. Its trainer is to have these parameters all the same:
    the positions of all others in a stored state of the optimizer depend on them.

    Args:
        model: with ``without_gradient``, which lists these parameters; others are left as they are.
    """
    untrained = getattr(model, "without_gradient", list)()
    model.left_out = [parameter for parameter in untrained if parameter.requires_grad]
    for parameter in model.left_out:
        parameter.requires_grad_(False)


def _init_trainer(init: Callable, self, cfg, task, model, *args, **kwargs) -> None:
    """Refuse half precision on CPUs, and train all parameters."""
    if cfg.common.fp16 and (cfg.common.cpu or not torch.cuda.is_available()):
        raise DataError(
            "common.fp16=true trains on GPUs alone, and there is none here (or common.cpu=true "
            "says not to use it): leave it out, or say common.bf16=true, which trains on CPUs "
            "as well"
        )
    init(self, cfg, task, model, *args, **kwargs)
    for parameter in getattr(model, "left_out", ()):
        parameter.requires_grad_(True)


def _load_into_trainer(load_checkpoint: Callable, self, filename, *args, **kwargs):
    """Say which weights do not match, and check where training goes on."""
    remedy = "go on from another checkpoint, or start anew in another checkpoint.save_dir"
    with damage_as_checkpoint_error(filename, remedy):
        try:
            extra_state = load_checkpoint(self, filename, *args, **kwargs)
            if extra_state is not None:
                _check_progress(extra_state)
        except Exception as error:
            if error.__context__ is None or not str(error).startswith("Cannot load model"):
                raise
            # fairseq keeps to itself which weights do not match.
            raise CheckpointError(f"{error} {error.__context__}") from error.__context__
    return extra_state


def _check_progress(extra_state: dict) -> None:
    """Check what fairseq reads of a state besides, where training goes on and what was best."""
    iterator = extra_state.get("train_iterator")
    counts = [None]
    if iterator:
        counts = [iterator.get("epoch"), iterator.get("iterations_in_epoch", 0)]
    numbers = [extra_state.get(key, 0.0) for key in ("best", "previous_training_time")]
    if not (
        all(isinstance(number, int) and 0 <= number < 2**63 for number in counts)
        and all(isinstance(number, Real) for number in numbers)
    ):
        raise ValueError("its extra_state does not say where training goes on")


def _fill_gap(prepare_sample: Callable, self, sample, is_dummy=False):
    # fairseq knows empty batches at the end of an epoch alone: whether the last one of an update is
    # empty decides whether all of the update count.
    if sample or is_dummy or not getattr(self.task, "leaves_out", False):
        return prepare_sample(self, sample, is_dummy)
    filled, _ = prepare_sample(self, sample)
    return filled | {GAP: True}, False


def _clip_and_check_losses(clip_grad_norm: Callable, self, *args, **kwargs):
    # Right after this fairseq reads the norm, the one time in an update it waits for a GPU.
    check = getattr(self.task, "check_losses", None)
    try:
        norm = clip_grad_norm(self, *args, **kwargs)
    except OverflowError:
        if check is not None:
            check(self.get_criterion(), torch.full((), float("inf"), device=self.device))
        raise
    if check is not None:
        check(self.get_criterion(), norm)
    return norm


def _log_without_waiting(
    reduce_and_log_stats: Callable, self, logging_outputs, sample_size, grad_norm=None
):
    if not self.cuda or grad_norm is None or self.cfg.common.amp:
        return reduce_and_log_stats(self, logging_outputs, sample_size, grad_norm)
    # fairseq reads each statistic from the GPU in each update, though only those that are
    # printed at log intervals are ever looked at.
    metrics.log_speed("ups", 1.0, priority=100, round=2)
    metrics.log_scalar("gnorm", grad_norm, priority=400, round=3)
    clip_norm = self.cfg.optimization.clip_norm
    if clip_norm > 0:
        metrics.log_scalar("clip", (grad_norm > clip_norm) * 100.0, priority=500, round=1)
    self.task.reduce_metrics(logging_outputs, self.get_criterion())
    return {"sample_size": sample_size}


def _load_finite_weights(load_state_dict: Callable, self, state_dict, *args, **kwargs):
    loaded = load_state_dict(self, state_dict, *args, **kwargs)
    check_numbers(self, state_dict, "the checkpoint", loaded.unexpected_keys)
    return loaded


def _distribute_any_device(
    distributed: type, module, device_ids=None, output_device=None, **options
):
    # It waits for a gradient of every parameter that it is given.
    untrained = {id(parameter) for parameter in getattr(module, "without_gradient", list)()}
    distributed._set_params_and_buffers_to_ignore_for_model(
        module, [name for name, value in module.named_parameters() if id(value) in untrained]
    )
    if getattr(module, "trains_in_turns", False):
        options["find_unused_parameters"] = True
    if next(module.parameters()).device.type == "cpu":
        # torch accepts device ids for modules on GPUs alone, fairseq always gives them.
        device_ids = output_device = None
    is_renamed = "forward_sync_buffers" in inspect.signature(distributed).parameters
    if is_renamed and "broadcast_buffers" in options:
        options["forward_sync_buffers"] = options.pop("broadcast_buffers")
    return distributed(module, device_ids=device_ids, output_device=output_device, **options)


def _gather_without_gpus(all_gather_list: Callable, data, group=None, max_size=16384):
    if torch.cuda.is_available():
        return all_gather_list(data, group=group, max_size=max_size)
    # fairseq gathers through a buffer on the GPU.
    gathered = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(gathered, data, group=group)
    return gathered


def _progress_bar_with_csv(
    progress_bar: Callable, iterator, log_format=None, log_interval=100, *args, **kwargs
):
    if log_format != "csv":
        return progress_bar(iterator, log_format, log_interval, *args, **kwargs)
    # fairseq itself turns "tqdm" into "simple" where there is no terminal.
    bar = progress_bar(iterator, "tqdm", log_interval, *args, **kwargs)
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return bar
    return CsvLog(bar, log_interval)


def _best_of_each_subset(get_valid_stats: Callable, cfg, trainer, stats, tracking_best):
    # fairseq logs the best value of the first subset alone, and not after its first validation.
    # Kept by the trainer: another run has another.
    if tracking_best:
        trainer.subset_number = 0
    else:
        trainer.subset_number += 1
    best = vars(trainer).setdefault("best_of_subsets", {})
    stats = get_valid_stats(cfg, trainer, stats, tracking_best)
    subset = cfg.dataset.valid_subset.split(",")[trainer.subset_number]
    metric = cfg.checkpoint.best_checkpoint_metric
    best_of = max if cfg.checkpoint.maximize_best_checkpoint_metric else min
    best[subset] = best_of(best.get(subset, stats[metric]), stats[metric])
    stats.setdefault(f"best_{metric}", best[subset])
    return stats
