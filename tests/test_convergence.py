"""Backends and precisions learn what fairseq_signals' formulas learn, and contrasts learn."""

import csv
import statistics
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fairseq_ecg.ops.backends import missing
from tests.conftest import TINY_ENCODER, TINY_MODEL, USER_DIR

UPDATES = 200
SAME = 0.005
LOW_PRECISION = 0.05
"""Shares of what the reference's loss falls by in training, by which others may end elsewhere."""

NO_DROPOUT = (
    "+model.dropout=0.0",
    "+model.attention_dropout=0.0",
    "model.dropout_input=0.0",
    "model.dropout_features=0.0",
)
"""Backends draw dropout from streams of their own, and all else from the same ones."""


def write_recordings(folder: Path, amplitude: float = 1.0) -> Path:
    """Write 32 pairs of segments, each recording with a rhythm and a shape of its own.

    ``train.tsv`` lists the pairs, ``single/train.tsv`` the segments.
    """
    rng = np.random.RandomState(0)
    time = np.arange(1280) / 500
    pairs, segments = [], []
    for record in range(32):
        rate, phase = rng.uniform(1, 3), rng.uniform(0, 1, 12)
        beats = np.exp(-(((time * rate + phase[:, None] * 0.1) % 1 - 0.5) ** 2) * 400)
        ecg = rng.normal(size=(12, 1)) * beats + 0.05 * rng.normal(size=(12, 1280))
        for segment in (0, 1):
            feats = amplitude * ecg[:, 640 * segment : 640 * segment + 640]
            mat = {"feats": feats, "curr_sample_rate": 500, "idx": record}
            scipy.io.savemat(folder / f"{record}_{segment}.mat", mat)
            segments.append(f"{record}_{segment}.mat\t640\n")
        pairs.append(f"{record}\t640\t0\t0,1\n")
    (folder / "train.tsv").write_text(f"{folder}\nmat\n{''.join(pairs)}")
    (folder / "single").mkdir()
    (folder / "single" / "train.tsv").write_text(f"{folder}\n{''.join(segments)}")
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def loud_recordings(tmp_path_factory) -> Path:
    """Louder than the noise of augmentations."""
    return write_recordings(tmp_path_factory.mktemp("loud_recordings"), amplitude=10.0)


@pytest.fixture(scope="module")
def losses(hydra_train, recordings, tmp_path_factory):
    """Train with options; mean losses of the first and of the last 20 updates."""

    def train(*options: str) -> tuple[float, float]:
        folder = tmp_path_factory.mktemp("run")
        hydra_train(
            USER_DIR,
            "--config-name=w2v_cmsc_rlm",
            f"task.data={recordings}",
            "distributed_training.distributed_world_size=1",
            "dataset.batch_size=8",
            "dataset.num_workers=0",
            "dataset.disable_validation=true",
            "optimization.update_freq=[1]",
            "optimization.lr=[2e-3]",
            f"optimization.max_update={UPDATES}",
            "optimization.max_epoch=0",
            "common.log_format=csv",
            "common.log_interval=1",
            "checkpoint.no_save=true",
            *TINY_MODEL,
            *NO_DROPOUT,
            *options,
            cwd=folder,
        ).check()
        with next(folder.glob("outputs/*/*/train_inner.csv")).open(newline="") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert len(losses) == UPDATES
        return statistics.mean(losses[:20]), statistics.mean(losses[-20:])

    return train


@pytest.fixture(scope="module")
def reference(losses) -> tuple[float, float]:
    """Losses of fairseq_signals' formulas in float32."""
    first, last = losses("+task.backend=reference")
    assert last < 0.9 * first
    return first, last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "margin"),
    [
        ("+task.backend=torch", SAME),
        ("+task.backend=cpu", SAME),
        ("common.bf16=true", LOW_PRECISION),
        ("common.amp=true", LOW_PRECISION),
    ],
)
def test_losses_fall_as_far_as_the_references(losses, reference, option, margin):
    if option.endswith("=cpu") and (reason := missing("cpu")) is not None:
        pytest.skip(reason)
    first, last = reference
    _, found = losses(option)
    assert found == pytest.approx(last, abs=margin * (first - last))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "manifest"),
    [
        *(("simclr_rlm", "single"), ("simclr_augs", "single"), ("3kg", "single")),
        *(("cmsc", ""), ("cmsc_rlm", "")),
    ],
)
def test_every_contrast_learns(config, manifest, loud_recordings, hydra_train, tmp_path):
    """Recordings whose rhythms and shapes differ become more alike to themselves than to others."""
    hydra_train(
        USER_DIR,
        f"--config-name={config}",
        f"task.data={loud_recordings / manifest}",
        "distributed_training.distributed_world_size=1",
        "dataset.batch_size=16",
        "dataset.num_workers=0",
        "dataset.disable_validation=true",
        "optimization.lr=[4e-3]",
        "model.feature_grad_mult=1.0",
        f"optimization.max_update={UPDATES}",
        "optimization.max_epoch=0",
        "common.log_format=csv",
        "common.log_interval=1",
        "checkpoint.no_save=true",
        *TINY_ENCODER,
        *NO_DROPOUT,
        cwd=tmp_path,
    ).check()
    with next(tmp_path.glob("outputs/*/*/train_inner.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == UPDATES
    means = {
        key: [statistics.mean(float(row[key]) for row in part) for part in (rows[:20], rows[-20:])]
        for key in ("loss", "accuracy")
        if key in rows[0]
    }
    assert means["loss"][1] < 0.9 * means["loss"][0]
    if "accuracy" in means:
        assert means["accuracy"][1] > 1.5 * means["accuracy"][0]
