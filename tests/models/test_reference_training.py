"""Whole losses and gradients that fairseq_signals gives for a deterministic network."""

import numpy as np
import pytest
import torch
from fairseq.criterions import build_criterion
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.models import Wav2Vec2CMSCModel
from tests.modules.test_reference_vectors import PRETRAINING, ecg, fill

# The input's own rounding moves losses by 2e-5 and gradient norms by 1.5e-5.
RELATIVE = 5e-5


@pytest.mark.parametrize(
    ("training", "loss", "contrastive", "correct"),
    [(False, 80.58261, 58.93722, 6), (True, 99.88080, 78.23541, 5)],
    ids=["evaluation", "training"],
)
def test_pretraining_step(training, loss, contrastive, correct):
    network = fill(Wav2Vec2CMSCModel(PRETRAINING)).train(training)
    cfg = {"_name": "wav2vec2_with_cmsc", "infonce": True, "loss_weights": [0.1, 10]}
    cfg["log_keys"] = ["prob_perplexity", "code_perplexity", "temp"]
    criterion = build_criterion(OmegaConf.create(cfg), None).train(training)
    sample = {
        "id": torch.arange(4),
        "net_input": {"source": ecg()},
        "patient_id": torch.tensor([0, 0, 1, 1]),
        "segment": torch.tensor([0, 1, 0, 1]),
    }
    np.random.seed(0)
    torch.manual_seed(0)
    value, sample_size, log = criterion(network, sample)

    assert sample_size == 32
    assert value.item() == pytest.approx(loss, rel=RELATIVE)
    expected = {
        "loss": loss,
        "loss_0": contrastive,
        "loss_1": 0.02304077,
        "loss_2": 0.1974002,
        "loss_3": 21.42495,
        "prob_perplexity": 15.884796,
        "code_perplexity": 3.7099347,
        "temp": 2.0,
    }
    assert {key: log[key] for key in expected} == pytest.approx(expected, rel=RELATIVE)
    assert log["correct"] == correct
    if training:
        value.backward()
        norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
        expected = {
            "mask_emb": 6.93699,
            "encoder.layers.0.self_attn.q_proj.weight": 9.396534,
            "feature_extractor.conv_layers.0.0.weight": 1332.949639,
            "quantizer.vars": 7.516303,
            "quantizer.weight_proj.weight": 0.396871,
            "project_q.weight": 49.83886,
            "final_proj.weight": 38.192733,
        }
        assert {name: norms[name] for name in expected} == pytest.approx(expected, rel=RELATIVE)
