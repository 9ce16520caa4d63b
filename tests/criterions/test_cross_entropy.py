"""Cross entropy over classes, plain and focal, against its equation in float64."""

import math
import pickle

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY
from hydra.core.config_store import ConfigStore

from fairseq_ecg.criterions import CrossEntropyCriterion, NonFiniteLossError
from fairseq_ecg.criterions.cross_entropy import cross_entropy
from tests.criterions.echo import Classes, batch

SAMPLES = torch.tensor(np.random.default_rng(0).normal(size=(3, 5, 4)), dtype=torch.float32)
CLASSES = torch.tensor(np.random.default_rng(1).integers(0, 4, size=(3, 5)))
WEIGHT = [0.5, 2.0, 1.0, 3.0]


def samples(**more) -> dict:
    return batch(SAMPLES, None, classes=CLASSES, **more)


def expected(logits, classes, weight=None, gamma=0.0) -> float:
    logits, classes = np.asarray(logits, np.float64).reshape(-1, 4), np.asarray(classes).ravel()
    total = np.log(np.exp(logits).sum(axis=1))
    entropy = total - logits[np.arange(len(classes)), classes]
    if weight is not None:
        entropy = entropy * np.asarray(weight)[classes]
    return float(((1 - np.exp(-entropy)) ** gamma * entropy).sum())


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("focal", [{}, {"focal_loss": True}, {"focal_loss": True, "gamma": 2.5}])
def test_equation(focal, weight, build):
    loss, size, log = build("cross_entropy", weight=weight, **focal)(Classes(), samples())
    gamma = focal.get("gamma", 1.0) if focal else 0.0
    assert loss.item() == pytest.approx(expected(SAMPLES, CLASSES, weight, gamma), rel=1e-6)
    assert size == log["count"] == log["sample_size"] == 15
    assert isinstance(log["count"], int)
    assert log["correct"] == int((SAMPLES.argmax(-1) == CLASSES).sum())
    assert log["nsignals"] == 3


def test_known_value(build):
    logits = torch.tensor([[0.1, 0.5, -0.2], [1, 0, 0.3]])
    sample = batch(logits, None, classes=torch.tensor([0, 2]))
    loss, *_ = build("cross_entropy", focal_loss=True)(Classes(), sample)
    assert loss.item() == pytest.approx(1.7809566, abs=1e-6)


@pytest.mark.parametrize("masked", [0, 4, 15])
def test_masked_samples_count_nowhere(masked, build, validated):
    mask = (torch.arange(15) < masked).view(3, 5)
    criterion = build("cross_entropy", focal_loss=True)
    source = SAMPLES.clone().requires_grad_()
    sample = samples(mask=mask) | {"net_input": {"source": source}}
    loss, size, log = criterion(Classes(), sample)
    loss.backward()
    assert size == 15 - masked
    assert loss.item() == pytest.approx(expected(SAMPLES[~mask], CLASSES[~mask], gamma=1), rel=1e-6)
    assert (source.grad[mask] == 0).all()
    stats = validated(criterion, [[log]])
    if masked < 15:
        assert stats["loss"] == pytest.approx(loss.item() / size / math.log(2), abs=5e-4)
        assert stats["accuracy"] == pytest.approx(log["correct"] / size, abs=5e-6)
    assert stats["nsignals"] == 3


def test_metrics_of_several_batches(build, validated):
    criterion = build("cross_entropy")
    logs = []
    for rows in (slice(0, 1), slice(1, 3)):
        part = batch(SAMPLES[rows], None, classes=CLASSES[rows])
        logs.append(criterion(Classes(), part)[2])
    for batches in ([logs], [[log] for log in logs]):
        stats = validated(criterion, batches)
        mean = expected(SAMPLES, CLASSES) / 15 / math.log(2)
        assert stats["loss"] == pytest.approx(mean, abs=5e-4)
        right = (SAMPLES.argmax(-1) == CLASSES).double().mean().item()
        assert stats["accuracy"] == pytest.approx(right, abs=5e-6)
        assert stats.keys() == {"loss", "nsignals", "accuracy"}


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2.5])
def test_gradient(gamma, weight):
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    logits = SAMPLES.double().flatten(0, 1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(x, CLASSES.flatten(), weight, gamma), (logits,)
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_certain_classes_have_a_finite_gradient(gamma):
    logits = torch.tensor([[200.0, 0, 0], [0, 0, 90]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 2]), None, gamma)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_half_precision_logits_are_computed_in_float32(build):
    source = (10 * SAMPLES).half()
    sample = samples() | {"net_input": {"source": source}}
    loss, *_ = build("cross_entropy")(Classes(), sample)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected(source.float(), CLASSES), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "sample", "message"),
    [
        ({"weight": [1.0, 2.0]}, samples(), "criterion.weight has 2 values, but the model has 4"),
        ({}, samples() | {"classes": CLASSES[:, :3]}, "cross_entropy needs the index of one class"),
    ],
)
def test_what_does_not_go_together(options, sample, message, build):
    with pytest.raises(ValueError, match=message):
        build("cross_entropy", **options)(Classes(), sample)
    with pytest.raises(ValueError, match=r"gamma=-1\.0: give 0 or more"):
        build("cross_entropy", gamma=-1.0)


def test_logs_are_summed_over_ranks_unless_batches_are_left_out(build):
    assert CrossEntropyCriterion.logging_outputs_can_be_summed()
    assert build("cross_entropy").logging_outputs_can_be_summed()
    skips = build("cross_entropy", nonfinite_loss="skip")
    assert not skips.logging_outputs_can_be_summed()
    broken = samples() | {"net_input": {"source": SAMPLES * torch.inf}}
    with pytest.raises(NonFiniteLossError):
        build("cross_entropy")(Classes(), broken)
    loss, size, log = skips(Classes(), broken)
    assert (loss.item(), size, log["skipped"]) == (0, 0, 1)


def test_takes_the_place_of_the_stock_criterion():
    assert CRITERION_REGISTRY["cross_entropy"] is CrossEntropyCriterion
    config = CRITERION_DATACLASS_REGISTRY["cross_entropy"]
    assert pickle.loads(pickle.dumps(config)) is config
    node = ConfigStore.instance().repo["criterion"]["cross_entropy.yaml"].node
    assert {"focal_loss", "gamma", "weight"} <= set(node)
    # A resumed run compares this name with the one in a checkpoint.
    assert CrossEntropyCriterion.__name__ == "CrossEntropyCriterion"
