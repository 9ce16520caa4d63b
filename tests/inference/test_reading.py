import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference import reading

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
