import os
import subprocess
import sys

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.locks import locked

KILLED = """
import os, signal, sys
from pathlib import Path
from fairseq_ecg.jobs.locks import locked
with locked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_holder_at_a_time(tmp_path):
    with (
        locked(tmp_path / "a"),
        pytest.raises(DataError, match=r"a: another run is writing there. Wait for it to end"),
        locked(tmp_path / "a", wait=False),
    ):
        pass
    with locked(tmp_path / "a", wait=False), locked(tmp_path / "b", wait=False):
        assert sorted(os.listdir(tmp_path)) == [".a.lock", ".b.lock"]


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a"], check=False)
    assert (tmp_path / ".a.lock").exists()
    with locked(tmp_path / "a", wait=False):
        pass


def test_errors_of_the_body_pass(tmp_path):
    with pytest.raises(BlockingIOError, match="the body"), locked(tmp_path / "a"):
        raise BlockingIOError("the body")


def test_a_lock_of_another_name_keeps_its_content(tmp_path):
    (tmp_path / "lock").write_text("precious")
    with locked(tmp_path / "a", file=tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == "precious"
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    with (
        pytest.raises(DataError, match=r"link: is a symbolic link, and no lock. Remove it"),
        locked(tmp_path / "a", file=tmp_path / "link"),
    ):
        pass
