import numpy as np
import pytest
import wfdb

from fairseq_ecg.ecg.leads import LEADS


@pytest.fixture(scope="session")
def network(shared) -> list[str]:
    """The fine-tuned network that fairseq_signals trained, and the names of its labels."""
    labels = shared / "ecg" / "code_15" / "labels" / "label_def.csv"
    return [str(shared / "golden" / "diagnosis_small.pt"), f"--label-def={labels}"]


@pytest.fixture(scope="session")
def outputs(shared) -> np.ndarray:
    """Probabilities that fairseq_signals gives the published segments, by name of the file."""
    raw = np.fromfile(shared / "golden" / "extract_small" / "outputs_test.npy", np.float32)
    return 1 / (1 + np.exp(-raw.reshape(14, 8).astype(np.float64)))


@pytest.fixture
def record(tmp_path):
    """Write a WFDB record of some leads, whatever the samples are."""

    def write(name: str, signal: np.ndarray, leads=LEADS, rate=500) -> str:
        gain = 1000 if np.nanmax(np.abs(signal)) < 30 else 1
        wfdb.wrsamp(
            name,
            fs=rate,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            p_signal=signal.T,
            fmt=["16"] * len(leads),
            adc_gain=[gain] * len(leads),
            baseline=[0] * len(leads),
            write_dir=str(tmp_path),
        )
        return str(tmp_path / f"{name}.hea")

    return write
