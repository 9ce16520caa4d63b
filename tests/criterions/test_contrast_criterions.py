"""The criterions of contrast between pooled recordings: SimCLR, 3KG and CMSC."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fairseq.criterions import CRITERION_REGISTRY, build_criterion
from omegaconf import OmegaConf
from torch import nn

from fairseq_ecg.criterions import CMSCCriterion
from fairseq_ecg.modules import gather_rows
from tests.ops import test_contrast as equations

PATIENTS = torch.tensor([3, 3, 5, 5, 3, 3, 8, 8], dtype=torch.int32)
SEGMENTS = torch.tensor([0, 1] * 4, dtype=torch.int32)
CRITERIONS = ("simclr", "3kg", "cmsc")


class Pooled(nn.Module):
    """Returns the frames that it is given, multiplied by a weight, of all ranks on request."""

    def __init__(self, all_gather=False):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.5, -1, 2]))
        self.all_gather = all_gather

    def forward(self, source):
        x = source * self.weight
        return {"x": gather_rows(x) if self.all_gather else x}

    def get_logits(self, net_output, aggregate=False):
        return net_output["x"].mean(dim=1) if aggregate else net_output["x"]


def batch(rows=slice(None)) -> dict:
    source = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
    return {
        "id": torch.arange(8)[rows] // 2,
        "net_input": {"source": source[rows]},
        "patient_id": PATIENTS[rows],
        "segment": SEGMENTS[rows],
    }


def by_the_equation(name: str, temperature: float) -> tuple[float, int, int]:
    """The loss of :func:`batch` in float64, its sample size, and how many pairs are found."""
    model = Pooled()
    f = (batch()["net_input"]["source"] * model.weight).mean(dim=1).detach().double()
    if name == "cmsc":
        patients = PATIENTS.tolist()
        n_pairs = sum(one == other for one in patients[::2] for other in patients[1::2])
        return equations.both_ways(f, patients, SEGMENTS, temperature), n_pairs, 0
    group = PATIENTS if name == "3kg" else torch.arange(8) // 2
    loss, (n_pairs, n_highest, _) = equations.every_row(f, group, temperature)
    return loss, n_pairs, n_highest


@pytest.mark.parametrize("name", CRITERIONS)
def test_loss_and_log_are_those_of_the_equation(build, validated, name):
    loss, sample_size, log = build(name, temp=0.2)(Pooled(), batch())
    expected, n_pairs, n_highest = by_the_equation(name, 0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert sample_size == n_pairs == {"simclr": 8, "3kg": 16, "cmsc": 6}[name]
    counts = {} if name == "cmsc" else {"correct": n_highest, "count": float(n_pairs)}
    common = {"loss": loss.item(), "nsignals": 8, "sample_size": n_pairs}
    assert log == common | counts
    assert {key: type(value) for key, value in counts.items()} == {
        key: type(log[key]) for key in counts
    }
    stats = validated(build(name), [[log, log], [log]])
    metrics = {"loss": round(expected / n_pairs / math.log(2), 3), "nsignals": 8}
    if name != "cmsc":
        metrics["accuracy"] = round(n_highest / n_pairs, 5)
    assert {key: stats[key] for key in metrics} == pytest.approx(metrics | {"nsignals": 12})
    assert stats.keys() == metrics.keys()


@pytest.mark.parametrize("name", CRITERIONS)
def test_gradient_is_that_of_vectors_over_constant_norms(build, name):
    """By central differences in float64 of the equation, the norms held."""
    model = Pooled()
    loss, *_ = build(name, temp=0.2)(model, batch())
    loss.backward()
    source = batch()["net_input"]["source"].double().mean(dim=1)
    weight = model.weight.detach().double()
    norms = (source * weight).norm(dim=1, keepdim=True)
    group = torch.arange(8) // 2 if name == "simclr" else PATIENTS

    def of(weight: torch.Tensor) -> torch.Tensor:
        similarity = (source * weight / norms) @ (source * weight / norms).T / 0.2
        if name == "cmsc":
            similarity = similarity[0::2, 1::2]
            positive = PATIENTS[0::2, None] == PATIENTS[1::2]
            ways = similarity.log_softmax(1)[positive], similarity.log_softmax(0)[positive]
            return -(ways[0].mean() + ways[1].mean()) / 2
        terms = [
            torch.cat([similarity[i, j, None], similarity[i, group != group[i]]]).logsumexp(0)
            - similarity[i, j]
            for i in range(8)
            for j in range(8)
            if i != j and group[i] == group[j]
        ]
        return torch.stack(terms).sum()

    step = 1e-5
    steps = step * torch.eye(4, dtype=torch.float64)
    expected = torch.stack([(of(weight + d) - of(weight - d)) / (2 * step) for d in steps])
    torch.testing.assert_close(model.weight.grad.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "correct"), [("simclr", 0), ("3kg", 2)])
def test_views_of_one_recording_alone(build, name, correct):
    """Without any other the loss is zero; fairseq_signals counts what stands alone as wrong."""
    loss, sample_size, log = build(name)(Pooled(), batch(slice(0, 2)))
    assert loss == 0
    assert (sample_size, log["correct"], log["count"]) == (2, correct, 2.0)


@pytest.mark.parametrize(("name", "correct"), [("simclr", 0), ("3kg", 16)])
def test_views_that_are_all_the_same(build, name, correct):
    alike = batch() | {"net_input": {"source": torch.ones(8, 6, 4)}}
    loss, _, log = build(name)(Pooled(), alike)
    assert log["correct"] == correct
    expected = 8 * math.log(7) if name == "simclr" else 12 * math.log(5) + 4 * math.log(7)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", CRITERIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(build, name, dtype):
    model = Pooled().to(dtype)
    half = batch()
    half["net_input"] = {"source": half["net_input"]["source"].to(dtype)}
    loss, *_ = build(name)(model, half)
    assert loss.dtype == torch.float32
    loss.backward()
    assert model.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", CRITERIONS)
def test_logits_that_are_no_vectors_of_recordings_are_refused(build, name):
    class Frames(Pooled):
        def get_logits(self, net_output, aggregate=False):
            return net_output["x"].flatten(0, 1)

    with pytest.raises(ValueError, match=r"of 8 recordings, but .* \(48, 4\): choose an encoder"):
        build(name)(Frames(), batch())


def test_clocs_is_another_name_of_the_same_class(build):
    assert CRITERION_REGISTRY["clocs"] is CRITERION_REGISTRY["cmsc"] is CMSCCriterion
    assert type(build("clocs")) is CMSCCriterion


@pytest.mark.parametrize("name", ["cmsc", "3kg"])
@pytest.mark.parametrize(
    ("model", "expected"), [({}, False), ({"all_gather": True}, True), (None, False)]
)
def test_all_gather_follows_the_model_where_it_has_the_option(name, model, expected):
    cfg = OmegaConf.create({"criterion": {"_name": name}, "model": model})
    assert build_criterion(cfg.criterion, None).all_gather is expected


def rank_main(rank: int, name: str, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    options = {} if name == "simclr" else {"all_gather": True}
    criterion = build_criterion(OmegaConf.create({"_name": name, **options}), None)
    rows = slice(0, 6) if rank == 0 else slice(6, 8)
    model = Pooled(all_gather=True)
    loss, sample_size, log = criterion.eval()(model, batch(rows))
    loss.backward()
    dist.all_reduce(model.weight.grad)
    torch.save((loss.item(), sample_size, log, model.weight.grad), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("name", CRITERIONS)
def test_ranks_contrast_the_batch_of_all(build, validated, name, tmp_path):
    """Loss and sample size on each are those of one process; so are what is logged and applied."""
    model = Pooled()
    loss, sample_size, log = build(name)(model, batch())
    loss.backward()
    mp.start_processes(rank_main, (name, str(tmp_path)), nprocs=2, start_method="fork")
    of_ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for of_rank in of_ranks:
        assert of_rank[:2] == (pytest.approx(loss.item(), rel=1e-6), sample_size)
    # fairseq divides the sum of gradients by that of sample sizes.
    torch.testing.assert_close(of_ranks[0][3] / (2 * sample_size), model.weight.grad / sample_size)
    one = validated(build(name), [[log]])
    assert validated(build(name), [[each[2] for each in of_ranks]]) == one


@pytest.mark.parametrize("name", ["simclr", "threekg", "cmsc"])
def test_recorded_pooled_vectors(shared, build, validated, name):
    recording = np.load(shared / "golden" / "rest" / f"{name}.npz")

    class Recorded(nn.Module):
        def forward(self, source):
            return {}

        def get_logits(self, net_output, aggregate=False):
            return torch.from_numpy(recording["logits"])

    ids = {
        key: torch.from_numpy(recording[key])
        for key in ("id", "patient_id", "segment")
        if key in recording
    }
    criterion = build("3kg" if name == "threekg" else name)
    sample = ids | {"net_input": {"source": torch.zeros(8)}}
    *_, log = criterion(Recorded(), sample)
    for key in recording.files:
        if key.startswith("log/"):
            assert log[key.removeprefix("log/")] == pytest.approx(recording[key].item(), rel=2e-6)
    metrics = {key: recording[key].item() for key in recording.files if key.startswith("metric/")}
    stats = validated(criterion, [[log]])
    assert {f"metric/{key}": value for key, value in stats.items()} == metrics
