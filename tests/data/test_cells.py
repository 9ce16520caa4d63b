import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_ecg.data.cells import as_cells, cell

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "=",
    "- normal ECG",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_text(text):
    assert cell(text) == f"'{text}"
    assert cell(f"'{text}") == f"''{text}"


@pytest.mark.parametrize(
    "text", ["", "a=b", "p/rec.mat", "-5", "+3.5", "-1e-3", "-inf", "7", "'quoted'", "it's", " -"]
)
def test_other_text_and_numbers_stay(text):
    assert cell(text) == text


@given(st.text(max_size=5), st.text(max_size=5))
def test_different_texts_stay_different(one, other):
    assert (cell(one) == cell(other)) == (one == other)


def test_tables_are_written_so_in_cells_and_headers():
    table = pd.DataFrame(
        {
            "recording": ["=1+1", "-5", None, "a"],
            "=label": [-0.5, 1.0, 2.0, 3.0],
            "mixed": [1, "@x", -2, None],
            3: pd.Categorical(["+a", "b", "+a", "b"]),
        }
    )
    text = as_cells(table).to_csv(index=False, lineterminator="\n")
    assert list(csv.reader(io.StringIO(text))) == [
        ["recording", "'=label", "mixed", "3"],
        ["'=1+1", "-0.5", "1", "'+a"],
        ["-5", "1.0", "'@x", "b"],
        ["", "2.0", "-2", "'+a"],
        ["a", "3.0", "", "b"],
    ]
    assert table.columns.tolist() == ["recording", "=label", "mixed", 3]
