"""Whole training runs through fairseq's own command, on real ECGs."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.compat.checkpoint import NOTES
from fairseq_ecg.inference import load_model
from tests.conftest import ROOT, TINY_ENCODER, TINY_MODEL, USER_DIR, environment

ONE_PROCESS = "distributed_training.distributed_world_size=1"
PRETRAINING = ROOT / "examples" / "w2v_cmsc" / "config" / "pretraining"
FINETUNING = ROOT / "examples" / "w2v_cmsc" / "config" / "finetuning" / "ecg_transformer"
POS_WEIGHT = "[1.5,2.0,3.0,2.5,1.0,1.0,4.0,0.5]"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert not different


def pretraining(config: str, code_15: Path) -> list[str]:
    """Arguments of a published configuration of pre-training with a small network."""
    data = "cmsc" if "cmsc" in config else "plain"
    tiny = TINY_MODEL if config.startswith("w2v") else TINY_ENCODER
    if config == "w2v_cmsc_rlm_small":
        tiny = ("model.encoder_layers=2", *tiny[1:])
    return [
        USER_DIR,
        f"--config-name={config}",
        f"task.data={code_15 / data}",
        ONE_PROCESS,
        *tiny,
    ]


def columns(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file))


@pytest.fixture(scope="module")
def pretrained(hydra_train, code_15, tmp_path_factory) -> Path:
    """Folder of a run of the published pre-training command with a small network."""
    folder = tmp_path_factory.mktemp("pretrained")
    hydra_train(
        USER_DIR,
        f"task.data={code_15 / 'cmsc'}",
        "dataset.valid_subset=valid",
        "dataset.batch_size=64",
        "dataset.num_workers=2",
        "dataset.disable_validation=false",
        ONE_PROCESS,
        "optimization.update_freq=[2]",
        f"checkpoint.save_dir={folder}",
        "checkpoint.save_interval=2",
        "checkpoint.keep_last_epochs=0",
        "common.log_format=csv",
        "common.log_interval=1",
        "optimization.max_epoch=4",
        *TINY_MODEL,
        f"--config-dir={PRETRAINING}",
        "--config-name=w2v_cmsc_rlm",
        cwd=folder,
    ).check()
    return folder


def test_published_pretraining_command(pretrained):
    run = next(pretrained.glob("outputs/*/*"))
    assert columns(run / "train_inner.csv")[0] == "step"
    assert {"loss", "loss_3", "accuracy", "prob_perplexity", "lr", "gnorm"} <= set(
        columns(run / "train.csv")
    )
    with (run / "valid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[0]["nsignals"]) == 8
    names = {path.name for path in pretrained.glob("*.pt")}
    assert {"checkpoint2.pt", "checkpoint4.pt", "checkpoint_best.pt"} <= names
    assert "checkpoint3.pt" not in names


def test_checkpoint_is_as_fairseq_signals_writes_it(pretrained, shared):
    ours = torch.load(pretrained / "checkpoint_last.pt", weights_only=True)
    theirs = torch.load(shared / "golden" / "pretrain_small.pt", weights_only=True)
    assert set(ours) == set(theirs)
    assert type(ours["cfg"]) is dict
    assert list(ours["model"]) == list(theirs["model"])
    assert set(theirs["cfg"]["task"]) <= set(ours["cfg"]["task"])
    # fairseq_signals builds both from this and refuses keys that it does not know.
    for part in ("model", "criterion"):
        assert set(ours["cfg"][part]) == set(theirs["cfg"][part])
    history, recorded = ours["optimizer_history"][-1], theirs["optimizer_history"][-1]
    for name in ("criterion_name", "optimizer_name"):
        assert history[name] == recorded[name]
    state, recorded = ours["last_optimizer_state"], theirs["last_optimizer_state"]
    assert set(state["state"]) == set(recorded["state"])
    assert {type(value) for value in state["state"][0].values()} == {int, torch.Tensor}


@pytest.fixture(scope="module")
def finetuned(hydra_train, code_15, shared, pretrained, tmp_path_factory) -> Path:
    """Folder of a run of the published fine-tuning command on :func:`pretrained`."""
    folder = tmp_path_factory.mktemp("finetuned")
    hydra_train(
        *finetuning(code_15, shared, pretrained / "checkpoint_last.pt", folder),
        "optimization.max_epoch=2",
        "dataset.disable_validation=false",
        "checkpoint.best_checkpoint_metric=macro_auroc",
        "checkpoint.maximize_best_checkpoint_metric=true",
        cwd=folder,
    ).check()
    return folder


def finetuning(code_15: Path, shared: Path, encoder: Path, folder: Path) -> list[str]:
    return [
        USER_DIR,
        f"--config-dir={FINETUNING}",
        "--config-name=diagnosis",
        f"task.data={code_15 / 'plain'}",
        f"model.model_path={encoder}",
        "model.num_labels=8",
        "optimization.lr=[1e-03]",
        "dataset.batch_size=256",
        "dataset.num_workers=0",
        ONE_PROCESS,
        "distributed_training.find_unused_parameters=True",
        f"checkpoint.save_dir={folder}",
        "checkpoint.save_interval=1",
        "checkpoint.keep_last_epochs=0",
        "common.log_format=csv",
        f"+task.label_file={shared / 'ecg' / 'code_15' / 'labels' / 'y.npy'}",
        f"+criterion.pos_weight={POS_WEIGHT}",
    ]


def test_published_finetuning_command(finetuned, shared):
    theirs = torch.load(shared / "golden" / "diagnosis_small.pt", weights_only=True)
    state = torch.load(finetuned / "checkpoint_best.pt", weights_only=True)
    for part in ("model", "criterion"):  # as above
        assert set(state["cfg"][part]) == set(theirs["cfg"][part])
    assert state["cfg"]["model"]["encoder_embed_dim"] == 32
    assert state["model"]["proj.weight"].shape == (8, 32)
    assert 0 <= state["extra_state"]["best"] <= 1
    run = next(finetuned.glob("outputs/*/*"))
    assert {"auroc", "auprc", "macro_auroc", "f1"} <= set(columns(run / "valid.csv"))


def test_checkpoints_carry_what_their_users_need(finetuned, pretrained):
    model = load_model(finetuned / "checkpoint_best.pt")
    assert model.labels[1:3] == ("1dAVb", "RBBB")
    assert (model.preprocessing.sample_rate, model.preprocessing.segment_seconds) == (500, 5)
    state = torch.load(pretrained / "checkpoint_last.pt", weights_only=True)
    assert state["task_state"] == {NOTES: {"sample_rate": 500.0, "segment_seconds": 5.0}}


def test_every_recording_is_seen_once_an_epoch(finetuned):
    run = next(finetuned.glob("outputs/*/*"))
    with (run / "train.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    # 14 segments make a batch of 8 and one of 6.
    assert float(row["nsignals"]) == 7
    assert float(row["num_updates"] if "num_updates" in row else row["step"]) == 2


def test_finetuned_encoder_can_be_tuned_further(hydra_train, code_15, shared, finetuned, tmp_path):
    hydra_train(
        *finetuning(code_15, shared, finetuned / "checkpoint_last.pt", tmp_path),
        "optimization.max_epoch=1",
        cwd=tmp_path,
    ).check()
    key = "encoder.feature_extractor.conv_layers.0.0.weight"
    torch.testing.assert_close(weights(tmp_path)[key], weights(finetuned)[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("golden", "config", "options"),
    [
        (
            "pretrain_small",
            "w2v_cmsc_rlm",
            ["model.final_dim=32", "+model.latent_vars=16", "+model.num_negatives=10"],
        ),
        (
            "diagnosis_small",
            "diagnosis",
            ["model.num_labels=8", "model.no_pretrained_weights=true"],
        ),
        ("rest/simclr", "simclr_rlm", []),
        ("rest/threekg", "3kg", []),
        ("rest/cmsc", "cmsc_rlm", []),
    ],
)
def test_resuming_a_run_of_fairseq_signals(
    golden, config, options, hydra_train, code_15, shared, tmp_path
):
    checkpoint = shared / "golden" / f"{golden}.pt"
    shutil.copy(checkpoint, tmp_path / "checkpoint_last.pt")
    before = torch.load(checkpoint, weights_only=not golden.startswith("rest"))
    n_updates = before["optimizer_history"][-1]["num_updates"] + 2
    model = [
        f"++model.{name}={before['cfg']['model'][name]!r}".replace("'[(", '"[(').replace("4'", '4"')
        for name in (
            "encoder_layers",
            "encoder_embed_dim",
            "encoder_ffn_embed_dim",
            "encoder_attention_heads",
            "conv_feature_layers",
            "conv_pos",
            "conv_pos_groups",
        )
    ]
    if config == "diagnosis":
        labels = shared / "ecg" / "code_15" / "labels" / "y.npy"
        options = [*options, f"+task.label_file={labels}", "dataset.disable_validation=true"]
    run = hydra_train(
        USER_DIR,
        f"--config-name={config}",
        f"task.data={code_15 / ('cmsc' if 'cmsc' in config else 'plain')}",
        ONE_PROCESS,
        f"checkpoint.save_dir={tmp_path}",
        "dataset.batch_size=4",
        "dataset.num_workers=0",
        "optimization.lr=[1e-4]",
        f"optimization.max_update={n_updates}",
        *model,
        *options,
        cwd=tmp_path,
    ).check()
    after = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert "Loaded checkpoint" in run.log
    assert list(after["model"]) == list(before["model"])
    assert set(after["cfg"]["criterion"]) == set(before["cfg"]["criterion"])
    assert after["optimizer_history"][-1]["num_updates"] == n_updates
    assert after["last_optimizer_state"]["state"][0]["step"] == n_updates
    moments = [s["last_optimizer_state"]["state"][0]["exp_avg_sq"] for s in (before, after)]
    # Two steps at beta 0.98 leave most of the second moment of 20 steps as it was.
    torch.testing.assert_close(moments[1], moments[0] * 0.98**2, rtol=1.0, atol=1e-3)


class TestKilledRuns:
    """A run that was killed and started again ends as one that was not."""

    @pytest.fixture(
        scope="class",
        params=[
            *[("w2v_cmsc_rlm", 0), ("w2v_cmsc_rlm", 2)],
            *[("simclr_augs", 0), ("3kg", 2), ("cmsc", 0)],
        ],
        ids=lambda param: "-".join(map(str, param)),
    )
    @classmethod
    def reference(cls, request, hydra_train, code_15, tmp_path_factory):
        folder = tmp_path_factory.mktemp("reference")
        config, workers = request.param
        command = [*cls.command(config, code_15), f"dataset.num_workers={workers}"]
        hydra_train(*command, f"checkpoint.save_dir={folder}", cwd=folder).check()
        return command, folder

    @staticmethod
    def command(config: str, code_15: Path) -> list[str]:
        return [
            *pretraining(config, code_15),
            f"dataset.batch_size={2 if 'cmsc' in config else 4}",
            "dataset.required_batch_size_multiple=1",
            "dataset.disable_validation=false",
            "dataset.valid_subset=valid",
            "++optimization.update_freq=[1]",
            "optimization.max_epoch=3",
            "checkpoint.save_interval_updates=1",
            "+model.encoder_layerdrop=0.2",
        ]

    @pytest.mark.parametrize(
        "kill",
        [("update", 4), ("save", 4), ("copy", 5)],
        ids=["in an update", "writing a checkpoint", "copying a checkpoint"],
    )
    def test_killed_and_started_again(self, reference, kill, hydra_train, tmp_path):
        command, uninterrupted = reference
        command = [*command, f"checkpoint.save_dir={tmp_path}"]
        assert hydra_train(*command, cwd=tmp_path, kill=kill).status == -9
        resumed = hydra_train(*command, cwd=tmp_path).check()
        assert "Loaded checkpoint" in resumed.log
        assert_same_weights(tmp_path, uninterrupted)


def torchrun(*arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--standalone", "--module", "fairseq_cli.hydra_train"]
    command += sorted(arguments, key=lambda argument: not argument.startswith("--"))
    result = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]


def test_two_processes_train_as_one(hydra_train, code_15, tmp_path):
    command = [
        USER_DIR,
        "--config-name=w2v_cmsc_rlm",
        f"task.data={code_15 / 'cmsc'}",
        "dataset.batch_size=1",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        "optimization.max_epoch=2",
        *TINY_MODEL,
    ]
    hydra_train(
        *command,
        ONE_PROCESS,
        "optimization.update_freq=[2]",
        f"checkpoint.save_dir={tmp_path / 'one'}",
        cwd=tmp_path,
    ).check()
    torchrun(
        *command,
        "distributed_training.distributed_world_size=2",
        "optimization.update_freq=[1]",
        f"checkpoint.save_dir={tmp_path / 'two'}",
        cwd=tmp_path,
    )
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-5, atol=1e-7, msg=key)


@pytest.mark.parametrize("config", ["w2v_cmsc_rlm", "simclr_augs", "3kg", "cmsc"])
def test_bf16_trains(config, hydra_train, code_15, tmp_path):
    run = hydra_train(
        *pretraining(config, code_15),
        "common.bf16=true",
        "dataset.batch_size=4",
        "dataset.num_workers=0",
        "optimization.max_epoch=2",
        f"checkpoint.save_dir={tmp_path}",
        cwd=tmp_path,
    ).check()
    assert "NaN" not in run.log
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


@pytest.mark.slow
def test_compiled_model_trains(hydra_train, code_15, tmp_path):
    run = hydra_train(
        USER_DIR,
        "--config-name=w2v_cmsc_rlm",
        f"task.data={code_15 / 'cmsc'}",
        ONE_PROCESS,
        "+task.compile=default",
        "dataset.batch_size=4",
        "dataset.num_workers=0",
        "optimization.update_freq=[1]",
        "optimization.max_update=3",
        "common.log_interval=1",
        f"checkpoint.save_dir={tmp_path}",
        *(option for option in TINY_MODEL if "_layers=" not in option),
        # Every layer takes seconds to compile; half as many convolutions with twice the stride.
        "+model.encoder_layers=1",
        "+model.conv_feature_layers='[(16, 4, 4)] * 2'",
        cwd=tmp_path,
    ).check()
    assert run.log.count("[train_inner]") == 3
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


def test_more_processes_than_gpus_are_refused_in_one_line(hydra_train, code_15, tmp_path):
    run = hydra_train(
        USER_DIR,
        "--config-name=w2v_cmsc_rlm",
        f"task.data={code_15 / 'cmsc'}",
        "distributed_training.distributed_world_size=4",
        cwd=tmp_path,
    )
    assert run.status == 1
    assert (
        "distributed_training.distributed_world_size=4, but this machine has 0 GPU(s): "
        "set distributed_training.distributed_world_size=1" in run.log
    )
    assert "Traceback" not in run.log


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+task.sample_rate=400", r"DataError: .*500.*task\.sample_rate"),
        ("model.num_labels=5", r"y\.npy holds 8 labels per recording, but model\.num_labels=5"),
        ("task.data=/nowhere", r"DataError: /nowhere/train\.tsv"),
        ("model.model_path=/no/model.pt", r"checkpoint /no/model\.pt does not exist"),
        ("criterion.report_cinc_score=true", r"weights_file"),
    ],
)
def test_wrong_input_is_named_in_the_last_line(
    override, message, hydra_train, code_15, shared, tmp_path
):
    command = finetuning(code_15, shared, shared / "golden" / "pretrain_small.pt", tmp_path)
    key = override.split("=")[0]
    command = [part for part in command if part.split("=")[0] != key]
    run = hydra_train(
        *command,
        override,
        "optimization.max_epoch=1",
        "dataset.disable_validation=true",
        cwd=tmp_path,
    )
    assert run.status == 1
    last = run.log.split("Set the environment variable HYDRA_FULL_ERROR")[0].rstrip()
    assert re.search(message, last.splitlines()[-1])


def test_resuming_with_another_number_of_labels(hydra_train, code_15, shared, finetuned, tmp_path):
    shutil.copy(finetuned / "checkpoint_last.pt", tmp_path)
    command = finetuning(code_15, shared, shared / "golden" / "pretrain_small.pt", tmp_path)
    labels = np.load(shared / "ecg" / "code_15" / "labels" / "y.npy")
    np.save(tmp_path / "y.npy", labels[:, :5])
    command = [part for part in command if not part.startswith(("+task.label", "model.num"))]
    run = hydra_train(
        *command,
        "model.num_labels=5",
        f"+task.label_file={tmp_path / 'y.npy'}",
        "criterion.pos_weight=null",
        cwd=tmp_path,
    )
    assert run.status == 1
    assert "the checkpoint predicts 8 labels, but model.num_labels=5" in run.log


PRETRAINING_CONFIGS = (
    *("w2v_cmsc", "w2v_cmsc_augs", "w2v_cmsc_rlm_small", "w2v_rlm", "w2v_augs"),
    *("simclr_augs", "simclr_rlm", "3kg", "cmsc", "cmsc_rlm"),
)


@pytest.mark.parametrize("config", PRETRAINING_CONFIGS)
def test_every_pretraining_config_trains(config, hydra_train, code_15, tmp_path):
    run = hydra_train(
        *pretraining(config, code_15),
        "dataset.batch_size=4",
        "dataset.num_workers=0",
        "optimization.max_update=2",
        "common.log_interval=1",
        f"checkpoint.save_dir={tmp_path}",
        cwd=tmp_path,
    ).check()
    assert run.log.count("[train_inner]") == 2
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


@pytest.mark.parametrize(
    ("config", "finetuning_config"),
    [("simclr_rlm", "simclr_diagnosis"), ("3kg", "3kg_diagnosis"), ("cmsc", "cmsc_diagnosis")],
)
def test_contrasted_encoders_are_finetuned(
    config, finetuning_config, hydra_train, code_15, shared, tmp_path
):
    short = "dataset.batch_size=4", "dataset.num_workers=0", "optimization.max_update=2"
    folders = tmp_path / "pretrained", tmp_path / "finetuned"
    hydra_train(
        *pretraining(config, code_15), *short, f"checkpoint.save_dir={folders[0]}", cwd=tmp_path
    ).check()
    hydra_train(
        USER_DIR,
        f"--config-name={finetuning_config}",
        f"task.data={code_15 / 'plain'}",
        f"+task.label_file={shared / 'ecg' / 'code_15' / 'labels' / 'y.npy'}",
        f"model.model_path={folders[0] / 'checkpoint_last.pt'}",
        "model.num_labels=8",
        ONE_PROCESS,
        *short,
        f"checkpoint.save_dir={folders[1]}",
        cwd=tmp_path,
    ).check()
    before, after = map(weights, folders)
    key = "feature_extractor.conv_layers.0.0.weight"
    assert torch.equal(after[f"encoder.{key}"], before[key])
    assert after["proj.weight"].shape == (8, 32)


def test_console_script_from_another_directory(code_15, tmp_path):
    command = Path(sys.executable).with_name("fairseq-hydra-train")
    result = subprocess.run(
        [
            command,
            "--config-name=w2v_cmsc_rlm",
            USER_DIR,
            f"task.data={code_15 / 'cmsc'}",
            ONE_PROCESS,
            "dataset.num_workers=0",
            "optimization.max_epoch=1",
            f"checkpoint.save_dir={tmp_path}",
            *TINY_MODEL,
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert (tmp_path / "checkpoint_last.pt").exists()
    assert os.listdir(tmp_path / "outputs")
