"""``--min-quality``, and what tables and pages say of the quality of recordings."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fairseq_ecg.cli import main
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.quality import quality
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference import load_model
from fairseq_ecg.inference.picture import draw


@pytest.fixture(scope="module")
def network(shared):
    labels = shared / "ecg" / "code_15" / "labels" / "label_def.csv"
    return [str(shared / "golden" / "diagnosis_small.pt"), f"--label-def={labels}"]


@pytest.fixture
def folder(shared, tmp_path):
    """A recording of CODE-15, the same with I and II swapped, and noise."""
    import scipy.io

    path = next(iter(sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))))
    ecg = scipy.io.loadmat(path)["feats"]
    (tmp_path / "in").mkdir()
    swapped = ecg[[1, 0, *range(2, 12)]]
    noise = np.random.default_rng(0).normal(0, 0.3, ecg.shape)
    for name, signal in (("a", ecg), ("b", swapped), ("c", noise)):
        np.save(tmp_path / "in" / f"{name}.npy", signal)
    return tmp_path / "in"


def run(command, network, folder, out, *options):
    status = main([command, *network, str(folder), "--sample-rate=400", f"--out={out}", *options])
    return status, pd.read_csv(out).fillna({"quality_reasons": ""}).set_index("recording")


def test_tables_say_the_quality_and_its_reasons(network, folder, tmp_path, capsys):
    for command, arguments in (("predict", network), ("embed", network[:1])):
        status, table = run(command, arguments, folder, tmp_path / f"{command}.csv")
        assert status == 0
        assert list(table["quality"]) == [1.0, 0.3, 0.06]
        reasons = table["quality_reasons"].tolist()
        assert reasons[0] == ""
        assert "I and II look swapped" in reasons[1]
        assert "not alike" in reasons[2]


def test_what_is_left_out_is_named_with_its_reasons(network, folder, tmp_path, capsys):
    _, everything = run("predict", network, folder, tmp_path / "all.csv")
    status, table = run("predict", network, folder, tmp_path / "p.csv", "--min-quality=0.5")
    assert status == 3
    assert list(table.index) == [str(folder / "a.npy")]
    # What is computed does not depend on it.
    pd.testing.assert_frame_equal(table, everything.iloc[:1], check_dtype=False)
    noted = pd.read_csv(tmp_path / "p.quarantine.csv").set_index("recording")["reason"]
    assert list(noted.index) == [str(folder / "b.npy"), str(folder / "c.npy")]
    assert "quality 0.3 is below 0.5: limb leads do not obey" in noted.iloc[0]
    assert "quality 0.06 is below 0.5: what looks like beats" in noted.iloc[1]
    # The remedy that is named.
    status, table = run("predict", network, folder, tmp_path / "p.csv", "--min-quality=0.25")
    assert (status, len(table)) == (3, 2)
    status, table = run("predict", network, folder, tmp_path / "p.csv", "--min-quality=0.05")
    assert (status, len(table)) == (0, 3)


def test_in_python(network, folder, shared):
    model = load_model(network[0], labels=network[1].split("=")[1], device="cpu")
    paths = [str(folder / name) for name in ("a.npy", "b.npy")]
    found = model.predict(paths, 400.0, on_error="skip", min_quality=0.5)
    assert list(found.table.index) == paths[:1]
    assert "I and II look swapped" in found.errors[paths[1]]
    with pytest.raises(DataError, match=r"b\.npy: quality 0\.3 is below 0\.5: limb leads"):
        model.embed(paths, 400.0, min_quality=0.5)
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"min_quality=.*from 0 to 1"):
            model.predict(paths, 400.0, min_quality=wrong)


def test_prepared_recordings_have_a_quality(network, shared, tmp_path, capsys):
    prepared = shared / "ecg" / "code_15" / "segmented"
    assert main(["predict", *network, str(prepared), f"--out={tmp_path / 'p.csv'}"]) == 0
    assert (pd.read_csv(tmp_path / "p.csv")["quality"] == 1).all()


def test_pages_and_pictures_say_the_reasons(network, folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    options = ["--sample-rate=400", f"--checkpoint={network[0]}", network[1]]
    assert main(["report", str(folder), *options, f"--out={page}"]) == 0
    text = re.search(r'id="content">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)[1]
    good, swapped, noise = json.loads(text)["recordings"]
    assert (good["quality"], good["doubted"], good["reasons"]) == (1.0, False, "")
    assert (swapped["quality"], swapped["doubted"], noise["doubted"]) == (0.3, True, True)
    assert "I and II look swapped" in swapped["reasons"]

    picture = tmp_path / "b.svg"
    swapped = str(folder / "b.npy")
    assert main(["plot", swapped, "--sample-rate=400", f"--out={picture}"]) == 0
    assert "Quality 0.3 of 1: limb leads do not obey" in picture.read_text("utf-8")
    assert main(["plot", str(folder / "a.npy"), "--sample-rate=400", f"--out={picture}"]) == 0
    assert "Quality" not in picture.read_text("utf-8")


def test_a_long_note_stays_on_the_paper():
    signal = np.random.default_rng(0).normal(0, 0.3, (12, 5000))
    signal[:6] = 0
    signal[6] = np.nan
    signal[7] += 1e6
    ecg = ECG("a", signal, LEADS, 500.0)
    figure = draw(ecg, "a", quality=quality(ecg))
    canvas = FigureCanvasAgg(figure).get_renderer()
    notes = [text for axes in figure.axes for text in axes.texts if "Quality" in text.get_text()]
    (note,) = notes
    assert note.get_window_extent(canvas).x1 < figure.bbox.x1
