"""Models of one's own on the base classes of fairseq_signals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import fairseq_ecg.tasks  # noqa: F401 (checkpoints name their task)
from fairseq_ecg.compat.published.batching import compute_mask_indices
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models import (
    ECGTransformerClassificationModel,
    ECGTransformerFinetuningModel,
    ECGTransformerModel,
    Wav2Vec2CMSCModel,
)
from fairseq_ecg.models.ecg_transformer import TransformerConfig
from fairseq_ecg.models.published import (
    FinetuningModel,
    PretrainingModel,
    TransformerModel,
    build_model,
)
from fairseq_ecg.models.tables import SeWrnModel
from tests.conftest import TINY_CMSC_MODEL
from tests.tiny_checkpoints import made

CFG = TransformerConfig(
    encoder_layers=1,
    encoder_embed_dim=8,
    encoder_ffn_embed_dim=16,
    encoder_attention_heads=2,
    apply_mask=True,
    mask_prob=0.5,
    mask_length=3,
    mask_channel_prob=0.3,
    mask_channel_length=2,
)


class Beats(TransformerModel):
    """An encoder of one's own, of frames that somebody else extracts."""

    def forward(self, source, padding_mask=None, **_):
        x, mask = self.apply_mask(self.dropout_input(source), padding_mask)
        return self.encoder(x, padding_mask=padding_mask) | {"mask": mask}


def test_an_encoder_of_ones_own():
    torch.manual_seed(0)
    model = Beats.build_model(CFG).eval()
    assert model.cfg is CFG
    assert model.mask_emb.shape == (8,)
    source = torch.randn(4, 20, 8)
    np.random.seed(1)
    found = model(source.clone())
    assert found["x"].shape == source.shape
    np.random.seed(1)
    mask = torch.from_numpy(compute_mask_indices((4, 20), None, 0.5, 3, min_masks=2))
    channels = torch.from_numpy(compute_mask_indices((4, 8), None, 0.3, 2))
    assert torch.equal(found["mask"], mask)
    expected = source.clone()
    expected[mask] = model.mask_emb.detach()
    expected[channels.unsqueeze(1).expand_as(expected)] = 0
    assert torch.equal(found["x"], model.encoder(expected)["x"])
    model.set_num_updates(3)
    assert model.num_updates == 3
    model.mask_prob = model.mask_channel_prob = 0.0
    assert model(source)["mask"] is None


class Head(FinetuningModel):
    def __init__(self, cfg, encoder):
        super().__init__(cfg, encoder)
        self.proj = nn.Linear(8, 2)

    def forward(self, **inputs):
        return self.proj(self.encoder(**inputs)["x"].mean(dim=1))


def test_a_head_of_ones_own():
    model = Head(SimpleNamespace(freeze_finetune_updates=5), Beats(CFG))
    assert (model.freeze_finetune_updates, model.num_updates) == (5, 0)
    model.set_num_updates(2)
    assert model.encoder.num_updates == 2
    model(source=torch.randn(2, 20, 8)).sum().backward()
    assert all(p.grad is not None for p in model.proj.parameters())


def test_what_counts_as_which():
    assert issubclass(ECGTransformerModel, TransformerModel)
    assert issubclass(Wav2Vec2CMSCModel, PretrainingModel)
    assert issubclass(SeWrnModel, PretrainingModel)
    assert not issubclass(SeWrnModel, TransformerModel)
    assert issubclass(ECGTransformerFinetuningModel, FinetuningModel)
    assert issubclass(ECGTransformerClassificationModel, FinetuningModel)
    assert not issubclass(ECGTransformerClassificationModel, PretrainingModel)
    assert not issubclass(ECGTransformerModel, Beats)


def test_a_model_out_of_a_checkpoint(tmp_path):
    state = made(TINY_CMSC_MODEL | {"final_dim": 8})
    state["cfg"]["task"] = {"_name": "ecg_pretraining", "data": "d", "normalize": False}
    path = tmp_path / "pretrained.pt"
    torch.save(state, path)
    cfg = SimpleNamespace(
        normalize=False,
        filter=False,
        dropout=0.25,
        activation_dropout=0.0,
        dropout_input=0.0,
        attention_dropout=0.0,
        encoder_layerdrop=0.0,
    )
    model = TransformerModel.from_pretrained(path, cfg)
    assert isinstance(model, Wav2Vec2CMSCModel)
    assert model.encoder.dropout == 0.25
    weight = "encoder.layers.0.fc1.weight"
    assert torch.equal(model.state_dict()[weight], state["model"][weight])
    assert not any(name.startswith("quantizer") for name in model.state_dict())
    cfg.normalize = True
    with pytest.raises(CheckpointError, match=r"task\.normalize=False"):
        PretrainingModel.from_pretrained(path, cfg)


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_models_of_a_plain_dict(make, tmp_path):
    state = made(TINY_CMSC_MODEL | {"final_dim": 8})
    torch.save(state, tmp_path / "a.pt")
    cfg = make(state["cfg"]["model"])
    model = build_model(cfg, None, from_checkpoint=True, checkpoint_path=tmp_path / "a.pt")
    assert isinstance(model, Wav2Vec2CMSCModel)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state["model"][name])
