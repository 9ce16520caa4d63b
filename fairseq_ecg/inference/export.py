"""Networks for other runtimes: ONNX and ``torch.export``."""

import json
import os
from pathlib import Path

import torch
from torch import nn

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.pretrained import config_of
from fairseq_ecg.inference.trained import TrainedNetwork
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.ops import backends

FORMATS = {".onnx": "onnx", ".pt2": "pt2"}
"""Format by extension."""

TOLERANCE = 1e-4
"""Of float32 outputs, relative to the largest: sums in another order through the whole network."""

OPSET = 18


class ExportError(RuntimeError):
    """What was exported does not compute what the network does."""


class ExportedNetwork(nn.Module):
    """A network as other runtimes see it: tensors in, tensors out.

    Args:
        network: of a :class:`TrainedNetwork`.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, source: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(B, L, T)`` prepared segments to outputs, see :func:`output_names`."""
        out = self.network(source)
        embedding = self.network.embedding(out)
        return (*(out[name] for name in _of_head(self.network)), embedding, out["encoder_out"])


def _of_head(network: nn.Module) -> list[str]:
    """Name what the head of a network gives besides embeddings."""
    return [name for name in network.outputs if name != network.embedding_output]


def output_names(model: TrainedNetwork) -> tuple[str, ...]:
    """Name the outputs.

    Returns:
        What its head gives: ``logits`` (B, C) of labels, or of a segmentor ``segment_out``
        (B, T, classes), and ``cls_out`` (B, C) if it has labels too; then ``embedding`` (B, D) and
        ``frames`` (B, T', D).
    """
    of_head = ("logits" if name == "out" else name for name in _of_head(model.network))
    return (*of_head, "embedding", "frames")


def export(model: TrainedNetwork, path: str | os.PathLike, format: str | None = None) -> None:
    """Write the network of a model for another runtime, and check what was written.

    Its input ``source`` is ``(B, L, T)`` prepared segments, of any number and of any length that
    gives a frame; none of them padded. Labels, their aggregation, the mean and standard deviation
    that give the ``logits`` of a regression its units, and the preprocessing are in the metadata
    (ONNX) or extra files (``.pt2``) under ``fairseq_ecg``, as JSON; of a segmentor the classes of
    ``segment_out`` too.

    Before the file gets its name, it is run on segments of another number and length than the
    ones it was traced with, and compared with the network.

    Args:
        model: the model, in float32.
        path: file to write.
        format: ``onnx`` or ``pt2``; None: as the extension says.

    Raises:
        DataError: the format is not known, the file of another one, or the model not in float32.
        ExportError: the exported network computes something else.
        ImportError: the format needs a package that is not installed.
    """
    path = Path(path)
    format = format or FORMATS.get(path.suffix)
    if format not in FORMATS.values():
        raise DataError(f"{path}: format {format!r}; choose from {', '.join(FORMATS.values())}")
    if format == "pt2" and path.suffix != ".pt2":
        raise DataError(f"{path}: torch.export reads files that end in .pt2 only")
    if model.dtype != torch.float32:
        raise DataError(f"a model in {model.dtype} is not exported: load it in float32")
    rows, samples = model.preprocessing.n_rows, model.preprocessing.segment_samples
    generator = torch.Generator().manual_seed(0)
    traced, other = (
        torch.randn(number, rows, length, generator=generator).to(model.device)
        for number, length in ((2, samples), (3, samples + samples // 3))
    )
    network = ExportedNetwork(model.network).eval()
    with replacing(path) as unfinished, backends.only("reference"), torch.no_grad():
        program = torch.export.export(
            network,
            (traced,),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC},),
        )
        write = _write_onnx if format == "onnx" else _write_pt2
        run = write(program, model, unfinished)
        for source in (traced, other):
            _compare(run(source), network(source), output_names(model), path)


def metadata(model: TrainedNetwork) -> str:
    """Return as JSON what users of the file need: ``config.json`` without its network."""
    config = config_of(model)
    kept = ("preprocessing", "classes", "problem_type", "targets", "id2label", "aggregation")
    return json.dumps({key: config[key] for key in kept if key in config})


def _write_onnx(program: "torch.export.ExportedProgram", model: TrainedNetwork, path: Path):
    """Write ONNX, and return what runs it in onnxruntime."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ImportError(
            "export to ONNX needs onnx, onnxscript and onnxruntime: "
            "pip install 'fairseq-ecg[export]'",
            name=error.name,
        ) from error
    exported = torch.onnx.export(
        program,
        input_names=["source"],
        output_names=list(output_names(model)),
        dynamic_shapes=({0: "segments", 2: "samples"},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    exported.model.metadata_props["fairseq_ecg"] = metadata(model)
    exported.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda source: [
        torch.from_numpy(x) for x in session.run(None, {"source": source.cpu().numpy()})
    ]


def _write_pt2(program: "torch.export.ExportedProgram", model: TrainedNetwork, path: Path):
    """Write an archive of ``torch.export``, and return what runs it after it is read again."""
    torch.export.save(program, path, extra_files={"fairseq_ecg": metadata(model)})
    return torch.export.load(path).module()


def _compare(found, expected, names: tuple[str, ...], path: Path) -> None:
    for name, ours, eager in zip(names, found, expected, strict=True):
        eager = eager.cpu()
        scale = eager.abs().max().clamp(min=1.0)
        error = ((ours.cpu() - eager).abs().max() / scale).item()
        if not error <= TOLERANCE:
            raise ExportError(
                f"{path}: {name} of the exported network differs by {error:.1e} of its largest "
                f"value, more than {TOLERANCE:.0e}. It was not written"
            )
