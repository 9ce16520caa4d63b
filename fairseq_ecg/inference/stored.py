"""What a file says of a network, before the network is made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_strictly,
    notes_in,
    num_updates_of,
)
from fairseq_ecg.compat.stored_config import (
    check_network,
    decided_by_weights,
    model_config,
    stored_section,
)
from fairseq_ecg.data.text.tokenizer import Vocabulary, noted_vocabulary
from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.modules import FinetunedEncoder, FrameEncoder
from fairseq_ecg.modules.registry import build_network, has_head, labels_option
from fairseq_ecg.modules.text import TextNetwork, build_text_network, text_network_class

Network = TypeVar("Network")


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
        if criterion.get("_name") not in ("regression", "mse"):
            return None
        mean, std = criterion.get("target_mean"), criterion.get("target_std")
        return cls.of(mean or [0.0] * n_targets, std or [1.0] * n_targets, n_targets)

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float], n_targets: int) -> "TargetScale":
        """Make it of what a file holds.

        Raises:
            DataError: these are no numbers, one for each target, or a standard deviation is not
                positive.
        """
        scale = cls(tuple(map(float, mean)), tuple(map(float, std)))
        fits = len(scale.mean) == len(scale.std) == n_targets
        if not fits or not np.isfinite([*scale.mean, *scale.std]).all() or min(scale.std) <= 0:
            raise DataError(
                f"target_mean={shortened(mean)} and target_std={shortened(std)} are not a number "
                f"and a positive one for each of {n_targets} targets"
            )
        return scale

    def known(self) -> list[tuple[float, float] | None]:
        """Return mean and standard deviation of each target; None where they are not stored."""
        pairs = zip(self.mean, self.std, strict=True)
        return [None if pair == (0, 1) else pair for pair in pairs]


@dataclass(frozen=True)
class StoredTexts:
    """How texts become tokens for a network, as far as a file says it.

    Attributes:
        vocabulary: its tokens; None if they are not stored.
        max_text_size: ``task.max_text_size`` of training, which took two tokens less of a text.
    """

    vocabulary: Vocabulary | None = None
    max_text_size: int | None = None

    @classmethod
    def of(cls, task: Mapping[str, Any], notes: Mapping[str, Any]) -> "StoredTexts":
        """Read it of the configuration of the task and of what training noted.

        Raises:
            DataError: the vocabulary is none, see `noted_vocabulary`, or the size is no whole
                number.
        """
        size = notes.get("max_text_size", task.get("max_text_size"))
        if size is not None and (not isinstance(size, int) or isinstance(size, bool)):
            raise DataError(f"its max_text_size is {shortened(size)}, not a whole number")
        return cls(noted_vocabulary(notes), size)


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A network as a file holds it.

    Attributes:
        path: of the file.
        cfg: configuration of which :func:`fairseq_ecg.modules.build_network` makes it.
        weights: by name.
        has_heads: whether the weights of a pre-trained network are those of the whole, and not of
            its encoder alone.
        preprocessing: makes its preprocessing, given statistics of leads or None, and the number of
            leads that the network reads; raises DataError or CheckpointError if that cannot be
            known.
        labels: names of its labels, if they are stored with it.
        label_file: what its labels were trained on, if it says so; never opened.
        aggregation: ``max`` or ``mean`` by label, if it is stored.
        scale: units of the targets, if it is a regression.
        num_updates: updates it was trained for.
        texts: how texts become tokens, if it is a network of ECGs and texts.
    """

    path: Path
    cfg: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    has_heads: bool
    preprocessing: Callable[[LeadStatistics | None, int | None], Preprocessing]
    labels: tuple[str, ...] | None = None
    label_file: str | None = None
    aggregation: Mapping[str, str] | None = None
    scale: TargetScale | None = None
    num_updates: int = 0
    texts: StoredTexts | None = None

    def text_network(self, untrained_seed: int | None = None) -> tuple[TextNetwork, dict[str, Any]]:
        """Build the network of ECGs and texts.

        Heads of pre-training stay: they say whether an ECG and a text belong together.

        Args:
            untrained_seed: draw the weights with this seed, and do not load them.

        Returns:
            The network, and the configuration that builds it without fetching anything.

        Raises:
            CheckpointError: the weights do not fit the network, or are no numbers to compute with.
            DataError: it is larger than is plausible.
        """
        cfg = decided_by_weights(self.cfg, self.weights, self.path) | {"all_gather": False}
        check_network(cfg, self.weights, self.path, encoder_only=True)
        network = _drawn(build_text_network, cfg, untrained_seed)
        network.set_num_updates(self.num_updates)
        if untrained_seed is None:
            load_strictly(network, self.weights, self.path)
        return network.eval(), cfg

    def network(self, untrained_seed: int | None = None) -> FrameEncoder | FinetunedEncoder:
        """Build the network, without what only pre-training needs.

        Args:
            untrained_seed: draw the weights with this seed, and do not load them.

        Raises:
            CheckpointError: the network is not known here, the weights do not fit it, or are no
                numbers to compute with.
            DataError: it is larger than is plausible.
        """
        cfg = dict(self.cfg) | {"all_gather": False}
        is_whole = self.has_heads or has_head(cfg.get("_name"))
        weights = self.weights if is_whole else FrameEncoder.encoder_weights(self.weights)
        check_network(cfg, weights, self.path, encoder_only=not is_whole)
        network = _drawn(build_network, cfg, untrained_seed)
        loads = untrained_seed is None
        if loads and self.has_heads:
            load_strictly(network, self.weights, self.path)
        if isinstance(network, FinetunedEncoder):
            network.set_num_updates(self.num_updates)
        else:
            network.remove_pretraining_modules()
            network = FrameEncoder(network)
        if loads and not self.has_heads:
            load_strictly(network, self.weights, self.path)
        return network.eval()


def _drawn(
    build: Callable[[Mapping[str, Any]], Network], cfg: Mapping[str, Any], seed: int | None
) -> Network:
    """Build a network, its weights drawn with a seed; global random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        return build(cfg)


def read_checkpoint(path: Path, allow_damaged: bool | None = None) -> StoredModel:
    """Read a ``.pt`` file of fairseq_signals or of this package.

    Args:
        path: the file.
        allow_damaged: see :func:`fairseq_ecg.compat.checkpoint.load_checkpoint`.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file would run code.
        CheckpointError: the file cannot be read, or does not say its model.
        DataError: what it says is larger than is plausible.
    """
    state = load_checkpoint(path, allow_damaged=allow_damaged)
    cfg = model_config(state, path)
    task, criterion = (stored_section(state, path, name) for name in ("task", "criterion"))
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        notes = notes_in(state)
        labels = notes.get("labels")
        return StoredModel(
            path=path,
            cfg=cfg,
            weights=state["model"],
            has_heads=True,
            preprocessing=partial(_preprocessing, path, task, notes),
            labels=names_of(labels) if labels else None,
            label_file=task.get("label_file"),
            scale=TargetScale.of_criterion(criterion, _n_labels(cfg)),
            num_updates=num_updates_of(state, path),
            texts=StoredTexts.of(task, notes) if reads_texts(cfg) else None,
        )


def _preprocessing(
    path: Path,
    task: Mapping[str, Any],
    notes: Mapping[str, Any],
    statistics: LeadStatistics | None,
    n_rows: int | None,
) -> Preprocessing:
    remedy = "give load_model a preprocessing"
    with damage_as_checkpoint_error(path, remedy):
        return Preprocessing.of_task(task, notes, statistics, n_rows)


def reads_texts(cfg: Mapping[str, Any]) -> bool:
    """Return whether a configuration of a model is that of a network of ECGs and texts."""
    return text_network_class(cfg.get("_name")) is not None


def _n_labels(cfg: Mapping[str, Any]) -> int:
    name = cfg.get("_name")
    return cfg.get(labels_option(name), 0) if has_head(name) else 0


def names_of(labels: Any) -> tuple[str, ...]:
    """Return the names of labels that a file holds.

    Raises:
        DataError: they are no list of texts.
    """
    if not isinstance(labels, list | tuple) or not all(isinstance(name, str) for name in labels):
        raise DataError(f"the names of its labels are {shortened(labels)}, not a list of texts")
    return tuple(labels)
