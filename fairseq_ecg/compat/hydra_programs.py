"""The programs ``fairseq-hydra-validate`` and ``fairseq-hydra-inference``.

Stock fairseq has the first as a module without a program, and not the second. Model, task and
criterion come from the checkpoint, what is read and written from the command line.
"""

import fairseq_ecg.compat.quiet_import  # noqa: F401 (before fairseq logs what it lacks)

# isort: split
import ast
import contextlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fairseq.dataclass.initialize
import fairseq.distributed.utils
import hydra
import torch
from fairseq import utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import omegaconf_no_object_check
from fairseq.logging import metrics, progress_bar
from fairseq.utils import reset_logging
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_original_cwd
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from fairseq_ecg.compat.extraction import Extraction, Observer, in_turns, parse_extracts
from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.restoring import PATHS, Overrides, restore, sorted_overrides
from fairseq_ecg.errors import DataError
from hydra_plugins.fairseq_ecg_plugin import silence, widen_schema

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]

READING = (
    "data",
    "sample_rate",
    "enable_padding",
    "enable_padding_leads",
    "leads_to_load",
    "filter",
    "normalize",
    "mean_path",
    "std_path",
    "tokenizer",
    "compute_mlm_indices",
    "mlm_prob",
    "medvill",
)
"""Keys of the task that a YAML decides too; all others only the checkpoint and the command line."""

WITHOUT_YAML = "from_checkpoint"
"""Name of the configuration where the command line gives none."""


def validate() -> None:
    """Run ``fairseq-hydra-validate``: metrics of labelled subsets, and what is to be extracted."""
    _start(labelled=True)


def inference() -> None:
    """Run ``fairseq-hydra-inference``: what is to be extracted; no labels are read."""
    _start(labelled=False)


def _start(labelled: bool) -> None:
    from hydra._internal.utils import get_args

    silence()
    named = get_args().config_name is not None
    name = get_args().config_name if named else WITHOUT_YAML
    fairseq.dataclass.initialize.hydra_init(name)
    if not named:
        _store_config_without_yaml()

    @hydra.main(config_path="pkg://fairseq.config", config_name=name)
    def program(cfg: DictConfig) -> None:
        _launch(cfg, labelled)

    program()


def _store_config_without_yaml() -> None:
    """Have Hydra start from fairseq's defaults and an open task where no YAML is named."""
    widen_schema()
    cfg = OmegaConf.structured(FairseqConfig)
    with open_dict(cfg):
        cfg.task, cfg.model, cfg.criterion = {"data": MISSING, "label_file": MISSING}, {}, {}
    ConfigStore.instance().store(WITHOUT_YAML, cfg)


def _launch(cfg: DictConfig, labelled: bool) -> None:
    """Complete the configuration and run :func:`evaluate` in every process."""
    check_request(cfg, labelled)
    overrides = overrides_of(cfg, HydraConfig.get().overrides.task)
    if cfg.common.user_dir is None:
        cfg.common.user_dir = str(PACKAGE)
    fairseq.dataclass.initialize.add_defaults(cfg)
    if cfg.common.reset_logging:
        reset_logging()
    else:
        with open_dict(cfg):
            cfg.job_logging_cfg = OmegaConf.to_container(
                HydraConfig.get().job_logging, resolve=True
            )
    _empty_unresolved(cfg.task)
    with omegaconf_no_object_check():
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    OmegaConf.set_struct(cfg, True)
    cfg.common_eval.path = from_launch_dir(cfg.common_eval.path)
    if cfg.common_eval.results_path:
        cfg.common_eval.results_path = str(Path(get_original_cwd(), cfg.common_eval.results_path))
    fairseq.distributed.utils.call_main(cfg, evaluate, overrides=overrides, labelled=labelled)


def _empty_unresolved(options: DictConfig) -> None:
    """Empty options that are those of a model or criterion, where a YAML says of none."""
    for key in [key for key in options if not OmegaConf.is_missing(options, key)]:
        try:
            options[key]
        except InterpolationResolutionError:
            options[key] = None


def check_request(cfg: DictConfig, labelled: bool) -> None:
    """Find what is missing or wrong before anything is loaded.

    Raises:
        DataError: no checkpoint, no batch size, something unknown to extract, or no folder for it.
    """
    if not cfg.common_eval.path:
        raise DataError("common_eval.path is not given: it is the checkpoint to use")
    if cfg.dataset.batch_size is None and cfg.dataset.max_tokens is None:
        raise DataError("give dataset.batch_size (in recordings) or dataset.max_tokens")
    _extracts(cfg, labelled)


def _extracts(cfg: DictConfig, labelled: bool) -> tuple[str, ...]:
    """Return what is extracted: by ``fairseq-hydra-inference`` the output if nothing is named."""
    wanted = cfg.common_eval.extract or (None if labelled else ["output"])
    return parse_extracts(wanted, cfg.common_eval.results_path)


def overrides_of(cfg: DictConfig, command_line: Sequence[str]) -> Overrides:
    """Find what comes before the checkpoint's own configuration.

    Args:
        cfg: as Hydra composed it, without defaults.
        command_line: the overrides among the program's arguments.

    Returns:
        The keys of :data:`READING` that YAML or command line give, ``task.*`` and ``criterion.*``
        of the command line, and last ``common_eval.model_overrides``.

    Raises:
        DataError: ``model_overrides`` is no dict.
    """
    task = cfg.task or {}
    given = sorted_overrides({})
    given["task"] = {
        key: task[key] for key in READING if key in task and not OmegaConf.is_missing(task, key)
    }
    for override in OverridesParser.create().parse_overrides(list(command_line)):
        section, *names = override.key_or_group.split(".")
        if section in ("task", "criterion") and names and not override.is_delete():
            given[section][names[0]] = cfg[section][names[0]]
    given = OmegaConf.to_container(OmegaConf.create(given), resolve=True)
    for section, values in sorted_overrides(_parsed(cfg.common_eval.model_overrides)).items():
        given[section] |= values
    given["task"] |= {
        key: from_launch_dir(given["task"][key]) for key in PATHS["task"] if key in given["task"]
    }
    return given


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        parsed = None
    if not isinstance(parsed, dict):
        raise DataError(
            f"common_eval.model_overrides={text!r}: give a Python dict, such as "
            "\"{'task': {'label_file': 'y.npy'}}\""
        )
    return parsed


def evaluate(cfg: DictConfig, overrides: Overrides, labelled: bool) -> None:
    """Run a checkpoint's model over subsets; in every process alike.

    Args:
        cfg: the whole configuration.
        overrides: what :func:`overrides_of` returned.
        labelled: whether labels are read and metrics computed.

    Raises:
        DataError: data or request cannot be used.
        CheckpointError: the checkpoint cannot be used.
    """
    utils.import_user_module(cfg.common)
    names = _extracts(cfg, labelled)
    device = torch.device("cpu")
    if torch.cuda.is_available() and not cfg.common.cpu:
        torch.cuda.set_device(cfg.distributed_training.device_id)
        device = torch.device("cuda", cfg.distributed_training.device_id)
    dtype = torch.float32
    if cfg.common.fp16 or cfg.common.bf16:
        dtype = torch.float16 if cfg.common.fp16 else torch.bfloat16

    if "saliency" in names:
        overrides["model"]["saliency"] = True
    if not labelled:
        overrides["task"]["criterion_name"] = None  # of its batches: pairs of segments for CMSC
    model, saved, task = restore(
        cfg.common_eval.path,
        overrides,
        cfg.common.seed,
        cfg.checkpoint.checkpoint_suffix,
        labelled,
    )
    model = model.eval().to(device, dtype)
    observer = Observer(model, names, cfg.common_eval.path)
    if labelled and names and observer.only_encodes:
        raise DataError(
            f"{cfg.common_eval.path}: batches of pre-training are masked; extract encoder_out and "
            "saliency of a pre-trained model by fairseq-hydra-inference"
        )
    criterion = None
    if labelled:
        criterion = task.build_criterion(saved.criterion, from_checkpoint=True).eval().to(device)
    for subset in cfg.dataset.valid_subset.split(","):
        _run(cfg, subset, task, criterion, observer, device, dtype)


def _run(
    cfg: DictConfig,
    subset: str,
    task: Any,
    criterion: torch.nn.Module | None,
    observer: Observer,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Run the model over one subset, print metrics and write what is extracted."""

    def on_device(sample: dict[str, Any]) -> dict[str, Any]:
        if device.type == "cuda":
            sample = utils.move_to_cuda(sample)
        inputs = {
            key: value.to(dtype) if _is_real(value) else value
            for key, value in sample["net_input"].items()
        }
        return sample | {"net_input": inputs}

    labelled = criterion is not None
    task.load_dataset(subset, shuffle=False, label=labelled)
    dataset = task.dataset(subset)
    world_size, rank = 1, 0
    if torch.distributed.is_initialized():
        world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    batches = task.get_batch_iterator(
        dataset=dataset,
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=world_size,
        shard_id=rank,
        num_workers=cfg.dataset.num_workers,
        data_buffer_size=cfg.dataset.data_buffer_size,
    )
    progress = progress_bar.progress_bar(
        batches.next_epoch_itr(shuffle=False),
        log_format=cfg.common.log_format,
        log_interval=cfg.common.log_interval,
        prefix=f"{'valid' if labelled else 'inference'} on '{subset}' subset",
        default_log_format="simple" if cfg.common.no_progress_bar else "tqdm",
    )
    longest = _longest(dataset, batches.frozen_batches)
    example = on_device(dataset.collater([dataset[longest]]) or batches.first_batch)
    logs = []
    with contextlib.ExitStack() as stack:
        extraction = None
        if observer.names:
            observer.run(example)
            extraction = stack.enter_context(
                Extraction(
                    Path(cfg.common_eval.results_path),
                    subset,
                    len(dataset),
                    observer.arrays(example, labelled),
                    "float16" if dtype is torch.float16 else "float32",
                    str(cfg.common_eval.extract_format),
                )
            )
        for step, sample in enumerate(progress, start=1):
            # Where another process has one batch more, all run: models may wait for each other.
            batch = on_device(sample) if sample else example
            log = None
            if labelled:
                _, _, log = task.valid_step(batch, observer.model, criterion)
            else:
                observer.run(batch)
            if not sample:
                continue
            logs.append(log)
            if cfg.common.log_format != "csv":  # a file of its own would come of it
                progress.log({"batches": step}, step=step)
            if extraction is not None:
                extraction.add(batch["id"], observer.arrays(batch, labelled))
        if extraction is not None:
            extraction.finish()
    if not labelled:
        return
    logs = in_turns(logs)
    with metrics.aggregate(new_root=True) as measured:
        task.reduce_metrics(logs, criterion)
    stats = measured.get_smoothed_values()
    if hasattr(task, "post_validate"):
        task.post_validate(observer.model, stats, measured)
    progress.print(stats, tag=subset)


def _is_real(value: Any) -> bool:
    return torch.is_tensor(value) and value.is_floating_point()


def _longest(dataset: Any, batches: Iterable[Sequence[int]]) -> int:
    """Find an item that alone makes a batch as long as the longest there is.

    Args:
        dataset: the items.
        batches: the items of each batch; it is as long as the longest of them if they are padded,
            and as the shortest if they are cropped.
    """
    if dataset.recordings.options.enable_padding:
        return max(range(len(dataset)), key=dataset.size)
    return max((min(batch, key=dataset.size) for batch in batches), key=dataset.size)
