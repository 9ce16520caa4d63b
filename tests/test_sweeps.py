"""A job of a sweep has the bits of the same job alone."""

import csv
import logging
import os
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq.checkpoint_utils import save_checkpoint
from fairseq.logging import metrics, progress_bar

import fairseq_ecg.tasks  # noqa: F401
from hydra_plugins.fairseq_ecg_plugin import _launching_here
from tests.conftest import TINY_MODEL, USER_DIR
from tests.segment_files import write_segment_files

PATIENCE = 2


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    write_segment_files(folder, {"train": [2] * 6, "valid": [2] * 4}, lambda _: 640)
    return folder / "cmsc"


@pytest.fixture(scope="module")
def command(manifests) -> list[str]:
    return [
        USER_DIR,
        "--config-name=w2v_cmsc_rlm",
        f"task.data={manifests}",
        "distributed_training.distributed_world_size=1",
        "dataset.batch_size=4",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        "dataset.disable_validation=false",
        "dataset.valid_subset=valid",
        "optimization.update_freq=[1]",
        "optimization.max_epoch=6",
        f"checkpoint.patience={PATIENCE}",
        "checkpoint.save_interval=1",
        "checkpoint.save_dir=checkpoints",
        "common.log_format=csv",
        "common.log_interval=1",
        "common.log_file=run.log",
        *TINY_MODEL,
    ]


# The first learns fast. By its loss none of the others ever gets better.
RATES = ("[0.01]", "[1e-06]", "[0.001]")


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a log, without what the clock says."""
    clock = ("ups", "wall", "train_wall")
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in clock} for row in csv.DictReader(file)]


def assert_same(one, other) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif torch.is_tensor(one):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_jobs_of_a_sweep_and_the_same_alone(hydra_train, command, tmp_path):
    sweep = tmp_path / "sweep"
    choices = [
        "--multirun",
        f"optimization.lr={','.join(RATES)}",
        f"hydra.sweep.dir={sweep}",
        "hydra.sweep.subdir=${hydra.job.num}",
    ]
    hydra_train(*command, *choices, cwd=tmp_path).check()
    stopped = []
    for number, rate in enumerate(RATES):
        alone = tmp_path / f"alone{number}"
        job = [f"optimization.lr={rate}", f"hydra.run.dir={alone}"]
        hydra_train(*command, *job, cwd=tmp_path).check()
        found = sweep / str(number)
        for name in ("train_inner.csv", "train.csv", "valid.csv"):
            assert rows(found / name) == rows(alone / name), (number, name)
        assert {p.name for p in found.glob("checkpoints/*")} == {
            p.name for p in alone.glob("checkpoints/*")
        }
        for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
            states = [
                torch.load(folder / "checkpoints" / name, weights_only=False)
                for folder in (found, alone)
            ]
            for part in ("model", "last_optimizer_state", "optimizer_history", "task_state"):
                assert_same(*(state[part] for state in states))
            for part in ("best", "val_loss", "train_iterator"):
                assert_same(*(state["extra_state"][part] for state in states))
        # Each run has its own log file, of its own lines alone.
        assert len((found / "run.log").read_text().splitlines()) == len(
            (alone / "run.log").read_text().splitlines()
        )
        stopped.append(len(rows(found / "train.csv")))
    assert stopped[1] > PATIENCE  # the second was not stopped by the first one's loss


@pytest.fixture
def train():
    import fairseq_cli.train

    handlers = logging.getLogger("fairseq_cli.train").handlers.copy()
    yield fairseq_cli.train
    logging.getLogger("fairseq_cli.train").handlers[:] = handlers
    vars(save_checkpoint).clear()
    vars(fairseq_cli.train.should_stop_early).clear()


def test_what_fairseq_keeps_for_the_process(train, monkeypatch, tmp_path):
    save_checkpoint.best = 1.0
    train.should_stop_early.best, train.should_stop_early.num_runs = 1.0, 3
    closed = []
    writer = SimpleNamespace(close=lambda: closed.append("tensorboard"))
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {"train": writer}, raising=False)
    wandb = SimpleNamespace(run=object(), finish=lambda: closed.append("wandb"))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    aim = SimpleNamespace(cache_clear=lambda: closed.append("aim"))
    monkeypatch.setattr(progress_bar, "get_aim_run", aim, raising=False)
    loggers = [logging.getLogger(n) for n in ("fairseq_cli.train", "fairseq.logging.progress_bar")]
    for logger in loggers:
        logger.addHandler(logging.FileHandler(tmp_path / "earlier.log"))
    metrics.reset()
    assert not hasattr(save_checkpoint, "best")
    assert not vars(train.should_stop_early)
    assert closed == ["tensorboard", "aim", "wandb"]
    assert progress_bar._tensorboard_writers == {}
    assert not any(isinstance(h, logging.FileHandler) for x in loggers for h in x.handlers)


def test_what_was_compiled_is_compiled_anew():
    graphs = []

    def count(graph, inputs):
        graphs.append([tuple(x.shape) for x in inputs if torch.is_tensor(x)])
        return graph.forward

    def double(x):
        return x * 2

    for rows in (3, 5):
        metrics.reset()
        torch.compile(double, backend=count)(torch.ones(rows, 4))
    assert graphs == [[(3, 4)], [(5, 4)]]  # the second is not compiled for any number of rows


def test_pythons_own_numbers_are_seeded():
    from fairseq import utils

    utils.set_torch_seed(5)
    first = random.random()
    with utils.set_torch_seed(5):
        assert random.random() == first


def test_the_environment_is_left_as_it_was(monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    monkeypatch.setenv("KEPT", "before")
    seen = []

    def main(cfg, main):
        seen.append(os.environ["WANDB_ENTITY"])
        os.environ["KEPT"], os.environ["LEFT"] = "changed", "behind"
        raise RuntimeError("of the job")

    launch = _launching_here(main)
    training = {"distributed_world_size": 1, "distributed_init_method": None}
    for entity in ("first", "second"):
        cfg = {"common": {"wandb_entity": entity, "cpu": True}, "distributed_training": training}
        with pytest.raises(RuntimeError, match="of the job"):
            launch(OmegaConf.create(cfg), None)
        assert os.environ["KEPT"] == "before"
        assert not {"LEFT", "WANDB_ENTITY"} & set(os.environ)
    assert seen == ["first", "second"]
