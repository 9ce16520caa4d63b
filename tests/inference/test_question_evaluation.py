"""Scores of answers: against scikit-learn, and against what validation logs."""

import csv
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from fairseq_ecg import load_model
from fairseq_ecg.cli import main
from fairseq_ecg.data.question_types import type_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.inference.question_evaluation import evaluate_questions, score_questions
from fairseq_ecg.modules.text import TEXT_NETWORKS
from tests.conftest import USER_DIR
from tests.ecg_qa import CLASSES, make_ecg_qa
from tests.text_networks import TinyTextNetwork, tiny_text_checkpoint

NAMES = [name for name in CLASSES if name != "none"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    TEXT_NETWORKS["tiny_text"] = TinyTextNetwork
    yield
    del TEXT_NETWORKS["tiny_text"]


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    made = make_ecg_qa(folder)
    made.prepare(folder / "data")
    return folder / "data", made.vocabulary


@pytest.fixture(scope="module")
def checkpoint(registered, questions, tmp_path_factory):
    tokenizer = Tokenizer.load(questions[1])
    notes = {
        "sample_rate": 500.0,
        "segment_seconds": 2.5,
        "labels": NAMES,
        "vocabulary": tokenizer.vocabulary,
        "lower_case": True,
    }
    sizes = {"num_labels": len(NAMES), "vocab_size": len(tokenizer), "max_text_size": 64}
    path = tmp_path_factory.mktemp("network") / "qa.pt"
    return tiny_text_checkpoint(path, notes, num_ecgs=2, **sizes)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, valid = rng.random((60, 4)) < 0.4, rng.random((60, 4)) < 0.7
    truth[:, 3] = False
    probabilities = rng.random((60, 4)).round(2)
    groups = {"question_type1": ["single"] * 30 + ["comparison_consecutive"] * 30}
    scores = score_questions(truth.astype(int), probabilities, valid, groups)
    chosen = {"all": slice(None), "single": slice(30), "comparison_consecutive": slice(30, None)}
    assert [score.name for score in scores.scores] == list(chosen)
    for score, rows in zip(scores.scores, chosen.values(), strict=True):
        y, p, v = truth[rows], probabilities[rows], valid[rows]
        right = (p > 0.5) == y
        assert score.exact_match == pytest.approx((right | ~v).all(axis=1).mean())
        assert score.accuracy == pytest.approx(right[v].mean())
        each = [(y[v[:, c], c], p[v[:, c], c]) for c in range(4)]
        aurocs = [roc_auc_score(*pair) for pair in each[:3]]
        assert score.auroc == pytest.approx(np.mean(aurocs), abs=1e-12)
        auprcs = [*(average_precision_score(*pair) for pair in each[:3]), 0]
        assert score.auprc == pytest.approx(np.mean(auprcs), abs=1e-12)


def test_nothing_could_be_right():
    scores = score_questions(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), bool), {})
    assert scores.scores[0].exact_match == 1
    assert np.isnan([scores.scores[0].accuracy, scores.scores[0].auroc]).all()


def test_types_have_names():
    names = type_names(6 * (3 * 1 + 2) + 4)
    assert list(names.values()) == [
        "comparison_consecutive",
        "comparison_consecutive-query",
        "comparison_consecutive-query, heart_axis",
        "heart_axis",
    ]
    assert type_names(54) == {"question_type3": "54"}


@pytest.mark.parametrize("batch_size", [7, 64])
def test_prepared_questions(batch_size, checkpoint, questions):
    model = load_model(checkpoint, device="cpu")
    found = evaluate_questions(model, questions[0] / "test.tsv", batch_size)
    whole = found.scores[0]
    assert whole.questions == sum(score.questions for score in found.of("question_type1").values())
    assert set(found.of("question_type1")) == {
        "single", "comparison_consecutive", "comparison_irrelevant",
    }  # fmt: skip
    assert "single-verify" in found.of("question_type2")
    assert "single-verify, noise" in found.of("question_type3")
    assert set(found.of("attribute_type")) > {"scp_code", "noise", "numeric_feature"}
    attributes = found.of("attribute")
    assert {"static noise", "sinus tachycardia"} < set(attributes)
    assert attributes["static noise"].questions == 4


def test_the_command(checkpoint, questions, tmp_path, capsys):
    manifest, out = questions[0] / "test.tsv", tmp_path / "scores.csv"
    assert main(["evaluate", str(checkpoint), str(manifest), f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "by attribute type" in printed
    rows = list(csv.DictReader(out.open()))
    found = evaluate_questions(load_model(checkpoint, device="cpu"), manifest, 64)
    assert [row["name"] for row in rows] == [score.name for score in found.scores]
    assert float(rows[0]["exact_match"]) == pytest.approx(found.scores[0].exact_match)
    with pytest.raises(SystemExit):
        main(["evaluate", str(checkpoint), str(manifest), "--baseline=untrained"])


def test_other_answers_are_refused(questions, tmp_path):
    notes = {"vocabulary": Tokenizer.load(questions[1]).vocabulary, "labels": ["a", "b"]}
    sizes = {"num_labels": 2, "vocab_size": 1000, "max_text_size": 64, "num_ecgs": 2}
    model = load_model(tiny_text_checkpoint(tmp_path / "qa.pt", notes, **sizes), device="cpu")
    with pytest.raises(DataError, match="answers, the network knows 2"):
        evaluate_questions(model, questions[0] / "test.tsv", 8)


NETWORK = (
    *("model.encoder_layers=1", "model.encoder_embed_dim=16", "++model.num_ecgs=2"),
    *("+model.encoder_ffn_embed_dim=16", "+model.encoder_attention_heads=2"),
    *("+model.conv_feature_layers='[(8, 4, 4)] * 3'", "+model.conv_pos=4"),
    *("+model.conv_pos_groups=2", "+model.load_bert_embedding=false", "+model.vocab_size=300"),
)


@pytest.fixture(scope="module")
def trained(questions, hydra_train, tmp_path_factory):
    """A network that attends to padding, two updates old."""
    folder = tmp_path_factory.mktemp("trained")
    hydra_train(
        USER_DIR,
        "--config-name=ecg_transformer_qa_small",
        f"task.data={questions[0]}",
        f"+task.tokenizer={questions[1]}",
        f"model.num_labels={len(NAMES)}",
        *NETWORK,
        *("optimization.max_update=2", "optimization.update_freq=[1]", "optimization.lr=[0.01]"),
        *("dataset.num_workers=0", "dataset.valid_subset=valid"),
        f"checkpoint.save_dir={folder}",
        cwd=folder,
    ).check()
    return folder / "checkpoint_last.pt"


def test_numbers_are_those_of_validation(trained, questions, hydra_validate):
    said = hydra_validate(
        USER_DIR,
        "--config-name=infer_question_answering",
        f"task.data={questions[0]}",
        f"common_eval.path={trained}",
        *("dataset.num_workers=0", "dataset.batch_size=16", "common.log_format=simple"),
        cwd=trained.parent,
    ).check()
    measured = {
        name: float(value) for name, value in re.findall(r" (\w+) ([-0-9.e]+|nan)", said.log)
    }
    found = evaluate_questions(load_model(trained, device="cpu"), questions[0] / "test.tsv", 16)
    whole = found.scores[0]
    for name, value in (
        ("em_accuracy", whole.exact_match),
        ("accuracy", whole.accuracy),
        ("auroc", whole.auroc),
        ("auprc", whole.auprc),
    ):
        assert value == pytest.approx(measured[name], abs=1e-5), name
    names = {type_names(6 * number)["question_type2"]: number for number in range(9)}
    for name, score in found.of("question_type2").items():
        prefix = f"question_type2_{names[name]}"
        assert score.exact_match == pytest.approx(measured[f"{prefix}_em_accuracy"], abs=1e-5)
        assert score.auroc == pytest.approx(measured[f"{prefix}_auroc"], abs=1e-5, nan_ok=True)
        assert score.auprc == pytest.approx(measured[f"{prefix}_auprc"], abs=1e-5)


def test_a_trained_network_is_asked(trained, questions):
    """The checkpoint says all that is needed: vocabulary, answers, rate and length."""
    model = load_model(trained, device="cpu")
    assert model.labels == tuple(NAMES)
    assert model.preprocessing.segment_seconds == 2.5
    record = questions[0].parent / "ptbxl" / "records500" / "00000" / "00001_hr"
    text = "Does this ECG show symptoms of sinus tachycardia?"
    answers = model.answer(record, text, choices=["yes", "no"])
    batch = model.tokens([text])
    prepared = next(iter(model.preprocessing.segments(read_ecg(record))))
    right = model.answer_probabilities(prepared[None], batch.ids, None, batch.padding_mask)
    columns = [NAMES.index(name) for name in ("yes", "no")]
    np.testing.assert_allclose(answers.of_recordings, right[:, columns], rtol=0, atol=1e-6)
