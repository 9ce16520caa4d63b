import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference import export, load_model
from fairseq_ecg.ops import backends

ATOL = 1e-5  # of values of about 1: float32 sums of another order in another runtime


def test_onnx_runs_elsewhere_on_any_number_and_length(diagnosis, tmp_path):
    diagnosis.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["logits", "embedding", "frames"]
    assert session.get_inputs()[0].shape == ["segments", 12, "samples"]
    for shape in ((1, 12, 2500), (5, 12, 1700)):
        source = torch.randn(shape)
        logits, embedding, frames = session.run(None, {"source": source.numpy()})
        with torch.inference_mode():
            expected = diagnosis.network(source)
        np.testing.assert_allclose(logits, expected["out"], atol=ATOL)
        np.testing.assert_allclose(frames, expected["encoder_out"], atol=ATOL)
        np.testing.assert_allclose(embedding, diagnosis.embeddings(source), atol=ATOL)
    (entry,) = (p for p in onnx.load(tmp_path / "model.onnx").metadata_props if p.key)
    told = json.loads(entry.value)
    assert (entry.key, told["id2label"]["6"]) == ("fairseq_ecg", "AF")
    assert told["preprocessing"] == diagnosis.preprocessing.to_json()
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


def test_exported_programs_run_without_this_package(pretrained, tmp_path):
    pretrained.export(tmp_path / "model.pt2")
    files = {"fairseq_ecg": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files)
    assert json.loads(files["fairseq_ecg"])["preprocessing"]["sample_rate"] == 500
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("fairseq" in name for name in operators)
    source = torch.randn(4, 12, 3000)
    with torch.no_grad():
        embedding, frames = program.module()(source)
    np.testing.assert_allclose(embedding, pretrained.embeddings(source), atol=ATOL)
    assert frames.shape == (4, 187, 64)


def test_what_computes_something_else_is_not_written(diagnosis, tmp_path, monkeypatch):
    monkeypatch.setattr(
        export,
        "_write_pt2",
        lambda *_: (
            lambda source: [2 * x for x in export.ExportedNetwork(diagnosis.network)(source)]
        ),
    )
    with pytest.raises(export.ExportError, match=r"logits of the exported network differs by"):
        diagnosis.export(tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())
    assert backends.asked_for() is None


def test_formats_and_types_that_are_not_exported(diagnosis, shared, tmp_path):
    with pytest.raises(DataError, match=r"end in \.pt2 only"):
        diagnosis.export(tmp_path / "model.bin", "pt2")
    with pytest.raises(DataError, match="format None; choose from onnx, pt2"):
        diagnosis.export(tmp_path / "model.tflite")
    half = load_model(
        shared / "golden" / "diagnosis_small.pt", labels=diagnosis.labels, dtype="bfloat16"
    )
    with pytest.raises(DataError, match=r"torch\.bfloat16 is not exported"):
        half.export(tmp_path / "model.onnx")
