"""Layers by fairseq_signals' arguments: against their equations, and what counts among them."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F

from fairseq_ecg.compat.published.layers import (
    ConvFeatureExtraction,
    ConvPositionalEncoding,
    GatherLayer,
    MultiHeadAttention,
    TransformerEncoder,
    TransformerEncoderLayer,
    TransposedConvFeatureExtraction,
    batch_all_gather,
    init_bert_params,
)
from fairseq_ecg.models import Wav2Vec2CMSCModel
from tests.conftest import TINY_CMSC_MODEL

T, B, D, HEADS = 5, 3, 8, 2


def configuration(**changes):
    values = {
        "encoder_layers": 2,
        "encoder_embed_dim": D,
        "encoder_ffn_embed_dim": 12,
        "encoder_attention_heads": HEADS,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "layer_norm_first": False,
        "saliency": True,
        "conv_pos": 4,
        "conv_pos_groups": 2,
    }
    return SimpleNamespace(**values | changes)


def attended(module, query, key, value, hidden):
    """Attention in float64, time first; ``hidden`` (B, T, S) is True where a weight is 0."""
    weights = []
    result = torch.zeros(*query.shape[:2], module.embed_dim, dtype=torch.float64)
    project = {
        name: (getattr(module, name).weight.double(), getattr(module, name).bias.double())
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    }
    for row in range(query.shape[1]):
        q, k, v = (
            frames[:, row].double() @ project[name][0].T + project[name][1]
            for frames, name in ((query, "q_proj"), (key, "k_proj"), (value, "v_proj"))
        )
        of_heads, values = [], []
        for part in torch.arange(module.embed_dim).chunk(HEADS):
            scores = q[:, part] @ k[:, part].T / math.sqrt(len(part))
            of_heads.append(scores.masked_fill(hidden[row], -math.inf).softmax(dim=1))
            values.append(of_heads[-1] @ v[:, part])
        weights.append(torch.stack(of_heads).mean(dim=0))
        weight, bias = project["out_proj"]
        result[:, row] = torch.cat(values, dim=1) @ weight.T + bias
    return result, torch.stack(weights)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("frames", "kdim", "vdim"), [(T, None, None), (7, None, None), (7, 6, 4)])
def test_attention(frames, kdim, vdim, masked):
    torch.manual_seed(0)
    module = MultiHeadAttention(D, HEADS, kdim, vdim, dropout=0.3).eval()
    query = torch.randn(T, B, D)
    key = query if (frames, kdim) == (T, None) else torch.randn(frames, B, kdim or D)
    value = key if vdim == kdim else torch.randn(frames, B, vdim or D)
    padding = torch.zeros(B, frames, dtype=torch.bool)
    padding[1, -2:] = True
    mask = torch.ones(T, frames).triu(1).bool() if masked else None
    hidden = padding[:, None].expand(-1, T, -1) | (mask if masked else False)
    expected, weights = attended(module, query, key, value, hidden)
    found, given = module(query, key, value, padding, need_weights=True, attn_mask=mask)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given.double(), weights, rtol=1e-5, atol=1e-6)
    found, given = module(query, key, value, padding, attn_mask=mask)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert given is None


def test_attention_that_cannot_be_built():
    with pytest.raises(ValueError, match="kdim=4, vdim=8 are not 8"):
        MultiHeadAttention(D, HEADS, kdim=4, self_attention=True)
    with pytest.raises(ValueError, match="bias=False"):
        MultiHeadAttention(D, HEADS, bias=False)


@pytest.mark.parametrize("first", [False, True])
def test_a_layer(first):
    torch.manual_seed(1)
    layer = TransformerEncoderLayer(D, HEADS, 12, layer_norm_first=first, need_weights=True).eval()
    x = torch.randn(T, B, D)
    padding = torch.zeros(B, T, dtype=torch.bool)
    padding[0, 3:] = True
    found, (weights, change) = layer(x, self_attn_padding_mask=padding)
    hidden = padding[:, None].expand(-1, T, -1)

    def norm(part, x):
        return F.layer_norm(x, (D,), part.weight.double(), part.bias.double())

    def linear(part, x):
        return F.linear(x, part.weight.double(), part.bias.double())

    y = x.double()
    frames = norm(layer.self_attn_layer_norm, y) if first else y
    out, expected_weights = attended(layer.self_attn, frames, frames, frames, hidden)
    y = y + out if first else norm(layer.self_attn_layer_norm, y + out)
    frames = norm(layer.final_layer_norm, y) if first else y
    expected_change = linear(layer.fc2, F.gelu(linear(layer.fc1, frames)))
    y = y + expected_change if first else norm(layer.final_layer_norm, y + expected_change)
    torch.testing.assert_close(found.double(), y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(change.double(), expected_change, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.double(), expected_weights, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="attn_mask"):
        layer(x, self_attn_mask=torch.zeros(T, T))


@pytest.mark.parametrize("first", [False, True])
def test_an_encoder(first):
    encoder = TransformerEncoder(configuration(layer_norm_first=first)).eval()
    x = torch.randn(B, T, D)
    found, features = encoder(x.clone()), encoder.extract_features(x.clone())
    assert found["saliency"].shape == (B, 2, T, T)
    expected = encoder.layer_norm(features["x"]) if first else features["x"]
    torch.testing.assert_close(found["x"], expected)
    frames = (x if first else encoder.layer_norm(x)).transpose(0, 1)
    for layer in encoder.layers:
        frames, _ = layer(frames)
    torch.testing.assert_close(features["x"], frames.transpose(0, 1))
    assert isinstance(encoder.layer_norm, nn.LayerNorm)  # it is in its place again


def test_layers_of_networks_are_among_them():
    network = Wav2Vec2CMSCModel(TINY_CMSC_MODEL | {"final_dim": 8})
    counted = {
        kind: sum(isinstance(module, kind) for module in network.modules())
        for kind in (
            *(ConvFeatureExtraction, ConvPositionalEncoding, MultiHeadAttention),
            *(TransformerEncoder, TransformerEncoderLayer),
        )
    }
    layers = TINY_CMSC_MODEL["encoder_layers"]
    assert list(counted.values()) == [1, 1, layers, 1, layers]

    class Mine(MultiHeadAttention):
        pass

    assert not any(isinstance(module, Mine) for module in network.modules())
    assert isinstance(Mine(D, HEADS), MultiHeadAttention)


@pytest.mark.parametrize("mode", ["default", "layer_norm"])
def test_convolutions(mode):
    torch.manual_seed(0)
    module = ConvFeatureExtraction([(6, 3, 2), (4, 2, 1)], 3, mode=mode, conv_bias=True).eval()
    x = torch.randn(2, 3, 21)
    expected = x.double()
    for number, block in enumerate(module.conv_layers):
        conv = block[0]
        expected = F.conv1d(expected, conv.weight.double(), conv.bias.double(), conv.stride)
        if mode == "layer_norm":
            expected = F.layer_norm(expected.transpose(1, 2), (len(conv.weight),)).transpose(1, 2)
        elif number == 0:
            expected = F.group_norm(expected, len(conv.weight))
        expected = F.gelu(expected)
    torch.testing.assert_close(module(x).double(), expected, rtol=1e-5, atol=1e-5)
    assert ConvFeatureExtraction([(2, 2, 2)])(x[:, 0]).shape == (2, 2, 10)


@pytest.mark.parametrize("mode", ["default", "layer_norm"])
def test_transposed_convolutions(mode):
    torch.manual_seed(0)
    module = TransposedConvFeatureExtraction([(6, 3, 2), (4, 2, 1)], 5, mode=mode).eval()
    x = torch.randn(2, 5, 9)
    expected = x.double()
    for number, block in enumerate(module.conv_transposed_layers):
        conv = block[0]
        weight, bias = conv.weight.double(), conv.bias.double()
        expected = F.conv_transpose1d(expected, weight, bias, conv.stride)
        if mode == "layer_norm":
            expected = F.layer_norm(expected.transpose(1, 2), (len(bias),)).transpose(1, 2)
        elif number == 0:
            expected = F.group_norm(expected, len(bias))
        expected = F.gelu(expected) if number == 0 else expected
    torch.testing.assert_close(module(x).double(), expected, rtol=1e-5, atol=1e-5)
    assert {name.split(".")[0] for name in module.state_dict()} == {"conv_transposed_layers"}


def test_position():
    module = ConvPositionalEncoding(configuration()).eval()
    conv = module.pos_conv[0]
    x = torch.randn(2, 7, D)
    expected = F.gelu(
        F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=2, groups=2)[..., :-1]
    ).transpose(1, 2)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(module(x.transpose(1, 2), channel_first=True), module(x))


def test_initial_weights():
    torch.manual_seed(0)
    network = nn.ModuleList([nn.Linear(300, 300), nn.Embedding(300, 90, padding_idx=3)])
    network.append(MultiHeadAttention(300, 2))
    network.apply(init_bert_params)
    for weight in (network[0].weight, network[2].q_proj.weight, network[2].v_proj.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not network[0].bias.any()
    assert not network[1].weight[3].any()
    assert network[1].weight.std().item() == pytest.approx(0.02, rel=0.02)


def check_gathering(rank, store):
    distributed.init_process_group("gloo", init_method=f"file://{store}", world_size=2, rank=rank)
    x = (torch.arange(6.0).view(3, 2)[: 3 - rank] + 10 * rank).requires_grad_()
    parts = GatherLayer.apply(x)
    assert [part.tolist() for part in parts] == [
        [[0, 1], [2, 3], [4, 5]],
        [[10, 11], [12, 13]],
    ]
    sum((part * (number + 2)).sum() for number, part in enumerate(parts)).backward()
    assert x.grad.tolist() == [[rank + 2.0] * 2] * len(x)
    stacked = batch_all_gather(torch.tensor([rank]), distributed.group.WORLD, return_tensor=True)
    assert stacked.tolist() == [[0], [1]]
    distributed.destroy_process_group()


def test_rows_of_all_ranks(tmp_path):
    multiprocessing.spawn(check_gathering, args=(tmp_path / "store",), nprocs=2)
