"""Follows a recipe of CONTRIBUTING.md in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, environment


def followed(title: str, folder: Path) -> Path:
    """Copy the package, and change the copy as the recipe of this title says."""
    for name in ("fairseq_ecg", "csrc", "hydra_plugins", "configs", "examples", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    document = (ROOT / "CONTRIBUTING.md").read_text()
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", document, re.DOTALL | re.M)
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.M):
        if language in ("python", "yaml"):
            name, code = text.removeprefix("# ").split("\n", 1)
            assert not (folder / name).exists()
            (folder / name).write_text(code)
        elif language == "diff":
            for change in text.split("+++ ")[1:]:
                change_file(folder, *change.split("\n", 1))
    return folder


def change_file(folder: Path, name: str, hunks: str) -> None:
    """Put lines that begin with ``+`` in place of those with ``-``, among those without."""
    text = (folder / name).read_text()
    for hunk in hunks.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, (name, before)
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))
    (folder / name).write_text(text)


def run(folder: Path, *arguments: str, **variables: str) -> str:
    """Run Python on the copy; return what it prints."""
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(folder)} | variables,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-6000:]
    return process.stdout


if __name__ == "__main__":
    print(os.fspath(followed(sys.argv[1], Path(sys.argv[2]))))
