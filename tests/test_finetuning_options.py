"""Runs of ``fairseq-hydra-train`` with what fairseq_signals' users forked it for."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.models import build_model_from_checkpoint
from tests.conftest import ROOT


def finetune(hydra_train, code_15, shared, folder: Path, *options: str, config: str = "diagnosis"):
    """Fine-tune the small recorded encoder on the real segments."""
    return hydra_train(
        f"common.user_dir={ROOT / 'fairseq_ecg'}",
        f"--config-name={config}",
        f"task.data={code_15 / 'plain'}",
        f"model.model_path={shared / 'golden' / 'pretrain_small.pt'}",
        "optimization.lr=[1e-02]",
        "optimization.max_epoch=2",
        "dataset.batch_size=8",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "distributed_training.distributed_world_size=1",
        f"checkpoint.save_dir={folder}",
        "common.log_format=csv",
        *options,
        cwd=folder,
    )


def labelled(shared: Path) -> list[str]:
    labels = shared / "ecg" / "code_15" / "labels" / "y.npy"
    return ["model.num_labels=8", f"+task.label_file={labels}"]


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with next(folder.glob(f"outputs/*/*/{name}.csv")).open(newline="") as file:
        return list(csv.DictReader(file))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(folder, "train")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("frozen layers", ["+model.freeze_layers=1", "+model.pooling=max"]),
        ("frozen encoder", ["+model.freeze_layers=-1", "+model.pooling=attentive"]),
        ("lora", ["+model.lora_rank=4", "+model.lora_targets=[q_proj,v_proj,fc1]"]),
        ("focal loss", ["criterion._name=focal_loss", "+criterion.gamma=1"]),
        ("asymmetric loss", ["criterion._name=asymmetric_loss"]),
    ],
)
def test_option_trains(name, options, hydra_train, code_15, shared, tmp_path):
    finetune(hydra_train, code_15, shared, tmp_path, *labelled(shared), *options).check()
    first, second = losses(tmp_path)
    assert second < first
    checkpoint = tmp_path / "checkpoint_last.pt"
    model = build_model_from_checkpoint(checkpoint)
    stored = torch.load(checkpoint, weights_only=True)["model"]
    assert set(stored) == set(model.state_dict())
    before = torch.load(shared / "golden" / "pretrain_small.pt", weights_only=True)["model"]
    changed = {
        key.removeprefix("encoder.")
        for key, value in stored.items()
        if key.startswith("encoder.")
        and "lora" not in key
        and not torch.equal(value, before[key.removeprefix("encoder.")])
    }
    if name in ("frozen encoder", "lora"):
        assert not changed
    elif name == "frozen layers":
        assert changed
        assert all(key.startswith("encoder.layers.1.") for key in changed)
    if name == "lora":
        assert stored["encoder.encoder.layers.0.fc1.lora_up"].any()


def test_early_stopping_on_macro_auroc(hydra_train, code_15, shared, tmp_path):
    finetune(
        hydra_train,
        code_15,
        shared,
        tmp_path,
        *labelled(shared),
        "optimization.max_epoch=30",
        "optimization.lr=[1e-12]",
        "checkpoint.best_checkpoint_metric=macro_auroc",
        "checkpoint.maximize_best_checkpoint_metric=true",
        "checkpoint.patience=2",
        "checkpoint.no_epoch_checkpoints=true",
    ).check()
    # Weights that hardly move never do better than after the first epoch.
    scores = [float(row["macro_auroc"]) for row in rows(tmp_path, "valid")]
    assert len(scores) == 3
    best = torch.load(tmp_path / "checkpoint_best.pt", weights_only=True)["extra_state"]["best"]
    assert best == pytest.approx(max(scores), abs=1e-6)


def test_regression(hydra_train, code_15, shared, tmp_path):
    generator = np.random.default_rng(0)
    targets = np.stack([generator.normal(55, 15, size=10), generator.normal(size=10)], axis=1)
    targets[4, 1] = np.nan
    np.save(tmp_path / "y.npy", targets)
    finetune(
        hydra_train,
        code_15,
        shared,
        tmp_path,
        "model.num_labels=2",
        f"task.label_file={tmp_path / 'y.npy'}",
        "criterion.target_mean=[55,0]",
        "criterion.target_std=[15,1]",
        "task.missing_labels=ignore",
        "optimization.max_epoch=4",
        "checkpoint.patience=-1",
        config="regression",
    ).check()
    first, *_, last = losses(tmp_path)
    assert last < first
    measures = rows(tmp_path, "valid")[-1]
    assert 0 < float(measures["mae"]) <= float(measures["rmse"]) < 15
    assert float(measures["pearson"]) > 0


def test_missing_target_is_an_error_by_default(hydra_train, code_15, shared, tmp_path):
    np.save(tmp_path / "y.npy", np.full((10, 1), np.nan))
    run = finetune(
        hydra_train,
        code_15,
        shared,
        tmp_path,
        "model.num_labels=1",
        f"task.label_file={tmp_path / 'y.npy'}",
        config="regression",
    )
    assert run.status != 0
    assert "task.missing_labels=ignore" in run.log
