import gzip
import zipfile

import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.formats.location import Location


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
