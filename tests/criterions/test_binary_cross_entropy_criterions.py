import argparse
import json
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY, build_criterion
from fairseq.logging import metrics
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.criterions.echo import LABELS, LOGITS, Echo, batch

WITH_LOGITS = "binary_cross_entropy_with_logits"
PLAIN = "binary_cross_entropy"
MULTI_HEAD = "multi_head_binary_cross_entropy"

POS_WEIGHT_SMALL = [1.5, 2.0, 3.0, 2.5, 1.0, 1.0, 4.0, 0.5]


def test_reference_values(build, validated):
    criterion = build(WITH_LOGITS, pos_weight=[2, 1, 0.5], report_auc=True)
    loss, sample_size, log = criterion(Echo(), batch())
    assert loss.item() == pytest.approx(3.8755271, abs=1e-6)
    assert sample_size == 6
    assert (log["tp"], log["fp"], log["fn"]) == (3, 1, 0)
    assert (log["em_correct"], log["em_count"], log["correct"], log["count"]) == (1, 2, 5, 6)
    stats = validated(criterion, [[log]])
    assert {key: stats[key] for key in ("loss", "accuracy", "em_accuracy")} == {
        "loss": 0.932,
        "accuracy": 0.83333,
        "em_accuracy": 0.5,
    }
    assert (stats["precision"], stats["recall"]) == (0.75, 1.0)
    assert stats["f1"] == pytest.approx(0.857142857, abs=1e-9)
    assert stats["auroc"] == pytest.approx(0.7777777778, abs=1e-10)
    assert stats["auprc"] == pytest.approx(0.8055555556, abs=1e-10)


@pytest.mark.parametrize("name", ["diagnosis_small", "diagnosis_small_padded"])
def test_recorded_loss(shared, build, name):
    recording = np.load(shared / "golden" / f"{name}.npz")
    criterion = build(WITH_LOGITS, pos_weight=POS_WEIGHT_SMALL, report_auc=True).train()
    sample = batch(torch.from_numpy(recording["out"]), torch.from_numpy(recording["label"]))
    loss, sample_size, log = criterion(Echo(), sample)
    assert loss.item() == pytest.approx(float(recording["loss"]), rel=2e-7)
    assert sample_size == recording["sample_size"]
    expected = {k.removeprefix("log/"): float(recording[k]) for k in recording if "log/" in k}
    assert log == pytest.approx(expected, rel=2e-7)
    assert {type(value) for value in log.values()} == {int, float}


@pytest.mark.parametrize("batch_size", [14, 4])
def test_recorded_metrics(shared, build, validated, batch_size):
    folder = shared / "golden" / "extract_small"
    out, target = (
        torch.from_numpy(np.fromfile(folder / f"{name}_test.npy", np.float32).reshape(14, 8))
        for name in ("outputs", "targets")
    )
    criterion = build(WITH_LOGITS, pos_weight=POS_WEIGHT_SMALL, report_auc=True)
    logs = [
        criterion(Echo(), batch(out[i : i + batch_size], target[i : i + batch_size]))[2]
        for i in range(0, 14, batch_size)
    ]
    stats = validated(criterion, [logs])
    expected = json.loads((folder / "metrics.json").read_text())
    # fairseq_signals printed 6 significant digits.
    assert {key: float(f"{stats[key]:g}") for key in expected} == expected
    assert set(stats) - set(expected) == {"macro_auroc", "macro_auprc", "macro_f1"}
    both = (target.min(dim=0).values < target.max(dim=0).values).numpy()
    target, out = target.numpy()[:, both], out.numpy()[:, both]
    assert stats["macro_auroc"] == pytest.approx(roc_auc_score(target, out))
    assert stats["macro_auprc"] == pytest.approx(average_precision_score(target, out))
    assert stats["macro_f1"] == pytest.approx(f1_score(target, out > 0, average="macro"))
    assert validated(criterion, [[log] for log in logs])["auroc"] == stats["auroc"]


def test_training_gathers_no_arrays(build):
    criterion = build(WITH_LOGITS, report_auc=True)
    private = [key for key in criterion(Echo(), batch())[2] if key.startswith("_")]
    assert sorted(private) == ["_label_counts", "_y_score", "_y_true"]
    assert not [k for k in criterion.train()(Echo(), batch())[2] if k.startswith("_")]


def test_logging_outputs_are_small_numbers_and_arrays(build, tmp_path):
    criterion = build(WITH_LOGITS, report_auc=True)
    log = criterion(Echo(), batch())[2]
    again = pickle.loads(pickle.dumps(log))
    for key, value in log.items():
        assert type(value) in ((np.ndarray,) if key.startswith("_") else (int, float))
        assert np.array_equal(again[key], value)
    metrics.reset()
    with metrics.aggregate("valid"), metrics.aggregate():
        criterion.reduce_metrics([log])
    torch.save(metrics.state_dict(), tmp_path / "metrics.pt")
    assert "valid" in torch.load(tmp_path / "metrics.pt", weights_only=True)
    metrics.reset()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_is_computed_in_float32(build, dtype):
    criterion = build(WITH_LOGITS, pos_weight=[2.001, 1, 0.5]).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, log = criterion(Echo(), batch(LOGITS.to(dtype)))
    reference = build(WITH_LOGITS, pos_weight=[2.001, 1, 0.5])
    assert loss.dtype == torch.float32
    assert log["loss"] == reference(Echo(), batch(LOGITS.to(dtype).float()))[2]["loss"]


def test_weight_scales_the_loss_of_each_label(build):
    each = binary_cross_entropy_with_logits(LOGITS, LABELS.float(), reduction="none")
    expected = (each * torch.tensor([1.0, 2, 3])).sum().item()
    for name in (WITH_LOGITS, PLAIN):
        loss = build(name, weight=[1, 2, 3])(Echo(), batch())[0]
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_threshold_decides_what_is_predicted(build):
    log = build(WITH_LOGITS, threshold=0.7)(Echo(), batch())[2]
    assert (log["tp"], log["fp"], log["fn"]) == (1, 1, 2)


def test_an_infinite_pos_weight_is_refused(build):
    """As `prepare labels` writes it of a label without positives in the training split."""
    with pytest.raises(ValueError, match=r"inf for the labels \[0, 2\] .* --columns"):
        build(WITH_LOGITS, pos_weight=[float("inf"), 1, float("inf")])


@pytest.mark.parametrize("option", ["weight", "pos_weight"])
def test_weights_of_another_number_of_labels(build, option):
    with pytest.raises(ValueError, match=rf"criterion\.{option} has 2 values, .* 3 labels"):
        build(WITH_LOGITS, **{option: [1, 2]})(Echo(), batch())


def test_lists_of_labels_are_stacked(build):
    criterion = build(WITH_LOGITS)
    reference = criterion(Echo(), batch())[2]
    log = criterion(Echo(), batch(label=[row[None] for row in LABELS]))[2]
    assert log.keys() == reference.keys()
    assert log["loss"] == reference["loss"]
    with pytest.raises(ValueError, match=r"different numbers of labels: \[2, 3\]"):
        criterion(Echo(), batch(label=[LABELS[0], LABELS[1, :2]]))


def test_labels_of_another_shape(build):
    with pytest.raises(ValueError, match=r"\(2, 2\) for logits of shape \(2, 3\)"):
        build(WITH_LOGITS)(Echo(), batch(label=LABELS[:, :2]))


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_valid_classes_restrict_what_is_counted(build, validated, average):
    criterion = build(WITH_LOGITS, report_auc=True, auc_average=average)
    reference = criterion(Echo(), batch())
    sample = batch(valid_classes=[[0, 2], torch.tensor([1])])
    loss, sample_size, log = criterion(Echo(), sample)
    assert (loss.item(), sample_size) == (reference[0].item(), 6)
    assert (log["correct"], log["count"]) == (3, 3)
    assert (log["em_correct"], log["em_count"]) == (2, 2)
    assert (log["tp"], log["fp"], log["fn"]) == (3, 0, 0)
    np.testing.assert_allclose(log["_y_score"], LOGITS.sigmoid()[[0, 0, 1], [0, 2, 1]])
    assert log["_y_true"].tolist() == [1, 1, 1]
    assert log["_label_counts"][0].tolist() == [1, 1, 1]
    if average == "macro":
        assert log["_y_class"].tolist() == [0, 2, 1]
    else:
        assert "_y_class" not in log
    stats = validated(criterion, [[log]])
    assert ("macro_auroc" in stats) == (average == "macro")
    assert math.isnan(stats["auroc"])
    assert stats["auprc"] == 1


def test_groups_of_records_are_reported_apart(build, validated):
    logits = torch.cat([LOGITS, LOGITS, -LOGITS])
    labels = torch.cat([LABELS, LABELS, LABELS])
    ids = torch.tensor([0, 0, -1, 4, 4, 4])
    criterion = build(WITH_LOGITS, report_auc=True, per_log_keys=["question_type1"])
    log = criterion(Echo(), batch(logits, labels, question_type1=ids))[2]
    assert log["question_type1_0_em_count"] == 2
    assert log["question_type1_4_em_count"] == 3
    assert log["question_type1_4_tp"] == 1
    assert not [key for key in log if "-1" in key]
    stats = validated(criterion, [[log], [log]])
    assert stats["question_type1_0_em_accuracy"] == 0.5
    assert stats["question_type1_4_em_accuracy"] == 0.0
    scores = LOGITS.sigmoid().numpy()
    expected = [average_precision_score(LABELS[:, i], scores[:, i]) for i in range(3)]
    assert stats["question_type1_0_auprc"] == pytest.approx(np.mean(expected))
    assert {"question_type1_0_auroc", "question_type1_4_auroc"} < set(stats)
    in_training = criterion.train()(Echo(), batch(logits, labels, question_type1=ids))[2]
    assert "question_type1_0_em_count" in in_training
    assert not [key for key in in_training if key.startswith("_")]


def test_metrics_without_any_positive_are_nan_and_quiet(build, validated):
    criterion = build(WITH_LOGITS, report_auc=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = criterion(Echo(), batch(-LOGITS.abs(), torch.zeros(2, 3)))[2]
        stats = validated(criterion, [[log]])
    assert stats["accuracy"] == 1
    for name in ("precision", "recall", "f1", "auroc", "macro_auroc", "macro_f1"):
        assert math.isnan(stats[name])


def test_probabilities_criterion(build, validated):
    criterion = build(PLAIN, report_auc=True, threshold=0.9)
    loss, sample_size, log = criterion(Echo(), batch())
    expected = binary_cross_entropy_with_logits(LOGITS, LABELS.float(), reduction="sum").item()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert sample_size == 3
    assert [log[key] for key in ("correct", "count", "tp", "fp", "tn", "fn")] == [5, 6, 3, 1, 2, 0]
    stats = validated(criterion, [[log]])
    assert stats["loss"] == round(log["loss"] / 3 / math.log(2), 3)
    assert (stats["accuracy"], stats["recall"]) == (0.83333, 1.0)
    assert stats["auroc"] == pytest.approx(0.7777777778, abs=1e-10)
    assert not {"precision", "f1"} & set(stats)


def test_multi_head_averages_heads(build, validated):
    logits = torch.tensor([[0.5, -1, 2, 9], [1.5, 0.3, -2, 9], [-0.7, 0.1, 0.2, 9]])
    heads = [torch.tensor([0, 2]), torch.tensor([0]), torch.tensor([1, 0])]
    label = [torch.tensor([1, 0]), torch.tensor([0]), torch.tensor([1, 0])]
    attribute = [np.array([5, 6]), np.array([5]), np.array([-1])]
    criterion = build(
        MULTI_HEAD, report_auc=True, log_per_class=True, per_log_keys=["attribute_id"]
    )
    sample = batch(logits, label, target_idx=heads, attribute_id=attribute)
    loss, sample_size, log = criterion(Echo(), sample)

    def term(x, y):
        return math.log1p(math.exp(-x if y else x))

    per_head = [
        (term(0.5, 1) + term(1.5, 0) + term(-0.7, 0)) / 3,
        term(0.1, 1),
        term(2, 0),
    ]
    assert loss.item() == pytest.approx(sum(per_head) / 3, rel=1e-6)
    assert sample_size == 1
    assert (log["correct"], log["count"]) == (3, 5)
    stats = validated(criterion, [[log]])
    assert stats["accuracy"] == 0.6
    assert stats["cls_0_accuracy"] == 0.66667
    assert (stats["cls_1_accuracy"], stats["cls_2_accuracy"]) == (1.0, 0.0)
    assert (stats["attribute_id_5_accuracy"], stats["attribute_id_6_accuracy"]) == (0.5, 0.0)
    scores, true = [0.5, 2, 1.5, 0.1, -0.7], [1, 0, 0, 1, 0]
    assert stats["auroc"] == pytest.approx(roc_auc_score(true, scores))
    assert stats["auprc"] == pytest.approx(average_precision_score(true, scores))
    assert stats["cls_0_auroc"] == 0.5
    assert not [key for key in stats if key.startswith("macro")]
    # An id of -1 is one as any other, unlike that of a recording.
    assert (log["attribute_id_-1_count"], stats["attribute_id_-1_accuracy"]) == (2, 1.0)
    assert math.isnan(stats["attribute_id_6_auroc"])  # no positive
    assert stats["attribute_id_6_auprc"] == 0
    assert math.isnan(stats["cls_1_auroc"])  # no negative
    assert stats["cls_1_auprc"] == 1

    sample["label"][0] = torch.tensor([1])
    with pytest.raises(ValueError, match=r"\[1, 1, 2\] for \[2, 1, 2\]"):
        criterion(Echo(), sample)


def test_multi_head_training_logs_counts_alone(build):
    criterion = build(MULTI_HEAD, report_auc=True, weight=[2, 1, 1]).train()
    sample = batch(LOGITS, LABELS[:, :1], target_idx=torch.tensor([[0], [0]]))
    loss, _, log = criterion(Echo(), sample)
    assert set(log) == {"loss", "nsignals", "sample_size", "correct", "count"}
    unweighted = build(MULTI_HEAD)(Echo(), sample)[0]
    assert loss.item() == pytest.approx(2 * unweighted.item())


OWN = [
    name
    for name, cls in CRITERION_DATACLASS_REGISTRY.items()
    if cls.__module__.startswith("fairseq_ecg")
]


def test_names_that_are_registered():
    assert {name: CRITERION_REGISTRY[name].__name__ for name in OWN} == {
        "wav2vec2": "Wav2Vec2Criterion",
        "wav2vec2_with_cmsc": "Wav2Vec2WithCMSCCriterion",
        "cmsc": "CMSCCriterion",
        "clocs": "CMSCCriterion",
        "simclr": "SimCLRCriterion",
        "3kg": "ThreeKGCriterion",
        PLAIN: "BinaryCrossEntropyCriterion",
        WITH_LOGITS: "BinaryCrossEntropyWithLogitsCriterion",
        MULTI_HEAD: "MultiHeadBinaryCrossEntropyCriterion",
        "mse": "MSECriterion",
        "focal_loss": "FocalLossCriterion",
        "asymmetric_loss": "AsymmetricLossCriterion",
        "regression": "RegressionCriterion",
        "cross_entropy": "CrossEntropyCriterion",
        "composite_criterion": "CompositeCriterion",
        "arcface": "ArcFaceCriterion",
        "m3ae": "M3AECriterion",
        "ecg_text_clip": "ECGTextCLIPCriterion",
        "medvill": "MedViLLCriterion",
    }


@pytest.mark.parametrize("name", OWN)
def test_every_option_is_explained_and_parsed(name):
    config = CRITERION_DATACLASS_REGISTRY[name]
    for option in config.__dataclass_fields__.values():
        assert option.name == "_name" or option.metadata["help"]
    parser = argparse.ArgumentParser()
    CRITERION_REGISTRY[name].add_args(parser)
    arguments = ["--nonfinite-loss", "skip"]
    if "criterion_names" in config.__dataclass_fields__:
        arguments += ["--criterion-names", "['cross_entropy']"]
    parsed = config.from_namespace(parser.parse_args(arguments))
    cfg = OmegaConf.structured(parsed)
    cfg._name = name
    assert build_criterion(cfg, None).skips_nonfinite


def test_lists_are_parsed_from_the_command_line():
    parser = argparse.ArgumentParser()
    CRITERION_REGISTRY[WITH_LOGITS].add_args(parser)
    parsed = parser.parse_args(["--pos-weight", "1.5,2", "--per-log-keys", "['attribute_id']"])
    assert parsed.pos_weight == [1.5, 2.0]
    assert parsed.per_log_keys == ["attribute_id"]


def test_published_configs_build(shared):
    published = json.loads((shared / "published" / "fairseq_signals_configs.json").read_text())
    criterions = [config["criterion"] for config in published.values() if "criterion" in config]
    built = 0
    for cfg in criterions:
        if cfg["_name"] not in OWN:
            continue
        assert (
            type(build_criterion(OmegaConf.create(cfg), None)) is CRITERION_REGISTRY[cfg["_name"]]
        )
        built += 1
    assert built > 20


def test_criterion_of_a_checkpoint_builds(shared):
    for name in ("pretrain_small", "diagnosis_small"):
        state = torch.load(shared / "golden" / f"{name}.pt", weights_only=False)
        cfg = OmegaConf.create(state["cfg"])
        criterion = build_criterion(cfg.criterion, None)
        assert type(criterion).__name__ == state["optimizer_history"][-1]["criterion_name"]
