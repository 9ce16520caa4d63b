"""Losses of networks from scratch against their equations, in float64."""

import numpy as np
import pytest
import torch

from tests.criterions.echo import Echo, batch


class Float64(torch.nn.Module):
    """Computes the loss of a criterion in float64."""

    def __init__(self, criterion, sample: dict):
        super().__init__()
        self.criterion, self.sample = criterion, sample

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        terms, _, _ = self.criterion.compute(Echo(), self.sample, {"out": logits}, logits)
        return sum(terms)


def answered(draw: np.random.Generator, rows: int, heads: int) -> tuple[list, list]:
    """Draw the heads that each record answers, and its labels."""
    numbers = draw.integers(1, heads + 1, rows)
    asked = [draw.choice(heads, n, replace=False) for n in numbers]
    labels = [draw.integers(0, 2, n) for n in numbers]
    return [torch.from_numpy(x) for x in asked], [torch.from_numpy(x) for x in labels]


def by_equation(logits: np.ndarray, heads: list, labels: list) -> float:
    """Loss of several heads: mean over ids that occur of the mean of their entries."""
    losses: dict[int, list[float]] = {}
    for row, (asked, given) in enumerate(zip(heads, labels, strict=True)):
        for head, y in zip(asked.tolist(), given.tolist(), strict=True):
            p = 1 / (1 + np.exp(-logits[row, head]))
            with np.errstate(divide="ignore"):
                losses.setdefault(head, []).append(-max(np.log(p if y else 1 - p), -100))
    return float(np.mean([np.mean(each) for each in losses.values()]))


@pytest.mark.parametrize("scale", [1, 60])
def test_heads_against_the_equation(build, scale):
    """Also where a probability is 0 or 1 and its logarithm is cut off."""
    draw = np.random.default_rng(scale)
    heads, labels = answered(draw, 12, 7)
    logits = scale * draw.normal(size=(12, 7))
    criterion = build("multi_head_binary_cross_entropy")
    sample = batch(torch.from_numpy(logits), labels, target_idx=heads)
    loss = Float64(criterion, sample)(torch.from_numpy(logits)).item()
    assert loss == pytest.approx(by_equation(logits, heads, labels), rel=1e-12)
    in_float32, sample_size, _ = criterion(Echo(), batch(sample["net_input"]["source"].float(),
                                                         labels, target_idx=heads))  # fmt: skip
    assert sample_size == 1
    # 1 - p of float32 has another magnitude from a logit of 17 on.
    if scale == 1:
        assert in_float32.item() == pytest.approx(loss, rel=1e-6)


def test_one_term_is_at_most_100(build):
    sample = batch(torch.tensor([[200.0]]), [torch.tensor([0])], target_idx=[torch.tensor([0])])
    assert build("multi_head_binary_cross_entropy")(Echo(), sample)[0].item() == 100


def test_squared_error_against_the_equation(build, validated):
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(2, 5, 3))
    sample = batch(torch.from_numpy(logits).float(), torch.from_numpy(labels))
    loss, sample_size, log = build("mse")(Echo(), sample)
    assert loss.item() == pytest.approx(((logits - labels) ** 2).sum(), rel=1e-6)
    assert sample_size == 15
    assert set(log) == {"loss", "nsignals", "sample_size"}
    stats = validated(build("mse"), [[log, log]])
    assert stats == {"loss": round(log["loss"] / 15 / np.log(2), 3), "nsignals": 10}
    # Labels of a path data set are one tensor each.
    ragged = sample | {"label": list(torch.from_numpy(labels))}
    assert build("mse")(Echo(), ragged)[0].item() == loss.item()


@pytest.mark.parametrize("name", ["mse", "multi_head_binary_cross_entropy"])
def test_gradients(build, name):
    draw = np.random.default_rng(1)
    heads, labels = answered(draw, 4, 3)
    if name == "mse":
        labels = torch.from_numpy(draw.normal(size=(4, 3)))
    logits = torch.from_numpy(draw.normal(size=(4, 3))).requires_grad_()
    criterion = Float64(build(name), batch(logits, labels, target_idx=heads))
    assert torch.autograd.gradcheck(criterion, logits)
