"""Mends of fairseq's trainer that only a GPU would show, on stand-ins for it."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics

from fairseq_ecg.compat import training
from fairseq_ecg.data.errors import DataError


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
    clip = training._checking_losses(lambda self, clip_norm: torch.tensor(3.0) * clip_norm)
    stand_in = trainer()
    assert clip(stand_in, 2.0) == 6
    assert stand_in.task.checked == [("criterion", 6.0)]


def test_losses_are_checked_where_half_precision_overflows():
    def overflow(self, clip_norm):
        raise OverflowError("setting loss scale to 64")

    stand_in = trainer()
    with pytest.raises(OverflowError):
        training._checking_losses(overflow)(stand_in, 2.0)
    assert stand_in.task.checked == [("criterion", float("inf"))]


def test_other_tasks_are_left_alone():
    clip = training._checking_losses(lambda self: torch.tensor(3.0))
    assert clip(SimpleNamespace(task=object())) == 3


def test_statistics_stay_on_the_device_until_they_are_printed(monkeypatch):
    def read(self):
        raise AssertionError("a number was read")

    log = training._without_waiting(None)
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
    log = training._without_waiting(lambda *arguments: arguments)
    stand_in = trainer()
    stand_in.cuda = False
    assert log(stand_in, [], 3, 4) == (stand_in, [], 3, 4)


@pytest.mark.parametrize(("cpu", "gpus"), [(False, False), (True, True), (True, False)])
def test_half_precision_without_a_gpu(cpu, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    built = []
    init = training._refusing_half_precision_on_cpus(lambda *arguments: built.append(arguments))
    with pytest.raises(DataError, match=r"common\.fp16=true trains on GPUs.*common\.bf16=true"):
        init("trainer", trainer(fp16=True, cpu=cpu).cfg, "task")
    without = trainer(fp16=False, cpu=cpu).cfg
    init("trainer", without, "task")
    assert built == [("trainer", without, "task")]


def test_half_precision_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    built = []
    init = training._refusing_half_precision_on_cpus(lambda *arguments: built.append(arguments))
    init("trainer", trainer(fp16=True, cpu=False).cfg)
    assert len(built) == 1
