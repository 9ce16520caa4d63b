"""Questions of ECG-QA."""

import json
import os
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.ecg_qa import recordings, writing
from fairseq_ecg.prepare.ecg_qa.grounding import prepare_grounding
from fairseq_ecg.prepare.ecg_qa.project import (
    ATTRIBUTE_TYPES,
    FORMS,
    RELATIONS,
    SPLITS,
    question_files,
    read_questions,
)
from fairseq_ecg.prepare.ecg_qa.questions import prepare_questions
from tests.ecg_qa import CLASSES, TEMPLATES, facts, make_ecg_qa, signal, write_questions
from tests.interruptions import kill, replace_until
from tests.prepare.sources.archives import make_mimic, write_wfdb
from tests.prepare.test_archive import tree

README = Path(__file__).resolve().parents[2] / "fairseq_ecg" / "prepare" / "README.md"


@pytest.fixture
def made(tmp_path):
    return make_ecg_qa(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What was made, and the folder of its questions, which no test changes."""
    folder = tmp_path_factory.mktemp("prepared")
    made = make_ecg_qa(folder)
    made.prepare(folder / "out")
    return made, folder / "out"


def rows(folder, split="train"):
    """Rows of a manifest."""
    return [line.split("\t") for line in (folder / f"{split}.tsv").read_text().splitlines()[1:]]


def edit(made, change, file="template/train/00000.json"):
    """Change the questions of a file."""
    path = made.questions / file
    entries = json.loads(path.read_text())
    change(entries)
    write_questions(path, entries)
    return path


def test_the_material_of_tests(made, tmp_path):
    """What other tests train on has every kind of question, is always the same, and is in words."""
    questions = [
        question
        for version in ("template", "paraphrased")
        for paths in question_files(made.questions, version).values()
        for path in paths
        for question in read_questions(path)
    ]
    assert {question.relation for question in questions} == set(RELATIONS)
    assert {question.form for question in questions} == set(FORMS)
    assert {question.attribute_type for question in questions} == set(ATTRIBUTE_TYPES)
    tokens = Tokenizer.load(made.vocabulary)([question.text for question in questions])
    assert not (tokens.ids == 100).any()
    # Words are no letters: each has a token of its own.
    assert tokens.ids.shape[1] <= 2 + max(
        len(re.findall(r"\w+|[^\w\s]", question.text)) for question in questions
    )
    make_ecg_qa(tmp_path / "again")
    again = tree(tmp_path / "again")
    assert again == {name: content for name, content in tree(tmp_path).items() if name in again}


def test_the_file_of_a_question(prepared):
    made, folder = prepared
    classes = [name for name in CLASSES if name != "none"]
    assert read_label_names(folder / "label_def.csv") == classes
    attributes = pd.read_csv(folder / "attributes.csv").set_index(["split", "attribute"])["id"]
    numbers = iter(range(10**6))
    for path in question_files(made.questions, "template")["train"]:
        for question in read_questions(path):
            number = next(numbers)
            found = scipy.io.loadmat(folder / "train" / f"{number}.mat")
            shown = [facts(ecg_id) for ecg_id in question.ecg_ids]
            template = TEMPLATES[question.template]
            right = set(template.right(*shown)) - {"none"}
            assert {classes[i] for i in np.flatnonzero(found["answer"])} == right
            offered = template.answers
            if question.form == "choose":
                offered = [name.partition(" of ")[0] for name in template.attributes]
            valid = [classes[i] for i in found["valid_classes"].ravel()]
            assert set(valid) == set(offered) - {"none"}
            relation, form, about = (found[f"question_type{level}"].item() for level in (1, 2, 3))
            assert RELATIONS[relation] == question.relation
            assert (form // 3, FORMS[form % 3]) == (relation, question.form)
            assert (about // 6, ATTRIBUTE_TYPES[about % 6]) == (form, question.attribute_type)
            attribute = -1
            if question.verifies_one and right != {"not sure"}:
                name = template.attributes[0].partition(" in ")[0]
                attribute = attributes["train", name]
            assert found["attribute_id"].item() == attribute
            assert [path.rpartition("/")[2] for path in found["ecg_path"]] == [
                f"{ecg_id:05d}_hr" for ecg_id in question.ecg_ids
            ]
            assert found["question"].item() == question.text
    assert len(rows(folder)) == next(numbers)
    assert rows(folder)[0] == ["0.mat", "1250", "11"]
    assert rows(folder)[-1][1:3] == ["1250", "1250"]


def test_the_bytes_are_those_of_scipy(prepared, tmp_path):
    _, folder = prepared
    for name in ("0.mat", "187.mat"):  # of one ECG, of two
        path = folder / "train" / name
        found = scipy.io.loadmat(path)
        values = {key: value for key, value in found.items() if key[0] != "_"}
        scipy.io.savemat(tmp_path / name, values)
        assert path.read_bytes()[116:] == (tmp_path / name).read_bytes()[116:]


def test_mapped_questions_name_their_ecgs(made, prepared, tmp_path):
    def map_ecgs(entries):
        for entry in entries:
            entry["ecg_path"] = [
                f"{made.ptb_xl}/records500/00000/{ecg_id:05d}_hr" for ecg_id in entry["ecg_id"]
            ]

    for path in made.questions.rglob("*.json"):
        edit(made, map_ecgs, path.relative_to(made.questions))
    made.prepare(tmp_path / "mapped", ecg_root=None)
    made.prepare(tmp_path / "located")
    located = tree(tmp_path / "located")
    mapped = tree(tmp_path / "mapped")
    journals = (".questions.journal", ".recordings.journal")
    assert {k: v for k, v in mapped.items() if k not in journals} == {
        k: v for k, v in located.items() if k not in journals
    }

    def move(entries):
        entries[13]["ecg_path"] = ["/elsewhere/00002_hr"]

    path = edit(made, move)
    with pytest.raises(DataError, match=rf"{path}, entry 14: ecg_id 2 is at /elsewhere.*entry 2\."):
        made.prepare(tmp_path / "moved", ecg_root=None)
    edit(made, map_ecgs)
    path = edit(made, lambda entries: entries[0]["ecg_path"].reverse(), "template/test/10000.json")
    with pytest.raises(DataError, match=rf"{path}, entry 1: ecg_id 17 is at .*00018_hr, but at"):
        made.prepare(tmp_path / "moved", ecg_root=None)
    edit(made, lambda entries: entries[0].update(ecg_path=["here/00001_hr"]))
    with pytest.raises(DataError, match=r"entry 1: 'ecg_path' here/00001_hr is not absolute"):
        made.prepare(tmp_path / "moved", ecg_root=None)
    edit(made, lambda entries: entries[0].pop("ecg_path"))
    with pytest.raises(DataError, match=r"entry 1: does not say where.*Give --ecg-root"):
        made.prepare(tmp_path / "moved", ecg_root=None)


def test_questions_about_mimic_iv_ecg(made, tmp_path):
    mimic = make_mimic(tmp_path / "mimic")
    question = {
        "template_id": 1,
        "question_type": "single-verify",
        "attribute_type": "scp_code",
        "question": "Is this fast?",
        "answer": ["yes"],
        "attribute": ["Myocardial infarction in V1"],
    }
    for path in made.questions.rglob("*.json"):
        write_questions(path, [{**question, "ecg_id": [40689238]}])
    written = made.prepare(tmp_path / "out", ecg_root=mimic)
    assert written.counts == {"train": 2, "valid": 2, "test": 2}
    path = scipy.io.loadmat(tmp_path / "out" / "test" / "1.mat")["ecg_path"].item()
    assert path.endswith("/files/p1000/p10000032/s40689238/40689238")
    attributes = pd.read_csv(tmp_path / "out" / "attributes.csv")
    assert attributes["attribute"].tolist() == ["Myocardial infarction"] * 3
    edit(made, lambda entries: entries[0].update(ecg_id=[7]))
    written = made.prepare(tmp_path / "out", ecg_root=mimic)
    (reason,) = written.quarantine["reason"]
    assert re.search(r"00000.json, entry 1: ecg_id 7 is no study of .*record_list.csv", reason)
    with pytest.raises(DataError, match=r"is neither PTB-XL .* nor MIMIC-IV-ECG"):
        made.prepare(tmp_path / "other", ecg_root=tmp_path / "ecgqa")


NO_LIST = "is no list of questions"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"question_type": "single-guess"}, "question_type 'single-guess' is not one of"),
        ({"question_type": None}, "'question_type' must be a text, is None"),
        ({"attribute_type": "x"}, "attribute_type 'x' is not one of scp_code"),
        ({"ecg_id": []}, "'ecg_id' must be a list of one or two numbers"),
        ({"ecg_id": [1, 2]}, "names 2 ECGs, and its type has 1"),
        ({"ecg_id": ["1"]}, "'ecg_id' must be a list of one or two numbers"),
        ({"question": " "}, "the question has no words"),
        ({"question": 1}, "'question' must be a text"),
        ({"answer": ["perhaps"]}, r"answer 'perhaps' is no class of .*answers.csv"),
        ({"answer": "yes"}, "'answer' must be a list of texts"),
        ({"attribute": None}, "verifies an attribute, and lacks 'attribute' or 'answer'"),
        ({"attribute": "x"}, "'attribute' must be a list of texts, or null"),
        ({"template_id": 99}, r"template_id 99 is not in .*answers_for_each_template.csv"),
        ({"question_type": "single-choose"}, r"answer 'sinus' is no class of .*answers.csv"),
    ],
)
def test_a_question_that_is_not_as_it_should_be(made, tmp_path, changed, message):
    def change(entries):
        entries[2]["attribute"] = ["sinus"]
        entries[2].update(changed)

    path = edit(made, change)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}, entry 3: {message}"):
        made.prepare(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", f"{NO_LIST} but {{}}"),
        ("[1]", "entry 1: is no question but 1"),
        ("[{}]", "entry 1: has no 'question_type'"),
        ("[" * 10**5, "cannot be read as JSON"),
    ],
)
def test_a_file_that_holds_no_questions(made, tmp_path, text, message):
    path = made.questions / "template" / "valid" / "00000.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}.*{re.escape(message)}"):
        made.prepare(tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("answers.csv", "index,class\n0,yes\n1,yes\n", "names a class twice"),
        ("answers.csv", "index,class\n0,none\n", "names no class"),
        ("answers.csv", "index,name\n0,yes\n", "no column class"),
        (
            "answers_for_each_template.csv",
            "template_id,classes\n1,\"['x']\"\n",
            "line 2: answer 'x'",
        ),
        (
            "answers_for_each_template.csv",
            "template_id,classes\n1,yes\n",
            "line 2: 'yes' is no list",
        ),
        ("answers_for_each_template.csv", "template_id,classes\nx,[]\n", "line 2: 'x' is no whole"),
    ],
)
def test_tables_of_answers_that_do_not_fit(made, tmp_path, file, content, message):
    (made.questions / file).write_text(content)
    with pytest.raises(DataError, match=rf"{file}.*{re.escape(message)}"):
        made.prepare(tmp_path / "out")


def test_missing_files_and_vocabularies(made, tmp_path):
    with pytest.raises(DataError, match="absent: no such folder"):
        prepare_questions(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(DataError, match="holds neither of the folders template and paraphrased"):
        prepare_questions(made.ptb_xl, tmp_path / "out")
    with pytest.raises(DataError, match=r"tokenizer .*none.txt.*give the path of a vocab.txt"):
        made.prepare(tmp_path / "out", tokenizer=str(tmp_path / "none.txt"))
    (made.questions / "answers.csv").unlink()
    with pytest.raises(DataError, match=r"answers.csv: no such file"):
        made.prepare(tmp_path / "out")


def test_ecgs_that_cannot_be_used_cost_their_questions(made, prepared, tmp_path, capsys):
    ecg = signal(4)
    ecg[3, 100] = np.nan
    write_wfdb(made.ptb_xl / "records500/00000/00004_hr", ecg, sample_rate=500)
    (made.ptb_xl / "records500/00000/00013_hr.hea").rename(tmp_path / "kept")
    folder = tmp_path / "out"
    command = ["prepare", "--source=ecg_qa", f"--raw-root={made.questions}"]
    command += [f"--ecg-root={made.ptb_xl}", f"--processed-root={folder}"]
    command += [f"--tokenizer={made.vocabulary}"]
    assert main(command) == EXIT_SOME_LEFT_OUT
    out = capsys.readouterr().out
    assert "2 records cannot be used, see " in out
    assert re.search(r"left out: \d+ questions about records", out)
    nan, missing = pd.read_csv(folder / "quarantine.csv")["reason"]
    assert "00004_hr: has a nan value" in nan
    assert re.search(r"valid/00000.json, entry 1: ecg_id 13 is not in the archive", missing)
    # The others keep their numbers.
    whole = prepared[1]
    for split, ecg_id in (("train", 4), ("valid", 13)):
        left = [row for row in rows(whole, split) if row in rows(folder, split)]
        assert left == rows(folder, split)
        assert len(left) < len(rows(whole, split))
        for name, *_ in rows(folder, split):
            path = scipy.io.loadmat(folder / split / name)["ecg_path"]
            assert not any(each.endswith(f"{ecg_id:05d}_hr") for each in path)
    with pytest.raises(DataError, match="00004_hr: has a nan value"):
        made.prepare(tmp_path / "strict", strict=True)
    # Once they are corrected, the next run takes them.
    write_wfdb(made.ptb_xl / "records500/00000/00004_hr", signal(4), sample_rate=500)
    (tmp_path / "kept").rename(made.ptb_xl / "records500/00000/00013_hr.hea")
    assert main(command) == 0
    fresh = tmp_path / "fresh"
    made.prepare(fresh)
    assert tree(folder) == tree(fresh)


def test_no_usable_ecg_is_an_error(made, tmp_path):
    for path in made.ptb_xl.rglob("*.hea"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of 20 recordings can be used: .*entry 1: ecg_id 1 "):
        made.prepare(tmp_path / "out")


def prepare_both(made, folder):
    made.prepare(folder / "questions")
    prepare_grounding(made.questions, folder / "grounding", ecg_root=made.ptb_xl)


@pytest.mark.parametrize("n_files", [1, 90, 311, 315])
def test_a_run_that_was_killed_goes_on(prepared, tmp_path, n_files):
    made, whole = prepared
    folder = tmp_path / "killed"
    child = os.fork()
    if not child:
        os.replace = replace_until(n_files, kill)
        made.prepare(folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1]
    journal = folder / ".questions.journal"
    listed = set(journal.read_bytes().split(b'"')) if journal.exists() else set()
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.mat")}
    made.prepare(folder)
    assert tree(folder) == tree(whole)
    for path, time in times.items():  # what was noted is not written again
        if path.name.encode() in listed and path.parent.name == "test":
            assert path.stat().st_mtime_ns == time


def as_elsewhere(function, arguments):
    """Call a function as other processes do: with copies, and not in order."""
    for given in reversed(list(arguments)):
        there, copies = pickle.loads(pickle.dumps((function, given)))
        yield pickle.loads(pickle.dumps(there(*copies)))


def test_other_processes_in_any_order_write_the_same(made, tmp_path, monkeypatch):
    prepare_both(made, tmp_path / "one")
    monkeypatch.setattr(recordings, "in_parallel", as_elsewhere)
    monkeypatch.setattr(writing, "in_parallel", as_elsewhere)
    prepare_both(made, tmp_path / "others")
    assert tree(tmp_path / "others") == tree(tmp_path / "one")


def test_one_folder_for_each_kind(made, tmp_path):
    folder = tmp_path / "out"
    made.prepare(folder)
    with pytest.raises(DataError, match=r"holds the files of 'prepare questions'.*another"):
        prepare_grounding(made.questions, folder, ecg_root=made.ptb_xl)
    # Another version replaces the first, and nothing of it stays.
    for path in (made.questions / "paraphrased").rglob("10000.json"):
        path.unlink()
    made.prepare(folder, version="paraphrased")
    made.prepare(tmp_path / "fresh", version="paraphrased")
    assert tree(folder) == tree(tmp_path / "fresh")
    assert len(list((folder / "test").iterdir())) == len(rows(folder, "test"))


def test_documented_commands_run(made, tmp_path, monkeypatch):
    """Those of the README about texts, on folders of the names that it has."""
    monkeypatch.chdir(tmp_path)
    made.ptb_xl.rename("PTB_XL")
    Path("ECG_QA").mkdir()
    made.questions.parent.rename("ECG_QA/ecgqa")
    Path("bert-base-uncased").mkdir()
    made.vocabulary.rename("bert-base-uncased/vocab.txt")
    text = README.read_text().partition("## Reports and questions")[2].partition("\n## ")[0]
    commands = re.findall(r"^ +fairseq-ecg ((?:.*\\\n)*.*)", text, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command.replace("\\\n", " ").replace("--jobs 2", "--jobs 1"))
        assert main(words) == 0
    written = set(re.findall(r"[A-Z]{5,}", text)) & {path.name for path in tmp_path.iterdir()}
    assert written == {"REPORTS", "QUESTIONS", "PARAPHRASED", "GROUNDING"}
    for folder in ("REPORTS/manifests", "REPORTS/by_patient", *sorted(written - {"REPORTS"})):
        assert all(len(rows(Path(folder), split)) for split in SPLITS)
