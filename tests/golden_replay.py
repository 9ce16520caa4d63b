"""Replay a recording of fairseq_signals and compare every recorded number.

    python tests/golden_replay.py CHECKPOINT.pt RECORDING.npz

CHECKPOINT is any fairseq_signals checkpoint of a pre-training or diagnosis model. RECORDING holds
one evaluation-mode pass: the inputs, masks and negatives given to the model, what came out of it
and of its criterion, and the norm of the gradient of loss / sample_size of every parameter. One
line is printed per recorded quantity; the exit status is 1 if any is past its tolerance.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fairseq.criterions import build_criterion
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401  (registers the criterions)
from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.models import build_model_from_checkpoint

TOLERANCE = {
    "output": 1e-4,  # float32 sums of another order, through the whole network
    "loss": 1e-5,  # sums over all frames average rounding out
    "gradient norm": 1e-4,  # as outputs, twice through the network
    "zero gradient": 1e-6,  # rounding of a gradient that is zero in exact arithmetic
    "count": 0.0,  # whole numbers
}
COUNTS = {"nsignals", "sample_size", "correct", "count", "em_correct", "em_count", "tp", "fp", "fn"}
INPUTS = {"source", "padding_mask", "mask_indices", "neg_idxs", "patient_id", "segment", "label"}
# Gradients that are zero in exact arithmetic: a shift of all keys changes no softmax, and the group
# norm behind the first convolution takes its bias away.
ROUNDING_ONLY = ("k_proj.bias", "feature_extractor.conv_layers.0.0.bias")


@dataclass
class Comparison:
    """One recorded quantity against its replay."""

    name: str
    kind: str
    error: float

    @property
    def holds(self) -> bool:
        return self.error <= TOLERANCE[self.kind]

    def __str__(self) -> str:
        verdict = "ok" if self.holds else f"PAST {TOLERANCE[self.kind]:g}"
        return f"{self.name:<72} {self.kind:<14} {self.error:9.2e}  {verdict}"


def relative_error(replayed: np.ndarray, recorded: np.ndarray) -> float:
    """Largest difference over the recorded magnitude, or over the array's RMS where smaller."""
    replayed, recorded = np.asarray(replayed, np.float64), np.asarray(recorded, np.float64)
    if replayed.shape != recorded.shape:
        return float("inf")
    special = ~np.isfinite(recorded)
    if not np.array_equal(replayed[special], recorded[special], equal_nan=True):
        return float("inf")
    replayed, recorded = replayed[~special], recorded[~special]
    if recorded.size == 0:
        return 0.0
    scale = np.maximum(np.abs(recorded), np.sqrt(np.mean(recorded**2)))
    difference = np.abs(replayed - recorded)
    error = np.divide(difference, scale, out=np.zeros_like(scale), where=difference > 0)
    return float("inf") if np.isnan(error).any() else float(error.max())


def replay(checkpoint: Path, recording: Path) -> list[Comparison]:
    """Run the checkpoint on the recorded inputs; one comparison per recorded quantity."""
    recorded = dict(np.load(recording))
    model = build_model_from_checkpoint(checkpoint)
    cfg = OmegaConf.create(load_checkpoint(checkpoint)["cfg"])
    criterion = build_criterion(cfg.criterion, None, from_checkpoint=True).eval()

    outputs = {}
    model.register_forward_hook(lambda module, inputs, net: outputs.update(net))
    loss, sample_size, logged = criterion(model, _sample(recorded))
    (loss / sample_size).backward()

    replayed = {"loss": loss.item(), "sample_size": float(sample_size)}
    if "mask_indices" in recorded:
        rows, frames = recorded["logits"].shape[1:]
        logits = model.get_logits(outputs).view(frames, rows, -1).transpose(0, 2)
        replayed |= {"logits": logits, "features": outputs.get("features")}
    else:
        replayed |= {name: outputs[name] for name in ("out", "encoder_out", "saliency")}
        replayed["padding_mask_out"] = outputs["padding_mask"]
    replayed |= {
        f"log/{key}": float(value) for key, value in logged.items() if f"log/{key}" in recorded
    }
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        replayed[f"gradnorm/{name}"] = 0.0 if gradient is None else gradient.norm().item()

    return [_compare(name, replayed, recorded) for name in sorted(set(recorded) - INPUTS)]


def _compare(name: str, replayed: dict, recorded: dict[str, np.ndarray]) -> Comparison:
    value = replayed.get(name)
    if value is None:
        return Comparison(name, _kind(name), float("inf"))
    if name.endswith(ROUNDING_ONLY):
        of_weight = float(recorded[name.removesuffix("bias") + "weight"])
        # Where nothing trains, the weight has no gradient either.
        noise = max(value, float(recorded[name])) / (of_weight or 1.0)
        return Comparison(name, "zero gradient", noise)
    if torch.is_tensor(value):
        value = value.detach().numpy()
    return Comparison(name, _kind(name), relative_error(value, recorded[name]))


def _sample(recorded: dict[str, np.ndarray]) -> dict:
    given = {name: torch.from_numpy(recorded[name]) for name in INPUTS & set(recorded)}
    net_input = {"source": given["source"]}
    for name, argument in (
        ("padding_mask", "padding_mask"),
        ("mask_indices", "mask_indices"),
        ("neg_idxs", "negative_indices"),
    ):
        if name in given:
            net_input[argument] = given[name]
    sample = {"id": torch.arange(len(given["source"])), "net_input": net_input}
    ids = {name: given[name] for name in ("label", "patient_id", "segment") if name in given}
    return sample | ids


def _kind(name: str) -> str:
    if name.startswith("gradnorm/"):
        return "gradient norm"
    key = name.removeprefix("log/")
    if key in COUNTS or name == "padding_mask_out":
        return "count"
    return "loss" if key == "loss" or name.startswith("log/") else "output"


def main() -> int:
    """Replay what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="fairseq .pt file")
    parser.add_argument("recording", type=Path, metavar="RECORDING", help=".npz of one pass")
    arguments = parser.parse_args()
    comparisons = replay(arguments.checkpoint, arguments.recording)
    print(*comparisons, sep="\n")
    failures = sum(not comparison.holds for comparison in comparisons)
    print(f"{len(comparisons)} quantities, {failures} past tolerance")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
