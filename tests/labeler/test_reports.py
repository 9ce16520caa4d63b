import json
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler, reports
from fairseq_ecg.labeler.label_table import label_table, read_label_set
from fairseq_ecg.labeler.reports import _as_json, label_reports
from tests.conftest import environment

TABLE = pd.DataFrame(
    {
        "study": ["11", "12", "13", "14", "15"],
        "first": ["Sinus rhythm", "possible infarct", None, "no infarct", "Sinus rhythm"],
        "second": ["infarct", None, None, "whatever", "infarct"],
    }
)


@pytest.fixture(params=["csv", "parquet"])
def path(request, tmp_path):
    path = tmp_path / f"reports.{request.param}"
    if request.param == "csv":
        TABLE.to_csv(path, index=False)
    else:
        TABLE.to_parquet(path)
    return path


def label(labeler, path, out, **options):
    options = {"text_columns": ["first", "second"], "id_column": "study", "rows": 2} | options
    labels = read_label_set(None, labeler.vocabulary)
    return label_reports(path, out, labeler, labels, threshold=0.6, **options)


def read(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_files(small, path, tmp_path):
    out = tmp_path / "out"
    coverage = label(small, path, out)
    assert sorted(read(out)) == ["coverage.json", "findings.jsonl", "labels.csv", "statements.csv"]
    assert (out / "labels.csv").read_text() == (
        "idx,Infarction,Sinus rhythm\n11,1,1\n12,0,0\n13,0,0\n14,0,0\n15,1,1\n"
    )
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [line["idx"] for line in lines] == [11, 12, 13, 14, 15]
    assert lines[0]["findings"][0] == {
        "entity": "Sinus rhythm",
        "probability": 1.0,
        "negated": False,
        "descriptors": [],
        "pattern": "sinus rhythm",
        "codes": {"snomed": ["426783006"], "scp": ["SR"]},
    }
    assert lines[1]["findings"][0]["descriptors"] == ["Possible"]
    assert lines[1]["labels"]["Infarction"] == 0.5
    assert lines[3]["findings"][0]["negated"]
    assert lines[3]["unmatched"] == "whatever"
    assert (out / "statements.csv").read_text() == (
        "statement,count,patterns,unmatched,language\nSinus rhythm,2,1,,\ninfarct,2,1,,\n"
        "no infarct,1,2,,\npossible infarct,1,2,,\nwhatever,1,0,whatever,\n"
    )
    assert coverage == reports.Coverage(
        reports=5,
        empty_reports=1,
        reports_with_unmatched_words=1,
        statements=7,
        unmatched_statements=1,
        frequent_unmatched={"whatever": 1},
        refused_reports=0,
        languages={},
        labels={
            "Infarction": {"positive": 2, "uncertain": 1},
            "Sinus rhythm": {"positive": 2, "uncertain": 0},
        },
    )
    assert json.loads((out / "coverage.json").read_text())["reports"] == 5


def test_neither_parts_nor_processes_matter(small, path, tmp_path):
    label(small, path, tmp_path / "a")
    label(small, path, tmp_path / "b", rows=100)
    assert read(tmp_path / "a") == read(tmp_path / "b")
    if path.suffix == ".csv":  # a process takes seconds to start
        label(small, path, tmp_path / "c", rows=3, workers=2)
        assert read(tmp_path / "a") == read(tmp_path / "c")


def test_processes_of_a_script_on_standard_input(tmp_path):
    TABLE.to_csv(tmp_path / "reports.csv", index=False)
    script = f"""
from pathlib import Path
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import label_table, read_label_set
from fairseq_ecg.labeler.reports import _as_json, label_reports

labeler = Labeler.from_vocabulary()
folder = Path({str(tmp_path)!r})
labels = read_label_set(None, labeler.vocabulary)
options = {{"text_columns": ["first"], "threshold": 0.6, "workers": 2, "rows": 2}}
print(label_reports(folder / "reports.csv", folder / "out", labeler, labels, **options).reports)
"""
    run = subprocess.run(
        [sys.executable, "-"],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
    )
    assert run.stdout.strip() == "5", run.stderr


def test_an_interrupted_run_goes_on(small, path, tmp_path, monkeypatch):
    label(small, path, tmp_path / "whole")
    labelled = []
    original = reports._label_part

    def interrupted(job, number, table):
        if number == 3 and 3 not in labelled:
            labelled.append(3)
            raise KeyboardInterrupt
        labelled.append(number)
        original(job, number, table)

    monkeypatch.setattr(reports, "_label_part", interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        label(small, path, out)
    assert not (out / "labels.csv").exists()
    label(small, path, out)
    assert labelled == [1, 2, 3, 3]
    assert read(out) == read(tmp_path / "whole")


def test_a_run_that_has_changed_begins_anew(small, path, tmp_path, monkeypatch):
    def interrupted(job, number, table):
        original(job, number, table)
        if number == 2:
            raise KeyboardInterrupt

    original = reports._label_part
    monkeypatch.setattr(reports, "_label_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(small, path, tmp_path / "out")
    monkeypatch.setattr(reports, "_label_part", original)
    label(small, path, tmp_path / "out", text_columns=["first"])
    label(small, path, tmp_path / "other", text_columns=["first"])
    assert read(tmp_path / "out") == read(tmp_path / "other")


def test_rows_are_numbered_where_there_is_no_id(small, path, tmp_path):
    label(small, path, tmp_path / "out", id_column=None)
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert table["idx"].tolist() == [0, 1, 2, 3, 4]


def test_the_labels_are_a_table_for_training(small, tmp_path):
    """Integer ``idx`` without repetitions, then 0 and 1."""
    path = tmp_path / "reports.csv"
    TABLE.to_csv(path, index=False)
    label(small, path, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "labels.csv", index_col="idx")
    assert table.index.is_unique
    assert set(table.to_numpy().ravel()) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_columns": ["third"]}, r"no column 'third' \(it has study, first, second\)"),
        ({"id_column": "id"}, "no column 'id'"),
        ({"id_column": "first"}, "first 'Sinus rhythm' occurs twice|is empty in a row|None"),
    ],
)
def test_mistakes(small, path, tmp_path, options, message):
    with pytest.raises(DataError, match=rf"reports\..*{message}"):
        label(small, path, tmp_path / "out", **options)


def test_no_such_file_and_not_a_table(small, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        label(small, tmp_path / "none.csv", tmp_path / "out")
    for name in ("empty.csv", "empty.parquet"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=name):
            label(small, tmp_path / name, tmp_path / "out")
    (tmp_path / "latin.csv").write_bytes("study,first,second\n1,\xe9,".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        label(small, tmp_path / "latin.csv", tmp_path / "out")


def test_rows_longer_than_the_header(small, tmp_path):
    """The first fields would be taken for names of the rows, and the next for the ids."""
    for name, rows in (("all", "1,infarct,injury\n2,af,x\n"), ("one", "1,af\n2,infarct,x\n")):
        path = tmp_path / f"{name}.csv"
        path.write_text("study,first\n" + rows)
        with pytest.raises(DataError, match=f"{name}.csv.*fields"):
            label(small, path, tmp_path / "out", text_columns=["first"])
    path.write_text("study,first\n1,infarct\n2\n")
    assert label(small, path, tmp_path / "out", text_columns=["first"]).empty_reports == 1


def test_cells_of_other_kinds(small, tmp_path):
    """Ids that are fractions because one was missing once, texts and ids that are bytes."""
    path = tmp_path / "reports.parquet"
    pd.DataFrame({"study": [1.0, 2.0], "first": [b"infarct", None]}).to_parquet(path)
    label(small, path, tmp_path / "out", text_columns=["first"])
    rows = "idx,Infarction,Sinus rhythm\n1,1,0\n2,0,0\n"
    assert (tmp_path / "out" / "labels.csv").read_text() == rows
    pd.DataFrame({"study": [1.0, None], "first": ["infarct", None]}).to_parquet(path)
    with pytest.raises(DataError, match="is empty in a row"):
        label(small, path, tmp_path / "out", text_columns=["first"])
    pd.DataFrame({"study": [1], "first": [["infarct", "injury"]]}).to_parquet(path)
    with pytest.raises(DataError, match="'first' holds list"):
        label(small, path, tmp_path / "out", text_columns=["first"])


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(small, path, tmp_path, threshold):
    labels = read_label_set(None, small.vocabulary)
    with pytest.raises(DataError, match="0 to 1"):
        label_reports(
            path, tmp_path / "out", small, labels, text_columns=["first"], threshold=threshold
        )
    with pytest.raises(DataError, match="0 to 1"):
        label_table(small.label(["infarct"]), labels, threshold)


def test_a_table_without_rows(small, path, tmp_path):
    empty = tmp_path / f"none{path.suffix}"
    TABLE.iloc[:0].to_csv(empty, index=False) if path.suffix == ".csv" else TABLE.iloc[
        :0
    ].to_parquet(empty)
    coverage = label(small, empty, tmp_path / "out")
    assert coverage.reports == 0
    assert (tmp_path / "out" / "labels.csv").read_text() == "idx,Infarction,Sinus rhythm\n"


def test_lines_are_joined_once(small, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text("study,first,second,third\n1,Sinus rhythm;, ,infarct ;;\n2,a;b,,\n3,,,\n")
    label(small, path, tmp_path / "out", text_columns=["first", "second", "third"])
    lines = (tmp_path / "out" / "findings.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Sinus rhythm; infarct", "a; b", ""]


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


@given(
    st.lists(
        st.sampled_from(
            [
                "Atrial fibrillation",
                "possible anterior infarct, age undetermined",
                "no ischemia or LVH",
                "kein Infarkt",
                'café "quoted" \\ µV',
                "",
            ]
        ),
        max_size=6,
    ).map("; ".join)
)
@settings(max_examples=40, deadline=None)
def test_a_line_is_the_json_of_the_finding(labeler, text):
    finding = labeler.find(text)
    probability = {
        i: block.entities[0].probability for i, block in finding.blocks if block.entities
    }
    rows = []
    for i, mention in enumerate(finding.mentions):
        row = {
            "entity": mention.entity,
            "probability": 0.0 if mention.negated else probability.get(i, 0.0),
            "negated": mention.negated,
            "descriptors": mention.descriptors,
            "pattern": labeler.vocabulary.patterns[finding.reading.patterns[mention.pattern]].text,
        }
        codes = labeler.vocabulary.entities[mention.entity].codes
        rows.append(row | ({"codes": dict(codes)} if codes else {}))
    document = {"text": text}
    if finding.language is not None:
        document |= {"language": finding.language, "is_read": finding.is_read}
    document |= {
        "findings": rows,
        "labels": finding.labels_flat,
        "unmatched": finding.reading.stripped,
    }
    assert "{" + _as_json(labeler, text, finding) == json.dumps(document, ensure_ascii=False)
