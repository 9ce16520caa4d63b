import os
import pickle

import numpy as np
import pytest
import torch

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.compat.checkpoint import TRUST_VARIABLE, UnsafeCheckpointError, load_checkpoint
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models import build_model_from_checkpoint


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def state(shared):
    return torch.load(shared / "golden" / "diagnosis_small.pt", weights_only=True)


def save(state, folder):
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def test_hostile_pickle_is_refused(tmp_path):
    mark = tmp_path / "ran"
    path = save({"model": {}, "cfg": Hostile(mark)}, tmp_path)
    with pytest.raises(UnsafeCheckpointError, match=f"could run code.*{TRUST_VARIABLE}=1"):
        load_checkpoint(path)
    assert not mark.exists()
    assert pickle.UnpicklingError.__name__ in repr(_cause(path))


def _cause(path):
    try:
        load_checkpoint(path)
    except UnsafeCheckpointError as error:
        return error.__cause__


def test_everything_is_unpickled_only_on_demand(tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    path = save({"model": {}, "cfg": Hostile(mark)}, tmp_path)
    load_checkpoint(path, trust=True)
    assert mark.exists()
    mark.unlink()
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    load_checkpoint(path)
    assert mark.exists()


def test_numpy_numbers_of_meters_are_safe(tmp_path):
    values = [np.float64(1.5), np.float32(2.5), np.int64(3), np.bool_(True), np.arange(3.0)]
    loaded = load_checkpoint(save({"model": {}, "extra_state": values}, tmp_path))
    assert [float(np.sum(value)) for value in loaded["extra_state"]] == [1.5, 2.5, 3, 1, 3]


def test_truncated_file(tmp_path, shared):
    content = (shared / "golden" / "diagnosis_small.pt").read_bytes()
    path = tmp_path / "half.pt"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"half.pt cannot be read: it is truncated"):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.pt does not exist"):
        load_checkpoint(tmp_path / "nothing.pt")


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no fairseq checkpoint"):
        load_checkpoint(save({"weights": {}}, tmp_path))


def test_missing_and_left_over_keys_are_named(state, tmp_path):
    state["model"]["encoder.extra.weight"] = state["model"].pop("proj.bias")
    with pytest.raises(CheckpointError, match=r"missing proj.bias, left over encoder.extra.weight"):
        build_model_from_checkpoint(save(state, tmp_path))


def test_other_shapes_are_named(state, tmp_path):
    state["model"]["proj.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError, match=r"proj.bias"):
        build_model_from_checkpoint(save(state, tmp_path))


def test_unknown_model(state, tmp_path):
    state["cfg"]["model"]["_name"] = "resnet"
    with pytest.raises(CheckpointError, match="'resnet', which is not known"):
        build_model_from_checkpoint(save(state, tmp_path))


def test_old_names_of_normalised_weights(state, tmp_path):
    path = save(state, tmp_path)
    expected = build_model_from_checkpoint(path).state_dict()
    weights, prefix = state["model"], "encoder.conv_pos.pos_conv.0."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        weights[prefix + old] = weights.pop(f"{prefix}parametrizations.weight.{new}")
    found = build_model_from_checkpoint(save(state, tmp_path)).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_finetuned_model_does_not_need_its_encoder_file(state, tmp_path):
    state["cfg"]["model"]["model_path"] = "/gone/pretrained.pt"
    model = build_model_from_checkpoint(save(state, tmp_path))
    assert not model.training
    assert torch.equal(model.proj.weight, state["model"]["proj.weight"])


def test_unknown_old_options_are_dropped(state, tmp_path):
    state["cfg"]["model"] |= {"clocs_mode": None, "some_older_option": 3}
    state["cfg"]["task"] |= {"model_name": "x", "clocs_mode": None}
    assert build_model_from_checkpoint(save(state, tmp_path)).proj.out_features == 8
