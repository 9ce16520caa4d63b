import json
import math

import pytest
import torch
from torch import nn

from fairseq_ecg.modules import ECGTransformer, Wav2Vec2
from fairseq_ecg.modules.text import build_text_network
from fairseq_ecg.modules.text.cross_layer import CrossLayer
from fairseq_ecg.modules.text.frame_decoder import FrameDecoder
from fairseq_ecg.modules.text.m3ae import M3AE
from fairseq_ecg.modules.text.m3ae_qa import M3AEQA
from fairseq_ecg.ops.philox import COMMON_LANE, Stream, origin, random_words

ECG = {
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 2, 2)] * 4",
    "conv_pos": 4,
    "conv_pos_groups": 2,
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "max_position_embeddings": 12,
}
TINY = ECG | {
    "bert_config": BERT,
    "vocab_size": 50,
    "hidden_dim": 16,
    "num_heads": 2,
    "num_top_layer": 2,
    "mim_layer": 1,
    "mim_decoder_hidden_dim": 8,
    "mim_decoder_num_layers": 1,
    "mim_decoder_num_heads": 2,
}
LOCAL = {"extractor_mode": "layer_norm", "conv_pos": 1}
"""Options with which a frame is made of its own samples alone."""


def made(network=M3AE, **options):
    torch.manual_seed(0)
    return network(**(TINY | options)).eval()


def inputs(rows=3, samples=160, tokens=6):
    draw = torch.Generator().manual_seed(1)
    text = torch.randint(1, 50, (rows, tokens), generator=draw)
    padding = torch.zeros(rows, tokens, dtype=torch.bool)
    padding[0, 4:] = True
    return {
        "ecg": torch.randn(rows, 12, samples, generator=draw),
        "text": text.masked_fill(padding, 0),
        "ecg_padding_mask": torch.zeros(rows, 12, samples, dtype=torch.bool),
        "text_padding_mask": padding,
    }


@pytest.mark.parametrize("name", ["m3ae", "m3ae_qa"])
def test_published_sizes(name, shared):
    recorded = json.loads((shared / "golden" / "rest_text" / f"keys_{name}.json").read_text())
    with torch.device("meta"):
        network = build_text_network({"_name": name, "num_labels": 103, "num_ecgs": 2})
    found = {
        key: [list(x.shape), str(x.dtype).removeprefix("torch.")]
        for key, x in network.state_dict().items()
    }
    assert list(found) == list(recorded["keys"])
    assert found == recorded["keys"]
    assert sum(p.numel() for p in network.parameters()) == recorded["parameters"]


def test_weights_are_drawn_as_in_fairseq_signals():
    network = made(hidden_dim=64)
    torch.manual_seed(0)
    encoder = ECGTransformer(**ECG)
    own = network.ecg_encoder.state_dict()
    assert all(torch.equal(x, own[key]) for key, x in encoder.state_dict().items())
    assert torch.equal(network.class_embedding, torch.empty(16).uniform_())
    late = ("multi_modal", "modality", "mlm_head", "mim_head", "itm_head")
    for name, module in network.named_modules():
        if not name.startswith(late):
            continue
        if isinstance(module, nn.Linear | nn.Embedding):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.25), name
        if isinstance(module, nn.Linear) and module.bias is not None:
            assert not module.bias.any(), name
        if isinstance(module, nn.MultiheadAttention):
            bound = math.sqrt(6 / (8 + 24))  # of Xavier's uniform distribution
            assert 0.8 * bound < module.in_proj_weight.abs().max() <= bound
    assert network.mim_head.mask_token.std().item() == pytest.approx(0.02, rel=0.6)
    head = made(M3AEQA, num_labels=3, num_ecgs=2).head
    assert [type(part) for part in head] == [nn.Linear, nn.LayerNorm, nn.GELU, nn.Linear]
    assert head[0].weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_outputs_and_what_is_removed():
    network = made()
    noise = torch.rand(3, 10)
    out = network(**inputs(), mim_noise=noise)
    order = noise.argsort(dim=1)
    kept = torch.zeros(3, 10, dtype=torch.bool).scatter(1, order[:, :2], True)
    assert torch.equal(out["mim_masks"], ~kept)
    assert torch.equal(out["mim_ids_restore"], order.argsort(dim=1))
    shapes = {key: tuple(x.shape) for key, x in out.items()}
    assert shapes["multi_modal_text_feats"] == (3, 6, 16)
    assert shapes["multi_modal_ecg_feats"] == (3, 3, 16)
    assert shapes["multi_modal_cls_feats"] == (3, 32)
    assert shapes["mlm_logits"] == (3, 6, 50)
    assert shapes["mim_logits"] == (3, 10, 12, 16)
    assert shapes["itm_logits"] == (3, 2)
    attended = inputs() | {"text_attention_mask": ~inputs()["text_padding_mask"]}
    del attended["text_padding_mask"]
    again = network(**attended, mim_noise=noise)
    assert all(torch.equal(out[key], again[key]) for key in out)


@pytest.mark.parametrize("mim_layer", [-1, 0, 1])
def test_frames_are_predicted_from_a_layer(mim_layer):
    network = made(mim_layer=mim_layer)
    given = {}

    def look(module, arguments):
        given["frames"] = arguments[0]

    network.mim_head.register_forward_pre_hook(look)
    torch.manual_seed(1)
    out = network(**inputs())
    with torch.no_grad():
        network.multi_modal_ecg_layers[0].output.LayerNorm.bias += 1
    torch.manual_seed(1)
    before = given["frames"]
    network(**inputs())
    assert torch.equal(given["frames"], before) == (mim_layer == 0)
    assert torch.equal(before, out["multi_modal_ecg_feats"]) == (mim_layer == -1)


def test_noise_is_of_the_record_or_of_the_batch():
    network = made()
    batch = inputs()
    origins = torch.stack([origin(5, 2, record) for record in (7, 8, 9)])
    out = network(**batch, origins=origins)
    words = random_words(origins, Stream.REMOVED_FRAMES, COMMON_LANE, 10)
    assert torch.equal(out["mim_ids_restore"], words.argsort(dim=1).argsort(dim=1))
    alone = network(**{key: x[2:] for key, x in batch.items()}, origins=origins[2:])
    assert torch.equal(alone["mim_masks"], out["mim_masks"][2:])
    torch.testing.assert_close(alone["itm_logits"], out["itm_logits"][2:])

    torch.manual_seed(3)
    drawn = network(**batch)["mim_ids_restore"]
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3, 10).argsort(dim=1).argsort(dim=1))


def test_a_shorter_first_ecg_is_read_as_if_it_were_alone():
    network = made(**LOCAL)
    batch = inputs()
    batch["ecg_padding_mask"][1, :, 96:] = True
    batch["ecg"][1, :, 96:] = 0
    noise = torch.rand(3, 10)
    out = network(**batch, mim_noise=noise)
    row = {key: x[1:2] for key, x in batch.items()}
    row["ecg"], row["ecg_padding_mask"] = (
        row[key][..., :96] for key in ("ecg", "ecg_padding_mask")
    )
    alone = network(**row, mim_noise=noise[1:2, :6])
    assert not out["mim_masks"][1, 6:].any()
    assert torch.equal(out["mim_masks"][1, :6], alone["mim_masks"][0])
    for key in ("multi_modal_text_feats", "multi_modal_cls_feats", "itm_logits", "mlm_logits"):
        torch.testing.assert_close(out[key][1:2], alone[key], rtol=1e-4, atol=1e-5)
    frames = out["mim_logits"][1, :6], alone["mim_logits"][0]
    torch.testing.assert_close(*frames, rtol=1e-4, atol=1e-5)

    sample = {"net_input": batch, "mlm_labels": batch["text"], "is_aligned": torch.ones(3)}
    single = {"net_input": row, "mlm_labels": row["text"], "is_aligned": torch.ones(1)}
    targets = network.get_targets(sample, out), network.get_targets(single, alone)
    torch.testing.assert_close(
        targets[0]["mim_target"][1, :6], targets[1]["mim_target"][0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("layers", ["[(8, 2, 2)] * 4", "[(8, 3, 2)] * 3"])
@pytest.mark.parametrize("encoder", [ECGTransformer, Wav2Vec2])
def test_rows_without_a_second_ecg_do_not_depend_on_the_others(encoder, layers):
    torch.manual_seed(0)
    options = TINY | {"conv_feature_layers": layers}
    ecg = encoder(**(ECG | {"conv_feature_layers": layers}))
    part = M3AE(ecg, **{key: x for key, x in options.items() if key not in ECG})
    network = M3AEQA(part, num_labels=5, num_ecgs=2).eval()
    for weight in (p for p in network.parameters() if p.dim() > 1):
        nn.init.normal_(weight, std=0.5)  # so that all that is read shows
    batch = inputs()
    second = torch.randn(3, 12, 112)
    padding = torch.zeros(3, 12, 112, dtype=torch.bool)
    padding[1] = True
    second[1] = 0
    padding[2, :, 64:] = True
    with torch.no_grad():
        out = network(**batch, ecg_2=second, ecg_2_padding_mask=padding)["out"]
        none = network(**batch)["out"]
        whole = network(**batch, ecg_2=second)["out"]
    torch.testing.assert_close(out[1], none[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[0], whole[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(out[0], none[0], atol=1e-3)
    assert not torch.allclose(out[2], whole[2], atol=1e-3)


def test_every_parameter_trains_but_the_mask_embedding():
    network = made(apply_mask=True).train()
    out = network(**inputs())
    sum(out[f"{task}_logits"].square().sum() for task in ("mlm", "mim", "itm")).backward()
    unreached = [p for p in network.parameters() if p.grad is None]
    assert [id(p) for p in unreached] == [id(p) for p in network.without_gradient()]
    assert unreached[0] is network.ecg_encoder.mask_emb
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("network", [M3AE, M3AEQA])
def test_half_precision_is_finite(network):
    options = {} if network is M3AE else {"num_labels": 4, "num_ecgs": 2}
    model = made(network, **options)
    batch = inputs()
    second = {"ecg_2": batch["ecg"]} if network is M3AEQA else {"mim_noise": torch.rand(3, 10)}
    expected = model(**batch, **second)
    half = model.bfloat16().train()
    for module in half.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    batch, second = (
        {
            key: x.bfloat16() if key.startswith("ecg") and x.is_floating_point() else x
            for key, x in part.items()
        }
        for part in (batch, second)
    )
    found = half(**batch, **second)
    name = "out" if network is M3AEQA else "itm_logits"
    assert found[name].dtype == torch.bfloat16
    torch.testing.assert_close(found[name].float(), expected[name], rtol=0.1, atol=0.02)
    found[name].float().square().sum().backward()
    grads = [p.grad for p in half.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_layers_have_the_gradient_of_what_they_compute():
    torch.manual_seed(0)
    layer = CrossLayer(4, 2).double().eval()
    x, y = torch.randn(2, 3, 4).double(), torch.randn(2, 2, 4).double()
    mask = torch.tensor([[False, True], [False, False]])
    x.requires_grad_()
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: layer(x, y, None, mask), (x, y))

    decoder = FrameDecoder(4, 4, 1, 2, leads=2, frame_samples=3).double().eval()
    kept = torch.randn(2, 3, 4).double().requires_grad_()
    order = torch.tensor([[1, 0, 2, 3], [3, 1, 0, 2]])
    assert torch.autograd.gradcheck(lambda x: decoder(x, order, order >= 2), (kept,))


def test_cross_layer_by_its_equations():
    """The own sequence first, then the other, then each position, all in float64."""
    torch.manual_seed(0)
    layer = CrossLayer(6, 2).double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x, y = torch.randn(1, 3, 6).double(), torch.randn(1, 4, 6).double()
    y_mask = torch.tensor([[False, False, True, False]])
    weights = layer.state_dict()

    def linear(name, z):
        return z @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, z):
        centred = z - z.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(name, z, other, keep):
        q, k, v = (
            linear(f"{name}.self.{part}", of).unflatten(-1, (2, 3)).transpose(1, 2)
            for part, of in (("query", z), ("key", other), ("value", other))
        )
        scores = (q @ k.transpose(-1, -2) / math.sqrt(3)).exp() * keep
        mixed = (scores / scores.sum(-1, keepdim=True)) @ v
        added = z + linear(f"{name}.output.dense", mixed.transpose(1, 2).flatten(2))
        return norm(f"{name}.output.LayerNorm", added)

    a = attend("attention", x, x, torch.ones(3).double())
    c = attend("crossattention", a, y, (~y_mask).double())
    hidden = linear("intermediate.dense", c)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = norm("output.LayerNorm", c + linear("output.dense", hidden))
    torch.testing.assert_close(layer(x, y, None, y_mask), expected)


def test_alignment_is_the_logit_of_what_was_trained():
    network = made()
    batch = inputs()
    with torch.no_grad():
        logit = network.alignment(**batch)
        read = network(**batch, mask=False)["multi_modal_cls_feats"]
        logits = network.itm_head["fc"](read)
    torch.testing.assert_close(logit.sigmoid(), logits.softmax(dim=1)[:, 1])
    network.remove_pretraining_modules()
    with pytest.raises(NotImplementedError, match="no head"):
        network.alignment(**batch)


def test_the_encoder_is_frozen_at_first():
    network = made(M3AEQA, num_labels=3, freeze_finetune_updates=2).train()
    for updates, trains in ((0, False), (1, False), (2, True)):
        network.set_num_updates(updates)
        network.zero_grad()
        network(**inputs())["out"].sum().backward()
        assert (network.encoder.class_embedding.grad is not None) == trains
        assert network.head[0].weight.grad is not None
    assert network.trains_in_turns
    assert not made(M3AEQA, num_labels=3).trains_in_turns


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (M3AEQA, {"num_labels": 3, "hidden_dim": 8}, "hidden_dim=8 and model.encoder_embed_dim=16"),
        (M3AEQA, {"num_labels": 3, "num_ecgs": 3}, "num_ecgs=3"),
        (M3AE, {"bert_config": BERT | {"hidden_size": 32}}, "32 channels and the ECG encoder 16"),
        (M3AE, {"num_heads": 3}, "num_heads=3 does not divide hidden_dim=16"),
        (M3AE, {"mim_decoder_num_heads": 3}, "mim_decoder_num_heads=3"),
        (M3AE, {"conv_feature_layers": "[(8, 9000, 2)]"}, "give no frame"),
    ],
)
def test_options_that_do_not_go_together(network, options, message):
    with pytest.raises(ValueError, match=message):
        made(network, **options)


@pytest.mark.parametrize(
    ("network", "options", "batch", "message"),
    [
        (M3AE, {"mim_layer": 2}, {}, "mim_layer=2 is none of 2"),
        (M3AE, {"vocab_size": 49}, {}, "set model.vocab_size=50"),
        (M3AE, {}, {"text": torch.ones(3, 13, dtype=torch.long)}, "max_text_size=12"),
        (M3AE, {}, {"ecg_2": torch.zeros(3, 12, 160)}, "num_ecgs=2"),
        (M3AEQA, {"num_labels": 3}, {"ecg_2": torch.zeros(3, 12, 160)}, "num_ecgs=2"),
    ],
)
def test_batches_that_cannot_be_read(network, options, batch, message):
    given = {**inputs(), "text_padding_mask": None, **batch}
    with pytest.raises(ValueError, match=message):
        made(network, **options)(**given)


def test_questions_do_without_what_only_predictions_need():
    made(M3AEQA, num_labels=3, mim_layer=7, vocab_size=9)(**inputs())
