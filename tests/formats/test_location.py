import gzip
import os
import socket
import tempfile
import zipfile
from functools import partial

import pytest

from fairseq_ecg import limits
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.formats.location import Location
from fairseq_ecg.limits import VARIABLE


@pytest.mark.parametrize(
    ("address", "name", "stem", "suffix", "beside"),
    [
        ("/d/rec.EDF", "rec.EDF", "rec", ".edf", "/d/x.hea"),
        ("rec", "rec", "rec", "", "x.hea"),
        ("d/a.csv.gz", "a.csv", "a", ".csv", "d/x.hea"),
        ("s3://b/d/a.npy", "a.npy", "a", ".npy", "s3://b/d/x.hea"),
        ("zip://d/a.hea::s3://b/c.zip", "a.hea", "a", ".hea", "zip://d/x.hea::s3://b/c.zip"),
        ("memory://a.v2.dat", "a.v2.dat", "a.v2", ".dat", "memory://x.hea"),
    ],
)
def test_names_of_paths_and_urls(address, name, stem, suffix, beside):
    location = Location(address)
    assert (location.name, location.stem, location.suffix) == (name, stem, suffix)
    assert location.beside("x.hea") == Location(beside)


def test_what_cannot_be_opened_is_named(tmp_path):
    for address, reason in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "is a folder, not a file"),
        ("memory://none", "no such file"),
        ("nosuch://host/a.edf", r"cannot be read \(ValueError: Protocol not known: nosuch"),
    ):
        with pytest.raises(DataError, match=f"{address}: {reason}"):
            Location.of(address).open()
        assert not Location.of(address).exists()


def test_files_are_copied_where_they_are_not_files_of_this_machine(tmp_path):
    (tmp_path / "a.txt").write_text("here")
    with Location.of(tmp_path / "a.txt").on_disk() as path:
        assert path == tmp_path / "a.txt"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("d/a.txt", "there")
    with Location(f"zip://d/a.txt::{tmp_path}/all.zip").on_disk() as path:
        assert path.read_text() == "there"
    assert not path.exists()


def test_compressed_files_are_unpacked(tmp_path):
    packed = gzip.compress(b"content" * 1000)
    (tmp_path / "a.txt.gz").write_bytes(packed)
    location = Location.of(tmp_path / "a.txt.gz")
    assert location.read() == b"content" * 1000
    with location.on_disk() as path:
        assert path.name == "a.txt"
        assert path.read_bytes() == b"content" * 1000
    (tmp_path / "a.txt.gz").write_bytes(packed[:-10])
    with pytest.raises(DataError, match=r"a\.txt\.gz: cannot be read \("):
        location.read()


def special_files(folder):
    os.mkfifo(folder / "pipe.edf")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket.edf"))  # such names are short
    os.symlink("/dev/zero", folder / "device.edf")
    os.symlink(folder / "pipe.edf", folder / "link.csv")
    return {
        folder / "pipe.edf": "named pipe",
        folder / "socket.edf": "socket",
        folder / "device.edf": "device",
        folder / "link.csv": "named pipe",
        folder: "folder",
    }


def test_what_is_no_file_is_not_opened(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path, kind in special_files(tmp_path).items():
        location = Location.of(path)
        for opening in (location.open, location.read, location.local, partial(read_ecg, path)):
            with pytest.raises(DataError, match=f"is a {kind}, not a file"):
                opening()
        with pytest.raises(DataError, match=f"is a {kind}, not a file"):
            location.copy_to(elsewhere)
        assert not location.exists()


@pytest.fixture
def bomb(tmp_path) -> str:
    """30 kB of which 30 MB come out."""
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(bytes(30 * 10**6)))
    return str(path)


def test_what_grows_without_measure_is_refused(bomb, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FREELY_UNPACKED", 10**7)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", bytes(30 * 10**6))
    for address in (bomb, f"file://{bomb}", f"zip://a.csv::{tmp_path}/a.zip"):
        location = Location(address)
        for opening in (location.open, location.read, location.local):
            with pytest.raises(DataError, match="times its packed size, more than the most"):
                opening()
        assert location.read(10) == bytes(10)
        assert not os.listdir(tmp_path / "temporary")
    monkeypatch.setenv(VARIABLE, "expansion=2000")
    with Location(bomb).open() as file:
        file.seek(0, os.SEEK_END)
        assert file.tell() == 30 * 10**6
    monkeypatch.setenv(VARIABLE, "bytes=1e6,expansion=2000")
    with pytest.raises(DataError, match="bytes when unpacked, more than the most"):
        Location(bomb).open()
