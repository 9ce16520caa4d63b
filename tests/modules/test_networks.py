import re

import numpy as np
import pytest
import torch

from fairseq_ecg.modules import (
    ConvFeatureExtractor,
    ECGTransformer,
    ECGTransformerClassifier,
    TransformerEncoder,
    Wav2Vec2,
    mean_of_nonzero,
    parse_conv_layers,
    scale_gradient,
)
from fairseq_ecg.ops.frames import frame_count
from fairseq_ecg.ops.philox import origin

TINY = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 2, 2)] * 3",
    "conv_pos": 4,
    "conv_pos_groups": 2,
}
MASKED = {"apply_mask": True, "mask_prob": 0.65, "mask_length": 3, "num_negatives": 5}


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("[(256, 2, 2)] * 4", [(256, 2, 2)] * 4),
        ("[(512,10,5)] + [(512,3,2)] * 2", [(512, 10, 5), (512, 3, 2), (512, 3, 2)]),
        ([[8, 2, 2]], [(8, 2, 2)]),
    ],
)
def test_layer_lists(text, layers):
    assert parse_conv_layers(text) == layers


@pytest.mark.parametrize(
    "text", ["__import__('os').system('true')", "[(1, 2)]", "[]", "12", "[(0, 2, 2)]", "[("]
)
def test_no_layer_list(text):
    with pytest.raises(ValueError, match="conv_feature_layers"):
        parse_conv_layers(text)


@pytest.mark.parametrize(("samples", "frames"), [(2500, 156), (5000, 312)])
def test_frames_of_a_segment(samples, frames):
    extractor = ConvFeatureExtractor([(4, 2, 2)] * 4, in_channels=12)
    assert extractor(torch.randn(1, 12, samples)).shape == (1, 4, frames)
    assert frame_count(torch.tensor(samples), [(2, 2)] * 4) == frames
    assert frame_count(torch.tensor([0, 1]), [(2, 2)] * 4).tolist() == [0, 0]


def test_layer_norm_extractor_normalises_every_block():
    extractor = ConvFeatureExtractor([(4, 2, 2)] * 2, in_channels=12, mode="layer_norm")
    assert {f"conv_layers.{block}.2.1.weight" for block in (0, 1)} <= set(extractor.state_dict())
    normed = extractor.conv_layers[0][:3](torch.randn(2, 12, 64))
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 32), atol=1e-5, rtol=0)


def test_unknown_extractor_mode():
    with pytest.raises(ValueError, match="extractor_mode='group'"):
        ConvFeatureExtractor([(4, 2, 2)], mode="group")


def test_pooling_counts_nonzero_entries():
    x = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(mean_of_nonzero(x), torch.tensor([[2.0, 2.0]]))


def test_scaled_gradient():
    x = torch.ones(3, requires_grad=True)
    y = scale_gradient(x, 0.25)
    torch.testing.assert_close(y, x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 0.25))


@pytest.mark.parametrize("layer_norm_first", [False, True])
def test_attention_paths_agree(layer_norm_first):
    torch.manual_seed(0)
    encoder = TransformerEncoder(2, 16, 32, 2, layer_norm_first=layer_norm_first).eval()
    x = torch.randn(3, 7, 16)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 4:] = True
    fused, _ = encoder(x, padding)
    encoder.saliency = True
    explicit, saliency = encoder(x, padding)
    torch.testing.assert_close(fused, explicit, atol=1e-5, rtol=1e-5)
    assert saliency.shape == (3, 2, 7, 7)
    assert (saliency[1, :, :, 4:] == 0).all()


def test_layerdrop_draws_alike_in_evaluation():
    encoder = TransformerEncoder(3, 16, 32, 2, layerdrop=0.5).eval()
    np.random.seed(0)
    encoder(torch.randn(1, 4, 16))
    left = np.random.random()
    np.random.seed(0)
    np.random.random(3)
    assert left == np.random.random()


def test_dropping_every_layer_gives_no_saliency():
    encoder = TransformerEncoder(2, 16, 32, 2, layerdrop=1.0, saliency=True).train()
    assert encoder(torch.randn(1, 4, 16))[1] is None


@pytest.mark.parametrize("in_d", [1, 12])
def test_rows_without_valid_samples(in_d):
    padding = torch.zeros(2, in_d, 64, dtype=torch.bool)
    padding[1] = True
    source = torch.randn(2, in_d, 64)
    masked = ECGTransformer(**TINY, in_d=in_d).eval()(source, padding)["padding_mask"]
    assert masked[1].all()
    kept = Wav2Vec2(**TINY, in_d=in_d).eval().extract_features(source, padding)["padding_mask"]
    assert not kept[1].any()


@pytest.mark.parametrize(
    "options",
    [
        {"quantize_targets": True},
        {"quantize_targets": True, "codebook_negatives": 3},
        {"quantize_targets": True, "cross_sample_negatives": 3},
        {"quantize_targets": True, "negatives_from_everywhere": True},
        {"negatives_from_everywhere": True},
        {"target_glu": True},
        {"quantize_input": True},
        {"quantize_targets": True, "mask_channel_prob": 0.5, "mask_channel_length": 2},
        {"no_mask_overlap": True},
        {"final_dim": 8, "quantize_targets": True, "latent_dim": 12},
        {"layer_norm_first": True, "conv_bias": True, "extractor_mode": "layer_norm"},
    ],
    ids=lambda options: "+".join(options),
)
def test_every_option_trains(options):
    torch.manual_seed(0)
    np.random.seed(0)
    network = Wav2Vec2(**TINY, **MASKED, latent_vars=6, **options).train()
    net = network(torch.randn(3, 12, 200), return_features=True)
    candidates = 1 + 5 + options.get("codebook_negatives", 0)
    candidates += options.get("cross_sample_negatives", 0)
    logits = network.get_logits(net)
    assert logits.shape[1] == candidates
    loss = torch.nn.functional.cross_entropy(logits, network.get_targets({}, net))
    (loss + sum(network.get_extra_losses(net))).backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None]
    assert not unreached
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_one_quantizer_for_inputs_and_targets():
    with pytest.raises(ValueError, match="same_quantizer"):
        Wav2Vec2(**TINY, quantize_targets=True, quantize_input=True, same_quantizer=True)
    square = TINY | {"conv_feature_layers": "[(16, 2, 2)] * 3"}
    network = Wav2Vec2(
        **square, **MASKED, quantize_targets=True, quantize_input=True, same_quantizer=True
    )
    assert network.input_quantizer is network.quantizer
    logits = network.get_logits(network(torch.randn(2, 12, 200)))
    assert torch.isfinite(logits[:, 0]).all()


def test_masking_needs_an_embedding():
    with pytest.raises(ValueError, match="apply_mask=true"):
        Wav2Vec2(**TINY, mask_prob=0.5)


def test_given_masks_and_negatives_are_used():
    network = Wav2Vec2(**TINY, **MASKED).eval()
    mask = torch.zeros(2, 25, dtype=torch.bool)
    mask[:, [3, 4, 9]] = True
    negatives = torch.randint(0, 6, (2, 3 * 5))
    source = torch.randn(2, 12, 200)
    first, again = (
        network.get_logits(network(source, mask_indices=mask, negative_indices=negatives))
        for _ in range(2)
    )
    assert first.shape == (2 * 3, 6)
    torch.testing.assert_close(first, again, rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codebook_negatives": 3},
        {"num_negatives": 0, "codebook_negatives": 3},
        {"codebook_negatives": 2, "target_glu": True},
    ],
    ids=lambda options: "+".join(options) or "own row",
)
def test_origins_choose_negatives_whatever_the_batch(options):
    torch.manual_seed(0)
    network = Wav2Vec2(
        **TINY, **(MASKED | {"quantize_targets": True, "latent_vars": 80} | options)
    ).eval()
    mask = torch.zeros(3, 25, dtype=torch.bool)
    mask[:, [3, 4, 9]] = True
    source = torch.randn(3, 12, 200)
    origins = torch.stack([origin(1, 2, record) for record in (7, 8, 9)])
    draws = {"mask_indices": mask, "origins": origins}

    logits = network.get_logits(network(source, **draws)).view(3, 3, -1)
    alone = {name: tensor[1:2] for name, tensor in draws.items()}
    of_one = network.get_logits(network(source[1:2], **alone)).view(3, -1)
    torch.testing.assert_close(logits[:, 1], of_one, rtol=1e-4, atol=1e-4)
    draws["origins"] = origins + torch.tensor([0, 1, 0, 0])
    assert not torch.equal(network.get_logits(network(source, **draws)), logits.flatten(0, 1))


def test_features_do_not_depend_on_masks():
    network = Wav2Vec2(**TINY, **MASKED).eval()
    source = torch.randn(2, 12, 200)
    first = network.extract_features(source)["x"]
    torch.testing.assert_close(first, network.extract_features(source)["x"], rtol=0, atol=0)


def test_gumbel_temperature_cools():
    quantizer = Wav2Vec2(**TINY, quantize_targets=True, latent_temp=(2, 0.5, 0.9)).quantizer
    assert quantizer.temperature == 2
    quantizer.set_num_updates(3)
    assert quantizer.temperature == pytest.approx(2 * 0.9**3)
    quantizer.set_num_updates(1000)
    assert quantizer.temperature == 0.5


def test_frozen_encoder_of_a_classifier():
    encoder = ECGTransformer(**TINY)
    classifier = ECGTransformerClassifier(encoder, num_labels=3, freeze_finetune_updates=2)
    for updates, frozen in ((0, True), (1, True), (2, False)):
        classifier.zero_grad(set_to_none=True)
        classifier.set_num_updates(updates)
        classifier(torch.randn(2, 12, 64))["out"].sum().backward()
        assert (classifier.encoder.layer_norm.weight.grad is None) == frozen
        assert classifier.proj.weight.grad is not None


def test_frozen_convolutions():
    network = ECGTransformer(**TINY, feature_grad_mult=0.0)
    network(torch.randn(2, 12, 64))["x"].sum().backward()
    assert all(p.grad is None for p in network.feature_extractor.parameters())
    assert network.layer_norm.weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision(dtype):
    network = Wav2Vec2(**TINY, **MASKED, quantize_targets=True).to(dtype).eval()
    net = network(torch.randn(2, 12, 200, dtype=dtype), return_features=True)
    logits = network.get_logits(net)
    assert logits.dtype == dtype
    assert torch.isfinite(logits[:, 0]).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 640), "they have 1 leads, but the network takes 12 (model.in_d=12); give all 12"),
        ((2, 640), "they have 1 leads, but the network takes 12"),
        ((2, 8, 640), "train a network of model.in_d=8"),
        ((2, 640, 12), "exchange the last two dimensions"),
        ((12,), "segments are (12,)"),
    ],
)
def test_other_leads_than_the_network_takes(shape, message):
    network = ECGTransformer(encoder_layers=1, encoder_embed_dim=16, encoder_attention_heads=2)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        network(torch.zeros(shape))
    if message.startswith("they"):
        assert "task.enable_padding_leads=true" in str(error.value)


@pytest.mark.parametrize("shape", [(2, 1, 640), (2, 640)])
def test_networks_of_one_lead(shape):
    options = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_attention_heads": 2}
    assert ECGTransformer(in_d=1, **options)(torch.zeros(shape))["x"].shape == (2, 40, 16)
    with pytest.raises(ValueError, match=r"they have 12 leads.*model\.in_d=12"):
        ECGTransformer(in_d=1, **options)(torch.zeros(2, 12, 640))
