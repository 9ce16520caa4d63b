import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.inference import ECGModel, Preprocessing, load_model


def test_a_saved_model_is_the_same(diagnosis, code_15_ecgs, tmp_path):
    model = ECGModel(
        diagnosis.network,
        diagnosis.cfg,
        Preprocessing(segment_seconds=2.5, missing_leads="zero", epsilon=0),
        diagnosis.labels,
        {"AF": "max"},
    )
    model.save_pretrained(tmp_path / "saved")
    again = ECGModel.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.preprocessing == model.preprocessing
    assert again.labels == model.labels
    assert again.aggregation == model.aggregation
    expected, found = (x.predict(code_15_ecgs[:3], sample_rate=400) for x in (model, again))
    assert found.segments.equals(expected.segments)
    assert found.table.equals(expected.table)
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "modeling_ecg_fm.py"}
    again.save_pretrained(tmp_path / "again")
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


def test_pre_trained_models_and_bfloat16(pretrained, shared, code_15_ecgs, tmp_path):
    pretrained.save_pretrained(tmp_path)
    again = load_model(tmp_path, device="cpu")
    expected = np.asarray(pretrained.embed(code_15_ecgs[0], sample_rate=400))
    np.testing.assert_array_equal(again.embed(code_15_ecgs[0], sample_rate=400), expected)
    names = load_file(tmp_path / "model.safetensors")
    assert all(name.startswith("network.encoder.") for name in names)
    assert not any("quantizer" in name for name in names)
    half = load_model(shared / "golden" / "pretrain_small.pt", dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}


def test_the_card_says_what_the_model_reads_and_predicts(diagnosis, pretrained, tmp_path):
    diagnosis.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fairseq-ecg\n")
    assert "| sampling rate | 500 Hz, by linear |" in card
    assert "| 6 | AF | mean |" in card
    pretrained.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "## Labels" not in card
    assert ".predict(" not in card


def test_damaged_folders_are_refused(diagnosis, tmp_path):
    diagnosis.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = load_file(tmp_path / "model.safetensors")

    def refused(message, **changes):
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(CheckpointError, match=message):
            load_model(tmp_path, device="cpu")

    refused("is no config of fairseq-ecg", model_type="bert")
    refused("model 'bert' is not known here", network={"_name": "bert"})
    refused("does not fit the model", network=config["network"] | {"encoder_layers": 3})
    refused("size mismatch", network=config["network"] | {"num_labels": 3})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ecg_fm"}))
    with pytest.raises(CheckpointError, match="has no 'network': save the model again"):
        load_model(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights | {"extra": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="left over extra"):
        load_model(tmp_path, device="cpu")
    (tmp_path / "model.safetensors").write_bytes(b"truncated")
    with pytest.raises(CheckpointError, match="is truncated, or no safetensors file"):
        load_model(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(tmp_path, device="cpu")
