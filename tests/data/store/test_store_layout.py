import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fairseq_ecg.data import DataError
from fairseq_ecg.data.store.layout import DTYPES, Description, Shard, checksum, encode, is_finite

ECGS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.floats(-60000, 60000, width=32),
)


@given(ECGS)
def test_int16_is_off_by_half_a_step_at_most(ecg):
    numbers, steps = encode(ecg, "int16", "here")
    assert numbers.dtype == np.int16
    assert steps.dtype == np.float32
    decoded = numbers * steps[:, None]
    step = np.abs(ecg).max(axis=1).astype(np.float64) / 32767
    # Half a step, and what float32 rounds of the step and of the product: 2^-24 of the largest
    # sample each; the smallest float32 where steps are smaller than that.
    rounding = np.abs(ecg).max(axis=1) * 2.0**-23 + 2.0**-133
    error = np.abs(decoded.astype(np.float64) - ecg)
    assert (error <= (step / 2 + rounding)[:, None] * (1 + 1e-6)).all()


@given(ECGS)
def test_float16_is_off_by_half_an_ulp_at_most(ecg):
    stored, steps = encode(ecg, "float16", "here")
    assert steps is None
    error = np.abs(stored.astype(np.float64) - ecg)
    assert (error <= np.maximum(np.abs(ecg).astype(np.float64) * 2.0**-11, 2.0**-25)).all()


@given(ECGS)
def test_float32_and_float64_are_exact(ecg):
    for dtype in ("float32", "float64"):
        stored, _ = encode(ecg.astype(np.float64), dtype, "here")
        np.testing.assert_array_equal(stored, ecg)
        assert stored.flags.c_contiguous


def test_an_integer_lead_comes_back_within_the_bound_of_its_own_range():
    ecg = np.array([[0.0, 1.0, -1.0], [0.0, 1000.0, -1000.0], [0.0, 0.0, 0.0]])
    numbers, steps = encode(ecg, "int16", "here")
    np.testing.assert_allclose(numbers * steps[:, None], ecg, rtol=1e-7)
    assert numbers[0].tolist() == [0, 32767, -32767]


def test_samples_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="here: has samples of more than 65504"):
        encode(np.array([[1e5]]), "float16", "here")
    for value in (np.nan, np.inf, 1e39):
        with pytest.raises(DataError, match="here: has samples that are NaN or infinite"):
            encode(np.array([[value]]), "int16", "here")
    stored, _ = encode(np.array([[np.nan, 1e39]]), "float64", "here")
    assert not is_finite(stored)
    assert is_finite(encode(np.array([[3e38]]), "float32", "here")[0])


def test_checksums_see_every_bit():
    ecg = np.zeros((2, 3), np.float16)
    expected = checksum(ecg)
    for bit in range(ecg.nbytes * 8):
        flipped = ecg.copy()
        flipped.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << bit % 8
        assert checksum(flipped) != expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_descriptions_are_read_as_written(dtype):
    shards = (Shard("shard-000000.npy", 3, 128, "shard-000000.parquet", 7),)
    written = Description(dtype, "index-000000.parquet", 5, shards)
    assert Description.from_json(written.to_json(), "here") == written
