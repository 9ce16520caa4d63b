import base64
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fairseq_ecg.inference.report.packing import NO_VALUE, STEP, pack_saliency, pack_signal


def unpack_signal(text, step, shape):
    """What the page does."""
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    differences = (low + 256 * high.astype(np.int32)).reshape(shape)
    counts = np.cumsum(differences, axis=1).astype(np.int16)
    return np.where(counts == NO_VALUE, np.nan, counts * step)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.floats(-400, 400) | st.just(np.nan),
    )
)
def test_signals_come_back_to_half_a_step(signal):
    text, step = pack_signal(signal)
    unpacked = unpack_signal(text, step, signal.shape)
    np.testing.assert_array_equal(np.isnan(unpacked), np.isnan(signal))
    assert np.nanmax(np.abs(unpacked - signal), initial=0) <= step / 2 + 1e-9
    assert step >= STEP


def test_samples_of_ordinary_ecgs_keep_the_finest_step_and_take_less_than_a_byte_each(code_15_ecgs):
    signal = code_15_ecgs[0]
    text, step = pack_signal(signal)
    assert step == STEP
    assert len(text) < signal.size


def test_saliency_has_levels_from_1_to_255_and_0_where_there_is_none():
    text = pack_saliency(np.array([0.2, np.nan, 0.3, 0.4]), 0.2, 0.4)
    assert list(zlib.decompress(base64.b64decode(text))) == [1, 0, 128, 255]
    flat = pack_saliency(np.full(3, 0.5), 0.5, 0.5)
    assert list(zlib.decompress(base64.b64decode(flat))) == [1, 1, 1]
