"""ArcFace: its loss against the equation, and what it logs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fairseq_ecg.criterions import ArcFaceCriterion


class Model:
    """A network whose output is given."""

    def __init__(self, cosine):
        self.net_output = {"out": torch.zeros(len(cosine), 3), "cosine": cosine}

    def __call__(self, source):
        return self.net_output

    def get_targets(self, sample, net_output):
        return sample["label"]


def loss_of(cosine: np.ndarray, label: np.ndarray, scale: float, margin: float) -> float:
    """The equation, entry by entry, in float64."""
    total = 0.0
    for row, own in zip(cosine, label, strict=True):
        angle = math.acos(row[own])
        if row[own] > math.cos(math.pi - margin):
            widened = math.cos(angle + margin)
        else:
            widened = row[own] - margin * math.sin(margin)
        logits = [scale * (widened if j == own else c) for j, c in enumerate(row)]
        largest = max(logits)
        total += largest + math.log(sum(math.exp(x - largest) for x in logits)) - logits[own]
    return total


def sample_of(label) -> dict:
    label = torch.as_tensor(label)
    source = torch.zeros(len(label), 12, 4)
    return {"id": torch.arange(len(label)), "net_input": {"source": source}, "label": label}


@pytest.mark.parametrize(("scale", "margin"), [(32.0, 0.5), (192.0, 1.0), (4.0, 0.0)])
def test_the_loss_is_that_of_the_equation(scale, margin):
    rng = np.random.default_rng(0)
    cosine = rng.uniform(-1, 1, (6, 5))
    label = rng.integers(0, 5, 6)
    cosine[0, label[0]] = -0.999  # its angle and the margin are more than half a turn
    criterion = ArcFaceCriterion(None, scale=scale, margin=margin).eval()
    logits = torch.from_numpy(cosine)
    (loss,), sample_size, log = criterion.compute(Model(logits), sample_of(label), {}, logits)
    assert loss.item() == pytest.approx(loss_of(cosine, label, scale, margin), rel=1e-12)
    assert sample_size == 6
    assert log["correct"] == (cosine.argmax(1) == label).sum()


@pytest.mark.parametrize(
    "options", [{"scale": 0.0}, {"scale": -3.0}, {"margin": -0.5}, {"margin": 4.0}]
)
def test_options_that_teach_nothing_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"criterion.{name}={value}: give "):
        ArcFaceCriterion(None, **options)


def test_the_gradient_is_that_of_differences():
    torch.manual_seed(0)
    cosine = torch.empty(4, 5, dtype=torch.float64).uniform_(-0.95, 0.95).requires_grad_()
    label = torch.tensor([0, 3, 4, 1])
    criterion = ArcFaceCriterion(None, scale=3.0)

    def loss(x):
        return criterion.compute(Model(x), sample_of(label), {}, x)[0][0]

    assert torch.autograd.gradcheck(loss, cosine)


@pytest.mark.parametrize("own", [1.0, -1.0])
def test_cosines_of_one_have_a_finite_gradient(own):
    cosine = torch.tensor([[own, 0.2]], requires_grad=True)
    criterion = ArcFaceCriterion(None)
    logits = criterion.with_margin(cosine, torch.tensor([0]))
    logits[0, 0].backward()
    assert cosine.grad.isfinite().all()
    expected = 32 * math.cos(0.5) if own > 0 else 32 * (-1 - 0.5 * math.sin(0.5))
    assert logits[0, 0].item() == pytest.approx(expected)


def test_what_is_logged_and_printed():
    cosine = torch.tensor([[0.9, 0.1], [0.3, 0.4], [0.5, 0.2]])
    criterion = ArcFaceCriterion(None).eval()
    loss, size, log = criterion(Model(cosine), sample_of([0, 0, 0]))
    kept = {"loss": loss.item(), "sample_size": 3, "nsignals": 3, "correct": 2, "count": 3.0}
    assert (size, log) == (3, kept)

    from fairseq.logging import metrics

    with metrics.aggregate(new_root=True) as meters:
        ArcFaceCriterion.reduce_metrics([log])
    printed = meters.get_smoothed_values()
    names = {name for name in printed if not name.startswith("_")}
    assert names == {"loss", "nsignals", "accuracy"}
    assert printed["accuracy"] == 0.66667
    assert printed["loss"] == round(loss.item() / 3 / math.log(2), 3)


def test_options_come_from_the_configuration():
    cfg = SimpleNamespace(scale=192.0, margin=1.0, nonfinite_loss="raise")
    criterion = ArcFaceCriterion.build_criterion(cfg, None)
    assert (criterion.scale, criterion.margin) == (192.0, 1.0)
