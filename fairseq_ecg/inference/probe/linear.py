"""The probe itself: one line through the embeddings for each label."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fairseq_ecg.compat.checkpoint import damage_as_checkpoint_error
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.inference.aggregation import aggregation_of
from fairseq_ecg.inference.calibration import probabilities_of
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.stored import names_of
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.modules.registry import build_network, network_config, with_head

PROBE = "probe.safetensors"


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Logistic regression on embeddings, with its calibration.

    Attributes:
        labels: names of the C labels.
        weight: ``(C, D)`` float32, of embeddings as the network gives them.
        bias: ``(C,)`` float32.
        slope: ``(C,)``, and
        offset: ``(C,)``, of the calibrated logit ``slope * logit + offset``.
        thresholds: of the probabilities of recordings, ``(C,)`` by rule.
        aggregation: ``max`` or ``mean`` over segments by label.
        model: fingerprint of the network whose embeddings these are; empty if unknown.
    """

    labels: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    aggregation: Mapping[str, str]
    thresholds: Mapping[str, np.ndarray] = field(default_factory=dict)
    model: str = ""

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("weight", "bias", "slope", "offset")}

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return uncalibrated logits ``(N, C)`` float64 of embeddings ``(N, D)``."""
        return (embeddings @ self.weight.T).astype(np.float64) + self.bias

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities ``(N, C)`` of the embeddings of segments ``(N, D)``."""
        return probabilities_of(self.logits(embeddings), self.slope, self.offset)

    def save(self, path: str | os.PathLike) -> None:
        """Write the probe as a safetensors file."""
        from safetensors.numpy import save_file

        arrays = self._arrays()
        arrays |= {f"threshold.{rule}": values for rule, values in self.thresholds.items()}
        about = {"labels": list(self.labels), "aggregation": dict(self.aggregation)}
        with replacing(Path(path)) as unfinished:
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()},
                unfinished,
                metadata={"probe": json.dumps(about | {"model": self.model})},
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "LinearProbe":
        """Read a probe that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: it is none, or damaged.
        """
        from safetensors import safe_open

        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
        remedy = "Make it by fairseq-ecg probe"
        with (
            damage_as_checkpoint_error(path, remedy),
            damage_as_data_error(str(path), "linear probe", remedy),
            safe_open(path, framework="numpy") as file,
        ):
            about = json.loads(file.metadata()["probe"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            named = sorted(name for name in arrays if name.startswith("threshold."))
            thresholds = {name.partition(".")[2]: arrays.pop(name) for name in named}
            labels = names_of(about["labels"])
            probe = cls(
                labels=labels,
                aggregation=aggregation_of(labels, dict(about["aggregation"])),
                model=str(about["model"]),
                thresholds=thresholds,
                **arrays,
            )
            probe._check()
            return probe

    def _check(self) -> None:
        """Raise DataError unless there are numbers for each label; a threshold may be NaN."""
        n_labels, arrays = len(self.labels), self._arrays()
        for name, values in {**arrays, **self.thresholds}.items():
            n_axes = 2 if name == "weight" else 1
            if values.dtype.kind != "f" or values.ndim != n_axes or len(values) != n_labels:
                raise DataError(
                    f"{name}, {values.dtype} of shape {values.shape}, is not of {n_labels} labels"
                )
            if name in arrays and not np.isfinite(values).all():
                raise DataError(f"{name} holds NaN or infinite values")

    def classifier(self, model: ECGModel) -> ECGModel:
        """Put the probe, calibration included, on the network: a classifier like a fine-tuned one.

        Args:
            model: whose embeddings the probe was fitted to; its encoder is shared.

        Raises:
            DataError: the embeddings have another number of channels.
        """
        if model.embed_dim != self.weight.shape[1]:
            raise DataError(
                f"the probe reads {self.weight.shape[1]} channels, the network gives "
                f"{model.embed_dim}: it was fitted to another network"
            )
        cfg = network_config(model.cfg) | {
            "_name": with_head(model.cfg["_name"], "linear"),
            "num_labels": len(self.labels),
            "pooling": "mean",
            "final_dropout": 0.0,
        }
        with torch.random.fork_rng(devices=[]):
            network = build_network(cfg)
        network.encoder = model.network.encoder
        network.to(model.device, model.dtype)
        with torch.no_grad():
            network.proj.weight.copy_(torch.from_numpy(self.weight * self.slope[:, None]))
            network.proj.bias.copy_(torch.from_numpy(self.bias * self.slope + self.offset))
        return ECGModel(network, cfg, model.preprocessing, self.labels, self.aggregation)
