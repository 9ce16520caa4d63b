import numpy as np
import pytest
import scipy.io

from fairseq_ecg.inference import load_model


@pytest.fixture(scope="session")
def code_15_ecgs(shared):
    """The published recordings in mV at 400 Hz, ``(12, n_samples)``, in the order of names."""
    files = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    return [scipy.io.loadmat(file)["feats"] for file in files]


@pytest.fixture(scope="session")
def diagnosis(shared):
    """The fine-tuned network that fairseq_signals trained, its labels named."""
    labels = shared / "ecg" / "code_15" / "labels" / "label_def.csv"
    return load_model(shared / "golden" / "diagnosis_small.pt", labels=labels, device="cpu")


@pytest.fixture(scope="session")
def pretrained(shared):
    """The pre-trained network that fairseq_signals trained."""
    return load_model(shared / "golden" / "pretrain_small.pt", device="cpu")


@pytest.fixture(scope="session")
def extracted(shared):
    """What fairseq_signals extracted from the published segments, by the name of its store."""
    folder = shared / "golden" / "extract_small"
    shapes = {"outputs": (14, 8), "encoder_out": (14, 156, 64), "saliency": (14, 2, 156, 156)}
    return {
        name: np.fromfile(folder / f"{name}_test.npy", np.float32).reshape(shape)
        for name, shape in shapes.items()
    }
