"""Segmentors as training writes them: loaded, used, saved and exported."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference import load_model
from fairseq_ecg.inference.export import output_names
from fairseq_ecg.modules.registry import build_network

UNET = {"_name": "unet_segmentor", "backbone": "unet", "initial_dim": 4}
CGM = {"_name": "unet_cgm_segmentor", "backbone": "unet3plus", "initial_dim": 2}
SEGMENTORS = {
    "unet": UNET,
    "unet3plus": UNET | {"backbone": "unet3plus", "initial_dim": 2},
    "cgm": CGM | {"num_labels": 2, "cgm_dim": 8, "cgm_kernel_size": 3},
}


def written(path, model, task=(), notes=()):
    """Write the checkpoint of a network with weights at random, and statistics of batches."""
    torch.manual_seed(0)
    network = build_network(model)
    network.train()(torch.randn(4, model.get("in_d", 1), 400))
    with torch.no_grad():  # so that it finds something of every class
        network.segment.weight.mul_(30)
        network.segment.bias.zero_()
    state = {
        "args": None,
        "cfg": {
            "model": model,
            "task": {"_name": "ecg_segmentation", "data": "d", "normalize": True} | dict(task),
            "criterion": {"_name": "cross_entropy"},
        },
        "model": network.state_dict(),
        "optimizer_history": [{"num_updates": 2}],
        "task_state": {"fairseq_ecg": {"sample_rate": 100.0, "segment_seconds": 4.0} | dict(notes)},
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    torch.save(state, path)
    return str(path)


@pytest.fixture
def ecg():
    rng = np.random.default_rng(0)
    signal = rng.normal(0.2, 0.5, (12, 400)).cumsum(axis=1) / 5
    return ECG("made", signal, LEADS, 100.0)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n_leads", [1, 12])
@pytest.mark.parametrize("name", SEGMENTORS)
def test_delineation_is_what_training_would_make_of_the_recording(
    tmp_path, ecg, name, n_leads, normalize
):
    model = SEGMENTORS[name] | {"in_d": n_leads}
    notes = {"labels": ["a", "b"]} if name == "cgm" else {}
    path = written(tmp_path / "s.pt", model, {"normalize": normalize}, notes)
    loaded = load_model(path, device="cpu")
    source = torch.from_numpy(ecg.signal).float()
    source = source[None] if n_leads == 12 else source[:, None]
    if normalize:
        source = torch.stack([functional.layer_norm(one, one.shape) for one in source])
    with torch.no_grad():
        expected = loaded.network(source)["segment_out"].argmax(dim=-1).numpy()
    mask = loaded.segment(ecg).mask("made")
    assert mask.leads == (LEADS if n_leads == 1 else ("all",))
    assert (mask.classes == expected).mean() > 0.998  # scores of two classes may be close
    assert len(np.unique(expected)) > 1


def test_preprocessing_of_a_checkpoint_of_fairseq_signals(tmp_path):
    path = written(tmp_path / "s.pt", UNET, {"sample_rate": 500}, {"sample_rate": None})
    state = torch.load(path, weights_only=True)
    del state["task_state"]
    torch.save(state, path)
    found = load_model(path, device="cpu").preprocessing
    assert (found.sample_rate, found.segment_seconds) == (500, 10)
    assert found.each_lead
    assert found.layer_norm
    assert not found.standardise
    assert found.n_rows == 1


def test_a_network_of_some_leads_needs_a_preprocessing(tmp_path):
    path = written(tmp_path / "s.pt", UNET | {"in_d": 3})
    with pytest.raises(DataError, match="reads 3 leads"):
        load_model(path, device="cpu")


def test_a_segmentor_on_a_transformer(tmp_path, ecg):
    model = {
        "_name": "ecg_transformer_segmentor",
        "conv_feature_layers": "[(8, 4, 4), (8, 2, 2)]",
        "encoder_layers": 1,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2,
        "conv_pos": 8,
        "conv_pos_groups": 2,
        "in_d": 12,
    }
    loaded = load_model(written(tmp_path / "s.pt", model), device="cpu")
    longer = ECG("longer", np.tile(ecg.signal, 3)[:, :1130], LEADS, 100.0)
    for made in (ecg, longer):
        mask = loaded.segment(made).mask(made.where)
        assert mask.classes.shape == (1, made.n_samples)


@pytest.mark.parametrize("n_leads", [1, 12])
def test_embeddings_and_labels(tmp_path, ecg, n_leads):
    plain = load_model(written(tmp_path / "s.pt", UNET | {"in_d": n_leads}), device="cpu")
    assert np.asarray(plain.embed(ecg)).shape == (1, plain.embed_dim)
    with pytest.raises(DataError, match="use segment"):
        plain.predict(ecg)
    with pytest.raises(DataError, match="no attention"):
        plain.saliency(ecg)
    model = SEGMENTORS["cgm"] | {"in_d": n_leads}
    labelled = written(tmp_path / "c.pt", model, notes={"labels": ["a", "b"]})
    table = load_model(labelled, device="cpu").predict(ecg).table
    assert list(table.columns) == ["a", "b"]
    assert table.to_numpy().min() > 0


@pytest.mark.parametrize("n_leads", [1, 12])
@pytest.mark.parametrize("name", SEGMENTORS)
def test_saved_and_read_again(tmp_path, ecg, name, n_leads):
    notes = {"labels": ["a", "b"]} if name == "cgm" else {}
    path = written(tmp_path / "s.pt", SEGMENTORS[name] | {"in_d": n_leads}, notes=notes)
    loaded = load_model(path, device="cpu")
    loaded.save_pretrained(tmp_path / "folder")
    again = load_model(tmp_path / "folder", device="cpu")
    assert again.preprocessing == loaded.preprocessing
    assert again.labels == loaded.labels
    expected, found = loaded.segment(ecg), again.segment(ecg)
    np.testing.assert_array_equal(found.mask("made").classes, expected.mask("made").classes)
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "delineate" in card
    assert 'model.segment("record.hea")' in card


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_exports_have_the_scores_of_samples(tmp_path, ecg, suffix):
    loaded = load_model(written(tmp_path / "s.pt", UNET | {"in_d": 12}), device="cpu")
    assert output_names(loaded) == ("segment_out", "embedding", "frames")
    path = tmp_path / f"s{suffix}"
    source = torch.randn(2, 12, 512)
    with torch.no_grad():
        expected = loaded.network(source)["segment_out"]
    if suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        loaded.export(path)
        session = onnxruntime.InferenceSession(path)
        assert session.get_outputs()[0].name == "segment_out"
        found = torch.from_numpy(session.run(["segment_out"], {"source": source.numpy()})[0])
        facts = json.loads(session.get_modelmeta().custom_metadata_map["fairseq_ecg"])
    else:
        loaded.export(path)
        extra = {"fairseq_ecg": ""}
        found = torch.export.load(path, extra_files=extra).module()(source)[0]
        facts = json.loads(extra["fairseq_ecg"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert facts["classes"] == {"p": 0, "qrs": 1, "t": 2, "none": 3}
    assert facts["preprocessing"]["layer_norm"]


def test_the_encoder_is_one_of_hugging_face(tmp_path):
    pytest.importorskip("transformers")
    from fairseq_ecg.huggingface import ECGFMModel

    loaded = load_model(written(tmp_path / "s.pt", UNET | {"in_d": 12}), device="cpu")
    loaded.save_pretrained(tmp_path / "folder")
    source = torch.randn(2, 12, 400)
    with torch.no_grad():
        found = ECGFMModel.from_pretrained(tmp_path / "folder").eval()(input_values=source)
    expected = loaded.embeddings(source)
    torch.testing.assert_close(found.pooler_output.numpy(), expected, rtol=1e-5, atol=1e-6)
