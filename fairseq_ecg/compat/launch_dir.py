"""Paths relative to where a command was started."""

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_original_cwd


def from_launch_dir(path: str | None) -> str | None:
    """Find a relative path although Hydra has changed to the directory of the run.

    Args:
        path: absolute, relative to the working directory, or relative to the directory in which
            the command was started.

    Returns:
        The path as it is if it exists or is None, else the one that exists; if none does, the
        path unchanged, so that messages show what was given.
    """
    if path is None or os.path.exists(path) or not HydraConfig.initialized():
        return path
    started = Path(get_original_cwd(), path)
    return str(started) if started.exists() else path
