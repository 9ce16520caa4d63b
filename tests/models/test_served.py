"""Networks of convolutions in other programs: Hugging Face's, ONNX runtimes, probes, reports."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import fairseq_ecg.huggingface  # noqa: F401 (registers)
from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.inference.probe import LinearProbe
from fairseq_ecg.inference.report import report
from fairseq_ecg.modules.registry import has_head, networks, with_head
from tests.models.networks import covering
from tests.models.test_convolutional import CONVOLUTIONAL, small
from tests.tiny_checkpoints import made

LEADWISE = ("nejedly2021resnet_classifier", "se_wrn_classifier")
NETWORKS = [name for name, (encoder, _) in networks().items() if encoder in CONVOLUTIONAL]


ALL = [*((name, False) for name in NETWORKS), *((name, True) for name in LEADWISE)]
FEW = [*((name, False) for name in covering(NETWORKS)), *((name, True) for name in LEADWISE)]


@pytest.fixture(params=ALL, ids=str)
def model(request, tmp_path):
    name, leadwise = request.param
    state = made(small(name, leadwise) | {"normalize": False, "filter": False, "data": ""})
    if not has_head(name):
        del state["task_state"]["fairseq_ecg"]["labels"]
    torch.save(state, tmp_path / "model.pt")
    return load_model(tmp_path / "model.pt", device="cpu")


@torch.no_grad()
def test_hugging_face(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    assert "| layers | " in (tmp_path / "saved" / "README.md").read_text()
    source = torch.randn(2, 12, 500)
    expected = model.network(source)
    encoder = AutoModel.from_pretrained(tmp_path / "saved")
    assert encoder.config.hidden_size == model.embed_dim
    out = encoder(source, output_hidden_states=True)
    assert torch.equal(out.last_hidden_state, expected["encoder_out"])
    assert torch.equal(out.hidden_states[-1], expected["encoder_out"])
    np.testing.assert_array_equal(out.pooler_output, model.embeddings(source))
    encoder.save_pretrained(tmp_path / "encoder")
    again = load_model(tmp_path / "encoder", device="cpu")
    np.testing.assert_array_equal(again.embeddings(source), model.embeddings(source))
    assert not again.labels


@torch.no_grad()
def test_hugging_face_classifiers(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    source = torch.randn(2, 12, 500)
    expected = model.network(source)
    classifier = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", **({} if model.labels else {"num_labels": 3})
    )
    logits = classifier(source).logits
    assert logits.shape == (2, len(model.labels) or 3)
    assert logits.isfinite().all()
    frames = classifier.network(source)["encoder_out"]
    assert torch.equal(frames, expected["encoder_out"])
    if model.labels:
        assert torch.equal(logits, expected[model.network.label_output])
        assert tuple(classifier.config.id2label.values()) == model.labels
    classifier.save_pretrained(tmp_path / "again")
    again = load_model(tmp_path / "again", device="cpu")
    assert again.labels == (model.labels or ("LABEL_0", "LABEL_1", "LABEL_2"))
    assert torch.equal(again.network(source)[again.network.label_output], logits)


@torch.no_grad()
def test_hugging_face_segmentors(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    source = torch.randn(2, 12, 500)
    expected = model.network(source)
    segmentor = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved")
    labels = torch.randint(4, (2, 500))
    labels[1, 400:] = -100
    out = segmentor(source, labels=labels)
    assert out.logits.shape == (2, 500, 4)
    assert tuple(segmentor.config.id2label.values()) == tuple(CLASSES)
    counting = out.logits.log_softmax(dim=-1)[labels >= 0]
    chosen = counting[torch.arange(len(counting)), labels[labels >= 0]]
    torch.testing.assert_close(out.loss, -chosen.mean())
    frames = segmentor.network(source)["encoder_out"]
    assert torch.equal(frames, expected["encoder_out"])
    if model.wave_classes:
        assert torch.equal(out.logits, expected["segment_out"])
    segmentor.save_pretrained(tmp_path / "again")
    again = load_model(tmp_path / "again", device="cpu")
    assert again.wave_classes == CLASSES
    assert torch.equal(again.network(source)["segment_out"], out.logits)


@pytest.mark.parametrize("model", FEW, ids=str, indirect=True)
def test_onnx(model, tmp_path):
    model.export(tmp_path / "model.onnx")  # which compares what it wrote with the network
    assert (tmp_path / "model.onnx").stat().st_size > 1000


@pytest.mark.parametrize("model", FEW, ids=str, indirect=True)
def test_saliency_is_refused(model):
    with pytest.raises(DataError, match="the network has no attention"):
        model.saliency(np.random.default_rng(0).normal(size=(12, 500)), sample_rate=100)


@pytest.mark.parametrize("model", FEW, ids=str, indirect=True)
def test_the_report_is_one_without_saliency(model, ecg):
    page = report([replace(ecg, signal=np.tile(ecg.signal, 3))], model, progress=False)
    assert not page.errors
    content = json.loads(re.search(r'id="content">(.*?)</script>', page.html, re.DOTALL)[1])
    assert content["recordings"][0]["saliency"] is None
    assert "Saliency" not in dict(content["model"])


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_probe_becomes_a_network(name, tmp_path):
    state = made(small(with_head(name, "classifier")) | {"normalize": False, "filter": False})
    torch.save(state, tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt", device="cpu")
    source = torch.randn(20, 12, 500, generator=torch.Generator().manual_seed(0))
    draw = np.random.default_rng(0)
    weight = draw.normal(size=(3, model.embed_dim)).astype(np.float32)
    probe = LinearProbe(
        labels=("a", "b", "c"),
        weight=weight,
        bias=np.zeros(3, np.float32),
        slope=np.array([1.0, 0.5, 2.0]),
        offset=np.array([0.0, 1.0, -1.0]),
        aggregation=dict.fromkeys("abc", "mean"),
    )
    embedded = model.embeddings(source)
    assert np.isfinite(embedded).all()
    classifier = probe.classifier(model)
    assert classifier.cfg["_name"] == with_head(name, "linear")
    np.testing.assert_allclose(
        classifier.probabilities(source), probe.probabilities(embedded), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(classifier.embeddings(source), embedded, rtol=1e-5, atol=1e-6)
