"""A recording on which reading, conditioning or the network fails: the others are predicted."""

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg import limits
from fairseq_ecg.data.names import printable
from fairseq_ecg.ecg.conditioning import Conditioning
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference import ECGModel
from tests.trials.files import ecg_like


def failing(reason, condition):
    """Fail where a condition holds."""

    def wrap(function):
        def wrapped(*arguments, **options):
            if condition(*arguments):
                raise reason
            return function(*arguments, **options)

        return wrapped

    return wrap


@pytest.fixture
def model(network) -> ECGModel:
    return ECGModel.from_pretrained(network, device="cpu")


RECORDINGS = np.stack([ecg_like(600) * scale for scale in (1, 1.5, 2, 2.5, 3)])
SAID = {"sample_rate": 250, "on_error": "skip", "batch_size": 4}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error"), ValueError("odd")])
def test_what_the_network_fails_on_is_left_out_of_the_batch(error, model, monkeypatch):
    expected = model.predict(RECORDINGS, **SAID)
    second = next(iter(model.preprocessing.segments(ecg_of(1))))

    def is_second(source, *_):
        return (source == second).all(dim=(1, 2)).any()

    wrapped = failing(error, is_second)(model.network.forward)
    monkeypatch.setattr(model.network, "forward", wrapped)
    found = model.predict(RECORDINGS, **SAID)
    assert list(found.errors) == [1]
    assert type(error).__name__ in found.errors[1]
    rest = [0, 2, 3, 4]
    pd.testing.assert_frame_equal(found.recordings, expected.recordings.loc[rest])
    pd.testing.assert_frame_equal(found.table, expected.table.loc[rest], atol=1e-6, rtol=0)
    pd.testing.assert_frame_equal(found.segments, expected.segments.loc[rest], atol=1e-6, rtol=0)
    embedded = model.embed(RECORDINGS, **SAID)
    assert list(embedded.table.index) == rest
    with pytest.raises(DataError, match=type(error).__name__):
        model.predict(RECORDINGS, **SAID | {"on_error": "raise"})


def ecg_of(row: int) -> ECG:
    return ECG(str(row), RECORDINGS[row], LEADS, 250.0)


@pytest.mark.parametrize("at", [0, 1])
def test_what_fails_while_a_segment_is_made_leaves_the_recording_out(at, model, monkeypatch):
    seen = []

    def is_at(recording, *_):
        seen.append(recording.where)
        return recording.where == "2" and seen.count("2") == at + 1

    call = failing(MemoryError(), lambda _, *given: is_at(*given))(Conditioning.__call__)
    monkeypatch.setattr(Conditioning, "__call__", call)
    found = model.predict([ecg_of(row) for row in range(5)], on_error="skip", batch_size=3)
    assert {name: "MemoryError" in reason for name, reason in found.errors.items()} == {"2": True}
    assert list(found.table.index) == ["0", "1", "3", "4"]
    assert (found.recordings["segments"] == 2).all()
    assert len(found.segments) == 8


def test_names_that_no_file_can_have(model):
    names = ["a\0b.edf", "x" * 5000 + ".edf", "", " ", "nosuch://a/b.edf"]
    found = model.predict([*names, ecg_of(0)], on_error="skip")
    assert set(found.errors) == set(map(printable, names))
    assert len(found.table) == 1


def test_resampling_is_bounded(model, monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, "lowest_rate=0.001")
    ecg = ECG("slow", np.broadcast_to(RECORDINGS[0][:, :1], (12, 10**6)), LEADS, 0.01)
    with pytest.raises(DataError, match="samples of a lead, more than the most"):
        model.predict(ecg)
    monkeypatch.delenv(limits.VARIABLE)
    with pytest.raises(DataError, match="sample_rate: says 5 Hz, fewer than the least"):
        model.predict(RECORDINGS, sample_rate=5)
