"""Patches of fairseq's trainer that only a GPU would show, on stand-ins for it."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.compat import training
from fairseq_ecg.errors import CheckpointError, DataError


class Task:
    def __init__(self):
        self.checked = []

    def check_losses(self, criterion, gradient_norm):
        self.checked.append((criterion, float(gradient_norm)))

    def reduce_metrics(self, logs, criterion):
        metrics.log_scalar("loss", sum(log["loss"] for log in logs))


def trainer(**common):
    return SimpleNamespace(
        task=Task(),
        cuda=True,
        device=torch.device("cpu"),
        get_criterion=lambda: "criterion",
        cfg=SimpleNamespace(
            common=SimpleNamespace(amp=False, **common),
            optimization=SimpleNamespace(clip_norm=2.0),
        ),
    )


def test_losses_are_checked_with_the_gradient_norm():
    clip = partial(
        training._clip_and_check_losses, lambda self, clip_norm: torch.tensor(3.0) * clip_norm
    )
    stand_in = trainer()
    assert clip(stand_in, 2.0) == 6
    assert stand_in.task.checked == [("criterion", 6.0)]


def test_losses_are_checked_where_half_precision_overflows():
    def overflow(self, clip_norm):
        raise OverflowError("setting loss scale to 64")

    stand_in = trainer()
    with pytest.raises(OverflowError):
        training._clip_and_check_losses(overflow, stand_in, 2.0)
    assert stand_in.task.checked == [("criterion", float("inf"))]


def test_other_tasks_are_left_alone():
    clip = partial(training._clip_and_check_losses, lambda self: torch.tensor(3.0))
    assert clip(SimpleNamespace(task=object())) == 3


def test_statistics_stay_on_the_device_until_they_are_printed(monkeypatch):
    def read(self):
        raise AssertionError("a number was read")

    log = partial(training._log_without_waiting, None)
    with metrics.aggregate(new_root=True) as statistics:
        with monkeypatch.context() as patch:
            for method in ("item", "tolist", "__bool__", "__float__", "__int__"):
                patch.setattr(torch.Tensor, method, read)
            for norm in (1.0, 3.0):
                logs = [{"loss": torch.tensor(norm)}]
                assert log(trainer(), logs, 16, torch.tensor(norm)) == {"sample_size": 16}
        printed = statistics.get_smoothed_values()
    assert (printed["gnorm"], printed["clip"], printed["loss"]) == (2, 50, 2)


def test_statistics_are_fairseqs_on_the_cpu():
    log = partial(training._log_without_waiting, lambda *arguments: arguments)
    stand_in = trainer()
    stand_in.cuda = False
    assert log(stand_in, [], 3, 4) == (stand_in, [], 3, 4)


class Net(BaseFairseqModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.register_buffer("mask", torch.full((2,), -torch.inf))
        self.register_buffer("num_updates", torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (torch.tensor([1.0, torch.nan]), "layer.bias are NaN or infinite, 1 of 2"),
        (torch.tensor([torch.inf, torch.nan]), "layer.bias are NaN or infinite, 2 of 2"),
        (torch.tensor([1, 2]), "layer.bias are int64"),
        (torch.tensor([1j, 2j]), "layer.bias are complex64"),
    ],
)
def test_weights_that_are_no_numbers_are_not_resumed(value, fault):
    net = Net()
    net.load_state_dict(net.state_dict())
    with pytest.raises(CheckpointError, match=f"the values of {fault}"):
        net.load_state_dict(net.state_dict() | {"layer.bias": value})


def resumed(extra_state):
    load = partial(training._load_into_trainer, lambda self, filename: extra_state)
    return load(object(), "last.pt")


@pytest.mark.parametrize(
    "extra_state",
    [
        {},
        [],
        {"train_iterator": None},
        {"train_iterator": "here"},
        {"train_iterator": {"epoch": "first"}},
        {"train_iterator": {"epoch": -1}},
        {"train_iterator": {"epoch": 1, "iterations_in_epoch": 1.5}},
        {"train_iterator": {"epoch": 1}, "best": "good"},
        {"train_iterator": {"epoch": 1}, "previous_training_time": [3]},
    ],
)
def test_states_that_do_not_say_where_training_was(extra_state):
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        resumed(extra_state)


def test_states_that_say_where_training_was():
    state = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "best": np.float32(0.5)}
    assert resumed(state) is state
    assert resumed(None) is None


def test_whatever_fails_on_a_state_names_the_file():
    def fails(self, filename):
        raise KeyError("lr_scheduler_state")

    with pytest.raises(
        CheckpointError, match=r"last\.pt cannot be used: KeyError.*go on from anot"
    ):
        training._load_into_trainer(fails, object(), "last.pt")


@pytest.mark.parametrize(("cpu", "gpus"), [(False, False), (True, True), (True, False)])
def test_half_precision_without_a_gpu(cpu, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    built = []
    init = partial(training._init_trainer, lambda *arguments: built.append(arguments))
    with pytest.raises(DataError, match=r"common\.fp16=true trains on GPUs.*common\.bf16=true"):
        init("trainer", trainer(fp16=True, cpu=cpu).cfg, "task", "model")
    without = trainer(fp16=False, cpu=cpu).cfg
    init("trainer", without, "task", "model")
    assert built == [("trainer", without, "task", "model")]


def test_half_precision_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    built = []
    init = partial(training._init_trainer, lambda *arguments: built.append(arguments))
    init("trainer", trainer(fp16=True, cpu=False).cfg, "task", "model")
    assert len(built) == 1
