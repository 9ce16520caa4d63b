"""Folders that are there whole or not at all."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path


def create(folder: Path, write: Callable[[Path], None]) -> int:
    """Create a folder, which gets its name when all of it is written.

    Args:
        folder: to create.
        write: writes what is to be in it, given where.

    Returns:
        The exit status: 2, with a message, where the folder is there already.
    """
    if folder.exists():
        print(f"{folder} exists: remove it or name another folder", file=sys.stderr)
        return 2
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write(unfinished)
    os.replace(unfinished, folder)
    return 0
