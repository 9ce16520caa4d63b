import numpy as np
import pytest
import scipy.io
import torch

from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import Preprocessing
from fairseq_ecg.inference.prepared import is_prepared, is_segment, variables_of
from fairseq_ecg.inference.recordings import Description, recordings_in

PREPROCESSING = Preprocessing(segment_seconds=1, sample_rate=100)


@pytest.fixture
def segments(tmp_path) -> np.ndarray:
    """Write segments 0, 1 and 3 of one recording, and segment 0 of another; return the former."""
    signal = np.random.default_rng(0).normal(size=(12, 400))
    signal[4] = 0
    for number in (0, 1, 3):
        write(tmp_path / f"a_1_{number}.mat", signal[:, number * 100 :][:, :100], segment_i=number)
    write(tmp_path / "b_0.mat", signal[:, :100], segment_i=0)
    return signal


def write(path, feats, rate=100, **more) -> None:
    scale = {"mean": np.full((12, 1), 0.5), "std": np.full((12, 1), 2.0)}
    scipy.io.savemat(path, {"feats": feats, "curr_sample_rate": rate, **scale, **more})


def test_segments_of_a_recording_are_put_together(segments, tmp_path):
    recordings = recordings_in(tmp_path, Description())
    assert [recording.name for recording in recordings] == [
        str(tmp_path / "a_1.mat"),
        str(tmp_path / "b.mat"),
    ]
    found = recordings[0].segmented(PREPROCESSING)
    assert found.spans == ((0, 1), (1, 2), (3, 4))
    assert (found.sample_rate, found.n_samples) == (100, 400)
    assert (found.missing_leads, found.flat_leads) == ((), ("aVL",))
    expected = segments.reshape(12, 4, 100).transpose(1, 0, 2)[[0, 1, 3]]
    torch.testing.assert_close(
        torch.stack(list(found.segments)), torch.from_numpy(expected).float(), rtol=0, atol=0
    )
    ecg = recordings[0].read()
    np.testing.assert_array_equal(ecg.signal[:, :200], segments[:, :200] * 2 + 0.5)
    assert np.isnan(ecg.signal[:, 200:300]).all()


def test_numbers_at_the_end_do_not_make_segments(tmp_path):
    write(tmp_path / "ecg_1.mat", np.random.default_rng(0).normal(size=(12, 250)))
    write(tmp_path / "ecg_2.mat", np.random.default_rng(1).normal(size=(12, 90)))
    first, second = recordings_in(tmp_path, Description())
    variables = variables_of(str(tmp_path / "ecg_1.mat"))
    assert is_prepared(variables)
    assert not is_segment(variables)
    assert [str(tmp_path / f"ecg_{i}.mat") for i in (1, 2)] == [first.name, second.name]
    assert first.segmented(PREPROCESSING).spans == ((0, 1), (1, 2))
    with pytest.raises(DataError, match=r"0\.9 s, shorter than one segment of 1 s"):
        second.segmented(PREPROCESSING)
    found = second.segmented(PREPROCESSING, short="pad")
    assert (found.padded, found.spans) == (10, ((0, 0.9),))
    (segment,) = found.segments
    assert segment.shape == (12, 100)
    assert not segment[:, 90:].any()


def test_leads_of_the_network(segments, tmp_path):
    two = Preprocessing(segment_seconds=1, sample_rate=100, leads=("V1", "aVL"))
    found = recordings_in(tmp_path / "b_0.mat", Description())[0].segmented(two)
    assert found.flat_leads == ("aVL",)
    np.testing.assert_array_equal(next(iter(found.segments)), segments[[6, 4], :100].astype("f4"))


@pytest.mark.parametrize(
    ("feats", "rate", "preprocessing", "message"),
    [
        (np.ones((12, 100)), 250, PREPROCESSING, "prepared at 250 Hz, the network reads 100 Hz"),
        (np.zeros((12, 100)), 100, PREPROCESSING, "no signal, all leads are flat"),
        (np.full((12, 100), np.nan), 100, PREPROCESSING, "NaN or infinite are 100 in I"),
        (np.ones((3, 100)), 100, PREPROCESSING, "has 3 leads, without aVR"),
        (
            np.ones((12, 100)),
            100,
            Preprocessing(segment_seconds=1, sample_rate=100, standardise=False),
            "already standardised, and the network reads mV",
        ),
    ],
)
def test_what_cannot_be_used(feats, rate, preprocessing, message, tmp_path):
    write(tmp_path / "a.mat", feats, rate)
    (recording,) = recordings_in(tmp_path / "a.mat", Description())
    with pytest.raises(DataError, match=message):
        recording.segmented(preprocessing)


def test_segments_of_different_lengths(segments, tmp_path):
    write(tmp_path / "a_1_3.mat", segments[:, :90], segment_i=3)
    with pytest.raises(DataError, match=r"different lengths, \[90, 100\] samples"):
        recordings_in(tmp_path, Description())[0].segmented(PREPROCESSING)


def test_published_recordings_in_millivolts(shared):
    folder = shared / "ecg" / "code_15"
    (ecg,) = (
        recording.read()
        for recording in recordings_in(
            folder / "preprocessed" / "code_15_1594286.mat", Description()
        )
    )
    original = scipy.io.loadmat(folder / "org" / "code_15_1594286.mat")["feats"]
    expected = resample(original.astype(np.float64), 400, 500, "linear")
    np.testing.assert_allclose(ecg.signal, expected, rtol=0, atol=1e-6)
