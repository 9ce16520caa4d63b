import json
import re
import shutil

import pandas as pd
import pytest

from fairseq_ecg.cli import main


@pytest.fixture
def recordings(shared, tmp_path):
    """Three real recordings."""
    files = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))[:3]
    folder = tmp_path / "recordings"
    folder.mkdir()
    return [shutil.copy(file, folder) for file in files]


@pytest.fixture
def model(shared):
    return [
        f"--checkpoint={shared / 'golden' / 'diagnosis_small.pt'}",
        f"--label-def={shared / 'ecg' / 'code_15' / 'labels' / 'label_def.csv'}",
    ]


def test_a_page_of_a_batch_is_light_and_needs_nothing_else(recordings, model, tmp_path):
    out = tmp_path / "batch.html"
    (tmp_path / "thresholds.csv").write_text("label,threshold\nAF,0.125\n")
    options = [f"--thresholds={tmp_path / 'thresholds.csv'}", "--title=Ward <3>"]
    assert main(["report", *recordings, *model, f"--out={out}", *options]) == 0
    text = out.read_text()
    assert len(text) < 100_000 * len(recordings)
    assert "<title>Ward &lt;3&gt;</title>" in text
    assert "0.125" in text
    for word in ("http://", "https://", "@import", "url("):
        assert word not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_folder_gets_a_page_for_each_recording_once(recordings, model, tmp_path, capsys):
    out = tmp_path / "pages"
    (tmp_path / "recordings" / "empty.mat").touch()
    options = [str(tmp_path / "recordings"), *model, f"--out={out}"]
    assert main(["report", *options]) == 3
    assert "left out" in capsys.readouterr().err
    pages = sorted(out.iterdir())
    assert len(pages) == 3
    pages[0].write_text("kept")
    pages[1].unlink()
    assert main(["report", *options]) == 3
    assert pages[0].read_text() == "kept"
    assert "code_15" in pages[1].read_text()


def test_mistakes(recordings, model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["report", *recordings, *model, "--out=a.pdf"])
    assert "name it .html" in capsys.readouterr().err
    options = [*model, f"--out={tmp_path / 'a.html'}"]
    assert main(["report", str(tmp_path / "none.mat"), *options]) == 2
    assert "no recording can be used" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_a_store_is_shown_in_standard_deviations(shared, model, tmp_path, capsys):
    folder = shared / "ecg" / "code_15" / "segmented"
    (tmp_path / "manifests").mkdir()
    rows = ["code_15_1594286_0.mat", "code_15_1594286_1.mat", "code_15_1238362_0.mat"]
    lines = [f"{folder}", *(f"{row}\t2500" for row in rows)]
    (tmp_path / "manifests" / "test.tsv").write_text("\n".join(lines) + "\n")
    store = str(tmp_path / "store")
    assert main(["store", "pack", str(tmp_path / "manifests"), store]) == 0
    shown = [store, "--split=test", *model]
    assert main(["report", *shown, f"--out={tmp_path / 'a.html'}"]) == 0
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    text = re.search(r'id="content">(.*?)</script>', html, re.DOTALL)[1]
    recordings = {entry["name"]: entry for entry in json.loads(text)["recordings"]}
    assert {entry["unit"] for entry in recordings.values()} == {"SD"}

    network = model[0].removeprefix("--checkpoint=")
    table = tmp_path / "a.csv"
    assert main(["predict", network, store, model[1], f"--out={table}"]) == 0
    for _, row in pd.read_csv(table).iterrows():
        entry = recordings[row["recording"].removesuffix(".mat")]
        assert entry["outputs"] == pytest.approx(list(row.iloc[-8:]), abs=1e-4)
        assert len(entry["segments"]) == row["segments"]

    pictures = ["--saliency", f"--out={tmp_path / 'pictures'}", "--suffix=.svg"]
    assert main(["plot", *shown, *pictures]) == 0
    for name in recordings:
        assert "mm/SD" in (tmp_path / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    capsys.readouterr()
