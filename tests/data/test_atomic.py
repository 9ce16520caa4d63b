import os
import resource

import pytest

from fairseq_ecg.data.atomic import replacing


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
