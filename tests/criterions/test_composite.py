"""Several criterions on one model: the sum, its gradient, logs and metrics."""

import logging
import math

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY, FairseqCriterion
from fairseq.logging import metrics

from fairseq_ecg.compat.registration import register_criterion
from fairseq_ecg.criterions import (
    BinaryCrossEntropyWithLogitsCriterion,
    CrossEntropyCriterion,
    NonFiniteLossError,
)
from fairseq_ecg.criterions.prefixed import prefixed
from tests.criterions.echo import Echo, Two, batch

NAMES = ["cross_entropy", "binary_cross_entropy_with_logits"]
ARGS = {
    "cross_entropy": {"_name": "cross_entropy", "focal_loss": True, "gamma": 2.0},
    "binary_cross_entropy_with_logits": {
        "_name": "binary_cross_entropy_with_logits",
        "report_auc": True,
    },
}
SAMPLES = torch.tensor(np.random.default_rng(0).normal(size=(4, 6, 3)), dtype=torch.float32)
CLASSES = torch.tensor(np.random.default_rng(1).integers(0, 3, size=(4, 6)))
LABEL = torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]])
MASK = torch.zeros(4, 6, dtype=torch.bool).index_fill(1, torch.tensor([0, 3]), True)


def two(rows=slice(None), **more) -> dict:
    return batch(SAMPLES[rows], LABEL[rows], classes=CLASSES[rows], mask=MASK[rows], **more)


def equations(rows=slice(None)) -> tuple[float, float]:
    """Both losses in float64, summed over what they are of."""
    logits = SAMPLES[rows].double().numpy()
    kept = ~MASK[rows].numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropy = -np.take_along_axis(log_p, CLASSES[rows].numpy()[..., None], -1)[..., 0][kept]
    p = 1 / (1 + np.exp(-logits.mean(axis=1)))
    y = LABEL[rows].numpy()
    return (
        float(((1 - np.exp(-entropy)) ** 2 * entropy).sum()),
        float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()),
    )


@pytest.mark.parametrize("weights", [None, [1.0, 1.0], [0.5, 3.0]])
def test_weighted_sum_of_losses_per_sample(weights, build):
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS, loss_weights=weights)
    loss, size, log = criterion(Two(), two())
    segmentation, diagnosis = equations()
    first, second = weights or (1, 1)
    assert loss.item() == pytest.approx(first * segmentation / 16 + second * diagnosis / 12, 1e-6)
    assert size == 1
    assert log["0_criterion_cls"] is CrossEntropyCriterion
    assert log["1_criterion_cls"] is BinaryCrossEntropyWithLogitsCriterion
    assert log["0_loss"] == pytest.approx(first * segmentation, 1e-6)
    assert log["1_loss"] == pytest.approx(second * diagnosis, 1e-6)
    assert (log["0_sample_size"], log["1_sample_size"], log["nsignals"]) == (16, 12, 4)
    assert (log["0_count"], log["1_count"]) == (16, 12)
    assert log["1__y_true"].shape == (4, 3)


def test_gradient(build):
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS, loss_weights=[2, 3])

    def loss_of(source):
        sample = two() | {"net_input": {"source": source}}
        net_output = Two()(source)
        logits = Two().get_logits(net_output, sample)
        return criterion.compute(Two(), sample, net_output, logits)[0][0]

    assert torch.autograd.gradcheck(loss_of, (SAMPLES.double().requires_grad_(),))


@pytest.mark.parametrize("at_once", [True, False])
def test_metrics_of_several_batches(at_once, build, validated):
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS)
    batches = (slice(0, 1), slice(1, 4))
    logs = [criterion(Two(), two(rows))[2] for rows in batches]
    stats = validated(criterion, [logs] if at_once else [[log] for log in logs])
    segmentation, diagnosis = equations()
    per_sample = np.array([segmentation / 16, diagnosis / 12]) / math.log(2)
    of_batches = [
        np.dot(equations(rows), [1 / (4 * n), 1 / (3 * n)])
        for n, rows in zip((1, 3), batches, strict=True)
    ]
    loss = per_sample.sum() if at_once else np.mean(of_batches) / math.log(2)
    assert stats["loss"] == pytest.approx(loss, abs=6e-4)
    assert [stats["0_loss"], stats["1_loss"]] == pytest.approx(per_sample, abs=6e-4)
    right = (SAMPLES.argmax(-1) == CLASSES)[~MASK].double().mean().item()
    assert stats["0_accuracy"] == pytest.approx(right, abs=6e-6)
    names = {"loss", "nsignals", "0_loss", "0_accuracy", "1_loss", "1_accuracy", "1_em_accuracy"}
    names |= {"1_precision", "1_recall", "1_f1", "1_auroc", "1_auprc"}
    assert names == {name for name in stats if "macro" not in name}


@pytest.mark.parametrize("at_once", [True, False])
def test_metrics_of_a_criterion_are_those_that_it_has_alone(at_once, build, validated):
    parts = [slice(0, 2), slice(2, 4)]
    composite = build("composite_criterion", criterion_names=NAMES, args=ARGS)
    alone = build(NAMES[1], report_auc=True)
    runs = [
        (composite, [composite(Two(), two(rows))[2] for rows in parts]),
        (alone, [alone(Echo(), batch(SAMPLES[r].mean(dim=1), LABEL[r]))[2] for r in parts]),
    ]
    stats = []
    for criterion, logs in runs:
        metrics.reset()
        stats.append(validated(criterion, [logs] if at_once else [[log] for log in logs]))
    found, expected = stats
    of_second = {k.removeprefix("1_"): x for k, x in found.items() if k.startswith("1_")}
    expected.pop("nsignals")
    assert of_second == pytest.approx(expected, nan_ok=True)


NO_RECORDS = [
    *("mse", "multi_head_binary_cross_entropy", "simclr", "cmsc"),
    *("cross_entropy", "binary_cross_entropy", "arcface", "3kg"),
]


@pytest.mark.parametrize("name", NO_RECORDS)
def test_which_criterions_print_a_number_of_records_that_they_do_not_count(name):
    log = {"loss": 1.0, "sample_size": 2, "correct": 1, "count": 2.0}
    with metrics.aggregate(new_root=True) as meters:
        CRITERION_REGISTRY[name].reduce_batches([log])
    assert ("nsignals" in meters.get_smoothed_values()) == (name in NO_RECORDS[:4])


def test_modes_reach_the_criterions(build):
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS)
    assert not any(x.training for x in criterion.criterions)
    criterion.train()
    assert all(x.training for x in criterion.criterions)
    assert "1__y_true" not in criterion(Two(), two())[2]
    criterion.eval()
    assert "1__y_true" in criterion(Two(), two())[2]
    assert not criterion.state_dict()


def test_a_batch_without_samples_that_count(build):
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS)
    loss, _, log = criterion(Two(), two() | {"mask": torch.ones_like(MASK)})
    assert loss.item() == pytest.approx(equations()[1] / 12)
    assert (log["0_loss"], log["0_sample_size"]) == (0, 0)


def test_one_criterion_is_itself_but_for_its_sample_size(build):
    name = NAMES[1]
    composite = build("composite_criterion", criterion_names=[name])
    loss, _, log = composite(Alone(), batch())
    expected, count, own = build(name)(Alone(), batch())
    assert loss.item() == pytest.approx(expected.item() / count)
    assert log["0_tp"] == own["tp"]


class Alone(Echo):
    def get_logits(self, net_output, sample=None):
        return net_output["out"]


def test_terms_of_a_loss_are_weighted_too(build):
    @register_criterion("two_terms_of_a_test")
    class TwoTerms(CrossEntropyCriterion):
        def compute(self, *args):
            (loss,), size, log = super().compute(*args)
            return [loss, 3 * loss], size, log

    try:
        names = ["two_terms_of_a_test", NAMES[1]]
        criterion = build("composite_criterion", criterion_names=names, loss_weights=[2.0, 1.0])
        log = criterion(Two(), two())[2]
        assert log["0_loss"] == pytest.approx(log["0_loss_0"] + log["0_loss_1"])
        assert log["0_loss_1"] == pytest.approx(3 * log["0_loss_0"])
    finally:
        del CRITERION_REGISTRY["two_terms_of_a_test"]


def test_losses_that_are_not_finite(build, validated, caplog):
    broken = two() | {"net_input": {"source": SAMPLES * torch.inf}}
    with pytest.raises(NonFiniteLossError, match="0_loss = nan"):
        build("composite_criterion", criterion_names=NAMES)(Two(), broken)
    criterion = build("composite_criterion", criterion_names=NAMES, nonfinite_loss="skip")
    skipped, kept = criterion(Two(), broken)[2], criterion(Two(), two())[2]
    assert (skipped["skipped"], skipped["sample_size"]) == (1, 0)
    stats = validated(criterion, [[skipped], [kept], [skipped]])
    assert stats["loss"] == pytest.approx(kept["loss"] / math.log(2), abs=6e-4)
    assert stats["skipped"] == 2
    assert math.isnan(validated(criterion, [[skipped]])["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "criterion_names names none: give one for each output"),
        ({"criterion_names": NAMES, "loss_weights": [1.0]}, "loss_weights has 1 values for 2"),
        ({"criterion_names": NAMES, "loss_weights": [1.0, -1.0]}, "give numbers of 0 or more"),
        ({"criterion_names": NAMES, "loss_weights": [1.0, math.nan]}, "give numbers of 0 or more"),
        (
            {"criterion_names": ["cros_entropy", NAMES[1]]},
            "cros_entropy is not known, choose cross_entropy",
        ),
        ({"criterion_names": ["wav2vec2_with_cmsc"]}, "cannot be one of several"),
        ({"criterion_names": ["composite_criterion"]}, "names none"),
        (
            {
                "criterion_names": ["composite_criterion"],
                "args": {"composite_criterion": {"criterion_names": NAMES}},
            },
            "cannot be one of several",
        ),
    ],
)
def test_what_makes_no_composite(options, message, build):
    with pytest.raises(ValueError, match=message):
        build("composite_criterion", **options)


def test_a_criterion_with_its_own_forward_is_refused(build, monkeypatch):
    class Own(FairseqCriterion):
        def forward(self, model, sample, reduce=True):
            raise NotImplementedError

        @classmethod
        def build_criterion(cls, cfg, task):
            return cls(task)

    monkeypatch.setitem(CRITERION_REGISTRY, "own_of_a_test", Own)
    with pytest.raises(ValueError, match="own_of_a_test cannot be one of several"):
        build("composite_criterion", criterion_names=["own_of_a_test"])


def test_outputs_and_names_must_be_as_many(build):
    with pytest.raises(ValueError, match=r"gives 2 logits, but .* has 1 names"):
        build("composite_criterion", criterion_names=NAMES[:1])(Two(), two())


def test_configurations_of_other_criterions_are_named(build, caplog):
    with caplog.at_level(logging.WARNING):
        build("composite_criterion", criterion_names=NAMES[:1], args=ARGS)
    assert "criterion.args.binary_cross_entropy_with_logits has no effect" in caplog.text


def test_prefixes_go_behind_the_sign_of_a_private_metric():
    with metrics.aggregate(new_root=True) as meters:
        with prefixed("3_"):
            metrics.log_scalar("_right", 3)
            metrics.log_scalar("wrong", 1)
            metrics.log_derived(
                "share", lambda own: own["_right"].sum / own.get_smoothed_value("wrong")
            )
            assert metrics.get_active_aggregators()[0].__contains__("wrong")
        metrics.log_scalar("wrong", 7)
    assert meters.get_smoothed_values() == {"3_wrong": 1, "wrong": 7, "3_share": 3}


def test_a_resumed_run_goes_on_with_the_meters_of_fairseq_signals(build, shared):
    state = torch.load(shared / "golden" / "rest" / "unet_cgm.pt", weights_only=False)
    recorded = {name: values for _, name, _, values in state["extra_state"]["metrics"]["train"]}
    criterion = build("composite_criterion", criterion_names=NAMES, args=ARGS)
    log = criterion(Two(), two())[2]
    metrics.reset()
    metrics.load_state_dict(state["extra_state"]["metrics"])
    with metrics.aggregate("train") as meters:
        criterion.__class__.reduce_metrics([log])
    before = recorded["loss"]
    mean = (before["sum"] + log["loss"] / math.log(2)) / (before["count"] + 1)
    assert meters.get_smoothed_value("loss") == pytest.approx(mean, abs=6e-4)
    right = recorded["_0_correct"]["sum"] + log["0_correct"]
    assert meters.get_smoothed_value("0_accuracy") == pytest.approx(
        right / (recorded["_0_total"]["sum"] + 16), abs=6e-6
    )
    assert meters["_1_tp"].sum == recorded["_1_tp"]["sum"] + log["1_tp"]
    metrics.reset()
