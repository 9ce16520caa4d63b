"""Numbers that fairseq_signals gives for seeded and for deterministic networks."""

import json

import numpy as np
import pytest
import torch

from fairseq_ecg.modules import ECGTransformer, ECGTransformerClassifier, Wav2Vec2

SMALL = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 8,
    "conv_pos_groups": 4,
}
PRETRAINING = SMALL | {
    "apply_mask": True,
    "mask_prob": 0.65,
    "mask_length": 3,
    "quantize_targets": True,
    "final_dim": 16,
    "latent_vars": 8,
    "latent_groups": 2,
    "num_negatives": 10,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
LOGITS = [
    [1.381330, 0.9472177, -8.6471e-05, -0.9842566, -1.505360],
    [1.629013, 0.7691, -0.5140874, -1.574663, -1.874123],
    [1.629317, 0.7374541, -0.5617074, -1.614217, -1.885644],
    [1.613597, 0.8935878, -0.3125395, -1.397800, -1.811229],
]
PADDED_LOGITS = [
    LOGITS[0],
    [1.629181, 0.8707898, -0.3622110, -1.449270, -1.838514],
    LOGITS[2],
    [1.584710, 0.5923163, -0.7341083, -1.726850, -1.881649],
]


def fill(module):
    """Give parameters values that do not depend on a random generator."""
    for index, (name, parameter) in enumerate(module.named_parameters()):
        flat = torch.arange(parameter.numel(), dtype=torch.float64)
        values = 0.1 * torch.sin(0.37 * flat + index)
        if name.endswith(("norm.weight", ".2.weight", "original0")):
            values += 1
        parameter.data.copy_(values.float().view_as(parameter))
    return module


def ecg():
    a = torch.sin(0.013 * torch.arange(4 * 12 * 320, dtype=torch.float64)).float()
    return a.view(4, 12, 320) + 0.1 * torch.cos(0.7 * torch.arange(320).float())


@pytest.fixture
def classifier():
    return fill(ECGTransformerClassifier(ECGTransformer(**SMALL), num_labels=5)).eval()


@pytest.fixture(scope="module")
def published_network():
    torch.manual_seed(1)
    network = Wav2Vec2(apply_mask=True, mask_prob=0.65, quantize_targets=True, final_dim=256)
    return network, torch.rand(1).item()


def test_published_architecture(published_network, shared):
    network, _ = published_network
    with (shared / "golden" / "keys_w2v_cmsc_rlm_90m.json").open() as file:
        expected = json.load(file)
    found = {
        key: [list(value.shape), str(value.dtype)] for key, value in network.state_dict().items()
    }
    assert found == expected
    assert list(found) == list(expected)
    assert sum(parameter.numel() for parameter in network.parameters()) == 90_883_072


def test_random_numbers_left_after_initialisation(published_network):
    assert published_network[1] == pytest.approx(0.5792379379, abs=1e-9)


@pytest.mark.parametrize(
    ("key", "first", "total", "deviation"),
    [
        ("mask_emb", 0.7576316, 385.936960, 0.2884596),
        ("encoder.layers.0.self_attn.k_proj.weight", 0.00032629, 9.387174, 0.0199989),
        ("encoder.layers.0.self_attn.q_proj.weight", -0.00276876, 15.447758, 0.0199608),
        ("encoder.layers.0.self_attn.out_proj.weight", -0.00572052, 25.803807, 0.0200026),
        ("encoder.layers.11.fc2.weight", -0.01583374, -28.827747, 0.0199839),
        ("feature_extractor.conv_layers.0.0.weight", 0.13092928, 34.415570, 0.2917745),
        ("feature_extractor.conv_layers.3.0.weight", 0.12066960, -9.986970, 0.0625830),
        ("post_extract_proj.weight", 0.02011429, 19.616099, 0.0360969),
        ("post_extract_proj.bias", 0.06013831, 0.901930, 0.0348910),
        ("conv_pos.pos_conv.0.parametrizations.weight.original0", 1.22108579, 156.746599, None),
        ("conv_pos.pos_conv.0.parametrizations.weight.original1", -0.00333145, 26.217567, None),
        ("quantizer.vars", 0.96641821, 40970.255108, None),
        ("quantizer.weight_proj.weight", 1.72363925, -18.120435, None),
        ("project_q.weight", -0.06099859, 8.346826, None),
        ("final_proj.weight", 0.01330352, -13.265769, None),
    ],
)
def test_seeded_initialisation(published_network, key, first, total, deviation):
    values = published_network[0].state_dict()[key].double().flatten()
    assert values[0].item() == pytest.approx(first, abs=5e-9)
    assert values.sum().item() == pytest.approx(total, abs=1e-5)
    if deviation is not None:
        assert values.std().item() == pytest.approx(deviation, abs=5e-8)


def test_classifier(classifier):
    net = classifier(ecg())
    # The input's own rounding moves logits by 4e-6.
    torch.testing.assert_close(net["out"], torch.tensor(LOGITS), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        net["encoder_out"][0, 0, :4],
        torch.tensor([-0.309260, 0.149664, 0.079984, -0.647842]),
        atol=1e-5,
        rtol=0,
    )
    assert net["padding_mask"] is None
    assert net["saliency"] is None


def test_classifier_of_padded_recordings(classifier):
    padding = torch.zeros(4, 12, 320, dtype=torch.bool)
    padding[1, :, 200:] = True
    padding[3, :, 100:] = True
    net = classifier(ecg().masked_fill(padding, 0), padding)
    torch.testing.assert_close(net["out"], torch.tensor(PADDED_LOGITS), atol=1e-5, rtol=0)
    assert net["padding_mask"].sum(dim=1).tolist() == [0, 8, 0, 14]
    assert (net["encoder_out"][1, -8:] == 0).all()


def test_saliency(classifier):
    logits = classifier(ecg())["out"]
    classifier.encoder.encoder.saliency = True
    net = classifier(ecg())
    assert net["saliency"].shape == (4, 2, 20, 20)
    assert net["saliency"][0, -1].max().item() == pytest.approx(0.5615593, abs=2e-6)
    torch.testing.assert_close(net["saliency"].sum(-1), torch.ones(4, 2, 20))
    torch.testing.assert_close(net["out"], logits, atol=5e-6, rtol=0)


@pytest.fixture
def pretraining():
    return fill(Wav2Vec2(**PRETRAINING))


@pytest.mark.parametrize(
    ("training", "contrastive", "next_torch"),
    [(False, 58.93722, 0.5417657), (True, 78.23541, 0.3190900)],
    ids=["evaluation", "training"],
)
def test_pretraining(pretraining, training, contrastive, next_torch):
    pretraining.train(training)
    np.random.seed(0)
    torch.manual_seed(0)
    net = pretraining(ecg(), return_features=True)
    logits = pretraining.get_logits(net)
    targets = pretraining.get_targets({}, net)
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert targets.numel() == 32
    # Rounding of the input moves losses by 2e-5.
    assert loss.item() == pytest.approx(contrastive, rel=5e-5)
    diversity, penalty = pretraining.get_extra_losses(net)
    assert 0.1 * 32 * diversity.item() == pytest.approx(0.02304077, rel=5e-5)
    assert 10 * 32 * penalty.item() == pytest.approx(0.1974002, rel=5e-5)
    assert net["prob_perplexity"].item() == pytest.approx(15.884796, rel=5e-5)
    assert net["code_perplexity"].item() == pytest.approx(3.7099347, rel=5e-5)
    assert net["temp"] == 2.0
    assert np.random.rand() == pytest.approx(0.6235101011, abs=1e-9)
    assert torch.rand(1).item() == pytest.approx(next_torch, abs=1e-6)
