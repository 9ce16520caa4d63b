import pandas as pd
import pytest
import torch

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import parts as module
from fairseq_ecg.inference.parts import computed_in_parts, identity_of
from fairseq_ecg.inference.recordings import Description, recordings_in


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(module, "RECORDINGS", 2)


@pytest.fixture
def recordings(tmp_path):
    for name in "abcde":
        (tmp_path / f"{name}.csv").write_text("I\n1\n")
    return lambda: recordings_in([tmp_path / f"{name}.csv" for name in "abcde"], Description())


class Computing:
    """Notes what was computed; leaves out ``left_out``, and fails at ``failing``."""

    def __init__(self, left_out: str = "", failing: str = ""):
        self.left_out, self.failing, self.seen = left_out, failing, ""

    def __call__(self, recordings, bar):
        names = [recording.source.files[0].stem for recording in recordings]
        if set(names) & set(self.failing):
            raise DataError("it fails")
        self.seen += "".join(names)
        bar.update(len(names))
        good = [name for name in names if name not in self.left_out]
        errors = {name: "because" for name in names if name in self.left_out}
        return {"t": pd.DataFrame({"recording": good})}, errors


def run(recordings, folder, computing, settings="same", strict=False) -> tuple[str, dict]:
    with computed_in_parts(recordings, folder, lambda: settings, computing, strict=strict) as parts:
        assert parts.n_recordings == 5
        if parts.is_empty:
            return "", parts.errors
        return "".join(pd.concat(parts.tables("t"))["recording"]), parts.errors


def test_what_is_there_is_not_computed_again(recordings, tmp_path):
    folder = tmp_path / "parts"
    with pytest.raises(DataError, match="it fails"):
        run(recordings(), folder, Computing(failing="e"))
    (folder / ".unfinished-1-000002-t.parquet").write_text("of a process that was killed")
    (tmp_path / "b.csv").write_text("I\n22\n")
    second = Computing()
    assert run(recordings(), folder, second) == ("abcde", {})
    assert second.seen == "abe"
    assert not folder.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"errors": 3}', '{"errors": []}'])
def test_damaged_marks_are_computed_again(content, recordings, tmp_path):
    folder = tmp_path / "parts"
    with pytest.raises(DataError, match="it fails"):
        run(recordings(), folder, Computing(failing="e"))
    (folder / "000000.json").write_text(content)
    second = Computing()
    assert run(recordings(), folder, second) == ("abcde", {})
    assert second.seen == "abe"


def test_other_settings_compute_everything(recordings, tmp_path):
    with pytest.raises(DataError, match="it fails"):
        run(recordings(), tmp_path / "parts", Computing(failing="e"))
    second = Computing()
    run(recordings(), tmp_path / "parts", second, settings="other")
    assert second.seen == "abcde"


def test_what_was_left_out_is_reported_again(recordings, tmp_path):
    folder = tmp_path / "parts"
    for strict, seen in ((False, "e"), (True, "abe")):
        with pytest.raises(DataError, match="it fails"):
            run(recordings(), folder, Computing(left_out="ab", failing="e"))
        second = Computing(left_out="ab")
        found = run(recordings(), folder, second, strict=strict)
        assert found == ("cde", {"a": "because", "b": "because"})
        assert second.seen == seen


def test_nothing_that_can_be_used(recordings, tmp_path):
    with pytest.raises(DataError, match="none of 5 recordings can be used; the first: because"):
        run(recordings(), tmp_path / "parts", Computing(left_out="abcde"))
    with (
        pytest.raises(DataError, match=r"^because$"),
        computed_in_parts(recordings()[:1], tmp_path / "parts", str, Computing(left_out="a")),
    ):
        pass


def test_a_run_of_one_part_stays_in_memory(recordings, tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    monkeypatch.setattr(module, "RECORDINGS", 5)

    def settings():
        raise AssertionError("nothing is compared")

    def computing(part, bar):
        return Computing(left_out="b")(part, bar)

    with computed_in_parts(recordings(), folder, settings, computing) as parts:
        assert [path.name for path in folder.iterdir()] == [".run.lock"]
        (table,) = parts.tables("t")
        assert "".join(table["recording"]) == "acde"
        assert parts.errors == {"b": "because"}
    assert not folder.exists()


def test_a_single_part_that_is_finished_is_not_computed_again(recordings, tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    monkeypatch.setattr(module, "RECORDINGS", 4)
    with pytest.raises(DataError, match="it fails"):
        run(recordings(), folder, Computing(failing="e"))
    again = Computing()
    with computed_in_parts(recordings()[:4], folder, lambda: "same", again) as parts:
        assert "".join(pd.concat(parts.tables("t"))["recording"]) == "abcd"
    assert again.seen == ""


def test_two_runs_do_not_write_there_at_once(recordings, tmp_path):
    def computing(part, bar):
        with pytest.raises(DataError, match="another run is writing there"):
            run(recordings(), tmp_path / "parts", Computing())
        return Computing()(part, bar)

    assert run(recordings(), tmp_path / "parts", computing) == ("abcde", {})


def test_what_distinguishes_models(diagnosis):
    before = identity_of(diagnosis)
    assert identity_of(diagnosis) == before
    bias = diagnosis.network.proj.bias
    with torch.no_grad():
        bias[0] += 1
    try:
        assert identity_of(diagnosis) != before
    finally:
        with torch.no_grad():
            bias[0] -= 1
