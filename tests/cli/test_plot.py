import shutil

import numpy as np
import pytest

from fairseq_ecg.cli import main


@pytest.fixture
def model(shared):
    """Options that name the fine-tuned network."""
    return [
        f"--checkpoint={shared / 'golden' / 'diagnosis_small.pt'}",
        f"--label-def={shared / 'ecg' / 'code_15' / 'labels' / 'label_def.csv'}",
    ]


@pytest.fixture
def recordings(shared, tmp_path):
    """A folder with two real recordings and one that is none."""
    folder = tmp_path / "recordings"
    (folder / "below").mkdir(parents=True)
    files = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    shutil.copy(files[0], folder / "a.mat")
    shutil.copy(files[1], folder / "below" / "b.mat")
    (folder / "broken.edf").write_bytes(b"0       ")
    return folder


def test_a_folder_gets_a_picture_for_each_recording_once(recordings, model, tmp_path, capsys):
    out = tmp_path / "pictures"
    options = [str(recordings), f"--out={out}", *model, "--saliency", "--suffix=.svg"]
    assert main(["plot", *options]) == 3
    assert "left out" in capsys.readouterr().err
    a, b = out / "a.svg", out / "below" / "b.svg"
    assert sorted(path for path in out.rglob("*") if path.is_file()) == [a, b]
    for label in ("saliency", "RBBB", "threshold", "aVF"):
        assert label in a.read_text()
    a.write_text("kept")
    b.unlink()
    assert main(["plot", *options]) == 3
    assert a.read_text() == "kept"
    assert b.is_file()
    assert main(["plot", *options, "--overwrite"]) == 3
    assert a.read_text() != "kept"


def test_options_of_the_paper(recordings, tmp_path):
    out = tmp_path / "a.svg"
    options = ["--draw=II,V1", "--start=1", "--length=3", "--speed=50", "--mm-per-mv=20"]
    assert main(["plot", str(recordings / "a.mat"), f"--out={out}", *options]) == 0
    text = out.read_text()
    assert "50 mm/s     20 mm/mV     400 Hz     1 to 4 s of 7.335 s" in text
    assert ">V1<" in text
    assert ">V2<" not in text
    options = ["--layout=6x2", "--rhythm=none"]
    assert main(["plot", str(recordings / "a.mat"), f"--out={out}", *options]) == 0
    assert out.read_text().count(">II<") == 1


def test_files_that_do_not_say_everything(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(1).normal(size=(2, 5000)) * 300)
    options = [str(tmp_path / "a.npy"), f"--out={tmp_path / 'a.pdf'}", "--sample-rate=500"]
    assert main(["plot", *options, "--leads=II,V1"]) == 2
    assert "units" in capsys.readouterr().err
    assert main(["plot", *options, "--leads=II,V1", "--units=uV"]) == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert main(["plot", *options, "--leads=II,V1", "--units=mV"]) == 2
    assert "a.npy" in capsys.readouterr().err


def test_recordings_of_one_array_get_a_picture_each(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(1).normal(size=(2, 12, 1000)) / 5)
    options = ["--units=mV", "--sample-rate=500", f"--out={tmp_path / 'out'}"]
    assert main(["plot", str(tmp_path / "a.npy"), *options]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--out=a.png"], "do not go into one picture"),
        (["--out=a.jpeg"], "name it .png"),
        (["--out=pictures", "--saliency"], "needs --checkpoint"),
        (["--out=pictures", "--layout=9x9"], '"9x9" for --layout'),
    ],
)
def test_mistakes(recordings, options, reason, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["plot", str(recordings), *options])
    assert exit_.value.code == 2
    assert reason in capsys.readouterr().err
