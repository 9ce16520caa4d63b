"""What a file says of a network, before the network is made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairseq_ecg.compat.checkpoint import (
    NOTES,
    CheckpointError,
    load_checkpoint,
    load_strictly,
    model_config,
)
from fairseq_ecg.inference.preprocessing import Preprocessing
from fairseq_ecg.modules import ECGTransformerClassifier, FrameEncoder, Wav2Vec2
from fairseq_ecg.modules.architecture import build_network


@dataclass(frozen=True)
class TargetScale:
    """In which units a regression estimates its targets.

    Attributes:
        mean: of each target, what an output of 0 means.
        std: of each target, what a difference of 1 between outputs means.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_criterion(cls, criterion: Mapping[str, Any], n_targets: int) -> "TargetScale | None":
        """Read it of the configuration of the criterion; None if that is no regression's."""
        if criterion.get("_name") != "regression":
            return None
        mean, std = criterion.get("target_mean"), criterion.get("target_std")
        return cls(tuple(mean or [0.0] * n_targets), tuple(std or [1.0] * n_targets))

    def known(self) -> list[tuple[float, float] | None]:
        """Return mean and standard deviation of each target; None where nobody has told them."""
        pairs = zip(self.mean, self.std, strict=True)
        return [None if pair == (0, 1) else pair for pair in pairs]


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A network as it lies in a file.

    Attributes:
        path: of the file.
        cfg: configuration of which :func:`fairseq_ecg.modules.build_network` makes it.
        weights: by name.
        has_heads: whether the weights of a pre-trained network are those of the whole, and not of
            its encoder alone.
        preprocessing: tells its preprocessing; raises DataError if that cannot be known.
        labels: names of its labels, if they are stored with it.
        label_file: what its labels were trained on, if it is known.
        aggregation: ``max`` or ``mean`` by label, if it is stored.
        scale: units of the targets, if it is a regression.
        num_updates: updates it was trained for.
    """

    path: Path
    cfg: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    has_heads: bool
    preprocessing: Callable[[], Preprocessing]
    labels: tuple[str, ...] | None = None
    label_file: str | None = None
    aggregation: Mapping[str, str] | None = None
    scale: TargetScale | None = None
    num_updates: int = 0

    def network(self, untrained_seed: int | None = None) -> FrameEncoder | ECGTransformerClassifier:
        """Build the network, without what only pre-training needs.

        Args:
            untrained_seed: draw the weights with this seed, and do not load them.

        Raises:
            CheckpointError: the network is not known here, or the weights do not fit it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(untrained_seed or 0)
            try:
                network = build_network(dict(self.cfg) | {"all_gather": False})
            except (TypeError, ValueError) as error:
                raise CheckpointError(f"{self.path}: {error}") from error
        loads = untrained_seed is None
        if loads and self.has_heads:
            load_strictly(network, self.weights, self.path)
        if isinstance(network, Wav2Vec2):
            network.remove_pretraining_modules()
        if not isinstance(network, ECGTransformerClassifier):
            network = FrameEncoder(network)
        else:
            network.set_num_updates(self.num_updates)
        if loads and not self.has_heads:
            load_strictly(network, self.weights, self.path)
        return network.eval()


def read_checkpoint(path: Path) -> StoredModel:
    """Read a ``.pt`` file of fairseq_signals or of this package.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file would run code.
        CheckpointError: the file cannot be read, or does not tell its model.
    """
    state = load_checkpoint(path)
    cfg = model_config(state, path)
    task = dict(state["cfg"].get("task") or {})
    notes = (state.get("task_state") or {}).get(NOTES) or {}
    history = state.get("optimizer_history") or [{}]
    return StoredModel(
        path=path,
        cfg=cfg,
        weights=state["model"],
        has_heads=True,
        preprocessing=lambda: Preprocessing.of_task(task, notes),
        labels=tuple(notes["labels"]) if notes.get("labels") else None,
        label_file=task.get("label_file"),
        scale=TargetScale.of_criterion(
            dict(state["cfg"].get("criterion") or {}), cfg.get("num_labels", 0)
        ),
        num_updates=history[-1].get("num_updates", 0),
    )
