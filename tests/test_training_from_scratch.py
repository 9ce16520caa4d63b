"""Runs of the published commands that train classifiers from scratch, on made recordings."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import wfdb

from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.data import LEADS
from fairseq_ecg.inference import load_model
from tests.conftest import USER_DIR
from tests.test_training import assert_same_weights, torchrun, weights

RECORDINGS, SAMPLES, RATE = 24, 320, 250

SMALL_TRANSFORMER = (
    "model.encoder_layers=1",
    "model.encoder_embed_dim=16",
    "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2",
    "+model.conv_feature_layers='[(8, 2, 2)] * 4'",
    "+model.conv_pos=4",
    "+model.conv_pos_groups=2",
)
CONFIGS = {
    "diagnosis_physionet2021": SMALL_TRANSFORMER,
    "multi_head_cls_path_dataset": SMALL_TRANSFORMER,
    "multi_label_cls_path_dataset": SMALL_TRANSFORMER,
    "nejedly2021_total": ("+model.num_blocks=2", "+model.num_filters=16"),
    "se_wrn_total": ("+model.num_blocks=1", "+model.num_filters='[8, 8, 16]'"),
}
"""What makes the networks small, by config."""


def is_path_data(config: str) -> bool:
    return config != "diagnosis_physionet2021"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Manifests by kind of data, of beats whose rate and size two labels tell.

    ``segments`` hold ECGs and labels; files of ``labels`` and ``heads`` name WFDB records of some
    leads, and answer both heads or one.
    """
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / RATE
    rows = {kind: [] for kind in ("segments", "labels", "heads")}
    for kind in rows:
        (folder / kind).mkdir()
    for number in range(RECORDINGS):
        fast, large = number % 2, number // 2 % 2
        beats = np.exp(-(((time * (1 + 2 * fast) + rng.uniform()) % 1 - 0.5) ** 2) * 300)
        ecg = (1 + 3 * large) * rng.uniform(0.5, 1, (12, 1)) * beats
        ecg = (ecg + 0.05 * rng.normal(size=ecg.shape)).astype(np.float32)
        name = f"record_{number}"
        wfdb.wrsamp(
            name, fs=RATE, units=["mV"] * 12, sig_name=list(LEADS), p_signal=ecg.T.astype(float),
            fmt=["16"] * 12, write_dir=str(folder),
        )  # fmt: skip
        leads = np.sort(rng.choice(12, rng.integers(3, 13), replace=False))
        named = {"ecg_path": str(folder / name), "lead": leads, "curr_sample_rate": RATE}
        label = np.array([fast, large])
        asked = np.array([0, 1])[: 1 + number % 3 // 2] if number % 5 else np.array([1])
        for kind, variables in {
            "segments": {"feats": ecg, "curr_sample_rate": RATE, "label": label, "idx": number},
            "labels": named | {"label": label},
            "heads": named | {"label": label[asked], "target_idx": asked, "attribute_id": asked},
        }.items():
            scipy.io.savemat(folder / kind / f"{number}.mat", variables)
            rows[kind].append(f"{number}.mat\t{SAMPLES}\n")
    for kind, lines in rows.items():
        for split in ("train", "valid", "test"):
            (folder / kind / f"{split}.tsv").write_text(f"{folder / kind}\n{''.join(lines)}")
    return folder


def data_of(config: str, recordings: Path) -> Path:
    kinds = {"diagnosis_physionet2021": "segments", "multi_label_cls_path_dataset": "labels"}
    return recordings / kinds.get(config, "heads")


def command_of(config: str, recordings: Path, folder: Path) -> list[str]:
    return [
        USER_DIR,
        f"--config-name={config}",
        f"task.data={data_of(config, recordings)}",
        "model.num_labels=2",
        *CONFIGS[config],
        "dataset.batch_size=8",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "dataset.required_batch_size_multiple=1",
        f"checkpoint.save_dir={folder}",
        "common.log_format=csv",
        "common.log_interval=1",
    ]


@pytest.fixture(scope="module", params=CONFIGS)
def run(request, recordings, hydra_train, tmp_path_factory) -> tuple[str, Path]:
    """Name of a config, and the folder of two updates of its run."""
    folder = tmp_path_factory.mktemp(request.param)
    command = command_of(request.param, recordings, folder)
    hydra_train(*command, "optimization.max_update=2", cwd=folder).check()
    return request.param, folder


def test_two_updates_of_every_config(run, recordings):
    _, folder = run
    state = torch.load(folder / "checkpoint_last.pt", weights_only=True)
    assert state["optimizer_history"][-1]["num_updates"] == 2
    assert all(torch.isfinite(x).all() for x in state["model"].values())
    assert not {"lora_rank", "freeze_layers"} & state["cfg"]["model"].keys()


def test_checkpoints_are_evaluated_by_the_published_config(run, recordings, hydra_validate):
    config, folder = run
    data = data_of(config, recordings)
    result = hydra_validate(
        USER_DIR,
        "--config-name=infer_classification",
        f"task.data={data}",
        f"common_eval.path={folder / 'checkpoint_last.pt'}",
        "dataset.num_workers=0",
        *(() if is_path_data(config) else ("task.path_dataset=false",)),
        cwd=folder,
    ).check()
    names = {"loss", "accuracy", "auroc", "auprc"}
    if data.name == "heads":
        names |= {f"attribute_id_{i}_{x}" for i in (0, 1) for x in ("accuracy", "auroc", "auprc")}
    assert all(f" | {name} " in result.log for name in names)


def test_checkpoints_predict(run):
    _, folder = run
    with pytest.warns(UserWarning, match="its labels have no names"):
        model = load_model(folder / "checkpoint_last.pt", device="cpu")
    ecg = np.random.default_rng(0).normal(size=(12, 2 * SAMPLES))
    predicted = model.predict(ecg, sample_rate=RATE).table[["label_0", "label_1"]]
    assert predicted.to_numpy().shape == (1, 2)
    assert predicted.to_numpy().min() > 0
    assert model.embed(ecg, sample_rate=RATE).table.notna().all(axis=None)


@pytest.mark.parametrize("config", ["nejedly2021_total", "se_wrn_total"])
class TestResNets:
    def test_killed_and_started_again(self, config, recordings, hydra_train, tmp_path):
        folders = [tmp_path / "whole", tmp_path / "killed"]
        commands = [
            [*command_of(config, recordings, folder), "optimization.max_update=6",
             "checkpoint.save_interval_updates=1"]
            for folder in folders
        ]  # fmt: skip
        hydra_train(*commands[0], cwd=tmp_path).check()
        assert hydra_train(*commands[1], cwd=tmp_path, kill=("update", 5)).status == -9
        assert "Loaded checkpoint" in hydra_train(*commands[1], cwd=tmp_path).check().log
        assert_same_weights(*folders)

    def test_bf16(self, config, recordings, hydra_train, tmp_path):
        command = command_of(config, recordings, tmp_path)
        hydra_train(*command, "common.bf16=true", "optimization.max_update=4", cwd=tmp_path).check()
        assert all(torch.isfinite(x).all() for x in weights(tmp_path).values())

    def test_learns(self, config, recordings, hydra_train, tmp_path):
        hydra_train(
            *command_of(config, recordings, tmp_path),
            "optimization.max_update=60",
            "optimization.lr=[0.01]",
            "dataset.validate_interval=20",
            cwd=tmp_path,
        ).check()
        with next(tmp_path.glob("outputs/*/*/valid.csv")).open(newline="") as file:
            accuracies = [float(row["accuracy"]) for row in csv.DictReader(file)]
        assert accuracies[-1] > 0.9


@pytest.mark.parametrize("golden", ["nejedly_multihead", "se_wrn"])
def test_resuming_a_run_of_fairseq_signals(golden, shared, recordings, hydra_train, tmp_path):
    checkpoint = shared / "golden" / "rest" / f"{golden}.pt"
    shutil.copy(checkpoint, tmp_path / "checkpoint_last.pt")
    before = load_checkpoint(checkpoint)
    number = before["optimizer_history"][-1]["num_updates"]
    if golden == "se_wrn":
        np.save(tmp_path / "y.npy", np.tile([[0, 1, 1, 0], [1, 1, 0, 0]], (RECORDINGS // 2, 1)))
        config, of_criterion = "se_wrn_total", "binary_cross_entropy_with_logits"
        options = ["task.path_dataset=false", f"+task.label_file={tmp_path / 'y.npy'}"]
        options += [f"task.data={recordings / 'segments'}", "~criterion.log_per_class"]
        options += ["~criterion.per_log_keys", f"criterion._name={of_criterion}"]
    else:
        config, options = "nejedly2021_total", []
    named = {option.split("=")[0] for option in options} | {"model.num_labels"}
    command = [
        option
        for option in command_of(config, recordings, tmp_path)
        if option.split("=")[0] not in named and option not in CONFIGS[config]
    ]
    model = before["cfg"]["model"]
    schedule = before["cfg"]["lr_scheduler"]["_name"]
    options += [f"lr_scheduler._name={schedule}", "~lr_scheduler.phase_ratio"]
    options += ["~lr_scheduler.final_lr_scale"]
    names = ("num_labels", "num_blocks", "num_filters", "kernel_size", "ratio")
    options += [f'++model.{name}="{model[name]}"' for name in names if name in model]
    run = hydra_train(
        *command,
        *options,
        "dataset.disable_validation=true",
        f"optimization.max_update={number + 2}",
        cwd=tmp_path,
    ).check()
    assert "Loaded checkpoint" in run.log
    after = load_checkpoint(tmp_path / "checkpoint_last.pt")
    assert after["optimizer_history"][-1]["num_updates"] == number + 2
    states = [state["last_optimizer_state"]["state"][0] for state in (before, after)]
    assert states[1]["step"] == states[0]["step"] + 2
    # The second moment of the updates before is still in it.
    assert (states[1]["exp_avg_sq"] >= 0.99 * 0.98**2 * states[0]["exp_avg_sq"]).all()
    # fairseq_signals builds both of these and refuses keys that it does not know.
    for part in ("model", "criterion"):
        assert after["cfg"][part].keys() == before["cfg"][part].keys()


CONVNET = """
task: {_name: ecg_classification, data: "???"}
dataset: {num_workers: 0, required_batch_size_multiple: 1, disable_validation: true}
criterion: {_name: mse}
optimization: {max_update: 3, lr: [0.01]}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
model: {_name: convnet, conv_feature_layers: "[(8, 4, 4)] * 2", output_dim: 2}
"""


def test_two_processes_train_as_one(recordings, hydra_train, tmp_path):
    """So does a network without batch norm, whose statistics are those of a process."""
    (tmp_path / "small.yaml").write_text(CONVNET)
    command = [USER_DIR, f"--config-dir={tmp_path}", "--config-name=small"]
    command += [f"task.data={recordings / 'segments'}"]
    one = ["dataset.batch_size=4", "optimization.update_freq=[2]"]
    hydra_train(*command, *one, f"checkpoint.save_dir={tmp_path / 'one'}", cwd=tmp_path).check()
    two = ["dataset.batch_size=4", "distributed_training.distributed_world_size=2"]
    torchrun(*command, *two, f"checkpoint.save_dir={tmp_path / 'two'}", cwd=tmp_path)
    expected = weights(tmp_path / "one")
    for key, found in weights(tmp_path / "two").items():
        torch.testing.assert_close(found, expected[key], rtol=1e-5, atol=1e-7, msg=key)
