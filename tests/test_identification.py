"""Identification of patients by fairseq's programs, on simulated ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.prepare.pack import pack
from tests.conftest import TINY_CMSC_MODEL, USER_DIR
from tests.patients import write_patients
from tests.tiny_checkpoints import made

SIZES = {
    "encoder_layers": 1,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "'[(32, 4, 4), (32, 4, 4)]'",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "feature_grad_mult": 1.0,
}
SMALL = [f"++model.{key}={value}" for key, value in SIZES.items()]
CONFIGS = ("identification", "w2v_identification", "scratch_identification")
COMMON = [
    USER_DIR,
    "dataset.num_workers=0",
    "common.log_format=csv",
    "lr_scheduler._name=fixed",
    "~lr_scheduler.phase_ratio",
    "~lr_scheduler.final_lr_scale",
]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A few short recordings, in files and in a store, and a pre-trained network."""
    folder = tmp_path_factory.mktemp("few")
    counts = {"train": (4, 2), "valid_gallery": (5, 1), "valid_probe": (5, 1)}
    write_patients(folder, counts, n_samples=400)
    pack(folder, folder / "store")
    torch.save(made(TINY_CMSC_MODEL), folder / "pretrained.pt")
    return folder


def scores(folder: Path, name: str = "valid") -> list[dict[str, float]]:
    """Rows that a run wrote of a subset."""
    (path,) = folder.glob(f"outputs/*/*/{name}.csv")
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return [{key: float(x) for key, x in row.items() if x} for row in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


@pytest.mark.parametrize(
    ("config", "data", "options"),
    [
        *[(config, data, []) for config in CONFIGS for data in ("", "store")],
        ("identification", "", ["common.bf16=true"]),
    ],
)
def test_published_configurations_train(config, data, options, few, hydra_train, tmp_path):
    of_network = [f"model.model_path={few / 'pretrained.pt'}"]
    if config == "scratch_identification":
        of_network = SMALL
    hydra_train(
        f"--config-name={config}",
        USER_DIR,
        f"task.data={few / data}",
        "model.num_labels=4",
        "dataset.num_workers=0",
        "dataset.batch_size=8",
        "optimization.max_update=2",
        "common.log_format=csv",
        f"checkpoint.save_dir={tmp_path}",
        *of_network,
        *options,
        cwd=tmp_path,
    ).check()
    assert next(iter(weights(tmp_path))) == "kernel"
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    assert all(row["loss"] == 0 and 0 <= row["accuracy"] <= 1 for row in scores(tmp_path))


@pytest.fixture(scope="module")
def trained(hydra_train, tmp_path_factory):
    """A network that was trained on simulated patients, and the folder of its run."""
    data = tmp_path_factory.mktemp("patients")
    write_patients(data)
    folder = tmp_path_factory.mktemp("run")
    hydra_train(
        "--config-name=scratch_identification",
        *COMMON,
        *SMALL,
        f"task.data={data}",
        "+task.visualize=true",
        "model.num_labels=100",
        "dataset.batch_size=20",
        "criterion.scale=16",
        "criterion.margin=0.3",
        "optimization.lr=[3e-3]",
        "optimization.max_epoch=8",
        "checkpoint.best_checkpoint_metric=accuracy",
        "checkpoint.maximize_best_checkpoint_metric=true",
        f"checkpoint.save_dir={folder}",
        cwd=folder,
    ).check()
    return data, folder


def test_simulated_patients_are_found(trained):
    _, folder = trained
    rows = scores(folder)
    best = max(row["accuracy"] for row in rows)
    assert best > 0.9
    assert best > rows[0]["accuracy"]
    assert rows[-1]["eer"] < rows[0]["eer"]
    assert rows[-1]["verification_auroc"] > 0.95
    state = torch.load(folder / "checkpoint_best.pt", weights_only=True)
    assert state["extra_state"]["best"] == best
    updates = int(rows[-1]["step"])
    names = {path.name for path in folder.glob("outputs/*/*/imgs/*.png")}
    assert {f"valid_{updates}.png", f"valid_{updates}_roc.png"} <= names
    assert len(names) == 2 * len(rows)


@pytest.mark.parametrize("processes", [1, 2])
def test_validation_gives_the_same_and_writes_embeddings(
    processes, trained, hydra_validate, tmp_path
):
    data, folder = trained
    run = hydra_validate(
        f"common_eval.path={folder / 'checkpoint_best.pt'}",
        f"task.data={data}",
        "dataset.valid_subset=valid",
        "dataset.batch_size=10",
        "dataset.num_workers=0",
        "common.log_format=csv",
        "common_eval.extract=[output]",
        f"common_eval.results_path={tmp_path}",
        f"distributed_training.distributed_world_size={processes}",
        cwd=tmp_path,
        processes=processes,
    ).check()
    # Of several that are equally good fairseq keeps the last.
    best = max(reversed(scores(folder)), key=lambda row: row["accuracy"])
    (row,) = scores(tmp_path)
    for name in ("loss", "accuracy", "eer", "eer_threshold", "verification_auroc"):
        assert row[name] == pytest.approx(best[name], abs=1e-5), run.log[-3000:]
    embeddings = np.array(MemmapReader.from_header(tmp_path / "outputs_valid.npy")[:])
    assert embeddings.shape == (25, 32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert np.unique(embeddings[:, 0]).size == 25
    names = sorted(path.name for path in tmp_path.glob("outputs/*/*/imgs/*"))
    assert names == ["valid_0.png", "valid_0_roc.png"]


def test_two_processes_train_and_validate_as_one(few, hydra_train, tmp_path):
    """Three probes of a process and two of the other; the encoder is frozen at first."""
    for processes, every in ((1, 2), (2, 1)):
        folder = tmp_path / str(processes)
        folder.mkdir()
        hydra_train(
            "--config-name=identification",
            *COMMON,
            f"task.data={few}",
            f"model.model_path={few / 'pretrained.pt'}",
            "model.num_labels=4",
            "model.freeze_finetune_updates=1",
            "dataset.batch_size=2",
            "dataset.required_batch_size_multiple=1",
            "optimization.lr=[1e-2]",
            "optimization.max_epoch=2",
            f"optimization.update_freq=[{every}]",
            f"distributed_training.distributed_world_size={processes}",
            f"checkpoint.save_dir={folder}",
            cwd=folder,
            processes=processes,
        ).check()
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=key)
    for row, other in zip(*(scores(tmp_path / name) for name in "12"), strict=True):
        for name in ("loss", "accuracy", "eer", "verification_auroc"):
            assert other[name] == pytest.approx(row[name], abs=1e-6)


def test_a_killed_run_ends_as_one_that_was_not(few, hydra_train, tmp_path):
    def command(folder: Path) -> list[str]:
        return [
            "--config-name=identification",
            *COMMON,
            f"task.data={few / 'store'}",
            f"model.model_path={few / 'pretrained.pt'}",
            "model.num_labels=4",
            "++model.activation_dropout=0.3",
            "dataset.batch_size=4",
            "optimization.max_epoch=3",
            "checkpoint.save_interval_updates=1",
            f"checkpoint.save_dir={folder}",
        ]

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    hydra_train(*command(tmp_path / "whole"), cwd=tmp_path / "whole").check()
    folder = tmp_path / "killed"
    assert hydra_train(*command(folder), cwd=folder, kill=("update", 4)).status == -9
    assert "Loaded checkpoint" in hydra_train(*command(folder), cwd=folder).check().log
    whole, resumed = weights(tmp_path / "whole"), weights(folder)
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())
