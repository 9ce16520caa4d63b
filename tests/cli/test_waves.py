"""Waves that ``plot`` paints."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fairseq_ecg import inference
from fairseq_ecg.cli import main
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.inference.picture.waves import COLOURS
from tests.inference.segmentors import levels_model
from tests.inference.test_delineation import lead, true_classes

WORDS = "P 0.100-0.200, QRS 0.260-0.360, T 0.500-0.700, P 1.100-1.200"


@pytest.fixture
def recording(record):
    return record("a", np.stack([lead(4, 100)] * 12), rate=100)


def described(picture):
    with Image.open(picture) as image:
        return image.info["Description"]


@pytest.mark.parametrize("n_leads", [1, 12])
def test_waves_of_a_segmentor(recording, monkeypatch, tmp_path, n_leads):
    monkeypatch.setattr(inference, "load_model", lambda *_, **__: levels_model(n_leads))
    out = tmp_path / "a.png"
    assert main(["plot", recording, "--segmentor=any.pt", f"--out={out}"]) == 0
    assert WORDS in described(out)
    assert described(out).count("Lead") == (12 if n_leads == 1 else 0)
    of_checkpoint = tmp_path / "b.png"
    assert main(["plot", recording, "--checkpoint=any.pt", f"--out={of_checkpoint}"]) == 0
    assert of_checkpoint.read_bytes() == out.read_bytes()


def test_names_of_labels_are_not_those_of_the_segmentor(recording, monkeypatch, tmp_path):
    names = tmp_path / "label_def.csv"
    names.write_text("name\nAF\n")

    given = {}

    def load(source, labels=None, **_):
        given[source] = labels
        return levels_model(12)

    monkeypatch.setattr(inference, "load_model", load)
    networks = ["--checkpoint=classifier.pt", "--segmentor=segmentor.pt"]
    options = [*networks, f"--label-def={names}", f"--out={tmp_path / 'a.png'}"]
    assert main(["plot", recording, *options]) == 0
    assert given == {"classifier.pt": names, "segmentor.pt": None}


def test_waves_of_annotations_beside_the_record(recording, monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "load_model", lambda *_, **__: levels_model(1))
    options = [f"--out={tmp_path / 'waves.csv'}", f"--annotations={tmp_path}"]
    assert main(["segment", "any.pt", recording, *options]) == 0
    (tmp_path / "a.v6").unlink()
    out = tmp_path / "a.svg"
    assert main(["plot", recording, "--annotated", f"--out={out}"]) == 0
    assert f"Lead II: {WORDS}" in out.read_text()
    assert "Lead V6: no waves." in out.read_text()
    for text in ("P wave", "QRS complex", "T wave", "as annotated"):
        assert f">{text}<" in out.read_text()
    for colour in COLOURS.values():
        assert colour in out.read_text()


def test_waves_of_labels_of_samples(tmp_path):
    path = tmp_path / "1.mat"
    signal = lead(4, 100)
    mask = np.arange(400) >= 350
    mat = {"feats": np.stack([signal] * 12), "curr_sample_rate": 100, "segment_mask": mask}
    scipy.io.savemat(path, mat | {"segment_label": true_classes(signal)})
    out = tmp_path / "a.svg"
    assert main(["plot", str(path), "--annotated", f"--out={out}"]) == 0
    assert f"All leads: {WORDS}" in out.read_text()
    assert "QRS 3.260-3.360" in out.read_text()
    assert "T 3.500-3.700" not in out.read_text()
    scipy.io.savemat(path, mat | {"segment_label": true_classes(signal)[:-1]})
    assert main(["plot", str(path), "--annotated", f"--out={out}"]) == 2


def test_what_has_no_waves_is_an_error(recording, network, tmp_path, capsys):
    out = f"--out={tmp_path / 'a.png'}"
    assert main(["plot", recording, "--annotated", out]) == 2
    assert "no waves are annotated" in capsys.readouterr().err
    assert main(["plot", recording, f"--segmentor={network[0]}", out]) == 2
    assert "segment needs a segmentor" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plot", recording, "--annotated", "--segmentor=any.pt", out])


def test_a_derived_lead_has_its_own_waves(record, monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "load_model", lambda *_, **__: levels_model(1))
    signal = np.stack([lead(4, 100), 2 * lead(4, 100)])
    path = record("b", signal, leads=LEADS[:2], rate=100)
    out = tmp_path / "b.svg"
    assert main(["plot", path, "--segmentor=any.pt", f"--out={out}"]) == 0
    assert f"Lead III: {WORDS}" in out.read_text()
