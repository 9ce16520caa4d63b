import shutil

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
