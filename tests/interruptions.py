"""Runs that end while they make a file visible."""

import itertools
import os
import signal
from collections.abc import Callable


def replace_until(n_files: int, end: Callable[[], object]) -> Callable[..., None]:
    """An ``os.replace`` that replaces so many files, and then calls ``end``."""
    replace, numbers = os.replace, itertools.count()

    def replace_or_end(source, target):
        if next(numbers) >= n_files:
            end()
        replace(source, target)

    return replace_or_end


def interrupt() -> None:
    """End as by Ctrl-C."""
    raise KeyboardInterrupt


def kill() -> None:
    """End at once."""
    os.kill(os.getpid(), signal.SIGKILL)
