"""Runs that follow one another in a process, as the jobs of ``fairseq-hydra-train --multirun``.

fairseq keeps some of what belongs to a run for the whole process: the best loss, the patience of
early stopping, log files. A run must not know of those before it.
"""

import logging
import random
import sys
from collections.abc import Callable

import fairseq.checkpoint_utils
import fairseq.logging.progress_bar

LOGGERS = ("fairseq_cli.train", "fairseq.logging.progress_bar")
"""To which fairseq adds ``common.log_file``, once more for every run."""


def forget_earlier_runs() -> None:
    """Bring the process to where a run finds it that is alone."""
    functions = [fairseq.checkpoint_utils.save_checkpoint]
    if "fairseq_cli.train" in sys.modules:
        functions.append(sys.modules["fairseq_cli.train"].should_stop_early)
    for function in functions:
        for name in ("best", "num_runs"):
            vars(function).pop(name, None)
    _close_logs()
    if "torch._dynamo" in sys.modules:
        # What was compiled for other shapes decides how the next shapes are compiled.
        sys.modules["torch._dynamo"].reset()


def _close_logs() -> None:
    """Let go of the files and services that earlier runs have logged to."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in [x for x in logger.handlers if isinstance(x, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
    progress_bar = fairseq.logging.progress_bar
    writers = getattr(progress_bar, "_tensorboard_writers", None) or {}
    for writer in writers.values():
        writer.close()
    writers.clear()
    if getattr(progress_bar, "get_aim_run", None) is not None:
        progress_bar.get_aim_run.cache_clear()
    wandb = sys.modules.get("wandb")
    if getattr(wandb, "run", None) is not None:
        wandb.finish()


def reset_metrics(reset: Callable) -> None:
    """Patch ``fairseq.logging.metrics.reset``, which begins every run, however it is started."""
    reset()
    forget_earlier_runs()


def seed_python_too(set_torch_seed: Callable, seed: int):
    """Patch ``fairseq.utils.set_torch_seed``; fairseq_signals seeded Python's generator as well."""
    random.seed(seed)
    return set_torch_seed(seed)
