import json

import numpy as np
import pandas as pd
import pytest
import wfdb

from fairseq_ecg import inference
from fairseq_ecg.cli import main
from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.ecg.leads import LEADS
from tests.inference.segmentors import levels_model
from tests.inference.test_delineation import lead, true_classes


@pytest.fixture
def model(monkeypatch):
    """Have commands use a network that knows waves by their level, whatever checkpoint is named."""

    def use(n_leads):
        monkeypatch.setattr(inference, "load_model", lambda *_, **__: levels_model(n_leads))

    use(1)
    return use


@pytest.fixture
def recordings(record, tmp_path):
    """A folder with two records and a file that is none."""
    signal = np.stack([lead(7, 100)] * 12)
    record("a", signal, rate=100)
    record("b", np.stack([lead(13, 250)] * 2), leads=("I", "V2"), rate=250)
    (tmp_path / "broken.edf").write_bytes(b"0       ")
    return tmp_path


def test_tables_of_waves_and_measures(recordings, model, tmp_path, capsys):
    out, measures = tmp_path / "out" / "waves.csv", tmp_path / "out" / "measures.json"
    options = [f"--out={out}", f"--measures={measures}", "--missing-leads=zero"]
    assert main(["segment", "any.pt", str(recordings), *options]) == 3
    assert "2 recordings" in capsys.readouterr().out
    waves = pd.read_csv(out)
    assert list(waves)[:6] == ["recording", "lead", "wave", "onset", "offset", "duration"]
    assert waves.groupby("recording").lead.agg(lambda of: sorted(set(of))).to_dict() == {
        str(recordings / "a.hea"): sorted(LEADS),
        str(recordings / "b.hea"): ["I", "V2"],
    }
    rows = json.loads(measures.read_text())
    assert len(rows) == 13 + 3
    of_all = [row for row in rows if row["lead"] == "all"]
    assert [row["heart_rate"] for row in of_all] == pytest.approx([60, 60])
    assert [row["qrs"] for row in of_all] == pytest.approx([100, 100], abs=8.1)
    quarantine = pd.read_csv(tmp_path / "out" / "waves.quarantine.csv")
    assert quarantine.recording.tolist() == [str(recordings / "broken.edf")]


def test_masks_have_a_class_for_each_sample(recordings, model, tmp_path):
    masks = tmp_path / "masks"
    model(12)
    options = [f"--out={tmp_path / 'waves.parquet'}", f"--masks={masks}"]
    assert main(["segment", "any.pt", str(recordings / "a.hea"), *options]) == 0
    with np.load(masks / "a.npz") as mask:
        np.testing.assert_array_equal(mask["classes"], true_classes(lead(7, 100))[None])
        assert mask["names"].tolist() == ["p", "qrs", "t", "none"]
        assert mask["leads"].tolist() == ["all"]
        assert mask["sample_rate"] == 100
    assert len(pd.read_parquet(tmp_path / "waves.parquet")) == 21


@pytest.mark.parametrize("n_leads", [1, 12])
def test_annotations_are_those_of_a_wfdb_record(recordings, model, tmp_path, n_leads):
    model(n_leads)
    folder = tmp_path / "annotations"
    options = [f"--out={tmp_path / 'waves.csv'}", f"--annotations={folder}"]
    assert main(["segment", "any.pt", str(recordings / "a.hea"), *options]) == 0
    found = sorted(path.name for path in folder.iterdir())
    assert found == sorted(f"a.{name.lower()}" for name in (LEADS if n_leads == 1 else ["all"]))
    annotation = wfdb.rdann(str(folder / "a"), "v5" if n_leads == 1 else "all")
    assert annotation.fs == 100
    assert annotation.symbol == ["(", "p", ")", "(", "N", ")", "(", "t", ")"] * 7
    triples = annotation.sample.reshape(-1, 3)
    classes = np.full(700, CLASSES["none"])
    for number, (onset, peak, offset) in enumerate(triples):
        assert onset <= peak <= offset
        classes[onset : offset + 1] = number % 3
    np.testing.assert_array_equal(classes, true_classes(lead(7, 100)))


def test_no_recording_that_can_be_used(tmp_path, model, capsys):
    (tmp_path / "broken.edf").write_bytes(b"0       ")
    assert main(["segment", "m.pt", str(tmp_path), f"--out={tmp_path / 'w.csv'}"]) == 2
    assert main(["segment", "m.pt", str(tmp_path), f"--out={tmp_path / 'w.npy'}"]) == 2
    assert "of no known format" in capsys.readouterr().err


def test_a_classifier_is_no_segmentor(network, recordings, tmp_path, capsys):
    options = [str(recordings / "a.hea"), f"--out={tmp_path / 'w.csv'}"]
    assert main(["segment", network[0], *options]) == 2
    assert "segment needs a segmentor" in capsys.readouterr().err


def test_the_peak_is_far_from_the_line_between_onset_and_offset():
    from fairseq_ecg.inference.annotations import _peak

    wave = np.array([[0.0, 0.1, 0.2, 0.9, 0.4, 0.5], [0.0, 0.0, 0.0, -0.3, 0.0, 0.0]])
    assert _peak(wave) == 3
    assert _peak(wave[:, :1]) == 0
