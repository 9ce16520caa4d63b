import os
import pickle

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.ledger import Ledger, ledger


def finish(parts: Ledger, name: str) -> None:
    with parts.writing(name, ".txt") as path:
        path.write_text(f"of {name}")
    parts.finish(name, {"n": 1})


def interrupted(folder, *names, run=None) -> None:
    def work():
        with ledger(folder, run) as parts:
            for name in names:
                finish(parts, name)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()


def test_finished_parts_are_there_when_a_run_goes_on(tmp_path):
    folder = tmp_path / "parts"
    interrupted(folder, "0", "1", run="x")
    (folder / ".unfinished-7-2.txt").touch()
    with ledger(folder, "x") as parts:
        assert [parts.note(name) for name in "012"] == [{"n": 1}, {"n": 1}, None]
        assert parts.file("1", ".txt").read_text() == "of 1"
        assert not (folder / ".unfinished-7-2.txt").exists()
        parts.forget("1")
        parts.forget("2")
        assert parts.note("1") is None
        finish(pickle.loads(pickle.dumps(parts)), "2")
        assert parts.note("2") == {"n": 1}
    assert os.listdir(tmp_path) == []


def test_parts_of_another_run_are_removed(tmp_path):
    interrupted(tmp_path / "parts", "0", run="x")
    with ledger(tmp_path / "parts", "y") as parts:
        assert parts.note("0") is None
        assert not parts.file("0", ".txt").exists()


def test_notes_may_say_of_which_run_a_part_is(tmp_path):
    interrupted(tmp_path / "parts", "0")
    with ledger(tmp_path / "parts") as parts:
        assert parts.note("0") == {"n": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 10**6])
def test_a_damaged_note_is_none(content, tmp_path):
    (tmp_path / "0.json").write_bytes(content)
    assert Ledger(tmp_path).note("0") is None


def test_two_runs_do_not_write_there_at_once(tmp_path):
    with (
        ledger(tmp_path / "parts", "x") as parts,
        pytest.raises(DataError, match="another run is writing there"),
        ledger(tmp_path / "parts", "y"),
    ):
        pass
    assert not parts.folder.exists()
