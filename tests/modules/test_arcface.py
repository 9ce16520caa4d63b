"""The head of identification: what it computes, and how it is drawn."""

import json

import pytest
import torch

from fairseq_ecg.modules import build_network
from tests.conftest import TINY_CMSC_MODEL


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(TINY_CMSC_MODEL | {"_name": "arcface", "num_labels": 5}).eval()


def test_embeddings_have_length_one_and_padded_frames_count(network):
    source = torch.randn(2, 12, 640)
    padding_mask = torch.zeros(2, 12, 640, dtype=torch.bool)
    padding_mask[1, :, 320:] = True
    source[padding_mask] = 0
    frames = network.encoder.extract_features(source, padding_mask)["x"].double()
    pooled = frames.sum(dim=1) / 40
    expected = pooled / pooled.square().sum(dim=1, keepdim=True).sqrt()
    net_output = network(source, padding_mask)
    torch.testing.assert_close(net_output["out"].double(), expected, rtol=1e-5, atol=1e-6)
    assert not net_output["encoder_out"][1, 20:].any()
    rows = network.kernel.double()
    cosine = expected @ (rows / rows.square().sum(dim=1, keepdim=True).sqrt()).T
    torch.testing.assert_close(net_output["cosine"].double(), cosine, rtol=1e-5, atol=1e-6)


def test_cosines_are_differentiable_and_within_one(network):
    network.double()
    out = torch.nn.functional.normalize(torch.randn(3, 16, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(network.cosine, out)
    centres = torch.nn.functional.normalize(network.float().kernel, dim=1).detach()
    assert network.cosine(centres).max() <= 1
    assert network.cosine(-centres).min() >= -1


def test_columns_of_the_centres_have_length_one_at_first(network):
    length = network.kernel.norm(dim=0)
    torch.testing.assert_close(length, torch.ones(16), rtol=1e-4, atol=1e-4)


def test_half_precision_gives_cosines_in_single(network):
    source = torch.randn(2, 12, 640)
    net_output = network.bfloat16()(source.bfloat16())
    assert net_output["out"].dtype == torch.bfloat16
    assert net_output["cosine"].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("arcface", {}),
        ("arcface_scratch", {"encoder_embed_dim": 512, "encoder_attention_heads": 8}),
    ],
)
def test_keys_and_first_weights_are_those_of_fairseq_signals(name, options, shared):
    folder = shared / "golden" / "rest"
    keys = json.loads((folder / f"keys_{name}.json").read_text())
    recorded = json.loads((folder / f"init_{name}.json").read_text())
    torch.manual_seed(recorded["seed"])
    network = build_network({"_name": "arcface", "num_labels": 100} | options)
    assert torch.rand(1).item() == recorded["next_torch_rand"]
    state = network.state_dict()
    assert {key: [list(x.shape), str(x.dtype)] for key, x in state.items()} == keys
    assert list(state) == list(keys)
    drawn = dict(network.named_parameters())
    assert list(drawn) == list(recorded["parameters_first_sum_std"])
    for key, (first, total, deviation) in recorded["parameters_first_sum_std"].items():
        assert drawn[key].flatten()[0].item() == first, key
        assert drawn[key].double().sum().item() == pytest.approx(total, rel=1e-6, abs=1e-4), key
        assert drawn[key].double().std(correction=0).item() == pytest.approx(deviation, abs=1e-6)
