"""The quick start of README.md is run as it stands there."""

import re
import shlex
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import wfdb

from fairseq_ecg.cli import main
from fairseq_ecg.ecg.leads import LEADS

README = Path(__file__).resolve().parents[1] / "README.md"
CHECKPOINT, RECORD = "mimic_iv_ecg_finetuned.pt", "recording"


def quick_start() -> str:
    """The section of the quick start."""
    section = README.read_text(encoding="utf-8").partition("\n## Quick start\n")[2]
    if not section:
        pytest.skip("README.md has no section 'Quick start'")
    return section.partition("\n## ")[0]


@pytest.fixture
def _folder(shared, tmp_path, monkeypatch):
    """A folder with the files that the quick start names, and nothing else."""
    shutil.copy(shared / "golden" / "diagnosis_small.pt", tmp_path / CHECKPOINT)
    shutil.copy(shared / "ecg" / "code_15" / "labels" / "label_def.csv", tmp_path)
    signal = np.random.default_rng(0).normal(0, 0.3, (12, 5000))
    wfdb.wrsamp(
        RECORD,
        fs=500,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        p_signal=signal.T,
        fmt=["16"] * 12,
        write_dir=str(tmp_path),
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_folder")
def test_commands(tmp_path):
    section = re.sub(r"```python\n.*?```", "", quick_start(), flags=re.DOTALL)
    lines = re.findall(r"^\s*(?:\$ )?(fairseq-ecg .+)$", section.replace("\\\n", " "), re.MULTILINE)
    assert lines, "no command in the quick start"
    for line in lines:
        _, *arguments = shlex.split(line, comments=True)
        assert main(arguments) == 0, line
    pictures = [path for path in tmp_path.iterdir() if path.suffix in (".png", ".svg", ".pdf")]
    assert pictures, "no picture in the end"


@pytest.mark.usefixtures("_folder")
def test_python():
    code = re.findall(r"```python\n(.*?)```", quick_start(), re.DOTALL)
    assert code, "no Python in the quick start"
    for block in code:
        exec(compile(textwrap.dedent(block), str(README), "exec"), {})
