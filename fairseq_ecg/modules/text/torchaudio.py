"""Living with a torchaudio that was built for another PyTorch.

fairseq depends on torchaudio, whose builds on PyPI are for GPUs and one version of PyTorch. With
another one it cannot be imported, and then neither can half of ``transformers``, nor ``peft``,
which look only whether it is installed. ECGs need none of it.
"""

import functools
import importlib


@functools.cache
def hide_broken_torchaudio() -> None:
    """Let ``transformers`` think that torchaudio is not installed, if it cannot be imported."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        from transformers import utils

        utils.is_torchaudio_available = lambda: False
