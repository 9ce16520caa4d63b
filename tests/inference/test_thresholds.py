import pandas as pd
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.thresholds import holding, thresholds_of

LABELS = ("AF", "ST", "1dAVb")


@pytest.fixture
def table(tmp_path):
    def write(text: str):
        (tmp_path / "t.csv").write_text(text)
        return tmp_path / "t.csv"

    return write


def test_one_for_all_or_a_table(table):
    assert thresholds_of(LABELS, 0.3) == {"AF": 0.3, "ST": 0.3, "1dAVb": 0.3}
    given = table("rule,threshold,label\nyouden,0.25,ST\nyouden,1,AF\n")
    assert thresholds_of(LABELS, given) == {"AF": 1.0, "ST": 0.25, "1dAVb": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nAF\n", "t.csv: no column 'threshold'"),
        ("label,threshold\nAF,0.1\nB,0.2\n", "t.csv, line 3: unknown label 'B'; the labels are AF"),
        ("label,threshold\nAF,0.1\nAF,0.2\n", "t.csv, line 3: label 'AF' is there twice"),
        ("label,threshold\nAF,high\n", "line 2: 'high' is no probability"),
        ("label,threshold\nAF,\n", "line 2: nan is no probability"),
        ("label,threshold\nAF,1.1\n", "line 2: '1.1' is no probability"),
    ],
)
def test_tables_that_cannot_be_used(text, message, table):
    with pytest.raises(DataError, match=message):
        thresholds_of(LABELS, table(text))


def test_a_label_holds_from_its_threshold_on():
    probabilities = pd.DataFrame({"AF": [0.2, 0.3], "ST": [0.9, 0.1]}, index=["a", "b"])
    found = holding(probabilities, {"AF": 0.3, "ST": 0.5})
    found = pd.DataFrame(found, probabilities.index)
    assert found.to_dict("list") == {"AF holds": [0, 1], "ST holds": [1, 0]}
    assert list(found.index) == ["a", "b"]
