"""What documents show of waves is run as it stands there, by a segmentor with weights at random."""

import re
import shlex

import numpy as np
import pytest
import wfdb

from fairseq_ecg.cli import main
from fairseq_ecg.ecg.leads import LEADS
from tests.conftest import ROOT
from tests.inference.test_segmentor_checkpoints import UNET, written

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "fairseq_ecg" / "inference" / "README.md",
    ROOT / "fairseq_ecg" / "inference" / "report" / "README.md",
]
SEGMENTORS = (
    *("segmentor.pt", "s.pt", "m.pt", "CHECKPOINT", "M"),
    "segmentor/checkpoint_last.pt",
)


def commands():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for line in re.findall(r"^    fairseq-ecg (.*)$", text, re.MULTILINE):
            words = shlex.split(line.rstrip("\\"), comments=True)
            if words[0] == "segment" or "--annotated" in words or "--segmentor" in words:
                yield pytest.param(words, id=" ".join(words))


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    """A folder with a segmentor and a record that has annotations."""
    monkeypatch.chdir(tmp_path)
    for name in SEGMENTORS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, UNET)
    signal = np.random.default_rng(0).normal(0, 0.3, (500, 12))
    for record in ("record", "recording"):
        options = {"units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": ["16"] * 12}
        wfdb.wrsamp(record, fs=100, p_signal=signal, **options)
        wfdb.wrann(record, "ii", np.array([5, 9, 12]), np.array(["(", "N", ")"]), fs=100)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("words", list(commands()))
def test_commands(words, tmp_path):
    files = ["record.hea" if word == "RECORDINGS..." else word for word in words]
    before = {path.name for path in tmp_path.iterdir()}
    assert main([word.strip("[]") for word in files]) == 0
    assert {path.name for path in tmp_path.iterdir()} > before


@pytest.mark.usefixtures("_folder")
def test_python():
    text = DOCUMENTS[1].read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if ".segment(" in block)
    names: dict = {}
    exec(compile("import fairseq_ecg\n" + block, "README.md", "exec"), names)
    assert list(names["delineation"].table.columns)[:6] == [
        *("recording", "lead", "wave", "onset", "offset", "duration")
    ]
    assert names["delineation"].mask("record.hea").classes.shape == (12, 500)
