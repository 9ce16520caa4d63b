import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference.picture import Findings
from fairseq_ecg.inference.picture.findings import thresholds_of

LABELS = ("AF", "SB")


def test_thresholds_are_given_for_all_by_label_or_as_a_table(tmp_path):
    assert thresholds_of(LABELS) == {"AF": 0.5, "SB": 0.5}
    assert thresholds_of(LABELS, 0.2) == {"AF": 0.2, "SB": 0.2}
    assert thresholds_of(LABELS, {"SB": 0.1}) == {"AF": 0.5, "SB": 0.1}
    (tmp_path / "t.csv").write_text("label,threshold,auroc\nAF,0.3,0.9\n")
    assert thresholds_of(LABELS, tmp_path / "t.csv") == {"AF": 0.3, "SB": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("label,threshold\nXX,0.3\n", "unknown label 'XX'"),
        ("label,threshold\nAF,30\n", "no probability"),
        ("label,threshold\nAF,much\n", "no table"),
        ("name,value\nAF,0.3\n", "no table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        thresholds_of(LABELS, tmp_path / "t.csv")
    with pytest.raises(DataError, match="no such table"):
        thresholds_of(LABELS, tmp_path / "none.csv")


def test_a_label_holds_from_its_threshold_on():
    findings = Findings({"AF": 0.5, "SB": 0.4}, {"SB": 0.4})
    assert findings.holds("AF")
    assert findings.holds("SB")
    assert not Findings({"AF": 0.49}).holds("AF")
