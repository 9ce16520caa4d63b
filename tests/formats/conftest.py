import numpy as np
import pytest

from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import ECG


@pytest.fixture(scope="session")
def ecg() -> ECG:
    """Two seconds at 257 Hz whose limb leads follow Einthoven and Goldberger, lead III flat."""
    time = np.arange(514) / 257
    beat = np.exp(-(((time % 1 - 0.4) / 0.02) ** 2))
    signal = np.stack([(0.5 + 0.1 * i) * beat + 0.05 * np.sin(time + i) for i in range(12)])
    signal[1] = signal[0] + 0.1
    signal[2] = 0.1
    one, two = signal[:2]
    signal[3:6] = -(one + two) / 2, one - two / 2, two - one / 2
    return ECG("simulated", signal, LEADS, 257.0)
