"""MedViLL and networks that answer questions: equations, padding, draws, sizes, corrected cases."""

import json

import numpy as np
import pytest
import torch

from fairseq_ecg.modules import TransformerEncoder
from fairseq_ecg.modules.text import TEXT_NETWORKS, build_text_network
from fairseq_ecg.modules.text.ecg_language_transformer import ECGLanguageTransformer
from fairseq_ecg.modules.text.medvill import MedViLL
from fairseq_ecg.modules.text.token_masking import TokenMasking
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.ops.philox import origin
from fairseq_ecg.options import options_of

SEP = 102
TRANSFORMER = {
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
}
TABLES = {"load_bert_embedding": False, "vocab_size": 200, "max_text_size": 20}
FRAMES = {"conv_feature_layers": "[(8, 2, 2)] * 3", "conv_pos": 4, "conv_pos_groups": 2}
LSTM = {"configuration": "resnet18", "lstm_input_dim": 8, "lstm_embed_dim": 6, "final_dim": 10}
OPTIONS = {
    "medvill": TRANSFORMER | TABLES | FRAMES,
    "ecg_language_transformer_classifier": TRANSFORMER | TABLES | FRAMES | {"num_ecgs": 2},
    "blind_transformer_qa": TRANSFORMER | TABLES,
    "deaf_transformer_qa": TRANSFORMER | FRAMES | {"num_ecgs": 2, "feature_grad_mult": 1.0},
    "resnet_lstm_classifier": TABLES | LSTM,
}
ANSWERING = [name for name in OPTIONS if name != "medvill"]


def build(name, **options):
    torch.manual_seed(0)
    answers = {} if name == "medvill" else {"num_labels": 3}
    return build_text_network({"_name": name, **OPTIONS[name], **answers, **options})


def batch(rows=3, samples=160, tokens=9, second=None, padded=True):
    """ECGs and texts, each shorter than the one before; rows in ``second`` have two ECGs."""
    generator = torch.Generator().manual_seed(1)
    ecg = torch.randn(rows, 12, samples, generator=generator)
    text = torch.randint(104, 200, (rows, tokens), generator=generator)
    text[:, 0] = 101
    text_mask = torch.zeros(rows, tokens, dtype=torch.bool)
    for row in range(rows):
        last = tokens - 1 - (row if padded else 0)
        text[row, last], text[row, last + 1 :] = SEP, 0
        text_mask[row, last + 1 :] = True
    inputs = {"ecg": ecg, "text": text, "text_padding_mask": text_mask}
    inputs["ecg_padding_mask"] = torch.zeros_like(ecg, dtype=torch.bool)
    if second is not None:
        other = torch.randn(rows, 12, samples // 2, generator=generator)
        mask = torch.zeros_like(other, dtype=torch.bool)
        mask[[row not in second for row in range(rows)]] = True
        inputs |= {"ecg_2": other.masked_fill(mask, 0), "ecg_2_padding_mask": mask}
    return inputs


def first(output):
    return next(output[key] for key in ("out", "x", "align_x") if key in output)


def recorded(shared, name):
    return json.loads((shared / "golden" / "rest_text" / name).read_text())


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        *((name, name) for name in OPTIONS),
        ("ecg_language_transformer_classifier", "ecg_language_transformer_classifier_small"),
    ],
)
def test_published_sizes(name, recording, shared):
    keys = recorded(shared, f"keys_{recording}.json")
    answers = {"num_labels": 108 if name == "resnet_lstm_classifier" else 103}
    options = {} if name == "medvill" else answers
    if "num_ecgs" in OPTIONS[name]:
        options |= {"num_ecgs": 2}
    if recording.endswith("_small"):
        options |= {"encoder_layers": 8}
    with torch.device("meta"):
        network = build_text_network({"_name": name, **options})
    found = {
        key: [list(x.shape), str(x.dtype).removeprefix("torch.")]
        for key, x in network.state_dict().items()
    }
    assert list(found) == list(keys["keys"])
    assert found == keys["keys"]
    assert sum(p.numel() for p in network.parameters()) == keys["parameters"]


@pytest.mark.parametrize(
    "name", ["medvill", "ecg_language_transformer_classifier", "deaf_transformer_qa"]
)
def test_seeded_weights(name, shared):
    init = recorded(shared, "init_sums.json")[name]
    torch.manual_seed(init["torch_seed"])
    weights = build_text_network(init["model"]).state_dict()
    assert list(weights) == list(init["sums"])
    for key, sums in init["sums"].items():
        x = weights[key].double()
        assert [x.sum().item(), x.abs().sum().item()] == pytest.approx(sums, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_bf16(name):
    network = build(name).eval()
    inputs = batch(second=None if name == "medvill" else (0, 2))
    mask = {"mask": False} if name == "medvill" else {}
    expected = first(network(**inputs, **mask))
    halves = {key: x.bfloat16() if x.is_floating_point() else x for key, x in inputs.items()}
    output = first(network.bfloat16()(**halves, **mask))
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "resnet_lstm_classifier"])
def test_gradients(name, monkeypatch):
    """Against differences, in float64 also where networks compute in float32."""
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x)
    options = {"encoder_embed_dim": 4, "encoder_ffn_embed_dim": 4, "vocab_size": 9, "conv_pos": 2}
    options = {key: x for key, x in options.items() if key in OPTIONS[name]}
    if "sep_token" in options_of(TEXT_NETWORKS[name]):
        options["sep_token"] = 5
    network = build(name, **options).eval().double()
    inputs = batch(2, 24, 6, None if name == "medvill" else (1,))
    inputs = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
    inputs["text"] = torch.where(inputs["text"] == SEP, 5, inputs["text"] % 4)
    inputs |= {"mask_indices": torch.eye(2, 5).bool()} if name == "medvill" else {}
    names = [
        key for key, _ in network.named_parameters() if key.endswith(("proj.bias", "norm.bias"))
    ]
    parameters = [network.get_parameter(key).detach().requires_grad_() for key in names]

    def outputs(*values):
        net = torch.func.functional_call(network, dict(zip(names, values, strict=True)), (), inputs)
        return tuple(net[key] for key in ("out", "x", "align_x", "mlm_x") if key in net)

    assert torch.autograd.gradcheck(outputs, parameters, atol=1e-6)


@pytest.mark.parametrize("padded", [False, True])
def test_no_later_token_is_attended_to(padded):
    torch.manual_seed(0)
    encoder = TransformerEncoder(2, 16, 32, 2).eval()
    x, padding = torch.randn(2, 7, 16), None
    if padded:
        padding = torch.tensor([[False] * 7, [False] * 5 + [True] * 2])
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected, weights = encoder(x, padding, saliency=True, attention_mask=mask)
    assert (weights[:, :, mask] == 0).all()
    for train in (False, True):  # of which the latter has another kernel without a mask
        for module in encoder.train(train).modules():
            module.p = 0.0
        encoder.dropout = 0.0
        for layer in encoder.layers:
            layer.self_attn.dropout = 0.0
        torch.testing.assert_close(encoder(x, padding, attention_mask=mask)[0], expected)
    later = x.clone()
    later[:, 4:] += 1
    torch.testing.assert_close(
        encoder.eval()(later, padding, attention_mask=mask)[0][:, :4], expected[:, :4]
    )


@pytest.mark.parametrize("kind", ["bi_ar", "bidirectional"])
def test_text_sees_all_of_the_ecg_and_what_is_before(kind):
    network = build("medvill", attn_mask_type=kind, encoder_layers=1).eval()
    inputs = batch(1, padded=False)
    chosen = torch.zeros(1, 8, dtype=torch.bool)
    chosen[0, 2] = True

    def logits(**changed):
        return network(**inputs | changed, mask_indices=chosen)["mlm_x"]

    text = inputs["text"].clone()
    text[0, 6] = 150
    assert torch.allclose(logits(), logits(text=text), atol=1e-6) == (kind == "bi_ar")
    assert not torch.allclose(logits(), logits(ecg=inputs["ecg"].flip(2)), atol=1e-4)


class TestMaskedTokens:
    MASKING = TokenMasking(200, 0.4, 0.5, 0.3, 0.2)

    def origins(self, records):
        return torch.stack([origin(7, 2, record) for record in records])

    def test_numbers_of_a_record_are_its_own(self):
        records = list(range(40))
        together = self.MASKING.draw_of(self.origins(records), (40, 12), None)
        for part in (records[:1], records[5:9], records[::-1]):
            mask = torch.zeros(len(part), 12, dtype=torch.bool)
            mask[:, 11:] = False
            apart = self.MASKING.draw_of(self.origins(part), (len(part), 12), mask)
            number = min(apart.selected.sum(1)[0], together.selected.sum(1)[0])
            for row, record in enumerate(part):
                both = apart.selected[row] & together.selected[record]
                assert both.sum() == number  # the poorer has some of the same
                assert torch.equal(apart.tokens[row], together.tokens[record])

    @pytest.mark.parametrize("keyed", [False, True])
    def test_shares(self, keyed):
        rows, width = 300, 30
        padding = torch.arange(width) >= torch.tensor([20, 30]).repeat(rows // 2)[:, None]
        np.random.seed(0)
        torch.manual_seed(0)
        draw = self.MASKING.draw
        masked = (
            self.MASKING.draw_of(self.origins(range(rows)), (rows, width), padding)
            if keyed
            else draw((rows, width), padding)
        )
        assert not (masked.selected & padding).any()
        counts = masked.selected.sum(1)
        assert (counts == counts[0]).all()
        assert counts[0] == 8  # 0.4 of the shorter ones
        assert not (masked.hidden & masked.replaced).any()
        assert not ((masked.hidden | masked.replaced) & ~masked.selected).any()
        assert masked.hidden.sum() / masked.selected.sum() == pytest.approx(0.5, abs=0.02)
        assert masked.replaced.sum() / masked.selected.sum() == pytest.approx(0.3, abs=0.03)
        tokens = masked.tokens[masked.replaced]
        assert tokens.min() < 20
        assert 180 <= tokens.max() < 200
        places = masked.selected[::2, :20].float().mean(0)
        assert ((places[:19] > 0.25) & (places[:19] < 0.6)).all()
        assert places[19] == 0  # as in fairseq_signals, whose spans do not begin there

    def test_shares_need_not_sum_exactly(self):
        assert 0.7 + 0.2 + 0.1 != 1
        build("medvill", mask_ratio=[0.15, 0.7, 0.2, 0.1])
        for shares in ([0.15, 0.7, 0.2, 0.2], [1.5, 0.8, 0.1, 0.1], [0.1, 1.0], ["a"] * 4, 3):
            with pytest.raises(ValueError, match="mask_ratio="):
                build("medvill", mask_ratio=shares)

    def test_all_are_hidden(self):
        masking = TokenMasking(9, 1.0, 1.0, 0.0, 0.0)
        for masked in (
            masking.draw((2, 5), None),
            masking.draw_of(self.origins([1, 2]), (2, 5), None),
        ):
            assert masked.hidden.all()
            assert not masked.replaced.any()


def test_medvill_draws_by_record():
    network = build("medvill", mask_ratio=[0.5, 0.8, 0.1, 0.1]).train()
    assert isinstance(network.masking, BatchMasking)
    assert network.masking.draw(160, [160], []) == {}
    inputs = batch(4, padded=False)
    origins = torch.stack([origin(3, 1, record) for record in range(4)])
    all_rows = network.tokens_to_mask(inputs["text"], None, origins=origins)
    for rows in ([2], [3, 0]):
        some = network.tokens_to_mask(inputs["text"][rows], None, origins=origins[rows])
        both = all_rows.selected[rows] & some.selected
        assert (
            both.sum(1) == torch.minimum(all_rows.selected[rows].sum(1), some.selected.sum(1))
        ).all()
    assert not all_rows.selected[inputs["text"] == SEP].any()
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    network.tokens_to_mask(inputs["text"], None, origins=origins)
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("options", [{"mask": False}, {}])
def test_nothing_to_predict(options):
    share = 0.15 if options else 0.0
    network = build("medvill", mask_ratio=[share, 0.8, 0.1, 0.1])
    result = network(**batch(), **options)
    assert result["mlm_x"].shape == (0, 200)
    assert result["mlm_y"].shape == (0,)
    assert result["align_x"].shape == (3, 1)
    result["align_x"].sum().backward()
    assert network.align_proj.weight.grad.norm() > 0


def test_alignment_hides_nothing():
    network = build("medvill").eval()
    inputs = batch()
    with torch.no_grad():
        found = network.alignment(**inputs)
        assert torch.equal(found, network.alignment(**inputs))
        pooled = network(**inputs, mask=False)["align_x"]
    assert torch.equal(found, pooled.squeeze(1))


def test_given_tokens_stay():
    network = build("medvill").eval()
    inputs = batch(2, padded=False)
    chosen = torch.zeros(2, 8, dtype=torch.bool)
    chosen[:, [1, 4]] = True
    result = network(**inputs, mask_indices=chosen.numpy())
    assert torch.equal(result["mlm_y"], inputs["text"][:, [1, 4]].flatten())
    assert torch.equal(result["align_x"], network(**inputs, mask=False)["align_x"])


def test_separators_must_be_as_many():
    inputs = batch()
    inputs["text"][1, 3] = SEP
    with pytest.raises(ValueError, match=r"\[1, 2, 1\] tokens 102"):
        build("medvill")(**inputs)


def test_random_tokens_are_not_normalised():
    network = build("medvill").eval()
    text = batch(1)["text"]
    masked = network.tokens_to_mask(text, None, np.ones((1, 8), bool))
    masked.replaced[0, 2], masked.tokens[0, 2], masked.hidden[0, 3] = True, 111, True
    x = network.replace(network.embed_words(text), masked)
    assert torch.equal(x[0, 2], network.language_embedding.weight[111])
    assert torch.equal(x[0, 3], network.mask_emb)
    assert torch.equal(x[0, 4], network.embed_words(text)[0, 4])


@pytest.mark.parametrize("name", ANSWERING)
def test_padding_of_texts(name):
    """An encoder of its own attends to padding, as published; MedViLL's and others do not."""
    network = build(name).eval()
    inputs = batch(1, second=(0,), padded=False)
    longer = {
        key: torch.nn.functional.pad(inputs[key], (0, 4), value=key.endswith("mask"))
        for key in ("text", "text_padding_mask")
    }
    same = torch.allclose(first(network(**inputs)), first(network(**inputs | longer)), atol=1e-5)
    assert same == (name != "ecg_language_transformer_classifier")


def test_an_encoder_of_medvill_leaves_padding_of_texts_out():
    encoder = build("medvill")
    encoder.remove_pretraining_modules()
    network = TEXT_NETWORKS["ecg_language_transformer_classifier"](encoder, num_labels=3).eval()
    assert network.encoder.mask_emb is None
    inputs = batch(1, padded=False)
    longer = {
        key: torch.nn.functional.pad(inputs[key], (0, 4), value=key.endswith("mask"))
        for key in ("text", "text_padding_mask")
    }
    torch.testing.assert_close(network(**inputs)["out"], network(**inputs | longer)["out"])
    with torch.no_grad():
        plain = build("ecg_language_transformer_classifier", num_ecgs=1)
        plain.load_state_dict(network.state_dict())
        torch.testing.assert_close(plain.eval()(**inputs)["out"], network(**inputs)["out"])


def test_windows_of_two_ecgs():
    """The second window begins at the separator and misses the last frame."""
    network = build("ecg_language_transformer_classifier").eval()
    inputs = batch(2, second=(0, 1), padded=False)
    result = network(**inputs)
    x, frames, others = result["encoder_out"].double(), 20, 10
    assert x.shape[1] == frames + 1 + others + 9
    parts = x[:, :frames], x[:, frames : frames + others], x[:, -9:]
    pooled = torch.cat([part.sum(1) / (part != 0).sum(1) for part in parts], dim=1)
    expected = pooled @ network.proj.weight.double().T + network.proj.bias.double()
    torch.testing.assert_close(result["out"].double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mult", [0.0, 0.1, 1.0])
def test_the_second_ecg_is_read_whatever_the_factor(mult):
    network = build("ecg_language_transformer_classifier", feature_grad_mult=mult).eval()
    for rows in ((0, 1, 2), (0, 2)):
        inputs = batch(second=rows)
        result = network(**inputs)["out"]
        changed = network(**inputs | {"ecg_2": inputs["ecg_2"].flip(2)})["out"]
        assert not torch.allclose(result[0], changed[0], atol=1e-5)
        result.sum().backward()
    grad = network.encoder.feature_extractor.conv_layers[1][0].weight.grad
    assert grad is None if mult == 0 else grad.norm() > 0


@pytest.mark.parametrize("name", ["ecg_language_transformer_classifier", "deaf_transformer_qa"])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_an_absent_ecg_is_masked_whole(name, kernel):
    network = build(name, conv_feature_layers=f"[(8, {kernel}, 2)] * 3").eval()
    result = network(**batch(second=(0,)))
    mask = result["padding_mask"]
    reader = network.encoder if hasattr(network.encoder, "frame_count") else network
    frames, others = reader.frame_count(160), reader.frame_count(80)
    assert mask[1:, frames : frames + 1 + others].all()
    assert not mask[0, : frames + 1 + others].any()
    assert result["out"].isfinite().all()


@pytest.mark.parametrize("name", ["ecg_language_transformer_classifier", "deaf_transformer_qa"])
def test_one_ecg(name):
    network = build(name, num_ecgs=1).eval()
    assert network(**batch())["out"].shape == (3, 3)
    with pytest.raises(ValueError, match=r"model\.num_ecgs=2"):
        network(**batch(second=(0,)))
    with pytest.raises(ValueError, match="num_ecgs=3 is neither 1 nor 2"):
        build(name, num_ecgs=3)


def test_padded_frames_count_without_text():
    """Where first ECGs differ in length their mean is over frames of frames, as published."""
    network = build("deaf_transformer_qa", num_ecgs=1).eval()
    inputs = batch(2)
    inputs["ecg_padding_mask"][1, :, 100:] = True
    seen = []
    network.encoder.register_forward_hook(lambda module, args, output: seen.append(output[0]))
    out = network(**inputs)["out"]
    pooled = seen[0][:, :2].double().mean(1)  # 160 samples, 20 frames, 2
    expected = pooled @ network.proj.weight.double().T + network.proj.bias.double()
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    inputs["ecg_padding_mask"][:, :, 40:] = True  # 5 frames, none of them
    assert network(**inputs)["out"].isfinite().all()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"lstm_num_layer": 1}])
def test_lstm(options):
    network = build("resnet_lstm_classifier", **options).eval()
    inputs = batch(second=(0, 2))
    result = network(**inputs)
    for row in range(3):
        alone = {key: x[row : row + 1] for key, x in inputs.items()}
        length = int((~alone["text_padding_mask"]).sum())
        alone |= {key: alone[key][:, :length] for key in ("text", "text_padding_mask")}
        if row == 1:
            alone |= {"ecg_2": None, "ecg_2_padding_mask": None}
        torch.testing.assert_close(network(**alone)["out"], result["out"][row : row + 1])
    other = build("resnet_lstm_classifier", batch_first=False, **options).eval()
    torch.testing.assert_close(other(**inputs)["out"], result["out"])
    network(**inputs | {"ecg_2_padding_mask": None})


@pytest.mark.parametrize("name", ["ecg_language_transformer_classifier", "resnet_lstm_classifier"])
def test_frozen_encoders(name):
    network = build(name, freeze_finetune_updates=2).train()
    network(**batch())["out"].sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is not None] == [
        "proj.weight",
        "proj.bias",
    ]
    network.set_num_updates(2)
    network(**batch())["out"].sum().backward()
    assert (
        network.encoder.get_parameter(next(iter(dict(network.encoder.named_parameters())))).grad
        is not None
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_every_parameter_trains(name):
    """But those that a network says get no gradient."""
    network = build(name).train()
    inputs = batch(second=None if name == "medvill" else (0, 1, 2), padded=False)
    output = network(**inputs)
    sum(output[key].sum() for key in ("out", "x", "align_x", "mlm_x") if key in output).backward()
    silent = (
        {id(p) for p in network.without_gradient()}
        if hasattr(network, "without_gradient")
        else set()
    )
    assert {
        key for key, p in network.named_parameters() if p.grad is None and id(p) not in silent
    } == set()


def test_frames_are_masked_in_training_alone():
    masked = {"apply_mask": True, "mask_prob": 0.5, "mask_length": 2}
    network = build("ecg_language_transformer_classifier", **masked)
    plain = build("ecg_language_transformer_classifier")
    plain.load_state_dict(network.state_dict(), strict=False)
    inputs = batch(second=(0,))
    assert torch.equal(network.eval()(**inputs)["out"], plain.eval()(**inputs)["out"])
    np.random.seed(0)
    network.train()(**inputs)["out"].sum().backward()
    assert network.encoder.mask_emb.grad.norm() > 0
    assert build("ecg_language_transformer_classifier", mask_prob=0.5).encoder.mask_emb is None


@pytest.mark.parametrize("name", [name for name in OPTIONS if "max_text_size" in OPTIONS[name]])
def test_sizes_of_weights(name):
    sizes = {"hidden_size": 8 if "lstm" in name else 16, "vocab_size": 200}
    network = build(name, load_bert_embedding=True, bert_config=sizes)
    assert network.vocab_size == 200
    options = type(network).stored_options(network.state_dict())
    again = build(name, **options)
    again.load_state_dict(network.state_dict())
    assert options["load_bert_embedding"] is False
    if "lstm" not in name:
        assert options["max_text_size"] == network.max_text_size == 512
    with pytest.raises(ValueError, match="channels wide"):
        build(name, load_bert_embedding=True, bert_config=sizes | {"hidden_size": 24})


def test_a_text_that_is_too_long():
    for name in ("medvill", "blind_transformer_qa"):
        with pytest.raises(ValueError, match=r"21 tokens .* 20 that"):
            build(name)(**batch(tokens=21))
    with pytest.raises(ValueError, match="no text"):
        build("blind_transformer_qa")()


def test_no_ecg_of_other_leads():
    for name in ("medvill", "deaf_transformer_qa", "resnet_lstm_classifier"):
        inputs = batch()
        with pytest.raises(ValueError, match="3 leads, but the network takes 12"):
            build(name)(**inputs | {"ecg": inputs["ecg"][:, :3]})


def test_the_encoder_by_itself_honours_padding_of_texts():
    torch.manual_seed(0)
    encoder = ECGLanguageTransformer(**OPTIONS["medvill"]).eval()
    inputs = batch()
    assert encoder(**inputs)["padding_mask"][2, -2:].all()
    assert encoder.extract_features(**inputs)["padding_mask"] is None
    assert issubclass(MedViLL, ECGLanguageTransformer)
