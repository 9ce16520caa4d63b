import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import export, load_model
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.ops import backends
from fairseq_ecg.ops.attention import attention
from fairseq_ecg.ops.dropout import dropout
from fairseq_ecg.ops.pooling import mean_of_nonzero
from fairseq_ecg.ops.positional_conv import positional_conv

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
    written = json.loads(entry.value)
    assert (entry.key, written["id2label"]["6"]) == ("fairseq_ecg", "AF")
    assert written["preprocessing"] == diagnosis.preprocessing.to_json()
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


class Called(torch.nn.Module):
    """A network as public code wraps it to export it: one tensor out."""

    def __init__(self, network, output):
        super().__init__()
        self.network, self.output = network, output

    def forward(self, source, padding_mask=None):
        return self.network(source=source, padding_mask=padding_mask)[self.output]


@pytest.fixture(params=["plain", "behind the face of fairseq", "pre-trained"])
def wrapped(request, shared, diagnosis):
    if request.param == "plain":
        return Called(diagnosis.network, "out").eval()
    kind = "pretrain" if request.param == "pre-trained" else "diagnosis"
    model = build_model_from_checkpoint(shared / "golden" / f"{kind}_small.pt")
    if kind == "diagnosis":
        return Called(model, "out").eval()
    encoder = Called(model, "x")
    encoder.forward = lambda source, padding_mask=None: model.extract_features(
        source, padding_mask
    )["x"]
    return encoder.eval()


def batches(padded):
    """What is traced, and another number and length; the second row of that is padded."""
    traced, other = torch.randn(2, 12, 1600), torch.randn(3, 12, 2000)
    if not padded:
        return (traced,), (other,)
    masks = [torch.zeros(x.shape, dtype=torch.bool) for x in (traced, other)]
    masks[1][1, :, 1000:] = True
    return (traced, masks[0]), (other, masks[1])


@pytest.mark.filterwarnings("ignore")  # of tracing
@pytest.mark.parametrize("padded", [False, True])
def test_legacy_export_to_onnx(wrapped, padded, tmp_path):
    traced, other = batches(padded)
    names = ["source", "padding_mask"][: len(traced)]
    torch.onnx.export(
        wrapped,
        traced,
        tmp_path / "model.onnx",
        dynamo=False,
        input_names=names,
        output_names=["output"],
        dynamic_axes={name: {0: "segments", 2: "samples"} for name in names},
        opset_version=17,
    )
    assert {node.domain for node in onnx.load(tmp_path / "model.onnx").graph.node} == {""}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = {name: x.numpy() for name, x in zip(names, other, strict=True)}
    expected = wrapped(*other).detach()
    np.testing.assert_allclose(session.run(None, given)[0], expected, atol=ATOL)


@pytest.mark.filterwarnings("ignore")
def test_export_to_onnx_by_dynamo(wrapped, tmp_path):
    (source,), (other,) = batches(padded=False)
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        wrapped,
        (source,),
        tmp_path / "model.onnx",
        dynamo=True,
        verbose=False,
        input_names=["source"],
        dynamic_shapes=(dynamic,),
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    expected = wrapped(other).detach()
    np.testing.assert_allclose(session.run(None, {"source": other.numpy()})[0], expected, atol=ATOL)


def assert_plain(program):
    kinds = {node.kind() for node in program.inlined_graph.nodes()}
    assert all(kind.startswith(("aten::", "prim::")) for kind in kinds)
    assert "prim::PythonOp" not in kinds


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("padded", [False, True])
def test_traced_networks_run_without_this_package(wrapped, padded, tmp_path):
    traced, other = batches(padded)
    program = torch.jit.trace(wrapped, traced, check_trace=False)
    assert_plain(program)
    program.save(tmp_path / "model.ts")
    found = torch.jit.load(tmp_path / "model.ts")(*other)
    np.testing.assert_allclose(found.detach(), wrapped(*other).detach(), atol=ATOL)


@pytest.mark.filterwarnings("ignore")
def test_export_asks_for_plain_pytorch_of_every_operation(monkeypatch):
    """Also where the environment names another backend, in training, and with a gradient."""
    monkeypatch.setenv(backends.VARIABLE, "torch" if backends.missing("cpu") else "cpu")
    weight, bias = torch.randn(8, 4, 64), torch.randn(8)

    def everything(x):
        x = dropout(x, 0.5, training=True, residual=x)
        x = attention(x, x, x, 2, dropout_p=0.1, training=True)
        return mean_of_nonzero(positional_conv(x, weight, bias, 2))

    x = torch.randn(2, 40, 8, requires_grad=True)
    program = torch.jit.trace(everything, x, check_trace=False)
    assert_plain(program)
    exported = torch.export.export(Everything(everything), (x,))
    assert not any("fairseq" in str(node.target) for node in exported.graph.nodes)
    assert not backends.is_exporting()
    assert backends.asked_for() in ("cpu", "torch")


class Everything(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)
