"""Replay a recording of fairseq_signals and compare every recorded number.

    python tests/golden_replay.py [CHECKPOINT.pt] RECORDING.npz [--bert-config SIZES.json]

CHECKPOINT is any fairseq_signals checkpoint. RECORDING holds one evaluation-mode pass: the inputs,
masks and negatives given to the model, what came out of it and of its criterion, the metrics
printed of it, and the norm of the gradient of loss / sample_size of every parameter; of models with
batch norm also a pass in training mode without dropout; of models that were fine-tuned from another
checkpoint, which lies beside CHECKPOINT, also a pass of the network as it was fine-tuned. One line
is printed per recorded quantity; the exit status is 1 if any is past its tolerance.

Where random numbers were drawn in the pass, RECORDING holds the seeds, and what was drawn of a text
is compared as well. No single weight of attention is masked in one whose name ends with
``bidirectional``.

A BERT has the sizes that ``--bert-config`` says, or else ``bert_configs.json`` beside CHECKPOINT or
RECORDING by the checkpoint's name. Without CHECKPOINT the weights are those of the rule that the
README of the recordings states, of the configuration and the seed in RECORDING.
"""

import argparse
import json
import re
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fairseq.criterions import build_criterion
from fairseq.logging import metrics
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401  (registers the criterions)
from fairseq_ecg.compat.checkpoint import load_checkpoint, load_trained
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.modules.text import build_text_network

TOLERANCE = {
    "output": 1e-4,  # float32 sums of another order, through the whole network
    "network output": 1e-5,  # the same, of small networks
    "metric": 1e-5,
    "loss": 1e-5,  # sums over all frames average rounding out
    "gradient norm": 1e-4,  # as outputs, twice through the network
    "zero gradient": 1e-6,  # rounding of a gradient that is zero in exact arithmetic
    "count": 0.0,  # whole numbers
}
COUNTS = {
    *("nsignals", "sample_size", "correct", "count", "em_correct", "em_count", "tp", "fp", "fn"),
    *("mlm_correct", "mlm_count", "itm_correct", "itm_count", "align_correct", "align_count"),
}
INPUTS = {
    "source": "source",
    "padding_mask": "padding_mask",
    "mask_indices": "mask_indices",
    "neg_idxs": "negative_indices",
    "ecg": "ecg",
    "ecg_padding_mask": "ecg_padding_mask",
    "text": "text",
    "text_padding_mask": "text_padding_mask",
    "ecg_2": "ecg_2",
    "ecg_2_padding_mask": "ecg_2_padding_mask",
    "mim_noise": "mim_noise",
}
"""Argument of the model by the name of what is recorded."""
IN_SAMPLE = {
    *("id", "label", "patient_id", "segment", "target_idx", "attribute_id"),
    *("segment_label", "segment_mask", "mlm_labels", "is_aligned", "answer", "valid_classes"),
    *("question_type1", "question_type2", "question_type3"),
}
SEEDS = {"numpy_seed", "torch_seed", "cfg", "weight_seed", "weight_scale"}
"""Names of what decides on random numbers and weights."""
LENGTHS = "_len", "_sizes"
"""Endings of what says how long the rows of a chain of ragged rows are."""
REPLAYED = ("net/", "log/", "metric/", "gradnorm/", "trainmode/", "logits", "target")
"""Prefixes of what is replayed of a recording with ``net/``; the tests of a method replay more."""
OWN_METRICS = r"metric/(_|(\d+_)?macro_)"
"""How names of metrics begin that fairseq_signals does not print."""
# Gradients that are zero in exact arithmetic: a shift of all keys changes no softmax, and the group
# norm behind the first convolution takes its bias away.
ROUNDING_ONLY = ("k_proj.bias", "self.key.bias", "feature_extractor.conv_layers.0.0.bias")


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


GROUPED = r"(.+?)_(em_count|em_correct|tp|fp|fn|y_true|y_score|y_class|count|correct)"
"""Key of what is logged of groups: the group's and what of it."""


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


def replay_by_rule(recording: Path) -> list[Comparison]:
    """Replay a recording whose weights follow a rule, see :func:`weight_by_rule`."""
    recorded = np.load(recording)
    if "cfg" not in recorded:
        raise SystemExit(f"{recording} says no configuration: give its CHECKPOINT, too")
    cfg = json.loads(str(recorded["cfg"]))
    weights = build_text_network(cfg["model"]).state_dict()
    for key, x in weights.items():
        if x.is_floating_point():
            x.copy_(weight_by_rule(key, x.shape, recorded["weight_seed"], recorded["weight_scale"]))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")
        torch.save({"cfg": cfg, "model": weights}, checkpoint)
        return replay(checkpoint, recording)


def weight_by_rule(key: str, shape: tuple[int, ...], seed: int, scale: float) -> torch.Tensor:
    """Weight of a recording without checkpoint, as the README of the recordings says."""
    z = np.random.RandomState((zlib.crc32(key.encode()) + int(seed)) % 2**32).standard_normal(shape)
    if "running" in key:
        value = 1 + 0.1 * abs(z) if key.endswith("running_var") else 0.1 * z
    elif ".bn" in key or ".downsample.1." in key:
        value = 1 + 0.1 * z if key.endswith("weight") else 0.1 * z
    else:
        value = scale * z / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * z
    return torch.from_numpy(np.asarray(value, np.float32))


def replay(
    checkpoint: Path, recording: Path, bert_config: Mapping[str, int] | None = None
) -> list[Comparison]:
    """Run the checkpoint on the recorded inputs; one comparison per recorded quantity."""
    recorded = dict(np.load(recording))
    sizes = bert_config or bert_sizes(checkpoint, recording.parent)
    overrides = {"bert_config": sizes} if sizes else {}
    masks = {"attn_mask_type": "bidirectional"} if recording.stem.endswith("bidirectional") else {}
    model, criterion = _built(checkpoint, overrides | masks)
    sample = _sample(recorded)
    outputs: dict = {}
    model.register_forward_hook(lambda module, inputs, net: outputs.update(_copied(net)))
    given = {}
    _seed(recorded)
    compute = criterion.compute
    criterion.compute = lambda model, sample, net, logits: (
        given.update(logits=logits) or compute(model, sample, net, logits)
    )
    loss, sample_size, logged = criterion(model, sample)
    (loss / sample_size).backward()

    replayed = {"loss": loss.item(), "sample_size": float(sample_size)}
    replayed |= {f"gradnorm/{name}": norm for name, norm in _gradient_norms(model).items()}
    if not _is_of_small(recorded):
        replayed |= _outputs(model, outputs, recorded)
        replayed |= {f"log/{key}": x for key, x in logged.items() if f"log/{key}" in recorded}
        names = set(recorded) - INPUTS.keys() - IN_SAMPLE
        return [_compare(name, replayed, recorded) for name in sorted(names)]

    names = {name for name in recorded if name.startswith(REPLAYED) and name not in IN_SAMPLE}
    if "text" in recorded:
        replayed |= _as_recorded(outputs, recorded)
        replayed |= _finetuned(checkpoint, sample, recorded, overrides)
        names = set(recorded) - (INPUTS.keys() - {"mask_indices"}) - IN_SAMPLE - SEEDS
        if "mask_kind" in recorded:
            replayed |= _masked_tokens(model, recorded)
            replayed["align_prob"] = model.get_logits(outputs)["align_x"].unsqueeze(1)
    else:
        replayed |= {f"net/{key}": value for key, value in outputs.items()}
        replayed |= _logits_and_target(model, sample, outputs, given["logits"], recorded)
    replayed |= {name: _logged(name, logged) for name in recorded if name.startswith("log/")}
    with metrics.aggregate(new_root=True) as meters:
        type(criterion).reduce_metrics([logged])
    replayed |= {f"metric/{name}": x for name, x in meters.get_smoothed_values().items()}
    if "trainmode/loss" in recorded:
        replayed |= _in_training(checkpoint, sample, overrides)
    names = {name for name in names if not name.endswith(LENGTHS)}
    names |= {"loss", "sample_size"}
    comparisons = [_compare(name, replayed, recorded) for name in names]
    for name, value in replayed.items():
        printed = name.startswith("metric/") and not re.match(OWN_METRICS, name)
        if name not in recorded and (printed or (name.startswith("gradnorm/") and value)):
            comparisons.append(Comparison(f"{name}, not recorded", "count", float("inf")))
    return sorted(comparisons, key=lambda comparison: comparison.name)


def _built(checkpoint: Path, overrides: dict):
    cfg = OmegaConf.create(load_checkpoint(checkpoint)["cfg"])
    model = build_model_from_checkpoint(checkpoint, model_overrides=overrides)
    return model, build_criterion(cfg.criterion, None, from_checkpoint=True).eval()


def bert_sizes(checkpoint: Path, *folders: Path) -> dict[str, int]:
    """Return the sizes of a BERT, which a checkpoint does not say, as a file beside it does.

    Args:
        checkpoint: its name is the key.
        folders: where there may be such a file, too.
    """
    for folder in (checkpoint.parent, *folders):
        if (file := folder / "bert_configs.json").is_file():
            sizes = json.loads(file.read_text())
            if checkpoint.stem in sizes:
                return sizes[checkpoint.stem]
    return {}


def _is_of_small(recorded: dict) -> bool:
    """Return whether a recording is of a small network, of which all is compared."""
    return "text" in recorded or any(key.startswith("net/") for key in recorded)


def _logits_and_target(model, sample: dict, outputs: dict, logits, recorded: dict) -> dict:
    with torch.no_grad():
        # The criterion of identification is given cosines, recorded are embeddings.
        found = _numbered("logits", model.get_logits(outputs) if "cosine" in recorded else logits)
        if recorded.keys() & {"target", "target_0"}:
            found |= _numbered("target", model.get_targets(sample, outputs))
    return found


def _as_recorded(outputs: dict, recorded: dict) -> dict:
    """Name outputs as they are recorded, and give them the shape that they have there."""
    named = outputs | {"padding_mask_out": outputs.get("padding_mask")}
    found = {key: x for key, x in named.items() if torch.is_tensor(x) and key in recorded}
    return {
        key: x.reshape(recorded[key].shape) if x.numel() == recorded[key].size else x
        for key, x in found.items()
    }


def _seed(recorded: dict) -> None:
    if "numpy_seed" in recorded:
        np.random.seed(int(recorded["numpy_seed"]))
        torch.manual_seed(int(recorded["torch_seed"]))


def _masked_tokens(model, recorded: dict) -> dict:
    """Draw once more which tokens are masked, by what."""
    _seed(recorded)
    text, padding_mask = (torch.from_numpy(recorded[x]) for x in ("text", "text_padding_mask"))
    masked = model.tokens_to_mask(text, padding_mask)
    kept = masked.selected & ~masked.hidden & ~masked.replaced
    return {
        "mask_indices": masked.selected,
        "mask_kind": masked.hidden + 2 * masked.replaced + 3 * kept,
        "random_token": masked.tokens.masked_fill(~masked.replaced, -1),
    }


def _finetuned(checkpoint: Path, sample: dict, recorded: dict, overrides: dict) -> dict:
    """Replay what is recorded of the network as it was fine-tuned from a checkpoint beside."""
    if "finetune/out" not in recorded:
        return {}
    state = load_checkpoint(checkpoint)
    cfg = state["cfg"]["model"] | overrides
    cfg["model_path"] = str(checkpoint.with_name(Path(cfg["model_path"]).name))
    known = MODEL_DATACLASS_REGISTRY[cfg["_name"]]()
    merged = OmegaConf.merge(OmegaConf.structured(known), cfg)
    model = MODEL_REGISTRY[cfg["_name"]].build_model(merged).eval()
    load_trained(model, state, checkpoint)
    outputs: dict = {}
    model.register_forward_hook(lambda module, inputs, net: outputs.update(_copied(net)))
    loss, sample_size, _ = _built(checkpoint, overrides)[1](model, sample)
    (loss / sample_size).backward()
    found = {"loss": loss.item(), "sample_size": float(sample_size)}
    found |= {key: outputs[key] for key in ("out", "encoder_out") if key in outputs}
    found["padding_mask_out"] = outputs.get("padding_mask")
    found |= {f"gradnorm/{name}": norm for name, norm in _gradient_norms(model).items()}
    return {f"finetune/{name}": x for name, x in found.items() if f"finetune/{name}" in recorded}


def _copied(net: dict) -> dict:
    return {key: x.clone() if torch.is_tensor(x) else x for key, x in net.items()}


def _gradient_norms(model) -> dict[str, float]:
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: 0.0 if grad is None else grad.norm().item() for name, grad in gradients.items()}


def _outputs(model, outputs: dict, recorded: dict) -> dict:
    """Return what is recorded of pre-training with masks, or of a classifier."""
    if "mask_indices" in recorded:
        rows, frames = recorded["logits"].shape[1:]
        logits = model.get_logits(outputs).view(frames, rows, -1).transpose(0, 2)
        return {"logits": logits, "features": outputs.get("features")}
    found = {name: outputs[name] for name in ("out", "encoder_out", "saliency")}
    return found | {"padding_mask_out": outputs["padding_mask"]}


def _numbered(name: str, values) -> dict:
    """Name a tensor, the tensors of several criterions by number, or ragged rows in a chain."""
    if torch.is_tensor(values):
        return {name: values}
    if values and all(torch.is_tensor(x) and x.dim() < 2 for x in values):
        return {name: torch.cat([x.reshape(-1) for x in values])}
    return {f"{name}_{number}": x for number, x in enumerate(values)}


def _logged(name: str, logged: dict):
    """Find what is recorded as ``log/<key>``, or of a group as ``log/<group>_<key>/<id>``."""
    key, _, number = name.removeprefix("log/").partition("/")
    if not number:
        return logged.get(key)
    group, what = re.fullmatch(GROUPED, key).groups()
    return logged.get(f"{group}_{number}_{what}", logged.get(f"_{group}_{number}_{what}"))


def _in_training(checkpoint: Path, sample: dict, overrides: dict) -> dict[str, float]:
    model, criterion = _built(checkpoint, overrides)
    for module in (model.train(), criterion.train()):
        for part in module.modules():
            for name in ("p", "dropout") if "dropout" in type(part).__name__.lower() else ():
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, 0.0)
    loss, sample_size, _ = criterion(model, sample)
    (loss / sample_size).backward()
    norms = {f"gradnorm/{name}": norm for name, norm in _gradient_norms(model).items()}
    running = {name: x for name, x in model.named_buffers() if "running" in name}
    norms |= {f"buffer_norm/{name}": x.norm().item() for name, x in running.items()}
    return {f"trainmode/{name}": x for name, x in {"loss": loss.item(), **norms}.items()}


def _compare(name: str, replayed: dict, recorded: dict[str, np.ndarray]) -> Comparison:
    value, kind = replayed.get(name), _kind(name, recorded)
    if value is None:
        # fairseq_signals logs arrays without an entry where areas are of all entries at once.
        error = 0.0 if name.startswith("log/") and recorded[name].size == 0 else float("inf")
        return Comparison(name, kind.removeprefix("small "), error)
    if kind == "name":
        same = getattr(value, "__name__", value) == str(recorded[name])
        return Comparison(name, "count", 0.0 if same else float("inf"))
    if kind == "small gradient norm":
        # Some are zero but for rounding: they are compared with the largest of all.
        prefix = name[: name.index("gradnorm/")]
        largest = max(
            float(x) for key, x in recorded.items() if key.startswith(f"{prefix}gradnorm/")
        )
        error = abs(value - float(recorded[name])) / (float(recorded[name]) + 0.1 * largest)
        return Comparison(name, "gradient norm", error)
    if name.endswith(ROUNDING_ONLY):
        of_weight = float(recorded[name.removesuffix("bias") + "weight"])
        # Where nothing trains, the weight has no gradient either.
        noise = max(value, float(recorded[name])) / (of_weight or 1.0)
        return Comparison(name, "zero gradient", noise)
    if torch.is_tensor(value):
        value = value.detach().numpy()
    if name.startswith("log/") and np.size(value) == recorded[name].size:
        value = np.reshape(value, recorded[name].shape)  # in columns or not
    return Comparison(name, kind, relative_error(value, recorded[name]))


def _sample(recorded: dict[str, np.ndarray]) -> dict:
    net_input = {
        argument: torch.from_numpy(recorded[name])
        for name, argument in INPUTS.items()
        if name in recorded and not (name == "mask_indices" and "mask_kind" in recorded)
    }
    rows = len(next(iter(net_input.values())))
    sample = {"id": torch.arange(rows), "net_input": net_input}
    for name in IN_SAMPLE & set(recorded):
        sample[name] = torch.from_numpy(recorded[name])
        for lengths in {f"{name}{ending}" for ending in LENGTHS} & recorded.keys():
            sample[name] = list(sample[name].split(recorded[lengths].tolist()))
    return sample


def _kind(name: str, recorded: dict[str, np.ndarray]) -> str:
    of_small = _is_of_small(recorded)
    key = re.sub(r"^(log|metric|trainmode|finetune)/(\d+_)?", "", name)
    if key.startswith("gradnorm/"):
        return "small gradient norm" if of_small else "gradient norm"
    if recorded[name].dtype.kind == "U":
        return "name"
    if name.startswith("metric/"):
        return "metric"
    if key in COUNTS or recorded[name].dtype.kind in "bi" or name.startswith("target"):
        return "count"
    if recorded[name].ndim == 0:
        return "loss"
    return "network output" if of_small else "output"


def main() -> int:
    """Replay what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", metavar="CHECKPOINT", help="fairseq .pt file"
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help=".npz of one pass")
    parser.add_argument(
        "--bert-config",
        type=Path,
        metavar="SIZES",
        help="JSON file with the sizes of the BERT, as transformers.BertConfig calls them",
    )
    arguments = parser.parse_args()
    if arguments.checkpoint is None:
        comparisons = replay_by_rule(arguments.recording)
    else:
        sizes = arguments.bert_config and json.loads(arguments.bert_config.read_text())
        comparisons = replay(arguments.checkpoint, arguments.recording, sizes)
    print(*comparisons, sep="\n")
    failures = sum(not comparison.holds for comparison in comparisons)
    print(f"{len(comparisons)} quantities, {failures} past tolerance")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
