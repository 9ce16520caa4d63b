import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler


def test_tables_are_those_of_the_original(small):
    results = small.label(
        pd.Series(["Old infarct with AF", "unheard of", "x; AF"], index=["a", 7, 3])
    )
    assert results.entities.index.names == ["sample", "pattern", "entity"]
    assert results.entities.columns.tolist() == ["name", "source", "prob"]
    assert results.descriptors.columns.tolist() == ["name", "source"]
    assert results.labels.columns.tolist() == ["name", "prob", "label_type"]
    assert results.labels_flat.index.name == "sample"
    assert results.labels_flat.loc["a", "name"].tolist() == [
        "Atrial fibrillation", "Both", "Infarction", "Infarction - Old", "Injury", "Injury - Old",
        "Ischemia", "Ischemia - Old",
    ]  # fmt: skip
    assert results.labels_flat.loc[3, "name"] == "Atrial fibrillation"
    assert results.pattern_results.loc["a"].values.tolist() == [
        [0, "b", "old"],
        [1, "e", "infarct"],
        [2, "c", "with"],
        [3, "e", "atrial fibrillation"],
    ]
    assert results.text_results["text"].tolist()[2] == "x; atrial fibrillation"
    assert results.unmatched.to_dict() == {7: "unheard of", 3: "x"}
    assert results.entities["source"].iloc[1] == "sup - Infarction [('a', 0, 0)]"
    assert results.patterns is results.pattern_results


def test_negated_entities_are_reported(small):
    assert small.label(["no infarct or ischemia"]).negated["name"].tolist() == [
        "Infarction",
        "Ischemia",
    ]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.nan, ""])
def test_what_is_missing_is_empty(small, missing):
    results = small.label([missing, "infarct", 5.0])
    assert results.text_results["text"].tolist() == ["", "infarct", "5.0"]
    assert set(results.labels_flat.index) == {1}


def test_the_index_must_distinguish_texts(small):
    with pytest.raises(DataError, match="index 1 of the texts occurs twice"):
        small.label(pd.Series(["a", "b"], index=[1, 1]))


def test_a_single_text_is_no_list_of_letters(small):
    with pytest.raises(DataError, match="'infarct'; give a list"):
        small.label("infarct")


def test_lone_surrogates(small):
    results = small.label(["\ud800 infarct", "af \udfff"])
    assert len(results.text_results) == 2
    assert results.unmatched.tolist() == []
    assert results.labels_flat["name"].tolist() == [
        "Infarction", "Injury", "Ischemia", "Atrial fibrillation",
    ]  # fmt: skip


def test_same_texts_are_labelled_once(small, monkeypatch):
    seen = []
    find = Labeler.find
    monkeypatch.setattr(Labeler, "find", lambda self, text: seen.append(text) or find(self, text))
    results = small.label(["infarct", "af", "infarct"])
    assert seen == ["infarct", "af"]
    assert set(results.labels_flat.index) == {0, 1, 2}


def test_strings_of_arrow(small):
    with pd.option_context("future.infer_string", True):
        results = small.label(pd.Series(["old infarct", None, "af"]))
        assert results.labels_flat["name"].tolist()[0] == "Infarction"
        assert results.unmatched.empty
        assert len(results.entities) == 5


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_is_labelled(small, texts):
    results = small.label(texts)
    assert len(results.text_results) == len(texts)
    assert results.labels_flat["prob"].between(0, 1).all()


def test_look_alikes_and_line_ends_are_cleaned(small):
    assert "Infarction" in small.find("in\u200bfarct").labels_flat
    assert "Infarction" in small.find("\u202einfarct\u202c").labels_flat
    assert "Infarction" in small.find("infarct\x00").labels_flat
    assert "Infarction" in small.find("\uff49nfarct").labels_flat
    assert small.find("acute\r\ninfarct").mentions[0].descriptors == ()


def tables(folder) -> str:
    results = Labeler.from_vocabulary(folder).label(["possible anterior infarct, old; AF", "x"])
    names = ("entities", "descriptors", "labels", "labels_flat", "pattern_results")
    return "".join(getattr(results, name).to_csv() for name in names)


def test_no_hash_seed_matters(folder):
    program = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    program += "from test_labeler import tables\nsys.stdout.write(tables(sys.argv[1]))"
    there = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout == tables(folder)


def test_torch_is_not_needed():
    program = "import sys, fairseq_ecg.labeler.reports; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_labeler_can_be_sent_to_another_process(small):
    labeler = pickle.loads(pickle.dumps(small))
    text = "possible anterior infarct"
    assert labeler.find(text).labels_flat == small.find(text).labels_flat


def test_progress_is_shown(small, capsys):
    small.label(["infarct"], progress=True)
    assert "1/1" in capsys.readouterr().err
