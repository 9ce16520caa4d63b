"""Answers to questions: the loss over all of them, and measures of those that could be right."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

WITH_LOGITS = "binary_cross_entropy_with_logits"
KEYS = ["question_type1", "question_type2", "question_type3", "attribute_id"]
RECORDINGS = (
    *("m3ae_qa_1", "m3ae_qa_2", "m3ae_qa_2_none", "elt_1", "elt_2", "elt_2_none"),
    *("elt_from_medvill", "blind", "deaf", "deaf_none", "deaf_padded"),
    *("resnet_lstm", "resnet_lstm_none"),
)


class Answering(nn.Module):
    """Returns its input as logits of the answers."""

    def forward(self, ecg):
        return {"out": ecg}

    def get_logits(self, net_output):
        return net_output["out"]

    def get_targets(self, sample, net_output):
        return sample["answer"].float()


def recorded(path) -> tuple[dict, dict[str, np.ndarray]]:
    """A batch with the recorded logits as its input, and the recording."""
    arrays = dict(np.load(path))
    logits = torch.from_numpy(arrays["x" if "x" in arrays else "out"])
    valid = torch.from_numpy(arrays["valid_classes"]).split(arrays["valid_classes_sizes"].tolist())
    columns = {key: torch.from_numpy(arrays[key]) for key in ("id", "answer", *KEYS)}
    return {**columns, "valid_classes": list(valid), "net_input": {"ecg": logits}}, arrays


@pytest.fixture
def criterion(build):
    return build(WITH_LOGITS, report_auc=True, per_log_keys=KEYS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_loss_and_logs_are_those_of_fairseq_signals(shared, criterion, name):
    sample, arrays = recorded(shared / "golden" / "rest_text" / f"{name}.npz")
    loss, sample_size, log = criterion(Answering(), sample)
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-6)
    assert sample_size == arrays["sample_size"] == sample["answer"].numel()
    logged = [key.removeprefix("log/") for key in arrays if key.startswith("log/")]
    for key in logged:
        name, _, group = key.partition("/")
        found, prefix = log, ""
        if group:
            name, prefix = own_name(name, group)
        np.testing.assert_allclose(
            found[f"{prefix}{name}"], arrays[f"log/{key}"], rtol=1e-6, err_msg=key
        )
    assert len(logged) == len([key for key in log if key != "_label_counts"])


def own_name(name: str, group: str) -> tuple[str, str]:
    """What is logged of a group here: its name, and what stands in front of it."""
    key = next(key for key in KEYS if name.startswith(key))
    name = name.removeprefix(f"{key}_")
    hidden = "_" if name.startswith("y_") else ""
    return name, f"{hidden}{key}_{group}_"


@pytest.mark.parametrize("name", RECORDINGS)
def test_metrics_are_those_of_fairseq_signals(shared, criterion, validated, name):
    sample, arrays = recorded(shared / "golden" / "rest_text" / f"{name}.npz")
    stats = validated(criterion, [[criterion(Answering(), sample)[2]]])
    expected = {key.removeprefix("metric/"): arrays[key] for key in arrays if "metric/" in key}
    for key, value in expected.items():
        assert stats[key] == pytest.approx(float(value), rel=1e-9, nan_ok=True), key
    assert set(stats) - set(expected) == {"macro_auroc", "macro_auprc", "macro_f1"}


def made(n_questions=40, n_answers=6) -> dict:
    """A batch of made questions, each with some answers that could be right."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(n_questions, n_answers)))
    valid = [
        torch.from_numpy(np.sort(rng.choice(n_answers, rng.integers(1, 5), replace=False)))
        for _ in range(n_questions)
    ]
    answer = torch.zeros(n_questions, n_answers, dtype=torch.int64)
    for row, classes in zip(answer, valid, strict=True):
        row[classes[: rng.integers(0, 3)]] = 1
    return {
        "id": torch.arange(n_questions),
        "net_input": {"ecg": logits},
        "answer": answer,
        "valid_classes": valid,
        "question_type1": torch.from_numpy(rng.integers(0, 3, n_questions)),
        "attribute_id": torch.from_numpy(rng.integers(-1, 2, n_questions)),
    }


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_measures_are_of_the_answers_that_could_be_right(build, validated, average):
    """Written from the definitions, question by question, in float64."""
    sample = made()
    keys = ["question_type1", "attribute_id", "template_id"]  # no batch has the last one
    criterion = build(WITH_LOGITS, report_auc=True, auc_average=average, per_log_keys=keys)
    loss, sample_size, log = criterion(Answering(), sample)
    stats = validated(criterion, [[log]])
    x, y = sample["net_input"]["ecg"].numpy(), sample["answer"].numpy()
    terms = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0) - x * y
    assert loss.item() == pytest.approx(terms.sum(), rel=1e-6)
    assert sample_size == x.size
    assert stats["loss"] == round(terms.sum() / x.size / math.log(2), 3)

    def entries(rows):
        return np.concatenate(
            [
                np.stack([classes, y[row, classes], 1 / (1 + np.exp(-x[row, classes]))], axis=1)
                for row, classes in ((row, sample["valid_classes"][row].numpy()) for row in rows)
            ]
        )

    def areas(rows):
        of_class, true, score = entries(rows).T
        groups = [of_class == c for c in np.unique(of_class)] if average == "macro" else [true >= 0]
        mixed = [g for g in groups if 0 < true[g].sum() < g.sum()]
        roc = [roc_auc_score(true[g], score[g]) for g in mixed]
        pr = [average_precision_score(true[g], score[g]) if true[g].any() else 0.0 for g in groups]
        return np.mean(roc) if roc else math.nan, np.mean(pr)

    def exact(rows):
        return np.mean([_is_right(x[row], y[row], sample["valid_classes"][row]) for row in rows])

    everyone = range(len(x))
    _, true, score = entries(everyone).T
    assert stats["accuracy"] == round(float(((score > 0.5) == (true > 0.5)).mean()), 5)
    assert stats["em_accuracy"] == round(float(exact(everyone)), 5)
    assert (stats["auroc"], stats["auprc"]) == pytest.approx(areas(everyone))
    for key in keys[:2]:
        ids = sample[key].numpy()
        for group in set(ids.tolist()) - {-1}:
            rows = np.flatnonzero(ids == group)
            assert stats[f"{key}_{group}_em_accuracy"] == round(float(exact(rows)), 5)
            found = stats[f"{key}_{group}_auroc"], stats[f"{key}_{group}_auprc"]
            assert found == pytest.approx(areas(rows), nan_ok=True)
    assert not [key for key in stats if "-1" in key or "template_id" in key]


def _is_right(x: np.ndarray, y: np.ndarray, classes: torch.Tensor) -> bool:
    return all((x[c] > 0) == (y[c] == 1) for c in classes.tolist())


def test_questions_without_answers_that_could_be_right(build):
    criterion = build(WITH_LOGITS, report_auc=True)
    empty = torch.empty(0, dtype=torch.int64)
    sample = made(3) | {"valid_classes": [empty, torch.tensor([2]), empty]}
    log = criterion(Answering(), sample)[2]
    assert (log["count"], log["em_count"]) == (1, 3)
    assert len(log["_y_true"]) == 1


def test_the_gradient_is_that_of_the_loss(build):
    criterion, sample = build(WITH_LOGITS), made(4, 5)

    def loss(logits):
        return criterion.loss(logits, sample["answer"].double())

    logits = sample["net_input"]["ecg"].requires_grad_()
    assert torch.autograd.gradcheck(loss, logits)


def test_keys_of_older_configs_have_no_effect(build):
    sample = made()
    older = build(WITH_LOGITS, multi_class_multi_label=True, per_log_keys=["question_type"])
    assert older(Answering(), sample)[2].keys() == build(WITH_LOGITS)(Answering(), sample)[2].keys()
