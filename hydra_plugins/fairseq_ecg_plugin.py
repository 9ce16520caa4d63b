"""What Hydra must know before fairseq reads ``common.user_dir``.

Hydra imports every module of this namespace at start-up, in any program. So this one imports
neither torch nor fairseq_ecg, and outside fairseq's own programs it adds a search path at most.

In fairseq's programs it
- silences what Hydra says of the way in which fairseq calls it;
- serves the published configs, so that ``--config-name w2v_cmsc_rlm`` needs no ``--config-dir``;
- lets the schema accept what fairseq_signals' commands and YAMLs contain and stock fairseq
  refuses: ``common.log_format=csv``, ``common.wandb_entity``, ``common_eval.extract`` (and with
  it ``extract_format``) and ``common_eval.save_outputs``;
- imports the user_dir before defaults are filled in, so that names which stock fairseq has taken
  (``wav2vec2``) get the defaults of the model that is meant;
- says that the user_dir is missing where task, model or criterion are of it, and which names there
  are where one of them is unknown;
- launches on the machine at hand: processes started by torchrun without GPUs, the fixed port of
  fairseq_signals' configs, and one clear line when more processes are asked for than there are
  GPUs.
"""

# ruff: noqa: UP006, UP035, UP045 (fairseq reads the types of options by their names in typing)

import difflib
import functools
import logging
import os
import sys
import warnings
from dataclasses import field, make_dataclass
from pathlib import Path, PurePath
from typing import Any, List, Optional

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")


_OWN_CLASSIFIERS = ("nejedly2021resnet", "se_wrn", "convnet_encoder")
_ENCODERS = ("ecg_transformer", *_OWN_CLASSIFIERS, "vanilla_resnet", "unet")
_HEADS = ("classifier", "arcface", "segmentor", "cgm_segmentor")
_PUBLISHED = {"ecg_transformer_arcface": "arcface", "convnet_encoder_classifier": "convnet"}
_NETWORKS = [f"{encoder}_{head}" for encoder in _ENCODERS for head in _HEADS]

REGISTERED = {
    "task": (
        "ecg_pretraining",
        "ecg_classification",
        "ecg_identification",
        "ecg_segmentation",
        "ecg_text_pretraining",
        "ecg_question_answering",
    ),
    "model": (
        "wav2vec2_cmsc",
        *_ENCODERS,
        *(_PUBLISHED.get(name, name) for name in _NETWORKS),
        *(f"{encoder}_linear" for encoder in _OWN_CLASSIFIERS),
        "medvill",
        "ecg_language_transformer_classifier",
        "blind_transformer_qa",
        "deaf_transformer_qa",
        "resnet_lstm_classifier",
        "m3ae",
        "m3ae_qa",
    ),
    "criterion": (
        "wav2vec2_with_cmsc",
        "cmsc",
        "clocs",
        "simclr",
        "3kg",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "multi_head_binary_cross_entropy",
        "focal_loss",
        "asymmetric_loss",
        "mse",
        "regression",
        "composite_criterion",
        "arcface",
        "medvill",
        "m3ae",
    ),
}
"""What the package registers under names that stock fairseq does not have."""


OLDER_METRICS = {"partial_accuracy": "em_accuracy"}
"""What metrics of older configs are called, which no criterion reports any more."""


class FairseqECGSearchPath(SearchPathPlugin):
    """Adds the published configs behind all other folders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder of configs, and prepare fairseq if this is its program."""
        search_path.append(provider="fairseq-ecg", path=f"file://{config_folder()}")
        silence()
        if "fairseq.dataclass.configs" in sys.modules:
            prepare_fairseq()


def silence() -> None:
    """Filter what Hydra warns of and logs when fairseq's programs start; no user can act on it.

    In other programs it does nothing. What is said while ``fairseq_cli.hydra_train`` is imported
    comes before any plugin, and stays.
    """
    program = PurePath(sys.argv[0] if sys.argv else "")
    if not (program.name.startswith("fairseq-") or "fairseq_cli" in program.parts):
        return
    for message in (
        r"\s*The version_base parameter is not specified",
        r"\s*'.*' is validated against ConfigStore schema with the same name",
        r"\s*Future Hydra versions will no longer change working directory",
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("hydra.core.utils").setLevel(logging.INFO)


def config_folder() -> Path:
    """Folder of the configs: inside the installed package, or at the root of a checkout."""
    installed = ROOT / "fairseq_ecg" / "configs"
    return installed if installed.is_dir() else ROOT / "configs"


def prepare_fairseq() -> None:
    """Make fairseq's programs understand published commands; a second call changes nothing."""
    import fairseq.dataclass.initialize as initialize
    import fairseq.distributed.utils as distributed

    widen_schema()
    if not hasattr(distributed.call_main, "__wrapped__"):
        distributed.call_main = _launching_here(distributed.call_main)
    if not hasattr(initialize.add_defaults, "__wrapped__"):
        _replace_everywhere(initialize.add_defaults, _after_user_dir(initialize.add_defaults))


def widen_schema() -> None:
    """Add fairseq_signals' keys and choices to fairseq's configuration."""
    from fairseq.dataclass.configs import CommonConfig, CommonEvalConfig, FairseqConfig
    from fairseq.dataclass.constants import LOG_FORMAT_CHOICES, ChoiceEnum
    from fairseq.dataclass.initialize import hydra_init

    if "wandb_entity" in _fields_of(FairseqConfig, "common"):
        return
    log_formats = ChoiceEnum([*(choice.value for choice in LOG_FORMAT_CHOICES), "csv"])
    common = make_dataclass(
        "CommonConfig",
        [
            (
                "log_format",
                Optional[log_formats],
                field(default=None, metadata={"help": "log format to use"}),
            ),
            (
                "wandb_entity",
                Optional[str],
                field(default=None, metadata={"help": "Weights and Biases entity to log to"}),
            ),
        ],
        bases=(CommonConfig,),
    )
    common_eval = make_dataclass(
        "CommonEvalConfig",
        [
            (
                "extract",
                Optional[List[str]],
                field(
                    default=None,
                    metadata={"help": "what to store: output, encoder_out, saliency"},
                ),
            ),
            (
                "extract_format",
                ChoiceEnum(["raw", "npy"]),
                field(
                    default="raw",
                    metadata={
                        "help": "raw: numbers alone, as fairseq_signals writes; npy: with NumPy's "
                        "header, which both np.load and MemmapReader read"
                    },
                ),
            ),
            (
                "save_outputs",
                bool,
                field(default=False, metadata={"help": "of older configs; not used"}),
            ),
        ],
        bases=(CommonEvalConfig,),
    )
    for name, wider in (("common", common), ("common_eval", common_eval)):
        FairseqConfig.__annotations__[name] = wider
        FairseqConfig.__dataclass_fields__[name].type = wider
        FairseqConfig.__dataclass_fields__[name].default = wider
        setattr(FairseqConfig, name, wider)
    for file_name, node in list(ConfigStore.instance().repo.items()):
        # The schema lies under the name of the config that the command line asked for.
        if OmegaConf.get_type(getattr(node, "node", None)) is FairseqConfig:
            hydra_init(file_name.removesuffix(".yaml"))


def _fields_of(config: type, section: str) -> dict[str, Any]:
    return config.__dataclass_fields__[section].type.__dataclass_fields__


def _replace_everywhere(old: Any, new: Any) -> None:
    for module in list(sys.modules.values()):
        if getattr(module, old.__name__, None) is old:
            setattr(module, old.__name__, new)


def _after_user_dir(add_defaults):
    @functools.wraps(add_defaults)
    def import_and_add(cfg: DictConfig) -> None:
        from fairseq import utils
        from hydra.core.hydra_config import HydraConfig
        from hydra.utils import get_original_cwd

        user_dir = cfg.common.user_dir
        if user_dir is not None and HydraConfig.initialized():
            # Hydra has changed to the directory of the run, and users of an installed package know
            # its folder by name only.
            for base in (get_original_cwd(), ROOT):
                if Path(base, user_dir).is_dir():
                    cfg.common.user_dir = str(Path(base, user_dir))
                    break
        utils.import_user_module(cfg.common)
        check_registered(cfg)
        if "fairseq_ecg.tasks" in sys.modules:
            _translate(cfg)
        add_defaults(cfg)

    return import_and_add


def check_registered(cfg: DictConfig) -> None:
    """See to it that task, model and criterion are known, this package's by its ``user_dir``.

    Args:
        cfg: as Hydra composed it, with the user_dir imported.

    Raises:
        SystemExit: nobody has registered one of them.
    """
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    registries = {
        "task": TASK_REGISTRY,
        "model": MODEL_REGISTRY | ARCH_MODEL_REGISTRY,
        "criterion": CRITERION_REGISTRY,
    }
    for section, registry in registries.items():
        options = cfg.get(section)
        name = options.get("_name") if OmegaConf.is_dict(options) else options
        if name in REGISTERED[section] and name not in registry:
            given = cfg.common.user_dir
            remedy = "add common.user_dir=fairseq_ecg to the command"
            if given is not None:
                remedy = f"common.user_dir={given} is not it: say common.user_dir=fairseq_ecg"
            sys.exit(f"{section} {name} is fairseq-ecg's, which fairseq does not know of: {remedy}")
        if isinstance(name, str) and name not in registry:
            alike = difflib.get_close_matches(name, registry) or REGISTERED[section]
            sys.exit(f"{section}._name={name} is not known: choose {' or '.join(alike)}")


def _translate(cfg: DictConfig) -> None:
    """Translate options of commands to those of fairseq_signals; refuse those of its forks."""
    from fairseq_ecg.compat.other_keys import check_keys
    from fairseq_ecg.ecg.leads import leads_as_text
    from fairseq_ecg.tasks.methods import resolved

    check_keys(cfg)
    if "checkpoint" in cfg:
        metric = cfg.checkpoint.best_checkpoint_metric
        cfg.checkpoint.best_checkpoint_metric = OLDER_METRICS.get(metric, metric)
    for key in ("inferred_w2v_config", "inferred_3kg_config"):
        # In fairseq_signals these are taken of the model, which need not have them.
        if OmegaConf.is_dict(cfg.task) and OmegaConf.is_dict(cfg.task.get(key)):
            cfg.task[key] = resolved(cfg.task[key])
    for key in ("leads_to_load", "leads_bucket"):
        if OmegaConf.is_dict(cfg.task) and cfg.task.get(key) is not None:
            cfg.task[key] = leads_as_text(cfg.task[key])


def _launching_here(call_main):
    @functools.wraps(call_main)
    def launch(cfg: DictConfig, main, **kwargs) -> None:
        # The next job of a sweep must find the environment as this one did.
        environment = dict(os.environ)
        if cfg.common.get("wandb_entity"):
            os.environ.setdefault("WANDB_ENTITY", cfg.common.wandb_entity)
        choose_launch(cfg)
        try:
            call_main(cfg, main, **kwargs)
        finally:
            os.environ.clear()
            os.environ.update(environment)

    return launch


def choose_launch(cfg: DictConfig) -> None:
    """Fill in how the processes of a run find each other, where fairseq would fail.

    Args:
        cfg: the configuration; its ``distributed_training`` is changed.

    Raises:
        SystemExit: more processes are asked for than this machine has GPUs, and nobody started
            them.
    """
    import torch

    launch = cfg.distributed_training
    gpus = 0 if cfg.common.cpu else torch.cuda.device_count()
    if launch.distributed_world_size == 1 or launch.distributed_init_method is not None:
        return
    if all(name in os.environ for name in TORCHRUN):
        if gpus == 0:
            launch.distributed_init_method = "env://"
            launch.distributed_world_size = int(os.environ["WORLD_SIZE"])
            launch.distributed_rank = int(os.environ["RANK"])
            launch.distributed_no_spawn = True
            launch.device_id = 0
            if launch.distributed_backend == "nccl":
                launch.distributed_backend = "gloo"
        return
    if "SLURM_STEP_NODELIST" in os.environ or "SLURM_JOB_NODELIST" in os.environ:
        return
    if launch.distributed_world_size > gpus:
        wanted = launch.distributed_world_size
        sys.exit(
            f"distributed_training.distributed_world_size={wanted}, but this machine has {gpus} "
            f"GPU(s): set distributed_training.distributed_world_size={max(gpus, 1)}, or start "
            f"{wanted} processes yourself with torchrun --nproc_per_node={wanted}"
        )
    # fairseq_signals' port would keep fairseq from starting the processes.
    launch.distributed_init_method = (
        f"tcp://localhost:{launch.distributed_port}" if launch.distributed_port > 0 else None
    )
