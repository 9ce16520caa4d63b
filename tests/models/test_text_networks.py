"""Networks of ECGs and texts out of checkpoints: what is read, built, refused and written."""

import json

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.compat.restoring import restore, sorted_overrides
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.models.text import stored_text_network
from fairseq_ecg.modules.text import TEXT_NETWORKS
from tests.conftest import TINY_CMSC_MODEL
from tests.modules.test_m3ae import BERT, TINY, inputs
from tests.tiny_checkpoints import CLASSIFIER, made

OWN = {"normalize": False, "filter": False, "data": ""}
NAMED = {"m3ae": {}, "m3ae_qa": {"num_labels": 3, "num_ecgs": 2}}
"""Options that a network needs besides, by its name."""


def config(name, **options):
    """Configuration as fairseq hands it to a model."""
    known = MODEL_DATACLASS_REGISTRY[name]
    options = TINY | {"max_text_size": 12} | OWN | NAMED[name] | options
    cfg = OmegaConf.merge(OmegaConf.structured(known()), options | {"_name": name})
    OmegaConf.set_struct(cfg, True)
    return cfg


def plain(cfg):
    return OmegaConf.to_container(cfg, enum_to_str=True)


def build(name, **options):
    torch.manual_seed(0)
    return MODEL_REGISTRY[name].build_model(config(name, **options))


def written(model, path, **cfg):
    """Write a checkpoint as training does, its configuration revised by the model."""
    revised = OmegaConf.create(plain(model.cfg))
    model.revise_config(revised)
    state = made(TINY_CMSC_MODEL)
    state["cfg"]["model"] = plain(revised) | cfg
    state["model"] = model.state_dict()
    torch.save(state, path)
    return path


def changed(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


@pytest.fixture
def ecg_checkpoint(tmp_path):
    torch.save(made(TINY_CMSC_MODEL), tmp_path / "ecg.pt")
    return tmp_path / "ecg.pt"


@pytest.mark.parametrize("name", NAMED)
def test_a_checkpoint_is_enough(name, tmp_path):
    model = build(name).eval()
    path = written(model, tmp_path / "model.pt", pretrained_model_path="no/such.pt")
    found = build_model_from_checkpoint(path)
    heads = {"bert_config": {"num_attention_heads": 4}}
    other, cfg, _ = restore(path, sorted_overrides({"task": {"data": "d"}, **heads}))
    assert cfg.model.pretrained_model_path is None
    assert other.bert_config == model.bert_config | heads["bert_config"]
    expected = {key: x.clone() for key, x in model.state_dict().items()}
    assert list(found.state_dict()) == list(expected)
    assert all(torch.equal(x, expected[key]) for key, x in found.state_dict().items())
    noise = {} if name == "m3ae_qa" else {"mim_noise": torch.rand(3, 10)}
    with torch.no_grad():
        outputs, others = (network(**inputs(), **noise) for network in (model, found))
    assert all(torch.equal(outputs[key], others[key]) for key in outputs)


@pytest.mark.parametrize(
    ("name", "recording"),
    [("m3ae", "m3ae_a"), ("m3ae", "m3ae_from_w2v"), ("m3ae_qa", "m3ae_qa_2")],
)
def test_fairseq_signals_knows_all_that_is_written(name, recording, shared):
    folder = shared / "golden" / "rest_text"
    path = folder / f"{recording}.pt"
    sizes = json.loads((folder / "bert_configs.json").read_text())[recording]
    model = build_model_from_checkpoint(path, model_overrides={"bert_config": sizes})
    state = torch.load(path, weights_only=False)
    own = OmegaConf.create(plain(model.cfg))
    model.revise_config(own)
    # Its BERT has heads of another width than its weights say: fairseq_signals takes what it
    # reads by name, and here the heads are noted.
    assert own.pop("bert_config") == {"num_attention_heads": 4}
    assert set(own) == set(state["cfg"]["model"])
    assert list(model.state_dict()) == list(state["model"])
    optimizer = state.get("last_optimizer_state") or {"state": {}}
    moments = [x["exp_avg"].shape for _, x in sorted(optimizer["state"].items())]
    assert not moments or moments == [p.shape for p in model.parameters()]


def test_heads_of_64_channels_need_no_note(tmp_path):
    wide = BERT | {"hidden_size": 128, "num_attention_heads": 2}
    options = {"bert_config": wide, "encoder_embed_dim": 128, "num_top_layer": 1, "mim_layer": 0}
    path = written(build("m3ae", **options), tmp_path / "model.pt")
    stored = torch.load(path, weights_only=True)["cfg"]["model"]
    assert not {"bert", "bert_config"} & stored.keys()
    assert build_model_from_checkpoint(path).bert_config == wide | {"type_vocab_size": 2}


def test_the_ecg_encoder_of_a_checkpoint(ecg_checkpoint, tmp_path):
    """Its architecture is the network's, and its mask embedding stays, as in fairseq_signals."""
    options = {"pretrained_model_path": str(ecg_checkpoint), "dropout": 0.3, "dropout_input": 0.2}
    model = build("m3ae", encoder_ffn_embed_dim=64, **options)
    weights = torch.load(ecg_checkpoint, weights_only=True)["model"]
    own = model.ecg_encoder.state_dict()
    assert "mask_emb" in own
    assert all(torch.equal(x, weights[key]) for key, x in own.items())
    assert model.ecg_encoder.encoder.dropout == 0.3
    assert model.ecg_encoder.dropout_input.p == 0.2
    assert model.cfg.encoder_ffn_embed_dim == 16

    ecg_checkpoint.unlink()
    path = written(model, tmp_path / "m3ae.pt")
    again = build_model_from_checkpoint(path)
    assert list(again.state_dict()) == list(model.state_dict())
    with pytest.raises(FileNotFoundError, match=r"model\.load_pretrained_weights=false"):
        build("m3ae", **options)
    resumed = build("m3ae", encoder_ffn_embed_dim=16, load_pretrained_weights=False, **options)
    resumed.load_state_dict(torch.load(path, weights_only=True)["model"])
    assert list(resumed.state_dict()) == list(model.state_dict())
    answering = build("m3ae_qa", model_path=str(path))
    assert "encoder.ecg_encoder.mask_emb" not in answering.state_dict()


def test_other_encoders_are_refused(tmp_path):
    path = tmp_path / "resnet.pt"
    torch.save(made({"_name": "nejedly2021resnet"} | OWN), path)
    with pytest.raises(
        CheckpointError, match=r"Nejedly2021ResnetModel.*an encoder with a transformer"
    ):
        build("m3ae", pretrained_model_path=str(path))


def test_sizes_of_an_ecg_encoder_that_the_configuration_does_not_say(ecg_checkpoint, tmp_path):
    """fairseq_signals stores the options of the command, whatever encoder it reads."""
    model = build("m3ae", pretrained_model_path=str(ecg_checkpoint))
    path = written(model, tmp_path / "m3ae.pt", encoder_layers=12, encoder_ffn_embed_dim=3072)
    assert list(build_model_from_checkpoint(path).state_dict()) == list(model.state_dict())


def test_questions_go_on_from_pretraining(tmp_path):
    pretrained = build("m3ae", feature_grad_mult=1.0, num_top_layer=1, mim_layer=0)
    path = written(pretrained, tmp_path / "m3ae.pt")
    model = build("m3ae_qa", model_path=str(path), feature_grad_mult=0.1, drop_rate=0.4)
    weights = pretrained.state_dict()
    for key, x in model.encoder.state_dict().items():
        assert key == "sep_embedding" or torch.equal(x, weights[key])
    assert model.encoder.mlm_head is model.encoder.mim_head is model.encoder.itm_head is None
    # All but the dropout is of pre-training, and the configuration says what that decides.
    assert model.encoder.ecg_encoder.feature_grad_mult == 1.0
    assert model.encoder.multi_modal_ecg_layers[0].output.dropout.p == 0.4
    assert model.cfg.num_top_layer == 1
    assert model.cfg.feature_grad_mult == 0.1
    again = build_model_from_checkpoint(written(model, tmp_path / "qa.pt"))
    assert again.encoder.ecg_encoder.feature_grad_mult == 0.1
    with torch.no_grad():
        assert torch.equal(again(**inputs())["out"], model.eval()(**inputs())["out"])
    with pytest.raises(CheckpointError, match="holds a m3ae_qa, but this model is one on a M3AE"):
        build("m3ae_qa", model_path=str(tmp_path / "qa.pt"))
    with pytest.raises(ValueError, match=r"num_labels, .*, is missing: set model.num_labels"):
        MODEL_REGISTRY["m3ae_qa"].build_model(
            OmegaConf.merge(
                MODEL_DATACLASS_REGISTRY["m3ae_qa"](), TINY | OWN | {"max_text_size": 9}
            )
        )


@pytest.mark.parametrize("name", NAMED)
def test_an_ecg_network_takes_its_encoder(name, tmp_path):
    model = build(name, apply_mask=True)
    path = written(model, tmp_path / "text.pt")
    cfg = OmegaConf.merge(
        MODEL_DATACLASS_REGISTRY["ecg_transformer_classifier"](),
        OWN | {"model_path": str(path), "num_labels": 2, "encoder_layers": 7},
    )
    classifier = MODEL_REGISTRY["ecg_transformer_classifier"].build_model(cfg)
    prefix = TEXT_NETWORKS[name].ecg_encoder_prefix
    own = classifier.encoder.state_dict()
    assert {f"{prefix}{key}" for key in own} | {f"{prefix}mask_emb"} >= {
        key for key in model.state_dict() if key.startswith(prefix)
    }
    assert all(torch.equal(x, model.state_dict()[f"{prefix}{key}"]) for key, x in own.items())
    again = build("m3ae", pretrained_model_path=str(path))
    for key, x in again.ecg_encoder.state_dict().items():
        assert torch.equal(x, model.state_dict()[f"{prefix}{key}"])
    with pytest.raises(CheckpointError, match=r"task\.filter=False"):
        MODEL_REGISTRY["ecg_transformer_classifier"].build_model(
            OmegaConf.merge(cfg, {"filter": True})
        )


@pytest.mark.parametrize("name", NAMED)
def test_older_berts_stored_their_positions(name, tmp_path):
    model = build(name)
    path = written(model, tmp_path / "model.pt")
    prefix = "" if name == "m3ae" else "encoder."
    key = f"{prefix}language_encoder.embeddings.position_ids"
    changed(path, lambda state: state["model"].update({key: torch.arange(12)[None]}))
    assert list(build_model_from_checkpoint(path).state_dict()) == list(model.state_dict())
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    if name == "m3ae":
        stored_text_network(str(path))


@pytest.mark.parametrize(
    "read", [build_model_from_checkpoint, lambda p: stored_text_network(str(p))]
)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden_dim": 10**9}, DataError, "channels of a layer"),
        ({"num_top_layer": 10**9}, DataError, "layers, more than"),
        ({"hidden_dim": 32}, CheckpointError, "does not fit|cannot be used"),
        ({"num_heads": 5}, CheckpointError, "num_heads=5 does not divide"),
        ({"mim_decoder_hidden_dim": "x"}, CheckpointError, "is not a whole number"),
        ({"bert_config": {"num_attention_heads": 10**9}}, DataError, "channels of a layer"),
        ({"bert_config": {"num_attention_heads": 3}}, CheckpointError, "cannot be used"),
        ({"bert_config": {"hidden_size": 32}}, CheckpointError, "does not fit|cannot be used"),
        ({"bert_config": {"_attn_implementation": 1}}, CheckpointError, "is no size of a BERT"),
        ({"bert_config": [1]}, CheckpointError, "cannot be used"),
        ({"conv_feature_layers": "[(8, 2, 2)] * 4 + ["}, CheckpointError, "conv_feature_layers"),
    ],
)
def test_hostile_configurations(options, error, message, read, tmp_path):
    path = written(build("m3ae"), tmp_path / "model.pt", **options)
    with pytest.raises(error, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("language_encoder.embeddings.word_embeddings.weight", torch.ones(3), "size mismatch"),
        ("language_encoder.encoder.layer.0.intermediate.dense.weight", torch.ones(3), "cannot be"),
        ("language_encoder.encoder.layer.9.intermediate.dense.weight", torch.ones(1), "layer.1"),
        ("ecg_encoder.encoder.layers.0.fc1.weight", torch.ones(3), "cannot be used"),
        ("ecg_encoder.mask_emb", torch.ones(3), "mask_emb"),
        ("class_embedding", torch.full((16,), torch.nan), "NaN or infinite"),
        ("itm_head.fc.bias", torch.ones(2, dtype=torch.int64), "not real numbers"),
    ],
)
def test_hostile_weights(key, value, message, tmp_path):
    path = written(build("m3ae"), tmp_path / "model.pt")
    changed(path, lambda state: state["model"].update({key: value}))
    with pytest.raises(CheckpointError, match=message):
        build_model_from_checkpoint(path)


def test_checkpoints_without_texts_are_refused(tmp_path):
    torch.save(made(CLASSIFIER), tmp_path / "classifier.pt")
    with pytest.raises(CheckpointError, match="ecg_transformer_classifier', which reads no texts"):
        build("m3ae_qa", model_path=str(tmp_path / "classifier.pt"))
