"""MedViLL and networks that answer questions, out of checkpoints and into them."""

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.modules.text import bert, token_tables
from fairseq_ecg.modules.text.medvill import MedViLL
from tests.modules.test_ecg_language_networks import OPTIONS, batch, first

OF_TASK = {"pad_token": 0, "sep_token": 102, "max_text_size": 20, "normalize": False}
OF_TASK |= {"filter": False, "data": ""}
BERT = {"hidden_size": 16, "vocab_size": 200, "max_position_embeddings": 30}


def build(name, **options):
    known = MODEL_DATACLASS_REGISTRY[name]()
    named = {} if name == "medvill" else {"num_labels": 3}
    of_task = {key: x for key, x in OF_TASK.items() if hasattr(known, key)}
    cfg = OmegaConf.merge(
        OmegaConf.structured(known), of_task | OPTIONS[name] | named | options | {"_name": name}
    )
    OmegaConf.set_struct(cfg, True)
    torch.manual_seed(0)
    return MODEL_REGISTRY[name].build_model(cfg)


def written(model, path, task=(), **cfg):
    """Write a checkpoint as training does, its configuration revised by the model."""
    revised = OmegaConf.create(OmegaConf.to_container(model.cfg, enum_to_str=True))
    model.revise_config(revised)
    sections = {
        "model": OmegaConf.to_container(revised) | cfg,
        "task": {"_name": "ecg_text_pretraining", **OF_TASK, **dict(task)},
        "criterion": {"_name": "medvill"},
    }
    torch.save({"cfg": sections, "model": model.state_dict()}, path)
    return str(path)


@pytest.fixture
def no_bert(monkeypatch):
    """Fail where a BERT is fetched or read."""

    def read(name):
        raise AssertionError(f"{name} is read")

    monkeypatch.setattr(bert, "read_bert", read)
    monkeypatch.setattr(token_tables, "read_bert", read)


@pytest.mark.parametrize("tables", ["own", "BERT's"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_checkpoint_is_enough(name, tables, tmp_path, no_bert):
    options = {}
    if tables == "BERT's" and "load_bert_embedding" in OPTIONS[name]:
        width = OPTIONS[name].get("lstm_input_dim", 16)
        options = {"load_bert_embedding": True, "bert_config": BERT | {"hidden_size": width}}
    model = build(name, **options).eval()
    path = written(model, tmp_path / "model.pt")
    again = build_model_from_checkpoint(path)
    assert list(again.state_dict()) == list(model.state_dict())
    stored = torch.load(path, weights_only=True)["cfg"]["model"]
    assert not {"bert", "bert_config"} & stored.keys()
    mask = {"mask": False} if name == "medvill" else {}
    with torch.no_grad():
        inputs = batch(second=None if name == "medvill" else (0, 2)) | mask
        assert torch.equal(first(model(**inputs)), first(again(**inputs)))
    # As fairseq_signals stores it, which says nothing of the sizes of BERT's tables.
    said = {"load_bert_embedding": True, "max_text_size": 11} if options else {}
    again = build_model_from_checkpoint(written(model, tmp_path / "other.pt", **said))
    assert list(again.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("medvill", "medvill_a"),
        ("ecg_language_transformer_classifier", "elt_1"),
        ("ecg_language_transformer_classifier", "elt_2"),
        ("blind_transformer_qa", "blind"),
        ("deaf_transformer_qa", "deaf"),
    ],
)
def test_fairseq_signals_knows_all_that_is_written(name, recording, shared):
    path = shared / "golden" / "rest_text" / f"{recording}.pt"
    model = build_model_from_checkpoint(path)
    state = torch.load(path, weights_only=False)
    known = {**state["cfg"]["model"]}
    if name == "blind_transformer_qa":  # as in training, where the tables are BERT's
        model.cfg.load_bert_embedding = True
    own = OmegaConf.create(OmegaConf.to_container(OmegaConf.create(model.cfg), enum_to_str=True))
    model.revise_config(own)
    assert set(own) - {"checkpoint_architecture"} == set(known)
    differing = {key for key in known if own[key] != known[key] and key not in ("args", "data")}
    # Tables that came from BERT are read as others, without fetching BERT.
    assert differing <= {"load_bert_embedding", "max_text_size", "model_path"}
    moments = [
        x["exp_avg"].shape for _, x in sorted(state["last_optimizer_state"]["state"].items())
    ]
    trained = [p.shape for p in model.parameters()]
    assert moments == trained[: len(moments)]


def test_questions_go_on_from_medvill(tmp_path, no_bert):
    pretrained = build("medvill", feature_grad_mult=1.0, dropout=0.2, attn_mask_type="bi_ar")
    path = written(pretrained, tmp_path / "medvill.pt")
    name = "ecg_language_transformer_classifier"
    options = {"feature_grad_mult": 0.1, "dropout": 0.3, "encoder_layers": 7}
    model = build(name, model_path=path, load_bert_embedding=True, **options)
    assert isinstance(model.encoder, MedViLL)
    assert model.encoder.feature_grad_mult == 0.1
    assert model.encoder.encoder.dropout == 0.3
    assert model.encoder.align_proj is model.encoder.mlm_proj is model.encoder.mask_emb is None
    assert model.cfg.encoder_layers == 1
    weights = pretrained.state_dict()
    assert all(torch.equal(x, weights[key]) for key, x in model.encoder.state_dict().items())
    again = build_model_from_checkpoint(written(model, tmp_path / "qa.pt"))
    assert not isinstance(again.encoder, MedViLL)
    inputs = batch(padded=False, second=(0,))
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs)["out"], model.eval()(**inputs)["out"])
    assert "mask_emb" in dict(
        build(name, model_path=path, apply_mask=True).encoder.named_parameters()
    )
    further = build(name, model_path=str(tmp_path / "qa.pt")).encoder.state_dict()
    assert all(torch.equal(x, model.encoder.state_dict()[key]) for key, x in further.items())


@pytest.mark.parametrize(
    ("option", "value"), [("sep_token", 3), ("pad_token", 1), ("normalize", True), ("filter", True)]
)
def test_tokens_and_signals_must_be_those_of_pretraining(option, value, tmp_path):
    path = written(build("medvill"), tmp_path / "medvill.pt", {option: value})
    with pytest.raises(CheckpointError, match=rf"task\.{option}={value}; set task"):
        build("ecg_language_transformer_classifier", model_path=path)


def test_without_ecgs_or_texts_nothing_is_pretrained(tmp_path):
    build("deaf_transformer_qa", model_path=str(tmp_path / "no.pt"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask_ratio": [0.1, 0.5]}, CheckpointError, "mask_ratio"),
        ({"mask_ratio": [0.1, 0.5, 0.1, 0.1]}, CheckpointError, "mask_ratio"),
        ({"attn_mask_type": "x"}, CheckpointError, "cannot be used|does not fit|attn_mask_type"),
        ({"encoder_layers": 10**9}, DataError, "layers, more than"),
        ({"encoder_embed_dim": 10**9}, DataError, "channels of a layer"),
        ({"encoder_embed_dim": 32}, CheckpointError, "does not fit|cannot be used"),
        ({"sep_token": -1}, CheckpointError, "sep_token"),
        ({"pad_token": 10**6}, CheckpointError, "cannot be used"),
    ],
)
def test_hostile_configurations(options, error, message, tmp_path):
    path = written(build("medvill"), tmp_path / "model.pt", **options)
    with pytest.raises(error, match=message) as raised:
        build_model_from_checkpoint(path)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("language_embedding.weight", torch.ones(3)),
        ("position_embedding.weight", torch.ones(())),
        ("mlm_proj.weight", torch.ones(4, 16)),
        ("align_proj.bias", torch.full((1,), torch.nan)),
    ],
)
def test_hostile_weights(key, value, tmp_path):
    path = written(build("medvill"), tmp_path / "model.pt")
    state = torch.load(path, weights_only=True)
    state["model"][key] = value
    torch.save(state, path)
    with pytest.raises(CheckpointError):
        build_model_from_checkpoint(path)
