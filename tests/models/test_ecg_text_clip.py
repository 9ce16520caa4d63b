"""The network of contrastive ECG-report pre-training, and where its encoders come from."""

import math

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf
from torch.nn import functional as F

from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.modules import ENCODERS
from fairseq_ecg.modules.text import build_text_network
from fairseq_ecg.modules.text.bert import build_bert
from tests.clip_networks import BERT, config
from tests.conftest import TINY_CMSC_MODEL
from tests.models.networks import tiny
from tests.tiny_checkpoints import made


def network(*arguments, **options):
    torch.manual_seed(0)
    return build_text_network(config(*arguments, **options)).eval()


def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "ecg": torch.randn(3, 12, 640, generator=generator),
        "text": torch.randint(5, 40, (3, 7), generator=generator),
        "ecg_padding_mask": (torch.arange(640) >= torch.tensor([[640], [480], [320]])),
        "text_padding_mask": torch.arange(7) >= torch.tensor([[7], [4], [2]]),
    }


@pytest.mark.parametrize("text_pooling", ["cls", "mean"])
def test_embeddings_are_projections_of_means(text_pooling):
    model, rows = network(text_pooling=text_pooling), batch()
    with torch.no_grad():
        found = model(**rows)
        for i in range(3):  # each row by itself, without its padding
            ecg = rows["ecg"][i : i + 1]
            mask = rows["ecg_padding_mask"][i : i + 1]
            frames = model.ecg_encoder.extract_features(ecg, mask)
            kept = frames["x"][0]
            if frames["padding_mask"] is not None:
                kept = kept[~frames["padding_mask"][0]]
            tokens = rows["text"][i : i + 1, ~rows["text_padding_mask"][i]]
            words = model.text_encoder(tokens).last_hidden_state[0]
            pooled = {
                "ecg": kept.mean(dim=0),
                "text": words[0] if text_pooling == "cls" else words.mean(dim=0),
            }
            for key, vector in pooled.items():
                first, _, second = getattr(model, f"{key}_projection")
                expected = second(F.gelu(first(vector)))
                expected = expected / expected.norm()
                torch.testing.assert_close(found[key][i], expected, rtol=1e-4, atol=1e-5)
    assert found["scale"].item() == pytest.approx(1 / 0.07)


def test_alignment_is_the_scaled_cosine_of_each_row():
    model, rows = network(temperature=0.5), batch()
    with torch.no_grad():
        found = model.alignment(**rows)
        embedded = model(**rows)
    expected = 2 * F.cosine_similarity(embedded["ecg"], embedded["text"])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder(encoder):
    model, rows = network(encoder), batch()
    rows = {key: x for key, x in rows.items() if key != "ecg_padding_mask"}
    found = model(**rows)
    assert found["ecg"].shape == found["text"].shape == (3, 8)
    torch.testing.assert_close(found["ecg"].norm(dim=1), torch.ones(3))
    found["ecg"].square().sum().backward()
    assert model.ecg_projection[0].weight.grad is not None
    for name in ENCODERS[encoder].pretraining_modules:
        assert getattr(model.ecg_encoder, name) is None


@pytest.mark.parametrize(
    ("above", "grad", "moves"), [(0.1, -1, False), (0.1, 1, True), (-1, -1, True)]
)
def test_scale_is_100_at_most_and_comes_back_from_there(above, grad, moves):
    model = network()
    model.log_scale.data.fill_(math.log(100) + above)
    scale = model.scale
    assert scale.item() <= 100 * (1 + 1e-6)
    (grad * scale).backward()
    assert bool(model.log_scale.grad) == moves


def test_frozen_layers():
    def training(model, part):
        return {name for name, p in getattr(model, part).named_parameters() if p.requires_grad}

    everything = training(network(), "text_encoder")
    model = network(freeze_text_layers=1, freeze_layers=-1)
    assert training(model, "text_encoder") == {n for n in everything if ".layer.1." in n}
    assert not training(model, "ecg_encoder")
    assert not training(network(freeze_text_layers=-1), "text_encoder")
    with pytest.raises(ValueError, match="freeze_text_layers=3: the BERT has 2 layers"):
        network(freeze_text_layers=3)


def test_dropout_of_bert_is_the_option():
    model = network(bert_dropout=0.0).train()
    model.ecg_encoder.eval()
    rows = batch()
    torch.testing.assert_close(model(**rows)["text"], model(**rows)["text"], rtol=0, atol=0)
    model = network(bert_dropout=0.5).train()
    assert not torch.equal(model(**rows)["text"], model(**rows)["text"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ecg_encoder": "no_net"}, "ecg_encoder='no_net': choose one of ecg_transformer"),
        ({"ecg_config": {"layers": 2}}, "ecg_transformer has no option 'layers'"),
        ({"ecg_config": {"num_blocks": 2}}, "ecg_transformer has no option 'num_blocks'"),
        ({"ecg_config": {"encoder_layers": -2}}, "encoder_layers=-2 is not a whole number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def registered(*arguments, **options):
    """Build the fairseq model as training does; return it and what a checkpoint says of it."""
    cfg = OmegaConf.structured(MODEL_DATACLASS_REGISTRY["ecg_text_clip"]())
    values = config(*arguments, **options) | {"normalize": False, "filter": False, "data": "d"}
    cfg = OmegaConf.merge(cfg, values)
    torch.manual_seed(0)
    model = MODEL_REGISTRY["ecg_text_clip"].build_model(cfg)
    model.revise_config(cfg)
    return model.eval(), OmegaConf.to_container(cfg, enum_to_str=True)


def saved(path, model, cfg, **task):
    state = made(TINY_CMSC_MODEL)
    state["cfg"]["model"] = cfg
    state["cfg"]["task"] |= task
    state["model"] = dict(model.state_dict())
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["wav2vec2_cmsc", "ecg_transformer_classifier", "vanilla_resnet"])
def test_encoder_out_of_a_checkpoint(name, tmp_path):
    """With its architecture; then what is stored needs neither this file nor any BERT."""
    stored = tmp_path / "encoder.pt"
    cfg = tiny(name) | ({"num_labels": 2} if name.endswith("classifier") else {})
    torch.save(made(cfg), stored)
    model, said = registered(ecg_config={}, pretrained_model_path=str(stored))
    weights = torch.load(stored)["model"]
    prefix = "encoder." if name.endswith("classifier") else ""
    for key, value in model.ecg_encoder.state_dict().items():
        assert torch.equal(value, weights[prefix + key]), key
    assert said["ecg_encoder"] == name.replace("_classifier", "").replace(
        "wav2vec2_cmsc", "ecg_transformer"
    )
    path = saved(tmp_path / "clip.pt", model, said)
    stored.unlink()
    again = build_model_from_checkpoint(path)
    with torch.no_grad():
        for key, value in model(**batch()).items():
            torch.testing.assert_close(again(**batch())[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("encoder", ["ecg_transformer", "vanilla_resnet"])
def test_the_ecg_encoder_is_fine_tuned(encoder, tmp_path):
    """From ``model_path``, with the architecture that the checkpoint says."""
    model, said = registered(encoder)
    path = saved(tmp_path / "clip.pt", model, said)
    cfg = OmegaConf.structured(MODEL_DATACLASS_REGISTRY[f"{encoder}_classifier"]())
    cfg = OmegaConf.merge(cfg, {"model_path": str(path), "num_labels": 2})
    cfg = OmegaConf.merge(cfg, {"normalize": False, "filter": False, "data": "d"})
    classifier = MODEL_REGISTRY[f"{encoder}_classifier"].build_model(cfg)
    weights = model.ecg_encoder.state_dict()
    for key, value in classifier.encoder.state_dict().items():
        assert torch.equal(value, weights[key]), key
    assert classifier(batch()["ecg"])["out"].shape == (3, 2)


def test_encoder_of_otherwise_normalised_signals_is_refused(tmp_path):
    state = made(TINY_CMSC_MODEL)
    state["cfg"]["task"]["normalize"] = True
    torch.save(state, tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match=r"trained with task\.normalize=True"):
        registered(pretrained_model_path=str(tmp_path / "encoder.pt"))


def test_training_starts_with_the_bert_of_a_folder(tmp_path):
    bert = build_bert(BERT)
    bert.save_pretrained(tmp_path / "bert")
    model, said = registered(bert=str(tmp_path / "bert"), bert_config={})
    for key, value in bert.state_dict().items():
        assert torch.equal(model.text_encoder.state_dict()[key], value), key
    assert {key: model.bert_config[key] for key in BERT} == BERT
    assert said["bert_config"] == {"num_attention_heads": 4}  # weights say the others
    assert "bert" not in said
    assert (model.vocab_size, model.max_text_size, model.n_leads) == (40, 32, 12)


def test_bf16():
    model, rows = network().bfloat16(), batch()
    found = model(**rows | {"ecg": rows["ecg"].bfloat16()})
    assert all(value.dtype == torch.float32 for value in found.values())
    sum(value.sum() for value in found.values()).backward()
    assert model.text_projection[0].weight.grad.isfinite().all()
