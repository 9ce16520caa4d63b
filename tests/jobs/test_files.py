import errno
import os
import resource

import pytest

from fairseq_ecg.jobs.files import remove_unfinished, replacing, reserve


def write_half(path):
    with replacing(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made(tmp_path):
    with replacing(tmp_path / "a" / "b" / "c.txt") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_success_replaces_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*a\.txt"):  # noqa: SIM117
            with replacing(tmp_path / "a.txt") as unfinished:
                unfinished.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f".unfinished-{os.getpid()}-a.txt").symlink_to(tmp_path / "precious")
    (tmp_path / "a.txt").symlink_to(tmp_path / "precious")
    with replacing(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "a.txt").is_symlink()


def test_room_is_reserved_where_the_system_cannot(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(tmp_path / "a", 2**20 + 5)
    assert (tmp_path / "a").read_bytes() == bytes(2**20 + 5)


def test_room_is_reserved_or_missed_at_once(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    reserve(tmp_path / "a", 2**20)
    assert (tmp_path / "a").read_bytes() == bytes(2**20)
    assert os.stat(tmp_path / "a").st_blocks * 512 >= 2**20
    reserve(tmp_path / "a", 0)
    assert (tmp_path / "a").read_bytes() == b""

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/a'"):
        reserve(tmp_path / "a", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious").read_text() == "precious"


def test_what_killed_processes_left_of_some_files_is_removed(tmp_path):
    left = [".unfinished-7-a.csv", ".unfinished-7-a-b.csv", ".unfinished-8-other.csv", "a.csv"]
    for name in left:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, tmp_path / "nothing", names={"a.csv", "a-b.csv"})
    assert sorted(os.listdir(tmp_path)) == [".unfinished-8-other.csv", "a.csv"]
    remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ["a.csv"]
