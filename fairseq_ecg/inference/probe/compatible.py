"""The probe of fairseq_signals' ``linear.py``: the same data, optimizer, criteria and files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from fairseq_ecg.charts import chart
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import RowStore
from fairseq_ecg.inference.metrics import Ranking, mean_of_defined
from fairseq_ecg.inference.probe.embedding import Features
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.jobs.progress import progress_bar

logger = logging.getLogger(__name__)

CHECKPOINT = "linear.pt"
LAYER = "proj"
"""Name of the linear layer in fairseq_signals' module, and so in the checkpoint."""

HISTORY = {
    "train_loss": "train_losses",
    "valid_loss": "valid_losses",
    "valid_auroc": "valid_aurocs",
    "valid_auprc": "valid_auprcs",
}
"""Keys of the checkpoint by columns of ``train.csv``: what is measured after each epoch."""

CHECKPOINT_INTERVAL = 10
"""Epochs between those that may become the checkpoint."""


@dataclass(frozen=True)
class AdamSettings:
    """How the probe is trained; the defaults are fairseq_signals'.

    Args:
        n_epochs: passes over train.
        lr: of Adam.
        betas: of Adam.
        eps: of Adam.
        batch_size: in segments.
        seed: of the first weights and of the order of train, which there nothing seeds.
        device: that trains.
    """

    n_epochs: int = 5000
    lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    batch_size: int = 256
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.n_epochs < CHECKPOINT_INTERVAL:
            raise DataError(
                f"n_epochs {self.n_epochs}: the probe is kept at epochs {CHECKPOINT_INTERVAL}, "
                f"{2 * CHECKPOINT_INTERVAL} and so on only; train it for {CHECKPOINT_INTERVAL} or "
                "more"
            )
        if self.lr <= 0 or self.batch_size < 1:
            raise DataError("lr and batch size must be positive")


def train_probe(
    features: Mapping[str, Features],
    labels: Sequence[str],
    out: Path,
    settings: AdamSettings,
    splits: Sequence[str] = ("train", "valid", "test"),
) -> dict[str, dict[str, float]]:
    """Train a probe as ``linear.py`` does.

    Every segment is a sample. After each epoch the loss (mean over batches), macro AUROC and macro
    area under the curve of precision and recall, by trapezoids, are measured on valid; at epochs
    10, 20, ... the probe with the largest such area so far becomes the checkpoint.

    What differs: labels that hold in all segments of a split or in none do not count in its means,
    where fairseq_signals fails; ``valid_auroc`` of ``train.csv`` holds the AUROC, there it holds
    the loss; everything random is seeded; plots are written.

    Args:
        features: of the splits; segments of test whose embedding is NaN are left out.
        labels: names.
        out: folder of ``linear.pt``, ``train.csv``, ``loss.png``, ``auroc.png``, ``auprc.png`` and
            the stores ``checkpoint<E>_outputs_<split>.npy`` (logits) and
            ``checkpoint<E>_targets_<split>.npy`` of valid and test, E the epoch of the checkpoint.
        settings: how.
        splits: names of train, valid and test.

    Returns:
        ``loss``, ``auroc`` and ``auprc`` of valid and test by split.

    Raises:
        DataError: embeddings of train or valid are NaN, or no label can be scored on valid.
    """
    train, valid, test = splits
    used = {name: features[name] for name in splits[:2]} | {test: features[test].usable(test)}
    for name in splits[:2]:
        finite = np.isfinite(used[name].embeddings).all(axis=1)
        if not finite.all():
            bad = used[name].recordings[used[name].recording_of[np.argmin(finite)]]
            raise DataError(
                f"{name}: {int((~finite).sum())} of {len(finite)} embeddings are not finite, that "
                f"of {bad} for instance. Leave these recordings out, or use another "
                "solver, which leaves them out"
            )
    for name in splits:
        if np.isnan(used[name].labels).any():
            raise DataError(f"{name}: labels are missing, which another solver can deal with")
    _check_labels(used[valid], labels, valid)
    _check_labels(used[test], labels, test, required=False)
    data = {
        name: (
            torch.from_numpy(used[name].embeddings).to(settings.device),
            torch.from_numpy(used[name].segment_labels).float().to(settings.device),
        )
        for name in splits
    }
    generator = torch.Generator().manual_seed(settings.seed)
    probe = nn.Linear(data[train][0].shape[1], len(labels))
    nn.init.xavier_uniform_(probe.weight, generator=generator)
    nn.init.zeros_(probe.bias)
    probe.to(settings.device)
    optimizer = torch.optim.Adam(
        probe.parameters(), lr=settings.lr, betas=settings.betas, eps=settings.eps
    )
    history: dict[str, list[float]] = {column: [] for column in HISTORY}
    best = None
    bar = progress_bar(range(1, settings.n_epochs + 1), "probe", "epoch")
    for epoch in bar:
        train_loss = _train_epoch(probe, optimizer, data[train], settings, generator)
        measured, _ = _measure(probe, data[valid], settings.batch_size)
        history["train_loss"].append(train_loss)
        for name, value in measured.items():
            history[f"valid_{name}"].append(value)
        bar.set_postfix({name: f"{value:.4f}" for name, value in measured.items()})
        better = best is None or measured["auprc"] > best["best_auprc"]
        if epoch % CHECKPOINT_INTERVAL == 0 and better:
            best = _checkpoint(epoch, probe, optimizer, history)
    with replacing(out / CHECKPOINT) as unfinished:
        torch.save(best, unfinished)
    probe.load_state_dict(
        {name.removeprefix(f"{LAYER}."): value for name, value in best["state_dict"].items()}
    )
    scores = {}
    for name in (valid, test):
        scores[name], logits = _measure(probe, data[name], settings.batch_size)
        targets = data[name][1].cpu().numpy()
        for what, rows in (("outputs", logits), ("targets", targets)):
            _write_store(out / f"checkpoint{best['epoch']}_{what}_{name}.npy", rows)
    _write_history(out, best)
    return scores


def _check_labels(
    features: Features, labels: Sequence[str], split: str, required: bool = True
) -> None:
    truth = features.segment_labels
    if truth.shape[1] != len(labels):
        raise DataError(f"{split} has {truth.shape[1]} labels, but {len(labels)} are named")
    share = truth.mean(axis=0)
    constant = [label for label, part in zip(labels, share, strict=True) if part in (0, 1)]
    if required and len(constant) == len(labels):
        raise DataError(
            f"{split}: {', '.join(labels)} hold in all segments or in none, so that there is no "
            "AUROC to choose a checkpoint by. Use more recordings"
        )
    if constant:
        logger.warning(
            "%s: %s hold in all segments or in none, and do not count in its means",
            split, ", ".join(constant),
        )  # fmt: skip


def _train_epoch(
    probe: nn.Linear,
    optimizer: torch.optim.Optimizer,
    data: tuple[torch.Tensor, torch.Tensor],
    settings: AdamSettings,
    generator: torch.Generator,
) -> float:
    """Return the mean over batches of the loss."""
    embeddings, targets = data
    losses = []
    for rows in torch.randperm(len(embeddings), generator=generator).split(settings.batch_size):
        loss = nn.functional.binary_cross_entropy_with_logits(
            probe(embeddings[rows]), targets[rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


@torch.inference_mode()
def _measure(
    probe: nn.Linear, data: tuple[torch.Tensor, torch.Tensor], batch_size: int
) -> tuple[dict[str, float], np.ndarray]:
    """Return loss (mean over batches), macro AUROC and macro AUPRC, and the logits."""
    embeddings, targets = data
    logits = probe(embeddings)
    losses = [
        nn.functional.binary_cross_entropy_with_logits(*batch)
        for batch in zip(logits.split(batch_size), targets.split(batch_size), strict=True)
    ]
    values = logits.cpu().numpy()
    pairs = zip(targets.cpu().numpy().T, values.T, strict=True)
    areas = [Ranking(truth, scores).areas() for truth, scores in pairs]
    aurocs, auprcs = zip(*((one.auroc[0], one.trapezoidal_auprc[0]) for one in areas), strict=True)
    measured = {
        "loss": float(torch.stack(losses).mean()),
        "auroc": float(mean_of_defined(np.array(aurocs))),
        "auprc": float(mean_of_defined(np.array(auprcs))),
    }
    return measured, values


def _checkpoint(
    epoch: int, probe: nn.Linear, optimizer: torch.optim.Optimizer, history: Mapping[str, list]
) -> dict[str, Any]:
    def copied(value: Any) -> Any:
        if torch.is_tensor(value):
            return value.detach().cpu().clone()
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        return value

    weights = {f"{LAYER}.{name}": value for name, value in probe.state_dict().items()}
    return {
        "epoch": epoch,
        "state_dict": copied(weights),
        "optimizer": copied(optimizer.state_dict()),
        "best_auprc": history["valid_auprc"][-1],
        **{key: list(history[column]) for column, key in HISTORY.items()},
    }


def _write_store(path: Path, rows: np.ndarray) -> None:
    store = RowStore(path, rows.shape, "float32")
    try:
        store.allocate()
        store.write(range(len(rows)), rows)
        store.publish()
    finally:
        store.discard()


def _write_history(out: Path, best: Mapping[str, Any]) -> None:
    """Write the epochs up to the checkpoint as a table and as pictures."""
    table = pd.DataFrame({column: best[key] for column, key in HISTORY.items()})
    table.index = pd.RangeIndex(1, len(table) + 1, name="checkpoint")
    with replacing(out / "train.csv") as unfinished:
        table.to_csv(unfinished, lineterminator="\n")
    for name in ("loss", "auroc", "auprc"):
        with chart(out / f"{name}.png", 6, 3.5) as axes:
            for column in HISTORY:
                if column.endswith(f"_{name}"):
                    axes.plot(table.index, table[column], label=column.partition("_")[0])
            axes.set(xlabel="epoch", ylabel=name)
            axes.legend(frameon=False)
