"""The benchmark of the labeler compares what finds the same, and refuses what does not."""

import pandas as pd
import pytest

from benchmarks import common, labeler, plain_labeler


def test_reports_are_the_same_for_a_seed():
    reports = labeler.sample_reports(200)
    assert reports == labeler.sample_reports(200)
    assert len(set(reports)) > 180
    assert all(3 <= len(report.split("; ")) <= 9 for report in reports)


def test_the_stream_is_timed():
    row = labeler.stream(labeler.DEFAULT_FOLDER, 50, 1)
    assert row["reports"] == 50
    assert row["seconds"] > 0
    assert row["peak_MB"] > 10


def test_different_labels_are_refused(shared, monkeypatch):
    vocabulary = shared / "labeler" / "vocabulary"
    if not vocabulary.is_dir():
        pytest.skip(f"needs ECG-FM's vocabulary in {vocabulary}")
    nothing = pd.DataFrame({"sample": [], "name": [], "prob": []})
    monkeypatch.setattr(plain_labeler, "label", lambda *_: (None, nothing))
    with pytest.raises(common.WrongResultError, match="differ"):
        labeler.compare(vocabulary, 5)
