import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.criterions.echo import Echo, batch

LOGITS = torch.tensor([[0.2, -1.5, 3.0], [1.0, 0.5, -4.0]], dtype=torch.float64)
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.float64)
EXTREME = torch.tensor([[200.0, -200, 1e4], [-1e4, 0, 50]])


def by_hand(term) -> float:
    pairs = zip(LOGITS.flatten().tolist(), LABELS.flatten().tolist(), strict=True)
    return sum(term(1 / (1 + math.exp(-logit)), label) for logit, label in pairs)


def test_focal_loss_of_the_paper(build):
    def term(p, label):
        p_t = p if label else 1 - p
        return -((1 - p_t) ** 2.5) * math.log(p_t)

    loss = build("focal_loss", gamma=2.5).loss(LOGITS, LABELS)
    assert loss.item() == pytest.approx(by_hand(term), rel=1e-12)


def test_focal_loss_without_focus_is_cross_entropy(build):
    expected = binary_cross_entropy_with_logits(LOGITS, LABELS, reduction="sum")
    torch.testing.assert_close(build("focal_loss", gamma=0).loss(LOGITS, LABELS), expected)


def test_asymmetric_loss_of_the_paper(build):
    def term(p, label):
        if label:
            return -((1 - p) ** 1.5) * math.log(p)
        q = max(p - 0.1, 0)
        return -(q**4) * math.log(1 - q)

    criterion = build("asymmetric_loss", gamma_positive=1.5, gamma_negative=4, margin=0.1)
    assert criterion.loss(LOGITS, LABELS).item() == pytest.approx(by_hand(term), rel=1e-12)


def test_symmetric_asymmetric_loss_is_cross_entropy(build):
    criterion = build("asymmetric_loss", gamma_positive=0, gamma_negative=0, margin=0)
    expected = binary_cross_entropy_with_logits(LOGITS, LABELS, reduction="sum")
    torch.testing.assert_close(criterion.loss(LOGITS, LABELS), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("focal_loss", {}),
        ("focal_loss", {"gamma": 0.5}),
        ("asymmetric_loss", {}),
        ("asymmetric_loss", {"gamma_positive": 1, "gamma_negative": 1, "margin": 0}),
    ],
)
class TestGradients:
    def test_are_those_of_the_loss(self, build, name, options):
        loss = build(name, **options).loss
        logits = LOGITS.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), [logits])

    def test_are_finite_for_extreme_logits(self, build, name, options):
        for labels in (torch.zeros(2, 3), torch.ones(2, 3)):
            logits = EXTREME.clone().requires_grad_()
            loss = build(name, **options).loss(logits, labels)
            loss.backward()
            assert loss.isfinite()
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["focal_loss", "asymmetric_loss"])
def test_weights_and_metrics_are_those_of_the_cross_entropy(build, validated, name):
    options = {"pos_weight": [1.0, 2.0, 3.0], "weight": [0.5, 1.0, 2.0], "report_auc": True}
    plain, weighted = build(name, report_auc=True), build(name, **options)
    per_label = []
    for column in range(3):
        labels = torch.zeros(2, 3)
        labels[0, column] = 1
        only = torch.full((2, 3), -200.0)
        only[0, column] = 0.3
        losses = [
            criterion(Echo(), batch(only, labels))[0].item() for criterion in (plain, weighted)
        ]
        per_label.append(losses[1] / losses[0])
    assert per_label == pytest.approx([0.5, 2.0, 6.0], rel=1e-5)
    stats = validated(weighted, [[weighted(Echo(), batch())[2]]])
    assert {"accuracy", "f1", "auroc", "macro_auroc"} <= set(stats)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("focal_loss", {"gamma": -1}),
        ("asymmetric_loss", {"gamma_positive": -1}),
        ("asymmetric_loss", {"gamma_negative": 0.5}),
        ("asymmetric_loss", {"margin": 1.0}),
    ],
)
def test_options_without_meaning(build, name, options):
    with pytest.raises(ValueError, match=f"criterion.{next(iter(options))}="):
        build(name, **options)
