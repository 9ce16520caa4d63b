"""``import fairseq_ecg.signals``: what ECG-FM's notebooks and scripts import of fairseq_signals.

    import fairseq_ecg.signals
    from fairseq_signals.models import build_model_from_checkpoint
    from fairseq_signals.utils.store import MemmapReader

With the first line the names in :data:`OFFERED` are found here; nothing is loaded before it is
imported. A name that is not offered is an ImportError that says so, and which command does what a
script of fairseq_signals did. Where PyTorch reads tensors and numbers only, ``torch.load`` takes
NumPy's numbers for such from then on: the checkpoints of fairseq_signals and of ECG-FM's linear
probe hold some. To run a script or a module as it is:
``python -m fairseq_ecg.signals script.py ARGUMENTS``,
``python -m fairseq_ecg.signals -m module ARGUMENTS``.
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
from pathlib import PurePath
from types import ModuleType
from typing import Any

ALIAS = "fairseq_signals"

_MODELS = "fairseq_ecg.models"
_CLASSIFIER = dict.fromkeys(
    ("ECGTransformerClassificationConfig", "ECGTransformerClassificationModel"), _MODELS
)
_ECG_TRANSFORMER = dict.fromkeys(
    (
        "ECGTransformerConfig",
        "ECGTransformerFinetuningConfig",
        "ECGTransformerFinetuningModel",
        "ECGTransformerModel",
    ),
    _MODELS,
)
_WAV2VEC2 = dict.fromkeys(("Wav2Vec2Config", "Wav2Vec2Model"), _MODELS)
_WAV2VEC2_CMSC = dict.fromkeys(("Wav2Vec2CMSCConfig", "Wav2Vec2CMSCModel"), _MODELS)


_TABLES = "fairseq_ecg.models.tables"


def _tabled(published: str, here: str) -> dict[str, str]:
    """Return where a network of the tables, which is named by rule there, and its options are."""
    return {f"{published}{kind}": f"{_TABLES}:{here}{kind}" for kind in ("Config", "Model")}


_RESNET_CLASSIFIERS = _tabled(
    "Nejedly2021ResnetClassification", "Nejedly2021ResnetClassifier"
) | _tabled("SEWideResidualNetworkClassification", "SeWrnClassifier")
_CONVNET = _tabled("ConvNet", "Convnet")
_ARCFACE = _tabled("ArcFace", "Arcface")
_SEGMENTORS = _tabled("ECGUNetSegmentation", "UnetSegmentor") | _tabled(
    "ECGUNetSegmentationWithCGM", "UnetCgmSegmentor"
)

_TASKS = "fairseq_ecg.tasks"
_CRITERIONS = "fairseq_ecg.criterions"
_FAIRSEQ_MODELS = "fairseq.models"
_FINETUNING = "fairseq_ecg.models.finetuning"
_TRANSFORMER = "fairseq_ecg.models.ecg_transformer"

VERSION = "1.0.0a0"
"""Of fairseq_signals, whose names these are."""

OFFERED: dict[str, dict[str, str]] = {
    "": {},
    "data": {},
    "data.data_utils": {"numpy_seed": "fairseq.data.data_utils"},
    "data.ecg": {},
    "data.ecg.preprocess": {},
    "dataclass": {"ChoiceEnum": "fairseq.dataclass"},
    "dataclass.utils": dict.fromkeys(
        ("convert_namespace_to_omegaconf", "merge_with_parent", "overwrite_args_by_name"),
        "fairseq.dataclass.utils",
    ),
    "criterions": {"build_criterion": "fairseq.criterions"},
    "criterions.3kg_criterion": {"ThreeKGCriterion": _CRITERIONS},
    "criterions.arcface_criterion": {"ArcFaceCriterion": _CRITERIONS},
    "criterions.binary_cross_entropy": {"BinaryCrossEntropyCriterion": _CRITERIONS},
    "criterions.binary_cross_entropy_with_logits": {
        "BinaryCrossEntropyWithLogitsCriterion": _CRITERIONS
    },
    "criterions.cmsc_criterion": {"CMSCCriterion": _CRITERIONS},
    "criterions.composite_criterion": {"CompositeCriterion": _CRITERIONS},
    "criterions.cross_entropy": {"CrossEntropyCriterion": _CRITERIONS},
    "criterions.mse_criterion": {"MSECriterion": _CRITERIONS},
    "criterions.multi_head_binary_cross_entropy": {
        "MultiHeadBinaryCrossEntropyCriterion": _CRITERIONS
    },
    "criterions.simclr_criterion": {"SimCLRCriterion": _CRITERIONS},
    "criterions.wav2vec2_criterion": dict.fromkeys(
        ("Wav2Vec2Criterion", "Wav2Vec2WithCMSCCriterion"), _CRITERIONS
    ),
    "models": {
        "build_model_from_checkpoint": "fairseq_ecg.signals",
        "build_model": _FAIRSEQ_MODELS,
        "register_model": "fairseq_ecg.compat.registration",
    },
    "models.classification": _CLASSIFIER | _RESNET_CLASSIFIERS,
    "models.classification.ecg_transformer_classifier": _CLASSIFIER,
    "models.classification.resnet_classifier": _RESNET_CLASSIFIERS,
    "models.convnet": _CONVNET,
    "models.convnet.convnet": _CONVNET,
    "models.ecg_transformer": _ECG_TRANSFORMER,
    "models.finetuning_model": {"FinetuningConfig": _FINETUNING},
    "models.identification": _ARCFACE,
    "models.identification.arcface": _ARCFACE,
    "models.resnet": _tabled("Nejedly2021Resnet", "Nejedly2021Resnet")
    | _tabled("VanillaResnet", "VanillaResnet"),
    "models.se_wrn": _tabled("SEWideResidualNetwork", "SeWrn"),
    "models.segmentation": _SEGMENTORS,
    "models.segmentation.unet_segmentor": _SEGMENTORS,
    "models.transformer": {
        "TransformerConfig": _TRANSFORMER,
        "TransformerFinetuningConfig": _FINETUNING,
    },
    "models.unet": _tabled("ECGUNet", "Unet"),
    "models.wav2vec2": _WAV2VEC2 | _WAV2VEC2_CMSC,
    "models.wav2vec2.wav2vec2": _WAV2VEC2,
    "models.wav2vec2.wav2vec2_cmsc": _WAV2VEC2_CMSC,
    "tasks": {"setup_task": "fairseq.tasks"},
    "tasks.ecg_classification": {"ECGDiagnosisTask": _TASKS},
    "tasks.ecg_identification": {"ECGIdentificationTask": _TASKS},
    "tasks.ecg_pretraining": {"ECGPretrainingTask": _TASKS},
    "tasks.ecg_segmentation": {"ECGSegmentationTask": _TASKS},
    "utils": {},
    "utils.checkpoint_utils": {
        "checkpoint_paths": "fairseq.checkpoint_utils",
        "load_checkpoint_to_cpu": "fairseq_ecg.compat.training",
        "load_model_and_task": "fairseq_ecg.signals",
    },
    "utils.store": dict.fromkeys(
        ("MemmapBatchWriter", "MemmapReader", "memmap_batch_process"),
        "fairseq_ecg.formats.stores",
    ),
    "utils.utils": dict.fromkeys(
        ("apply_to_sample", "item", "log_softmax", "move_to_cpu", "move_to_cuda"), "fairseq.utils"
    ),
}
"""Where a name of a module of fairseq_signals is found, by module: a module that has it, or, where
it has another name here, module:name."""

_PREPARE = "fairseq-ecg prepare"
_RECORDS, _SIGNALS = f"{_PREPARE} records", f"{_PREPARE} signals"

COUNTERPARTS: dict[str, str] = {
    "code_15_labels": f"{_SIGNALS} --labels-path",
    "code_15_signals": _SIGNALS,
    "combine_manifests": f"{_PREPARE} combine",
    "convert_to_cmsc_manifest": f"{_PREPARE} cmsc",
    "example_records": f"{_RECORDS} --source generic",
    "example_signals": _SIGNALS,
    "manifest": f"{_PREPARE} splits and {_PREPARE} manifests",
    "manifest_identification": f"{_PREPARE} identification --strategy files",
    "manifest_physionet2021": f"{_PREPARE} splits and {_PREPARE} manifests",
    "manifests": f"{_PREPARE} manifests",
    "mimic_iv_ecg_records": f"{_RECORDS} --source mimic_iv_ecg",
    "mimic_iv_ecg_signals": _SIGNALS,
    "muse_records": f"{_RECORDS} --source muse",
    "muse_signals": _SIGNALS,
    "physionet2021_labels": f"{_RECORDS} --source physionet2021 --weights-path",
    "physionet2021_records": f"{_RECORDS} --source physionet2021",
    "physionet2021_signals": _SIGNALS,
    "prepare_clf_labels": f"{_PREPARE} labels",
    "preprocess": f"{_RECORDS} and {_SIGNALS}",
    "preprocess_ecgiddb": f"{_RECORDS} --source ecg_id and {_SIGNALS}",
    "preprocess_ludb": f"{_RECORDS} --source ludb and {_SIGNALS}",
    "preprocess_physionet2021": f"{_RECORDS} --source physionet2021 and {_SIGNALS}",
    "preprocess_ptbxl": f"{_RECORDS} --source ptb_xl and {_SIGNALS}",
    "splits": f"{_PREPARE} splits",
    "subset_manifest": f"{_PREPARE} subset",
}
"""Which command does what a script of fairseq_signals does, by the script's name."""

_OF_SCRIPTS = ("data.ecg.ecg_utils", "utils.file", "utils.pandas", "utils.splits")
"""Modules of fairseq_signals that its scripts alone import."""

_NEED_REGISTRATION = ("criterions", "models", "tasks", "utils.checkpoint_utils")


class _Aliases(MetaPathFinder, Loader):
    """Finds the modules of :data:`OFFERED` under fairseq_signals' names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != ALIAS:
            return None
        if module not in OFFERED:
            raise ModuleNotFoundError(_not_offered(module), name=fullname)
        is_package = not OFFERED[module] or any(name.startswith(f"{module}.") for name in OFFERED)
        spec = ModuleSpec(fullname, self, origin=__file__, is_package=is_package)
        spec.has_location = True
        return spec

    def exec_module(self, module: Any) -> None:
        name = module.__name__.partition(".")[2]
        if not name:
            module.__version__ = VERSION
            _let_torch_read_numbers()
        if name.startswith(_NEED_REGISTRATION):
            importlib.import_module(_TASKS)
        for attribute, source in OFFERED[name].items():
            where, _, name_here = source.partition(":")
            found = getattr(importlib.import_module(where), name_here or attribute)
            setattr(module, attribute, found)

        def submodule(attribute: str) -> ModuleType:
            """Import a module when it is asked for; fairseq_signals imports all with itself."""
            path = f"{name}.{attribute}".lstrip(".")
            if path in OFFERED:
                return importlib.import_module(f"{ALIAS}.{path}")
            if path in _OF_SCRIPTS or (_is_script(path) and not attribute.startswith("_")):
                raise ImportError(_not_offered(path), name=f"{ALIAS}.{path}")
            raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")

        module.__getattr__ = submodule


def _is_script(module: str) -> bool:
    return ".preprocess." in module


def _not_offered(module: str) -> str:
    """Say what there is in place of a module of fairseq_signals."""
    message = f"No module named '{ALIAS}.{module}'"
    script = module.rpartition(".")[2] if _is_script(module) else PurePath(sys.argv[0]).stem
    if script in COUNTERPARTS:
        message += f"; what {script}.py does is done by {COUNTERPARTS[script]}"
    elif module in _OF_SCRIPTS:
        message += f"; what the scripts do that import it is done by {_PREPARE}"
    offered = ", ".join(f"{ALIAS}.{name}" for name in OFFERED if name)
    return f"{message}: fairseq_ecg.signals offers {offered}"


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
    task: Any = None,
    strict: bool = True,
    suffix: str = "",
    num_shards: int = 1,
    state: dict[str, Any] | None = None,
    *,
    arg_overrides: dict[str, Any] | None = None,
):
    """Build the model and the task of a checkpoint.

    Args:
        filename: the ``.pt`` file.
        checkpoint_overrides: values of its configuration, by section and key or by key alone.
        model_overrides: values of the model's configuration by key.
        task: that builds the model; None: the one that the checkpoint describes.
        strict: whether every weight must be used, and no parameter may stay random.
        suffix: what the file's name has before its extension besides.
        num_shards: 1: a checkpoint is one file here.
        state: what :func:`load_checkpoint_to_cpu` read of the file; None: the file is read.
        arg_overrides: the same as ``checkpoint_overrides``, by its name in older code.

    Returns:
        The model, the configuration and the task.

    Raises:
        ValueError: ``num_shards`` is not 1.
    """
    from fairseq_ecg.compat.restoring import restore, sorted_overrides

    if num_shards != 1:
        raise ValueError(
            f"num_shards={num_shards}: checkpoints in several files are not read; "
            "give the one file that holds the whole model, and num_shards=1"
        )
    overrides = sorted_overrides((checkpoint_overrides or {}) | (arg_overrides or {}))
    overrides["model"] |= model_overrides or {}
    return restore(filename, overrides, suffix=suffix, task=task, strict=strict, state=state)


def register() -> None:
    """Offer the modules of :data:`OFFERED`; a second call changes nothing.

    Raises:
        ImportError: fairseq_signals itself is installed, and nothing of it shall be hidden.
    """
    if any(isinstance(finder, _Aliases) for finder in sys.meta_path):
        return
    installed = importlib.util.find_spec(ALIAS)
    if installed is not None and installed.origin is not None:  # no folder of that name alone
        raise ImportError(
            f"{ALIAS} itself is at {installed.origin}: uninstall it, or leave out "
            "'import fairseq_ecg.signals' to use it"
        )
    sys.meta_path.insert(0, _Aliases())


def _run(arguments: Sequence[str]) -> None:
    """Run a script, or by ``-m`` a module, with its arguments."""
    if not arguments or arguments == ["-m"]:
        sys.exit(
            "usage: python -m fairseq_ecg.signals SCRIPT.py [ARGUMENT ...]\n"
            "       python -m fairseq_ecg.signals -m MODULE [ARGUMENT ...]"
        )
    # Python puts the working directory on the path; a clone that lies there is no installation.
    path = sys.path.copy()
    sys.path[:] = [folder for folder in path if os.path.realpath(folder) != os.getcwd()]
    # Of this module under its own name, in which scripts find what they import.
    importlib.import_module("fairseq_ecg.signals")
    sys.path[:] = path
    if arguments[0] == "-m":
        package, _, module = arguments[1].partition(".")
        if package == ALIAS:
            is_module = module in OFFERED
            sys.exit(f"{arguments[1]} is no program" if is_module else _not_offered(module))
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = list(arguments)
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    # ECG-FM's embs.py uses argparse without importing it.
    runpy.run_path(arguments[0], {"argparse": argparse}, run_name="__main__")


if __name__ == "__main__":
    _run(sys.argv[1:])
else:
    register()
