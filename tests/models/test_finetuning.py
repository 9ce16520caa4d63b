import pytest
import torch
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.models import ECGTransformerClassificationConfig, ECGTransformerClassificationModel
from fairseq_ecg.modules import merge_lora
from tests.conftest import TINY_CMSC_MODEL
from tests.tiny_checkpoints import CLASSIFIER, made


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


@pytest.mark.parametrize(
    ("option", "value"), [("mask_prob", "${oc.env:HOME}"), ("mask_selection", "${nowhere}")]
)
def test_options_that_cannot_be_read_name_the_file(tmp_path, option, value):
    torch.save(made(CLASSIFIER | {option: value}), tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd.pt cannot be used"):
        ECGTransformerClassificationModel.build_model(config(tmp_path / "odd.pt"))


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


def trained_parameters(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_everything_trains_by_default(pretrained):
    model = ECGTransformerClassificationModel.build_model(config(pretrained))
    assert trained_parameters(model) == {name for name, _ in model.named_parameters()}


class TestFrozenLayers:
    def test_lowest_layers_and_what_lies_below(self, pretrained):
        model = ECGTransformerClassificationModel.build_model(config(pretrained, freeze_layers=1))
        trained = trained_parameters(model)
        assert {name.split(".")[0] for name in trained} == {"encoder", "proj"}
        assert {name for name in trained if name.startswith("encoder.")} == {
            f"encoder.{name}"
            for name, _ in model.encoder.named_parameters()
            if name.startswith("encoder.layers.1.")
        }

    def test_whole_encoder(self, pretrained):
        model = ECGTransformerClassificationModel.build_model(config(pretrained, freeze_layers=-1))
        assert trained_parameters(model) == {"proj.weight", "proj.bias"}

    @pytest.mark.parametrize("layers", [3, -2])
    def test_more_layers_than_there_are(self, pretrained, layers):
        with pytest.raises(ValueError, match="the encoder has 2 layers"):
            ECGTransformerClassificationModel.build_model(config(pretrained, freeze_layers=layers))


LORA = {"lora_rank": 4, "lora_alpha": 8, "lora_targets": ["q_proj", "v_proj", "fc1"]}


class TestLoRA:
    def build(self, pretrained, **options):
        torch.manual_seed(0)
        return ECGTransformerClassificationModel.build_model(config(pretrained, **options))

    def test_starts_as_what_it_adapts(self, pretrained, source):
        plain = self.build(pretrained).eval()
        adapted = self.build(pretrained, **LORA).eval()
        torch.testing.assert_close(adapted(source)["out"], plain(source)["out"], rtol=0, atol=0)

    def test_only_adapters_and_head_train(self, pretrained):
        trained = trained_parameters(self.build(pretrained, **LORA))
        assert {name for name in trained if not name.startswith("proj.")} == {
            f"encoder.encoder.layers.{layer}.{name}.{part}"
            for layer in (0, 1)
            for name in ("self_attn.q_proj", "self_attn.v_proj", "fc1")
            for part in ("lora_down", "lora_up")
        }

    def test_merged_weights_say_the_same(self, pretrained, source):
        adapted = self.build(pretrained, **LORA).eval()
        change_adapters(adapted)
        merged = merge_lora(adapted.state_dict(), scale=2)
        plain = self.build(pretrained).eval()
        assert set(plain.state_dict()) == set(merged)
        before = plain(source)["out"]
        plain.load_state_dict(merged)
        after = plain(source)["out"]
        assert not torch.allclose(before, after, atol=1e-3)
        torch.testing.assert_close(after, adapted(source)["out"], rtol=1e-5, atol=1e-5)

    def test_adapted_encoder_can_be_tuned_further(self, pretrained, source, tmp_path):
        adapted = self.build(pretrained, **LORA).eval()
        change_adapters(adapted)
        task = {"normalize": False, "filter": False}
        model = OmegaConf.to_container(config(pretrained, **LORA), enum_to_str=True)
        model = {**model, **adapted.architecture, "_name": "ecg_transformer_classifier"}
        state = {"cfg": {"model": model, "task": task}, "model": adapted.state_dict()}
        torch.save(state, tmp_path / "adapted.pt")
        further = self.build(tmp_path / "adapted.pt").eval()
        assert "lora" not in "".join(further.state_dict())
        expected = adapted(source)["encoder_out"]
        torch.testing.assert_close(further(source)["encoder_out"], expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"lora_rank": -1}, "lora_rank=-1"),
            ({"lora_rank": 2, "lora_targets": ["query"]}, "there are fc1, fc2"),
            ({"lora_rank": 2, "freeze_layers": -1}, "freezes every adapter"),
        ],
    )
    def test_contradictions(self, pretrained, options, message):
        with pytest.raises(ValueError, match=message):
            self.build(pretrained, **options)


def change_adapters(model):
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_up" in name:
            with torch.no_grad():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def source():
    return torch.randn(2, 12, 500, generator=torch.Generator().manual_seed(0))


class TestNewWeights:
    """Without pre-trained weights it is said whose architecture the network has."""

    @pytest.fixture
    def checkpoint(self, tmp_path):
        torch.save(made(TINY_CMSC_MODEL), tmp_path / "pretrained.pt")
        return tmp_path / "pretrained.pt"

    def build(self, path, **options):
        torch.manual_seed(0)
        small = {"encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 16}
        small |= {"encoder_attention_heads": 2, "conv_feature_layers": "[(8, 2, 2)] * 4"}
        small |= {"conv_pos": 4, "conv_pos_groups": 2} | options
        cfg = config(path, no_pretrained_weights=True, **small)
        return ECGTransformerClassificationModel.build_model(cfg)

    def test_that_of_the_configuration_is_said(self, checkpoint, caplog):
        model = self.build(checkpoint)
        assert (model.proj.in_features, model.architecture) == (32, {})
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "configuration (encoder_layers=2, encoder_embed_dim=32), not" in record.message
        assert f"{checkpoint} (encoder_layers=1, encoder_embed_dim=16)" in record.message
        assert "+model.checkpoint_architecture=true" in record.message

    def test_nothing_is_said_where_they_are_alike(self, checkpoint, caplog):
        self.build(checkpoint, encoder_layers=1, encoder_embed_dim=16)
        assert not [record for record in caplog.records if record.levelname == "WARNING"]

    def test_a_checkpoint_that_is_not_there_is_said(self, tmp_path, caplog):
        assert self.build(tmp_path / "none.pt").proj.in_features == 32
        assert "none.pt does not exist" in caplog.text

    def test_that_of_the_checkpoint_on_demand(self, checkpoint, caplog):
        model = self.build(checkpoint, checkpoint_architecture=True)
        assert model.architecture["encoder_embed_dim"] == 16
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        # The weights are those that its architecture in the configuration gives.
        said = self.build(checkpoint, encoder_layers=1, encoder_embed_dim=16)
        expected = said.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
        trained = torch.load(checkpoint, weights_only=True)["model"]
        key = "encoder.layers.0.fc1.weight"
        assert not torch.equal(model.encoder.state_dict()[key], trained[key])

    def test_it_needs_a_checkpoint(self, tmp_path):
        with pytest.raises(
            DataError, match=r"checkpoint_architecture=true needs model\.model_path"
        ):
            self.build("", checkpoint_architecture=True)
        with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist"):
            self.build(tmp_path / "none.pt", checkpoint_architecture=True)
