"""``import fairseq_ecg.signals``: what ECG-FM's notebooks and scripts import of fairseq_signals.

    import fairseq_ecg.signals
    from fairseq_signals.models import build_model_from_checkpoint
    from fairseq_signals.utils.store import MemmapReader

With the first line the names in :data:`OFFERED` are found here; nothing is loaded before it is
imported. A name that is not offered is an ImportError that says so. Where PyTorch reads tensors
and numbers only, ``torch.load`` takes NumPy's numbers for such from then on: the checkpoints of
fairseq_signals and of ECG-FM's linear probe hold some. To run a script as it is:
``python -m fairseq_ecg.signals script.py ARGUMENTS``.
"""

import argparse
import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ALIAS = "fairseq_signals"

_STORES = "fairseq_ecg.formats.stores"
_MODELS = "fairseq_ecg.models"
_CLASSIFIER = {
    "ECGTransformerClassificationConfig": _MODELS,
    "ECGTransformerClassificationModel": _MODELS,
}
_ECG_TRANSFORMER = {
    "ECGTransformerConfig": _MODELS,
    "ECGTransformerFinetuningConfig": _MODELS,
    "ECGTransformerFinetuningModel": _MODELS,
    "ECGTransformerModel": _MODELS,
}
_WAV2VEC2 = {"Wav2Vec2Config": _MODELS, "Wav2Vec2Model": _MODELS}
_WAV2VEC2_CMSC = {"Wav2Vec2CMSCConfig": _MODELS, "Wav2Vec2CMSCModel": _MODELS}

OFFERED: dict[str, dict[str, str]] = {
    "": {},
    "models": {
        "build_model_from_checkpoint": "fairseq_ecg.signals",
        "build_model": "fairseq.models",
        "register_model": "fairseq_ecg.compat.registration",
    },
    "models.classification": _CLASSIFIER,
    "models.classification.ecg_transformer_classifier": _CLASSIFIER,
    "models.ecg_transformer": _ECG_TRANSFORMER,
    "models.wav2vec2": _WAV2VEC2 | _WAV2VEC2_CMSC,
    "models.wav2vec2.wav2vec2": _WAV2VEC2,
    "models.wav2vec2.wav2vec2_cmsc": _WAV2VEC2_CMSC,
    "tasks": {"setup_task": "fairseq.tasks"},
    "utils": {},
    "utils.checkpoint_utils": {
        "checkpoint_paths": "fairseq.checkpoint_utils",
        "load_checkpoint_to_cpu": "fairseq_ecg.compat.training",
        "load_model_and_task": "fairseq_ecg.signals",
    },
    "utils.store": {
        "MemmapBatchWriter": _STORES,
        "MemmapReader": _STORES,
        "memmap_batch_process": _STORES,
    },
}
"""Where a name of a module of fairseq_signals is found, by module."""

_REGISTERING = "fairseq_ecg.tasks"
_NEED_REGISTRATION = ("models", "tasks", "utils.checkpoint_utils")


class _Aliases(MetaPathFinder, Loader):
    """Finds the modules of :data:`OFFERED` under fairseq_signals' names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != ALIAS:
            return None
        if module not in OFFERED:
            offered = ", ".join(f"{ALIAS}.{name}" for name in OFFERED if name)
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: fairseq_ecg.signals offers {offered}",
                name=fullname,
            )
        is_package = not module or any(name.startswith(f"{module}.") for name in OFFERED)
        return ModuleSpec(fullname, self, origin=__file__, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        if not name:
            _let_torch_read_numbers()
        if name.startswith(_NEED_REGISTRATION):
            importlib.import_module(_REGISTERING)
        for attribute, source in OFFERED[name].items():
            setattr(module, attribute, getattr(importlib.import_module(source), attribute))


def _let_torch_read_numbers() -> None:
    import torch

    from fairseq_ecg.compat.checkpoint import numpy_globals

    torch.serialization.add_safe_globals(numpy_globals())


def build_model_from_checkpoint(checkpoint_path: str | os.PathLike):
    """Build a model with its weights, see :func:`fairseq_ecg.models.build_model_from_checkpoint`.

    Args:
        checkpoint_path: the ``.pt`` file.
    """
    from fairseq_ecg.models import build_model_from_checkpoint

    return build_model_from_checkpoint(checkpoint_path)


def load_model_and_task(
    filename: str | os.PathLike,
    checkpoint_overrides: dict[str, Any] | None = None,
    model_overrides: dict[str, Any] | None = None,
    suffix: str = "",
):
    """Build the model and the task of a checkpoint.

    Args:
        filename: the ``.pt`` file.
        checkpoint_overrides: values of its configuration, by section and key or by key alone.
        model_overrides: values of the model's configuration by key.
        suffix: what the file's name has before its extension besides.

    Returns:
        The model, the configuration and the task.
    """
    from fairseq_ecg.compat.restoring import restore, sorted_overrides

    overrides = sorted_overrides(checkpoint_overrides or {})
    overrides["model"] |= model_overrides or {}
    return restore(filename, overrides, suffix=suffix)


def register() -> None:
    """Offer the modules of :data:`OFFERED`; a second call changes nothing.

    Raises:
        ImportError: fairseq_signals itself is installed, and nothing of it shall be hidden.
    """
    if any(isinstance(finder, _Aliases) for finder in sys.meta_path):
        return
    installed = importlib.util.find_spec(ALIAS)
    if installed is not None:
        places = [installed.origin] if installed.origin else installed.submodule_search_locations
        raise ImportError(
            f"{ALIAS} itself is at {', '.join(map(str, places))}: uninstall it, or leave out "
            "'import fairseq_ecg.signals' to use it"
        )
    sys.meta_path.insert(0, _Aliases())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m fairseq_ecg.signals SCRIPT.py [ARGUMENT ...]")
    importlib.import_module("fairseq_ecg.signals")
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    # ECG-FM's embs.py uses argparse without importing it.
    runpy.run_path(sys.argv[0], {"argparse": argparse}, run_name="__main__")
else:
    register()
