"""Commands that are killed at any of their writes lose nothing, and the next run is as if whole."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.inference import parts
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.jobs.files import is_unfinished
from fairseq_ecg.labeler.reports import label_reports
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import unpack, verify
from tests.conftest import environment
from tests.segment_files import write_segment_files

KILLING = """
import json, os, signal, sys

from fairseq_ecg.cli import main
from fairseq_ecg.inference import parts
from fairseq_ecg.labeler.reports import label_reports
import fairseq_ecg.prepare.unpack, fairseq_ecg.prepare.pack

parts.RECORDINGS = label_reports.__kwdefaults__["rows"] = 1

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run(argv, folder, left):
    # A process of its own, which kills itself before its write number `left` below the folder.
    os.chdir(folder)

    def look(event, arguments):
        nonlocal left
        if event == "open":
            is_write = isinstance(arguments[2], int) and arguments[2] & WRITES
        else:
            is_write = event in ("os.rename", "os.remove", "os.truncate", "os.mkdir")
        if is_write and not os.path.abspath(os.fsdecode(arguments[0])).startswith(folder):
            is_write = False
        if is_write:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    main(argv)
    return left


argv, folders = json.loads(sys.argv[1])
reader, writer = os.pipe()
if not os.fork():
    left = run(argv, folders[0], 10**6)
    os.write(writer, str(10**6 - left).encode())
    os._exit(0)
assert os.wait()[1] == 0, "the whole run failed"
count = int(os.read(reader, 100))
points = sorted({round(i * (count - 1) / (len(folders) - 2)) for i in range(len(folders) - 1)})
for folder, point in zip(folders[1:], points):
    if not os.fork():
        run(argv, folder, point)
        os._exit(0)
    assert os.WIFSIGNALED(os.wait()[1]), point
print(json.dumps(points))
"""


def killed(argv: list[str], folders: list[Path]) -> list[Path]:
    """Run a command whole in the first folder, and killed at a point of its own in each other."""
    done = subprocess.run(
        [sys.executable, "-c", KILLING, json.dumps([argv, list(map(str, folders))])],
        capture_output=True,
        text=True,
        check=False,
        env=environment() | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    n_points = len(json.loads(done.stdout))
    assert n_points > 3
    return folders[1 : 1 + n_points]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    paths = [tmp_path / str(number) for number in range(10)]
    for path in paths:
        path.mkdir()
    return paths


def test_pack(folders, tmp_path):
    write_segment_files(tmp_path / "in", {"train": [2, 3], "valid": [2]})
    write_segment_files(tmp_path / "old", {"train": [2]}, first_idx=50)
    for folder in folders:
        pack(tmp_path / "old", folder / "store")
    before = contents(folders[1] / "store")
    for folder in killed(["store", "pack", str(tmp_path / "in"), "store"], folders):
        store = folder / "store"
        assert verify(store) == []
        kept = {name: store.joinpath(name).read_bytes() for name in before if name != "store.json"}
        assert kept.items() <= before.items()
        pack(tmp_path / "in", store)
        assert contents(store) == contents(folders[0] / "store")


def test_unpack(folders, tmp_path):
    write_segment_files(tmp_path / "in", {"train": [2, 3], "valid": [2]})
    pack(tmp_path / "in", tmp_path / "store", dtype="float64")
    originals = contents(tmp_path / "in" / "segmented")
    for folder in killed(["store", "unpack", str(tmp_path / "store"), "out"], folders):
        whole = contents(folders[0] / "out")
        out = folder / "out"
        if out.exists():
            there = contents(out)
            assert {n: c for n, c in there.items() if not is_unfinished(Path(n).name)}.items() <= {
                name: content.replace(str(folders[0]).encode(), str(folder).encode())
                for name, content in whole.items()
            }.items()
            if any((out / "segmented").glob("[!.]*.mat")):
                found = recordings_in(out / "segmented", Description())
                assert not any(is_unfinished(Path(str(one.name)).name) for one in found)
        assert unpack(tmp_path / "store", out).identical == len(originals)
        assert contents(out / "segmented") == originals
        assert contents(out).keys() == whole.keys()


def test_predict(folders, network, shared, monkeypatch):
    monkeypatch.setattr(parts, "RECORDINGS", 1)
    source = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))[:2]
    for folder in folders:
        for file in source:
            shutil.copy(file, folder)
    argv = ["predict", *network, ".", "--out=p.csv", "--segments=s.csv"]
    for folder in killed(argv, folders):
        there = contents(folder)
        for name in ("p.csv", "s.csv"):
            assert there.get(name, contents(folders[0])[name]) == contents(folders[0])[name]
        monkeypatch.chdir(folder)
        assert main(argv) == 0
        assert contents(folder) == contents(folders[0])


def test_label(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(label_reports.__kwdefaults__, "rows", 1)
    (tmp_path / "in.csv").write_text("text\nSinus rhythm\nold inferior infarct\n,\nSinus rhythm\n")
    argv = ["label", str(tmp_path / "in.csv"), "--text-column=text", "--out=out", "--workers=1"]
    for folder in killed(argv, folders[:6]):
        whole, there = contents(folders[0]), contents(folder)
        assert all(there.get(name, whole[name]) == whole[name] for name in whole)
        monkeypatch.chdir(folder)
        assert main(argv) == 0
        assert contents(folder) == whole
