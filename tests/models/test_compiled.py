"""A training step as a graph and on a device: nothing breaks it, nothing waits."""

import numpy as np
import pytest
import torch
from fairseq.criterions import build_criterion
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.criterions.criterion import ECGCriterion
from fairseq_ecg.models import Wav2Vec2CMSCModel
from fairseq_ecg.ops.backends import VARIABLE
from fairseq_ecg.ops.philox import origin
from tests.ops.kernels import WaitsForNoDevice

FRAMES = 40


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Wav2Vec2CMSCModel(
        {
            "encoder_layers": 2,
            "encoder_embed_dim": 32,
            "encoder_ffn_embed_dim": 64,
            "encoder_attention_heads": 4,
            "conv_feature_layers": "[(16, 2, 2)] * 4",
            "conv_pos": 32,
            "conv_pos_groups": 4,
            "quantize_targets": True,
            "latent_vars": 8,
            "final_dim": 16,
            "num_negatives": 10,
            "apply_mask": True,
            "mask_prob": 0.65,
            "dropout_input": 0.1,
            "dropout_features": 0.1,
            "feature_grad_mult": 0.1,
        }
    ).train()


def net_input(rows: int, masked: int, padded: bool = False) -> dict[str, torch.Tensor]:
    rng = np.random.RandomState(masked)
    frames = [np.sort(rng.permutation(FRAMES)[:masked]) for _ in range(rows)]
    given = {
        "source": torch.from_numpy(rng.normal(size=(rows, 12, 16 * FRAMES)).astype(np.float32)),
        "masked_frames": torch.from_numpy(np.stack(frames)),
        "origins": torch.stack([origin(1, 1, row) for row in range(rows)]),
    }
    if padded:
        given["padding_mask"] = torch.zeros(rows, 12, 16 * FRAMES, dtype=torch.bool)
        given["padding_mask"][0, :, -100:] = True
    return given


@pytest.mark.parametrize("padded", [False, True])
def test_one_graph_serves_any_number_of_masked_frames(network, padded):
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(network, backend=count_graphs, fullgraph=True)
    for update, masked in enumerate((20, 23, 19, 27, 22)):
        network.set_num_updates(1000 * update)  # cools the quantizer
        given = net_input(4, masked, padded)
        torch.manual_seed(update)
        found = compiled(**given)
        torch.manual_seed(update)
        expected = network(**given)
        torch.testing.assert_close(found["contrast"].predictions, expected["contrast"].predictions)
        torch.testing.assert_close(found["contrast"].targets, expected["contrast"].targets)
        assert found["temp"] == network.quantizer.temperature
    # The first for one number of frames, the second for all others.
    assert len(graphs) <= 2


@pytest.mark.parametrize("backend", ["torch", "cpu"])
@pytest.mark.parametrize("padded", [False, True])
def test_no_training_step_waits_for_the_device(network, monkeypatch, backend, padded):
    if backend == "cpu":
        pytest.importorskip("fairseq_ecg._C")
    monkeypatch.setenv(VARIABLE, backend)
    # As on a GPU: numbers are read later, and nobody looks whether a mask masks anything.
    monkeypatch.setattr(ECGCriterion, "_may_wait", lambda self, device: False)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    cfg = {"_name": "wav2vec2_with_cmsc", "infonce": True, "loss_weights": [0.1, 10]}
    cfg["log_keys"] = ["prob_perplexity", "code_perplexity", "temp"]
    criterion = build_criterion(OmegaConf.create(cfg), None).train()
    sample = {
        "id": torch.arange(4),
        "net_input": net_input(4, 20, padded),
        "patient_id": torch.tensor([0, 0, 1, 1]),
        "segment": torch.tensor([0, 1, 0, 1]),
    }
    with WaitsForNoDevice():
        loss, sample_size, log = criterion(network, sample)
        loss.backward()
    assert sample_size == 80
    assert torch.isfinite(log["loss"])


def test_waiting_is_noticed():
    with WaitsForNoDevice(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        torch.ones(3).sum().item()
    with WaitsForNoDevice(), pytest.raises(AssertionError, match="index"):
        torch.ones(3)[torch.tensor([True, False, True])]
