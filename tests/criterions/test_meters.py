import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fairseq_ecg.criterions.meters import (
    AUCMeter,
    LabelCountsMeter,
    install_meters,
    log_areas,
    log_macro_f1,
)


@pytest.fixture(autouse=True)
def _fresh_metrics():
    metrics.reset()
    yield
    metrics.reset()


def arrays(n=40, n_labels=4):
    rng = np.random.RandomState(3)
    targets = (rng.rand(n, n_labels) > 0.6).astype(np.float32)
    return (targets + rng.randn(n, n_labels)).astype(np.float32), targets


def filled(scores, targets, classes=None) -> AUCMeter:
    meter = AUCMeter()
    for rows in (slice(0, 7), slice(7, None)):
        meter.update(scores[rows], targets[rows], None if classes is None else classes[rows])
    return meter


def test_areas_are_micro_and_macro():
    scores, targets = arrays()
    assert filled(scores, targets).values() == pytest.approx(
        {
            "auroc": roc_auc_score(targets, scores, average="micro"),
            "auprc": average_precision_score(targets, scores, average="micro"),
            "macro_auroc": roc_auc_score(targets, scores, average="macro"),
            "macro_auprc": average_precision_score(targets, scores, average="macro"),
        },
        rel=1e-12,
    )


def test_labels_of_one_kind_are_left_out_of_the_macro_averages_quietly():
    scores, targets = arrays()
    targets[:, 0], targets[:, 1] = 0, 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        areas = filled(scores, targets).values()
    assert areas["macro_auroc"] == pytest.approx(roc_auc_score(targets[:, 2:], scores[:, 2:]))
    assert areas["auroc"] == pytest.approx(roc_auc_score(targets.ravel(), scores.ravel()))


def test_no_positive_at_all():
    scores, targets = arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        areas = filled(scores, np.zeros_like(targets)).values()
    assert areas["auprc"] == 0
    assert all(np.isnan(areas[name]) for name in ("auroc", "macro_auroc", "macro_auprc"))


def test_class_arrays_are_averaged_over_classes():
    scores, targets = arrays(n=30)
    targets[:, 3] = 0
    classes = np.tile(np.array([2, 5, 7, 9]), 30)
    areas = filled(scores.ravel(), targets.ravel(), classes).values()
    aurocs = [roc_auc_score(targets[:, i], scores[:, i]) for i in range(3)]
    auprcs = [average_precision_score(targets[:, i], scores[:, i]) for i in range(3)]
    assert areas["auroc"] == areas["macro_auroc"] == pytest.approx(np.mean(aurocs))
    assert areas["auprc"] == pytest.approx(np.mean([*auprcs, 0]))
    assert areas["macro_auprc"] == pytest.approx(np.mean(auprcs))


def test_areas_are_computed_again_only_after_an_update():
    meter = filled(*arrays())
    assert meter.values() is meter.values()
    before = meter.values()
    meter.update(*arrays(n=5))
    assert meter.values() is not before
    assert meter.fn(MetersDict()) == meter.values()["auroc"]


def test_macro_f1_averages_labels_of_both_kinds():
    rng = np.random.RandomState(1)
    true, predicted = rng.rand(2, 50, 3) > 0.5
    true[:, 0] = True
    cells = [true & predicted, ~true & predicted, true & ~predicted, ~true & ~predicted]
    meter = LabelCountsMeter()
    for rows in (slice(0, 20), slice(20, None)):
        meter.update(np.stack([cell[rows].sum(axis=0) for cell in cells]))
    expected = f1_score(true[:, 1:], predicted[:, 1:], average="macro")
    assert meter.fn(MetersDict()) == pytest.approx(expected)

    meter.reset()
    meter.update(np.array([[1, 0], [0, 0], [0, 0], [0, 4]]))
    assert np.isnan(meter.fn(MetersDict()))


def logs():
    scores, targets = arrays()
    return [{"_y_score": scores, "_y_true": targets, "_label_counts": np.ones((4, 4), int)}]


def test_arrays_stay_with_the_evaluation_and_out_of_checkpoints():
    with metrics.aggregate(new_root=True) as root:
        for _ in range(2):
            with metrics.aggregate("valid") as lasting, metrics.aggregate() as step:
                log_areas(logs())
                log_macro_f1(logs())
                metrics.log_scalar("loss", 1.0)
    assert {"auroc", "auprc", "macro_auroc", "macro_auprc", "macro_f1"} < set(
        root.get_smoothed_values()
    )
    assert set(lasting) == set(step) == {"loss"}
    assert len(root["_auc"]._scores) == 2
    assert [key for _, key, *_ in root.state_dict()] == ["loss"]
    assert list(metrics.state_dict()["valid"]) == lasting.state_dict()


def test_areas_are_reported_to_an_evaluation_within_the_default_aggregator():
    with metrics.aggregate() as evaluation:
        log_areas(logs())
    assert "auroc" in evaluation.get_smoothed_values()
    assert "_auc" not in metrics.get_meters("default")
    log_areas(logs())
    assert "_auc" not in metrics.get_meters("default")


def test_checkpoints_of_fairseq_signals_load(tmp_path):
    install_meters()
    state = OrderedDict(
        valid=[
            (10, "loss", "AverageMeter", {"val": 1.0, "sum": 2.0, "count": 2, "round": 3}),
            (50, "_auc", "AUCMeter", {"y_true": np.ones(3), "y_score": np.ones(3)}),
        ]
    )
    metrics.load_state_dict(state)
    assert isinstance(metrics.get_meter("valid", "_auc"), AUCMeter)
    assert metrics.get_smoothed_value("valid", "loss") == 1.0
    torch.save(metrics.state_dict(), tmp_path / "metrics.pt")
    loaded = torch.load(tmp_path / "metrics.pt", weights_only=True)
    assert [key for _, key, *_ in loaded["valid"]] == ["loss"]
