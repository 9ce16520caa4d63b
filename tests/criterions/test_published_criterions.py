"""Criterions of one's own by fairseq_signals' base class, and its functions for the CinC score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.criterions import FairseqCriterion
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.criterions import BinaryCrossEntropyWithLogitsCriterion
from fairseq_ecg.criterions.published import (
    BaseCriterion,
    compute_scored_confusion_matrix,
    get_physionet_weights,
    get_sinus_rhythm,
    get_sinus_rhythm_index,
)


class Squares(BaseCriterion):
    """As public code writes criterions for fairseq_signals."""

    def __init__(self, task, weight, power=2):
        super().__init__(task)
        self.weight, self.power = weight, power

    def compute_loss(self, logits, target, sample=None, net_output=None, model=None, reduce=True):
        loss = self.weight * ((logits - target).abs() ** self.power).sum()
        penalty = logits.abs().sum()
        return loss + penalty, [loss.item(), penalty.item()]

    def get_sample_size(self, sample, target):
        return target.numel()

    def get_logging_output(self, logging_output, logits, target, sample=None, net_output=None):
        return logging_output | {"largest": net_output["out"].max().item()}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, source):
        return {"out": self.linear(source)}

    def get_logits(self, net_output, sample=None, **_):
        return net_output["out"]

    def get_targets(self, sample, net_output, **_):
        return sample["label"]


def test_a_criterion_of_ones_own():
    criterion = Squares.build_criterion(SimpleNamespace(weight=0.5, other=1), "task")
    assert (criterion.task, criterion.weight, criterion.power) == ("task", 0.5, 2)
    model = Network()
    sample = {
        "id": torch.arange(4),
        "net_input": {"source": torch.randn(4, 3)},
        "label": torch.randn(4, 2),
    }
    loss, size, log = criterion(model, sample)
    out = model.linear(sample["net_input"]["source"]).detach().double()
    terms = [0.5 * F.mse_loss(out, sample["label"].double(), reduction="sum"), out.abs().sum()]
    assert loss.item() == pytest.approx(sum(terms).item(), rel=1e-5)
    assert size == 8
    for i, term in enumerate(terms):
        assert log[f"loss_{i}"] == pytest.approx(term.item(), rel=1e-5)
    assert log["loss"] == pytest.approx(loss.item())
    assert (log["nsignals"], log["sample_size"]) == (4, 8)
    assert log["largest"] == pytest.approx(out.max().item())
    loss.backward()
    assert model.linear.weight.grad.abs().sum() > 0
    criterion.is_target_derived = True
    with pytest.raises(TypeError):  # there are no targets
        criterion(model, sample)


def test_what_counts_as_a_criterion():
    assert issubclass(BaseCriterion, FairseqCriterion)
    assert issubclass(BinaryCrossEntropyWithLogitsCriterion, BaseCriterion)
    assert not issubclass(BinaryCrossEntropyWithLogitsCriterion, Squares)
    assert not issubclass(nn.MSELoss, BaseCriterion)


def test_the_score_of_the_challenge(tmp_path):
    path = tmp_path / "weights.csv"
    path.write_text(",1|2,426783006,3\n1|2,1,0.5,0\n426783006,0.5,1,0.25\n3,0,0.25,1\n")
    classes, weights = get_physionet_weights(str(path))
    assert classes == [{"1", "2"}, {"426783006"}, {"3"}]
    np.testing.assert_array_equal(weights, [[1, 0.5, 0], [0.5, 1, 0.25], [0, 0.25, 1]])
    assert classes[get_sinus_rhythm_index(classes)] == get_sinus_rhythm()
    assert get_sinus_rhythm_index() == 14
    assert get_sinus_rhythm_index([{"3"}]) is None
    labels = np.array([[1, 0, 1], [0, 0, 0]])
    outputs = np.array([[0, 1, 1], [1, 0, 0]])
    # Of the first recording three classes are in either; its credits are 0.5, 0, 0.25 and 1.
    expected = (0.5 + 0 + 0.25 + 1) / 3
    assert compute_scored_confusion_matrix(weights, labels, outputs) == pytest.approx(expected)
