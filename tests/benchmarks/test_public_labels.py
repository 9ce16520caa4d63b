"""Public statements are read and judged as their file says."""

import csv
from math import isnan
from types import SimpleNamespace

import pytest

from benchmarks import labels, public_labels
from fairseq_ecg.labeler import Labeler

COLUMNS = ("statement", "expected", "status", "source")
ROWS = [
    ("AF, possible LAE", "Atrial fibrillation", "positive", "MUSE: lines"),
    ("AF, possible LAE", "Left atrial enlargement|Atrial enlargement", "uncertain", "MUSE: lines"),
    ("AF, possible LAE", "Tachycardia|Arrhythmia", "either", "MUSE: lines"),
    ("No infarct or ischemia", "Infarction", "denied", "GLASGOW names"),
    ("No infarct or ischemia", "Ischemia", "denied", "GLASGOW names"),
    ("LBBB, sinus", "Left bundle branch block", "positive", "GLASGOW names"),
    ("LBBB, sinus", "Sinus rhythm|Sinus bradycardia", "positive", "GLASGOW names"),
    ("Pediatric analysis", "", "none", "MUSE: lines"),
]  # fmt: skip

ANCESTORS = {"Atrial fibrillation": ("Rhythm",), "Sinus bradycardia": ("Sinus rhythm", "Rhythm")}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "statements.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *ROWS])
    return path


@pytest.fixture
def statements(table):
    return {item.text: item for item in public_labels.read_public_statements(table)}


class FabricatedLabeler:
    """Finds in every text the same names with the same probabilities, and denies the same."""

    graph = SimpleNamespace(ancestors=lambda name: frozenset(ANCESTORS.get(name, ())))

    def __init__(self, probabilities=None, denied=(), implied=None):
        named = dict(probabilities or {})
        rows = [SimpleNamespace(name=name, source="text") for name in named]
        self.finding = SimpleNamespace(
            labels_flat={**named, **(implied or {})},
            blocks=[(None, SimpleNamespace(entities=rows))],
            mentions=[SimpleNamespace(entity=name, negated=True) for name in denied],
        )

    def find(self, text):
        return self.finding


def row_of(labeler, statements, source="all"):
    rows = public_labels.summary(labeler, statements.values())
    return next(row for row in rows if row["source"] == source)


def test_rows_of_one_statement_become_one_with_a_set_of_names_for_each_finding(statements):
    assert list(statements) == list(dict.fromkeys(row[0] for row in ROWS))
    item = statements["AF, possible LAE"]
    assert item.source == "MUSE: lines"
    assert item.unjudged == {"Tachycardia", "Arrhythmia"}
    assert item.expected == {
        "positive": [{"Atrial fibrillation"}],
        "uncertain": [{"Left atrial enlargement", "Atrial enlargement"}],
        "negated": [],
    }
    assert [len(names) for names in statements["LBBB, sinus"].expected["positive"]] == [1, 2]


def test_a_statement_without_a_finding_states_nothing(statements):
    stated = [text for text, item in statements.items() if public_labels.states_something(item)]
    assert stated == [text for text in statements if text != "Pediatric analysis"]


def test_a_labeler_that_finds_nothing_recalls_nothing(statements):
    row = row_of(FabricatedLabeler(), statements)
    assert (row["statements"], row["stated"], row["stated_without_label"]) == (4, 3, 3)
    for kind, expected in {"positive": 3, "uncertain": 1, "negated": 2}.items():
        assert row[f"{kind}_expected"] == expected
        assert row[f"{kind}_wrong"] == row[f"{kind}_recall"] == 0
        assert isnan(row[f"{kind}_precision"])


def test_a_labeler_that_finds_everything_recalls_it_at_the_price_of_precision(statements):
    # Five names in each of four statements. Expected, or possible: atrial fibrillation, tachycardia
    # (not judged) and rhythm (of which it is a kind) in the first, LBBB, sinus rhythm and rhythm in
    # the third, so that 2 + 5 + 2 + 5 are wrong. 3 are right.
    found = {"Atrial fibrillation": 1.0, "Tachycardia": 0.6, "Rhythm": 1.0, "Sinus rhythm": 1.0}
    found["Left bundle branch block"] = 0.7
    row = row_of(FabricatedLabeler(found), statements)
    assert row["positive_recall"] == 1
    assert row["positive_wrong"] == 14
    assert row["positive_precision"] == 3 / 17
    assert row["uncertain_recall"] == row["negated_recall"] == 0
    assert row["stated_without_label"] == 0


def test_what_is_doubted_or_denied_everywhere_is_wrong_where_it_is_not(statements):
    labeler = FabricatedLabeler({"Atrial enlargement": 0.5}, denied=["Infarction", "Ischemia"])
    row = row_of(labeler, statements)
    assert (row["uncertain_recall"], row["uncertain_precision"]) == (1, 1 / 4)
    assert (row["negated_recall"], row["negated_precision"]) == (1, 2 / 8)
    assert row["positive_recall"] == 0


def test_a_finding_is_positive_from_the_threshold_on(statements):
    item = statements["AF, possible LAE"]
    for probability, missed in ((0.6, []), (0.59, ["Atrial fibrillation"])):
        labeler = FabricatedLabeler({"Atrial fibrillation": probability})
        assert public_labels.judge(labeler, item)["positive"] == (missed, [])


def test_what_follows_from_several_names_is_found_but_never_wrong(statements):
    labeler = FabricatedLabeler(implied={"Sinus rhythm": 1.0, "Bifascicular block": 1.0})
    judged = public_labels.judge(labeler, statements["LBBB, sinus"])
    assert judged["positive"] == (["Left bundle branch block"], [])


def test_a_need_of_correlation_is_no_finding(statements):
    labeler = FabricatedLabeler({"Needs clinical correlation": 1.0})
    assert public_labels.gives_nothing(labeler, "")
    assert public_labels.judge(labeler, statements["Pediatric analysis"])["positive"] == ([], [])
    assert not public_labels.gives_nothing(FabricatedLabeler(denied=["Infarction"]), "")


def test_sources_are_counted_apart_by_their_first_word(statements):
    rows = public_labels.summary(FabricatedLabeler(), statements.values())
    counts = {row["source"]: row["statements"] for row in rows}
    assert counts == {"GLASGOW": 2, "MUSE": 2, "all": 4}


def test_the_labeler_is_judged_and_the_counts_are_written(table, tmp_path, capsys):
    out = tmp_path / "labels_public.csv"
    labels.judge_public(Labeler.from_vocabulary(), table, out)
    assert "GLASGOW" in capsys.readouterr().out
    with open(out, encoding="utf-8", newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert rows["all"]["statements"] == "4"
    assert float(rows["all"]["negated_recall"]) == 1


def test_what_is_misread_is_printed(table, tmp_path, capsys):
    labels.judge_public(FabricatedLabeler({"Rhythm": 1.0}), table, tmp_path / "out.csv")
    printed = capsys.readouterr().out
    assert "'Pediatric analysis': positive: +Rhythm" in printed
    assert "-Sinus bradycardia|Sinus rhythm" in printed
