import os
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest

import fairseq_ecg
from fairseq_ecg.cli import main
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.inference import load_model, parts
from fairseq_ecg.inference.results import FACTS
from fairseq_ecg.modules.text import TEXT_NETWORKS
from tests.conftest import ROOT
from tests.ecg_qa import CLASSES, make_ecg_qa
from tests.text_networks import ANSWERS, TinyTextNetwork, tiny_text_checkpoint

SIGNAL = np.random.default_rng(0).normal(0, 0.5, (12, 5000)).round(3)
QUESTION = "Is this ECG normal?"


@pytest.fixture(scope="module", autouse=True)
def registered():
    TEXT_NETWORKS["tiny_text"] = TinyTextNetwork
    yield
    del TEXT_NETWORKS["tiny_text"]


@pytest.fixture
def checkpoint(tmp_path):
    return str(tiny_text_checkpoint(tmp_path / "qa.pt", num_ecgs=2))


@pytest.fixture
def records(record):
    return [record("a", SIGNAL), record("b", SIGNAL[:, ::-1])]


def ask(*arguments):
    return main(["ask", "--device=cpu", *map(str, arguments)])


def test_answers_are_printed_with_probabilities(checkpoint, records, capsys):
    assert ask(checkpoint, *records, QUESTION, "--top=2") == 0
    answers = load_model(checkpoint, device="cpu").answer(records, QUESTION)
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert headings == [f"{path}: {QUESTION}" for path in records]
    for row in answers.top(2).itertuples():
        mark = "*" if row.probability > 0.5 else " "
        width = max(map(len, answers.top(2)["answer"]))
        assert f"  {mark} {row.answer:<{width}}  {row.probability:.3f}" in lines


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "json"])
def test_a_table_is_written(suffix, checkpoint, records, tmp_path, capsys):
    out = tmp_path / f"answers.{suffix}"
    segments = tmp_path / "segments.csv"
    options = [f"--out={out}", f"--segments={segments}", "--workers=1"]
    assert ask(checkpoint, records[0], QUESTION, f"--second={records[1]}", *options) == 0
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}
    table = pd.read_csv(out, sep="\t") if suffix == "tsv" else read[suffix](out)
    keys = ["recording", "second", "question", "answer", "tokens_cut"]
    assert list(table.columns) == [*keys, *FACTS, *ANSWERS]
    answers = load_model(checkpoint, device="cpu").answer(records[0], QUESTION, records[1])
    found = table[ANSWERS].to_numpy()
    np.testing.assert_allclose(found, answers.of_recordings, rtol=0, atol=1e-6)
    assert table["answer"].tolist() == ["; ".join(answers.answers[0])]
    assert len(pd.read_csv(segments)) == 1
    assert "1 recordings" not in capsys.readouterr().err


def test_questions_of_a_table(checkpoint, records, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "RECORDINGS", 2)
    rows = [
        ("a.hea", QUESTION, "b.hea"),
        ("a.hea", "Is it AF?", ""),
        ("c.hea", QUESTION, ""),
        ("b.hea", "...", ""),
        ("b", "does it show af or sinus rhythm?", ""),
    ]
    asked = tmp_path / "asked.csv"
    pd.DataFrame(rows, columns=["path", "question", "second"]).to_csv(asked, index=False)
    out = tmp_path / "answers.csv"
    assert ask(checkpoint, asked, f"--out={out}") == 3
    table = pd.read_csv(out, keep_default_na=False)
    assert table["question"].tolist() == [rows[number][1] for number in (0, 1, 4)]
    assert table["second"].tolist() == ["b.hea", "", ""]
    reasons = pd.read_csv(tmp_path / "answers.quarantine.csv")["reason"]
    assert "no such WFDB header" in reasons[0]
    assert "no word" in reasons[1]
    assert sorted(os.listdir(tmp_path))[:2] == ["a.dat", "a.hea"]
    alone = load_model(checkpoint, device="cpu").answer(records[0], QUESTION, records[1])
    found = table.loc[0, ANSWERS].astype(float)
    np.testing.assert_allclose(found, alone.of_recordings[0], rtol=0, atol=1e-6)


def test_a_run_that_failed_goes_on(checkpoint, records, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "RECORDINGS", 1)
    out = tmp_path / "answers.csv"
    assert ask(checkpoint, *records, QUESTION, f"--out={tmp_path / 'right.csv'}") == 0
    computed = []
    network = TinyTextNetwork.forward

    def forward(self, **inputs):
        computed.append(1)
        if len(computed) == 2:
            raise KeyboardInterrupt
        return network(self, **inputs)

    monkeypatch.setattr(TinyTextNetwork, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        ask(checkpoint, *records, QUESTION, f"--out={out}")
    assert ask(checkpoint, *records, QUESTION, f"--out={out}") == 0
    assert len(computed) == 3
    assert out.read_bytes() == (tmp_path / "right.csv").read_bytes()


def test_choices(checkpoint, records, capsys):
    assert ask(checkpoint, records[0], QUESTION, "--choices", "yes", "no", "--top=9") == 0
    assert len(capsys.readouterr().out.splitlines()) in (3, 4)
    assert ask(checkpoint, records[0], QUESTION, "--choices", "sinus rythm") == 2
    assert "Did you mean sinus rhythm?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.hea"], "no question"),
        (["a.hea", "?!"], "no word"),
        (["c.hea", QUESTION], "no such WFDB header"),
        (["a.hea", QUESTION, "--top=0"], "--top 0"),
        (["a.hea", "b.hea"], "no question"),
        (["a.hea", QUESTION, "--tokenizer=none/vocab.txt"], "no such file"),
    ],
)
def test_what_cannot_be_asked(arguments, said, checkpoint, records, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ask(checkpoint, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "saliency", "segment"])
def test_other_commands_name_ask(command, checkpoint, records, tmp_path, capsys):
    assert main([command, checkpoint, records[0], f"--out={tmp_path / 'a.csv'}"]) == 2
    assert "use ask" in capsys.readouterr().err


def test_ask_of_a_classifier_names_predict(network, records, capsys):
    assert ask(network[0], records[0], QUESTION) == 2
    assert "use predict" in capsys.readouterr().err


def test_embed(checkpoint, records, tmp_path):
    out = tmp_path / "e.npy"
    assert main(["embed", checkpoint, *records, f"--out={out}"]) == 0
    right = np.asarray(load_model(checkpoint, device="cpu").embed(records))
    np.testing.assert_allclose(np.load(out), right, rtol=0, atol=1e-6)


DOCUMENTS = [ROOT / "README.md", ROOT / "fairseq_ecg" / "inference" / "README.md"]


def documented():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for line in re.findall(r"^    fairseq-ecg (.*)$", text, re.MULTILINE):
            if line.startswith("ask ") or ("evaluate" in line and "QUESTIONS" in line):
                words = [word.strip("[]") for word in shlex.split(line)]
                yield pytest.param(words, id=line)


@pytest.fixture
def _folder(records, tmp_path, monkeypatch):
    """A folder with what documents name."""
    monkeypatch.chdir(tmp_path)
    made = make_ecg_qa(tmp_path / "made")
    made.prepare(tmp_path / "QUESTIONS")
    tokenizer, names = Tokenizer.load(made.vocabulary), [name for name in CLASSES if name != "none"]
    notes = {"labels": names, "vocabulary": tokenizer.vocabulary, "lower_case": True}
    sizes = {"num_labels": len(names), "vocab_size": len(tokenizer), "max_text_size": 64}
    tiny_text_checkpoint("qa.pt", notes, num_ecgs=2, **sizes)
    os.mkdir("qa")
    shutil.copy("qa.pt", "qa/checkpoint_best.pt")
    for name in ("record", "recording", "earlier"):
        header = (tmp_path / "a.hea").read_text().replace("a.dat", f"{name}.dat")
        (tmp_path / f"{name}.hea").write_text(re.sub("^a ", f"{name} ", header))
        shutil.copy("a.dat", f"{name}.dat")
    rows = [("record.hea", QUESTION, ""), ("record.hea", "Has it changed?", "earlier.hea")]
    table = pd.DataFrame(rows, columns=["path", "question", "second"])
    table.to_csv("questions.csv", index=False)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("words", list(documented()))
def test_documented_commands(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out


@pytest.mark.usefixtures("_folder")
def test_documented_python():
    text = DOCUMENTS[1].read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if ".answer(" in block)
    names: dict = {"fairseq_ecg": fairseq_ecg}
    exec(compile(block, "README.md", "exec"), names)
    assert list(names["answers"].table.columns) == ["yes", "no"]
