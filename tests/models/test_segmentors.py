"""Segmentors as models of fairseq: configurations, encoders of checkpoints, what those then say."""

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models import build_model_from_checkpoint
from tests.models.networks import tiny
from tests.tiny_checkpoints import made

TASK = {"normalize": False, "filter": False, "data": "", "sample_rate": 500}


def built(name, **options):
    cfg = OmegaConf.create({"task": TASK, "model": MODEL_DATACLASS_REGISTRY[name]()})
    cfg.model = OmegaConf.merge(cfg.model, options)
    return MODEL_REGISTRY[name].build_model(cfg.model), cfg.model


def checkpoint(folder, name, **options):
    path = folder / f"{name}.pt"
    state = made(tiny(name) | TASK | {"label_idx": {"p": 0, "qrs": 1, "t": 2, "none": 3}} | options)
    del state["task_state"]["fairseq_ecg"]["labels"]
    torch.save(state, path)
    return path, state["model"]


@pytest.mark.parametrize("name", ["unet_segmentor", "unet_cgm_segmentor"])
def test_defaults_are_the_published_ones(name):
    cfg = OmegaConf.create({"task": TASK, "model": MODEL_DATACLASS_REGISTRY[name]()}).model
    expected = {
        "all_gather": False,
        "normalize": False,
        "filter": False,
        "data": "",
        "args": None,
        "in_d": 1,
        "initial_dim": 32,
        "kernel_size": 9,
        "conv_bias": False,
        "dropout": 0.2,
        "model_path": None,
        "no_pretrained_weights": False,
        "freeze_finetune_updates": 0,
        "backbone": "unet",
        "label_idx": {"p": 0, "qrs": 1, "t": 2, "none": 3},
        "sample_rate": 500,
    }
    if name == "unet_cgm_segmentor":
        expected |= {"cgm_dim": 512, "cgm_kernel_size": 17, "cgm_dropout": 0.2}
        assert OmegaConf.is_missing(cfg, "num_labels")
    assert {key: cfg[key] for key in expected} == expected


def test_checkpoints_say_what_fairseq_signals_knows():
    model, cfg = built("unet_cgm_segmentor", initial_dim=2, cgm_dim=4, num_labels=3)
    model.revise_config(cfg)
    known = {"all_gather", "args", "cgm_dim", "cgm_dropout", "cgm_kernel_size", "conv_bias"}
    known |= {"data", "dropout", "filter", "freeze_finetune_updates", "in_d", "initial_dim"}
    known |= {"kernel_size", "label_idx", "model_path", "no_pretrained_weights", "normalize"}
    known |= {"num_labels", "sample_rate", "backbone"}
    assert set(cfg) - {"_name"} == known
    model, cfg = built("unet_segmentor", initial_dim=2, final_dropout=0.1)
    model.revise_config(cfg)
    assert cfg.final_dropout == 0.1


@pytest.mark.parametrize("name", ["unet_segmentor", "unet_cgm_segmentor", "unet_classifier"])
@pytest.mark.parametrize("source", ["unet", "unet_segmentor", "unet_cgm_segmentor"])
def test_an_encoder_is_loaded_from_any_network_with_it(source, name, tmp_path):
    path, weights = checkpoint(tmp_path, source, backbone="unet3plus")
    options = {"num_labels": 2} if name != "unet_segmentor" else {}
    model, cfg = built(name, model_path=str(path), dropout=0.4, **options)
    prefix = "" if source == "unet" else "encoder."
    found = model.encoder.state_dict()
    assert all(torch.equal(x, weights[f"{prefix}{key}"]) for key, x in found.items())
    assert (cfg.backbone, cfg.initial_dim, cfg.in_d) == ("unet", 32, 1)  # of the call
    revised = cfg.copy()
    model.revise_config(revised)
    assert (revised.backbone, revised.initial_dim, revised.in_d) == ("unet3plus", 2, 12)
    assert model.encoder.down1.conv1.dropout.p == 0.4


def test_a_segmentor_on_a_pretrained_transformer(tmp_path):
    path, weights = checkpoint(tmp_path, "ecg_transformer")
    model, _ = built("ecg_transformer_segmentor", model_path=str(path))
    assert torch.equal(model.encoder.layer_norm.weight, weights["layer_norm.weight"])
    out = model(torch.randn(2, 12, 645))
    assert out["segment_out"].shape == (2, 645, 4)
    assert out["encoder_out"].shape == (2, 40, 16)
    with pytest.raises(CheckpointError, match="holds a ECGTransformerModel, but this model"):
        built("unet_segmentor", model_path=str(path))


def test_recorded_encoder(shared):
    path = shared / "golden" / "rest" / "unet_cgm.pt"
    model, _ = built("unet_segmentor", model_path=str(path))
    recorded = build_model_from_checkpoint(path)
    for key, value in recorded.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[key], value)


def test_low_rank_adapters_need_linear_layers():
    with pytest.raises(ValueError, match="lora_targets names q_proj, v_proj, which no linear"):
        built("unet_segmentor", initial_dim=2, lora_rank=2)
