import numpy as np
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from fairseq_ecg.ecg.quality.beats import find_peaks


@given(
    st.lists(st.integers(0, 6) | st.floats(0, 6), min_size=1, max_size=60),
    st.floats(0, 5),
    st.integers(1, 20),
)
def test_peaks_are_those_of_scipy(values, height, distance):
    signal = np.array(values, dtype=np.float64)
    expected, _ = scipy.signal.find_peaks(signal, height=height, distance=distance)
    np.testing.assert_array_equal(find_peaks(signal, height, distance), expected)
