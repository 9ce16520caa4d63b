import pytest
import torch

from fairseq_ecg.inference import ECGModel, Preprocessing
from fairseq_ecg.modules.registry import build_network
from tests.conftest import TINY_CMSC_MODEL


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> str:
    """A tiny classifier with weights drawn at random, as a folder."""
    torch.manual_seed(0)
    cfg = TINY_CMSC_MODEL | {"_name": "ecg_transformer_classifier", "num_labels": 2}
    preprocessing = Preprocessing(sample_rate=250, segment_seconds=1)
    model = ECGModel(build_network(cfg), cfg, preprocessing, ["AF", "SB"])
    folder = tmp_path_factory.mktemp("network")
    model.save_pretrained(folder)
    return str(folder)
