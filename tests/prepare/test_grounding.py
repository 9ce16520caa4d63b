"""What questions and answers say of ECGs, and the files of it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.data import SOURCES, VIEWS, ECGDataset
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.data.targets import HeadsTarget, StoredLabels
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.ecg_qa.grounding import prepare_grounding
from fairseq_ecg.prepare.ecg_qa.project import Question
from fairseq_ecg.prepare.ecg_qa.statements import LEAD_GROUPS, statements
from tests.ecg_qa import make_ecg_qa, write_questions

LVH = "voltage criteria (qrs) for left ventricular hypertrophy"
NOISES = ["baseline drift", "static noise"]
RANGES = ["above the normal range of rr interval", "within the normal range of rr interval"]
MI, OLD = "myocardial infarction", "unknown stage of myocardial infarction"
LIMB = ["lead I", "lead II", "lead III", "lead aVR", "lead aVL", "lead aVF"]


def question(form, text, answers, attributes):
    return Question(
        where="00000.json, entry 1",
        ecg_ids=(1,),
        ecg_paths=(),
        template=1,
        relation="single",
        form=form,
        attribute_type="scp_code",
        text=text,
        answers=tuple(answers),
        attributes=tuple(attributes),
    )


@pytest.mark.parametrize(
    ("form", "text", "answers", "attributes", "said"),
    [
        ("verify", "Is there noise?", ["yes"], ["noise"], [("noise", "entire", True)]),
        ("verify", "Is there noise?", ["not sure"], ["noise"], []),
        ("verify", "Noise in lead V1?", ["no"], ["noise"], [("noise", "lead V1", False)]),
        ("verify", "Noise in lead aVL?", ["no"], ["noise"], [("noise", "lead aVL", False)]),
        ("verify", "Noise in chest leads?", ["no"], ["noise"], [("noise", "chest leads", False)]),
        ("verify", "excluding uncertain symptoms", ["no"], ["x"], []),
        ("verify", "excluding uncertain symptoms", ["yes"], ["x"], [("x", "entire", True)]),
        ("verify", "including uncertain symptoms", ["yes"], ["x"], []),
        ("verify", "including uncertain symptoms", ["no"], ["x"], [("x", "entire", False)]),
        ("verify", "x (y) in septal leads?", ["no"], ["x (y)"], [("x (y)", "septal leads", False)]),
        ("verify", "Is x in diffuse leads?", ["yes"], ["x"], [("x", "entire", True)]),
        ("verify", "Is y in septal leads?", ["yes"], ["x"], [("x", "entire", True)]),
        (
            *("verify", "MI?", ["yes"], ["myocardial infarction in inferolateral leads"]),
            [(MI, "inferolateral leads", True)],
        ),
        (
            *("verify", "MI?", ["yes"], ["Myocardial infarction in anterior leads"]),
            [(MI, "anterior leads", True)],
        ),
        (
            *("verify", "low?", ["yes"], ["low qrs voltages in the frontal and horizontal leads"]),
            [("low qrs voltages in the frontal and horizontal leads", "entire", True)],
        ),
        (
            *("verify", "in the normal range of 1", ["yes"], ["x in lateral leads"]),
            [("x in lateral leads", "entire", True)],
        ),
        ("choose", "Which?", ["none"], NOISES, [(each, "entire", False) for each in NOISES]),
        (
            *("choose", "Which in lead II?", [NOISES[1]], NOISES),
            [(NOISES[0], "lead II", False), (NOISES[1], "lead II", True)],
        ),
        (
            *("choose", "Range, above the normal range?", ["within the normal range"], RANGES),
            [(RANGES[0], "entire", False), (RANGES[1], "entire", True)],
        ),
        ("choose", "excluding uncertain symptoms", ["none"], NOISES, []),
        (
            *("choose", "excluding uncertain symptoms", NOISES[:1], NOISES),
            [(NOISES[0], "entire", True)],
        ),
        (
            *("choose", "including uncertain symptoms", NOISES[:1], NOISES),
            [(NOISES[1], "entire", False)],
        ),
        (
            *("query", "What leads are it?", ["lead II", "lead V6"], ["x"]),
            [("x", lead, lead in ("lead II", "lead V6")) for lead in list(LEAD_GROUPS)[3:15]],
        ),
        (
            *("query", "What leads are it?", LIMB, [LVH]),
            [(LVH, "limb leads", True), (LVH, "chest leads", False)],
        ),
        ("query", "What in lead V3?", ["y"], ["x", "y"], [
            ("x", "lead V3", False), ("y", "lead V3", True)]),
        ("query", "What stage?", [OLD], ["x", OLD], []),
        ("query", "What stage?", ["x"], ["x", OLD], [("x", "entire", True)]),
        (
            *("query", "What range is it?", ["above the normal range"], RANGES),
            [(RANGES[0], "entire", True), (RANGES[1], "entire", False)],
        ),
        (
            *("query", "What numeric features fall?", ["rr interval"], [RANGES[0], "above of qt"]),
            [(RANGES[0], "entire", True), ("above of qt", "entire", False)],
        ),
        ("query", "What symptoms?", ["y"], ["x", "y"], [
            ("x", "entire", False), ("y", "entire", True)]),
    ],
)  # fmt: skip
def test_statements(form, text, answers, attributes, said):
    asked = question(form, text, answers, attributes)
    assert list(statements(asked, verified_only=False)) == said
    assert list(statements(asked, verified_only=True)) == (said if form == "verify" else [])


@pytest.mark.parametrize(
    ("attributes", "answers", "message"),
    [
        ([], ["yes"], "has no 'attribute'"),
        (["x"], [], "has no 'answer'"),
        (["x", "y"], ["yes"], "verifies 2 attributes"),
    ],
)
def test_questions_that_say_nothing(attributes, answers, message):
    with pytest.raises(DataError, match=f"^00000.json, entry 1: {message}"):
        list(statements(question("verify", "?", answers, attributes), verified_only=True))


@pytest.fixture
def made(tmp_path):
    return make_ecg_qa(tmp_path)


def prepare(made, folder, **options):
    return prepare_grounding(made.questions, folder, ecg_root=made.ptb_xl, **options)


def ask(made, split, *asked, ecg_id=1):
    """Have these questions only in a split: text, answer and attribute of each."""
    for path in (made.questions / "template" / split).iterdir():
        path.unlink()
    entries = [
        {
            "template_id": 1,
            "question_type": "single-verify",
            "attribute_type": "scp_code",
            "ecg_id": [ecg_id],
            "question": text,
            "answer": [answer],
            "attribute": [attribute],
        }
        for text, answer, attribute in asked
    ]
    path = made.questions / "template" / split / "00000.json"
    write_questions(path, entries)
    return path


def variables(path):
    return {key: value for key, value in scipy.io.loadmat(path).items() if key[0] != "_"}


def test_the_files(made, tmp_path):
    folder = tmp_path / "out"
    written = prepare(made, folder)
    classes = read_label_names(folder / "label_def.csv")
    table = pd.read_csv(folder / "grounding_class.csv")
    assert list(table) == ["index", "class"]
    assert table["class"].tolist() == classes == sorted(classes)
    lines = (folder / "train.tsv").read_text().splitlines()
    assert lines[0] == str((folder / "train").resolve())
    names = [line.split("\t")[0] for line in lines[1:]]
    assert {line.split("\t")[1] for line in lines[1:]} == {"1250"}
    assert len(names) == written.counts["train"] == len(set(names))
    keys = [tuple(map(int, re.findall(r"\d+", name))) for name in names if "entire" not in name]
    assert keys == sorted(keys)
    found = variables(folder / "train" / "8_7.mat")  # number 7: fast, tall, noisy
    assert found["lead"].tolist() == [[7]]
    assert found["lead"].dtype == found["label"].dtype == np.int64
    noise = classes.index("static noise")
    assert (found["target_idx"].tolist(), found["label"].tolist()) == ([[noise]], [[1]])
    np.testing.assert_array_equal(found["attribute_id"], found["target_idx"])
    assert found["ecg_path"].tolist() == [f"{made.ptb_xl}/records500/00000/00008_hr"]
    whole = variables(folder / "train" / "8_entire.mat")
    labels = {
        classes[target]: label
        for target, label in zip(whole["target_idx"][0], whole["label"][0], strict=True)
    }
    assert labels["sinus tachycardia"] == 1
    assert labels["rr interval within the normal range"] == 0
    assert whole["target_idx"][0].tolist() == sorted(whole["target_idx"][0])
    assert list(found) == ["ecg_path", "lead", "target_idx", "label", "attribute_id"]


def test_where_questions_contradict_one_another(made, tmp_path):
    ask(made, "test", ("Q?", "yes", "ischemic"), ("Q?", "yes", MI))
    less_certain = ("Q in lead I?", "yes", "myocardial infarction in lateral leads")
    certain = ("R in lead I?", "no", MI)
    ask(made, "train", less_certain, certain, ("Q?", "yes", "ischemic"))
    prepare(made, tmp_path / "out")
    found = variables(tmp_path / "out" / "train" / "1_0.mat")
    assert (found["target_idx"].tolist(), found["label"].tolist()) == ([[1]], [[0]])
    path = ask(made, "train", ("Q?", "yes", "x"), ("R?", "no", "y"), ("R?", "no", "x"))
    message = rf"^{path}, entry 1 says that ECG 1 has 'x' \(entire\), and {path}, entry 3 that it"
    with pytest.raises(DataError, match=message):
        prepare(made, tmp_path / "out")


def test_leads_that_are_not_known(made, tmp_path):
    path = ask(made, "test", ("Q?", "yes", "block in some leads"))
    with pytest.raises(DataError, match=rf"^{path}, entry 1: 'block in some leads' is said of"):
        prepare(made, tmp_path / "out")


def test_a_test_split_that_verifies_nothing(made, tmp_path):
    for path in (made.questions / "template" / "test").iterdir():
        entries = json.loads(path.read_text())
        path.write_text(
            json.dumps([each for each in entries if "verify" not in each["question_type"]])
        )
    with pytest.raises(DataError, match="no question of the test split verifies"):
        prepare(made, tmp_path / "out")


def test_ecgs_that_cannot_be_used_are_left_out(made, tmp_path):
    prepare(made, tmp_path / "whole")
    (made.ptb_xl / "records500" / "00000" / "00008_hr.dat").unlink()
    written = prepare(made, tmp_path / "out")
    assert written.quarantine["record"].tolist() == [f"{made.ptb_xl}/records500/00000/00008_hr"]
    whole = {path.name for path in (tmp_path / "whole" / "train").iterdir()}
    left = {path.name for path in (tmp_path / "out" / "train").iterdir()}
    assert whole - left == {name for name in whole if name.startswith("8_")}
    assert written.left_out == len(whole - left)


def test_lead_groups():
    groups = {tuple(sorted(set(leads))) for leads in LEAD_GROUPS.values()}
    assert groups == set(LEAD_GROUPS.values())
    assert LEAD_GROUPS["posterior leads"] == (9, 10, 11)
    assert len(LEAD_GROUPS) == 30


def test_training_reads_the_files(made, tmp_path):
    prepare(made, tmp_path / "out")
    target = HeadsTarget(StoredLabels(), required=True)
    data = ECGDataset(
        tmp_path / "out" / "train.tsv", VIEWS["recording"](), target, source=SOURCES["records"]
    )
    rows = (tmp_path / "out" / "train.tsv").read_text().splitlines()[1:]
    assert len(data) == len(rows)
    for position in (0, len(rows) - 1):
        item = data[position]
        expected = variables(tmp_path / "out" / "train" / rows[position].split("\t")[0])
        assert item["label"].tolist() == expected["label"][0].tolist()
        assert list(item["target_idx"]) == expected["target_idx"][0].tolist()
