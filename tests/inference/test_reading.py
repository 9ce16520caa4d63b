import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import reading
from fairseq_ecg.inference.recordings import Description, NamedRecording, recordings_in
from fairseq_ecg.jobs import pool

SIGNALS = np.random.default_rng(0).normal(0, 0.5, (5, 12, 5200))


@pytest.fixture
def array(tmp_path) -> str:
    """A file of five recordings of which the fourth cannot be used."""
    signals = SIGNALS.copy()
    signals[3, 2, 9] = np.nan
    np.save(tmp_path / "all.npy", signals)
    return str(tmp_path / "all.npy")


def test_other_processes_read_the_same(array, diagnosis, monkeypatch):
    said = {"sample_rate": 500, "on_error": "skip", "batch_size": 3}
    alone = diagnosis.predict(array, **said)
    assert list(alone.errors) == [f"{array}[3]"]
    for most in (reading.MOST_SEGMENTS, 1):
        monkeypatch.setattr(reading, "MOST_SEGMENTS", most)
        found = diagnosis.predict(array, workers=2, **said)
        pd.testing.assert_frame_equal(found.segments, alone.segments)
        pd.testing.assert_frame_equal(found.recordings, alone.recordings)
        assert found.errors == alone.errors


def test_errors_of_other_processes(array, diagnosis):
    with pytest.raises(DataError, match=r"recording 3: of 5200 samples, NaN or infinite are 1 in"):
        diagnosis.predict(array, sample_rate=500, workers=2)
    with pytest.raises(DataError, match="workers=-1: must not be negative"):
        diagnosis.predict(array, sample_rate=500, workers=-1)


class Deadly:
    """Crashes the process that reads it, as a damaged file does with a reader in C."""

    files = ()

    def segmented(self, *_, **__):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_costs_one_recording(array, diagnosis):
    good = recordings_in(array, Description(sample_rate=500))
    recordings = good[:2] + [NamedRecording("c.mat", Deadly())] * 2 + good[2:]
    for workers in (1, 2, 3):
        found = diagnosis.predict(recordings, on_error="skip", workers=workers, batch_size=3)
        assert list(found.errors) == ["c.mat", "c.mat (2)", f"{array}[3]"], found.errors
        assert "c.mat: the process that read it was killed" in found.errors["c.mat"]
        assert list(found.table.index) == [f"{array}[{row}]" for row in (0, 1, 2, 4)]


class DeadlyOnce:
    """Kills the first process that reads it, as one is killed for the memory of others."""

    def __init__(self, mark, source):
        self.mark, self.source = mark, source

    def segmented(self, *arguments, **options):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.segmented(*arguments, **options)


def test_a_recording_is_read_again_by_another_process(array, tmp_path):
    good = recordings_in(array, Description(sample_rate=500))
    once = NamedRecording(good[1].name, DeadlyOnce(tmp_path / "mark", good[1].source))
    recordings = [good[0], once, good[2]]
    read = list(reading.read_segments(recordings, Preprocessing(), {}, 1))
    assert (tmp_path / "mark").exists()
    assert [len(found.spans) for found in read] == [2, 2, 2]


def test_a_copy_of_a_reader_in_another_process_ends_nothing(array):
    good = recordings_in(array, Description(sample_rate=500))
    # Processes of other tests may not have been waited for yet.
    others = multiprocessing.active_children()
    read = reading.read_segments(good, Preprocessing(), {}, 1)
    next(read)
    if not (pid := os.fork()):
        try:
            read.close()  # as the garbage collector does with one that is left unfinished
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    (process,) = (child for child in multiprocessing.active_children() if child not in others)
    assert process.is_alive()
    assert len([found for found in read if not isinstance(found, DataError)]) == 3
    assert process not in multiprocessing.active_children()


def killed_while_it_reads(array: str, pids) -> None:
    recordings = recordings_in(array, Description(sample_rate=500))
    found = reading.read_segments(recordings, Preprocessing(), {}, 2)
    next(found)
    pids.send([process.pid for process in multiprocessing.active_children()])
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_read_end_with_the_one_they_read_for(array, monkeypatch):
    monkeypatch.setattr(pool, "_PARENT_CHECK_SECONDS", 0.1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=killed_while_it_reads, args=(array, theirs))
    process.start()
    pids = ours.recv()
    process.join()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
