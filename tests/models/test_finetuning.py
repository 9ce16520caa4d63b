import pytest
import torch
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.models import ECGTransformerClassificationConfig, ECGTransformerClassificationModel


def config(path, **options):
    defaults = {"normalize": False, "filter": False, "data": "", "num_labels": 3}
    options = defaults | {"model_path": str(path)} | options
    cfg = OmegaConf.merge(ECGTransformerClassificationConfig(), options)
    OmegaConf.set_struct(cfg, True)
    return cfg


@pytest.fixture
def pretrained(shared):
    return shared / "golden" / "pretrain_small.pt"


def changed(path, folder, **model):
    state = torch.load(path, weights_only=True)
    state["cfg"]["model"] |= model
    torch.save(state, folder / "changed.pt")
    return folder / "changed.pt"


def test_encoder_comes_from_the_checkpoint(pretrained):
    model = ECGTransformerClassificationModel.build_model(config(pretrained, dropout=0.3))
    weights = torch.load(pretrained, weights_only=True)["model"]
    found = model.encoder.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in found.items())
    heads = ("quantizer.", "project_q.", "final_proj.", "mask_emb")
    assert {key for key in weights if not key.startswith(heads)} == set(found)
    # Regularisation is fine-tuning's, what it does not set stays that of pre-training.
    assert model.encoder.encoder.dropout == 0.3
    assert model.encoder.dropout_input.p == 0.0
    assert model.encoder.feature_grad_mult == 0.0
    assert model.encoder.dropout_features.p == 0.1


def test_checkpoint_decides_the_architecture(pretrained):
    cfg = config(pretrained, encoder_layers=24, encoder_embed_dim=1024)
    model = ECGTransformerClassificationModel.build_model(cfg)
    assert model.architecture["encoder_embed_dim"] == 64
    assert model.proj.weight.shape == (3, 64)


def test_mask_embedding_is_kept_on_demand(pretrained):
    model = ECGTransformerClassificationModel.build_model(config(pretrained, apply_mask=True))
    weights = torch.load(pretrained, weights_only=True)["model"]
    assert torch.equal(model.encoder.mask_emb, weights["mask_emb"])


def test_random_encoder_on_demand(pretrained):
    cfg = config(
        pretrained,
        no_pretrained_weights=True,
        encoder_layers=1,
        encoder_embed_dim=32,
        encoder_ffn_embed_dim=32,
        encoder_attention_heads=2,
        conv_pos_groups=2,
        conv_pos=4,
    )
    assert ECGTransformerClassificationModel.build_model(cfg).proj.in_features == 32


@pytest.mark.parametrize("option", ["normalize", "filter"])
def test_other_preprocessing_is_refused(pretrained, option):
    with pytest.raises(CheckpointError, match=f"trained with task.{option}=False"):
        ECGTransformerClassificationModel.build_model(config(pretrained, **{option: True}))


def test_other_models_are_refused(pretrained, tmp_path):
    path = changed(pretrained, tmp_path, _name="resnet")
    with pytest.raises(CheckpointError, match="holds a 'resnet'"):
        ECGTransformerClassificationModel.build_model(config(path))


def test_weights_that_contradict_the_configuration(pretrained, tmp_path):
    path = changed(pretrained, tmp_path, encoder_layers=3)
    with pytest.raises(CheckpointError, match=r"missing encoder\.layers\.2\."):
        ECGTransformerClassificationModel.build_model(config(path))


def test_old_names_of_normalised_weights(pretrained, tmp_path):
    state = torch.load(pretrained, weights_only=True)
    weights = state["model"]
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = f"conv_pos.pos_conv.0.parametrizations.weight.{new}"
        weights[f"conv_pos.pos_conv.0.{old}"] = weights.pop(name)
    state["cfg"]["task"] |= {"model_name": "wav2vec2_cmsc", "clocs_mode": None}
    torch.save(state, tmp_path / "old.pt")
    old = ECGTransformerClassificationModel.build_model(config(tmp_path / "old.pt"))
    new = ECGTransformerClassificationModel.build_model(config(pretrained))
    ours, theirs = old.encoder.state_dict(), new.encoder.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_another_number_of_labels_is_named(pretrained):
    model = ECGTransformerClassificationModel.build_model(config(pretrained))
    weights = model.state_dict() | {"proj.bias": torch.zeros(8)}
    with pytest.raises(CheckpointError, match=r"predicts 8 labels, but model.num_labels=3"):
        model.load_state_dict(weights)
