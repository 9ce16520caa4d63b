"""Contrastive ECG-report pre-training by commands: processes, precisions, resumed runs."""

import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import torch

from fairseq_ecg import load_model
from fairseq_ecg.labeler import Labeler
from tests.clip_networks import BERT
from tests.conftest import ROOT, TINY_CMSC_MODEL, USER_DIR, environment
from tests.ecg_texts import write_corpus

ENCODER = (
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
)
DEMO = ROOT / "examples" / "ecg_text_clip"
NO_DROPOUT = (
    "+model.bert_dropout=0.0",
    *(f"+model.ecg_config.{name}=0.0" for name in ("dropout", "attention_dropout")),
)
"""Each process would draw its own."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    vocabulary = write_corpus(folder, {"train": 16, "valid": 6})
    bert = folder / "bert"
    bert.mkdir()
    n_tokens = len(vocabulary.rename(bert / "vocab.txt").read_text().splitlines())
    sizes = BERT | {"vocab_size": n_tokens, "model_type": "bert"}
    (bert / "config.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture(scope="module")
def train(hydra_train, corpus):
    """Train for some updates in a folder; return the weights of the last checkpoint."""

    def run(folder, updates, *options, processes=1, batch_size=8):
        folder.mkdir(exist_ok=True)
        train_run = hydra_train(
            USER_DIR,
            "--config-name=ecg_text_clip",
            f"task.data={corpus}",
            f"task.tokenizer={corpus / 'bert'}",
            f"model.bert={corpus / 'bert'}",
            "model.freeze_text_layers=1",
            "model.projection_dim=8",
            *(f"model.ecg_config.{name}={TINY_CMSC_MODEL[name]}" for name in ENCODER),
            *(
                f"+model.ecg_config.{name}={TINY_CMSC_MODEL[name]}"
                for name in ("conv_pos", "conv_pos_groups")
            ),
            f"+model.ecg_config.conv_feature_layers='{TINY_CMSC_MODEL['conv_feature_layers']}'",
            "task.max_text_size=32",
            f"dataset.batch_size={batch_size}",
            "dataset.num_workers=0",
            "dataset.required_batch_size_multiple=1",
            "optimization.lr=[1e-2]",
            f"optimization.max_update={updates}",
            "common.log_interval=1",
            f"distributed_training.distributed_world_size={processes}",
            f"checkpoint.save_dir={folder}",
            *options,
            cwd=folder,
            processes=processes,
        )
        run.logs.append(train_run.check().log)
        return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]

    run.logs = []
    return run


def test_two_processes_contrast_the_batch_of_both(train, tmp_path):
    # Adam divides by the size of gradients: of those near zero it would show their rounding.
    options = *NO_DROPOUT, "optimizer.adam_eps=1e-3"
    one = train(tmp_path / "1", 2, *options)
    two = train(tmp_path / "2", 2, *options, processes=2, batch_size=4)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_what_fills_a_gap_of_a_rank_is_not_contrasted(train, tmp_path):
    """All pairs are in one batch, so that the second process has none of its own."""
    options = (*NO_DROPOUT, "optimizer.adam_eps=1e-4")
    one, two = (
        train(tmp_path / str(processes), 2, *options, processes=processes, batch_size=16)
        for processes in (1, 2)
    )
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)
    losses = [
        [float(row) for row in re.findall(r'"valid_loss": "([\d.]+)"', train.logs[processes])]
        for processes in (-2, -1)
    ]
    assert losses[0] == losses[1] != []


def test_updates_without_any_pair_change_nothing(train, tmp_path):
    """Texts that are left out empty some batches of both processes."""
    weights = train(
        *(tmp_path / "empty", 3, "+task.medvill=true", "optimization.lr=[1.0]"),
        processes=2,
        batch_size=1,
    )
    assert all(value.isfinite().all() for value in weights.values())


def test_a_resumed_run_ends_as_one_that_was_not(train, tmp_path):
    whole = train(tmp_path / "whole", 3, "checkpoint.save_interval_updates=1")
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "checkpoint_1_1.pt").rename(tmp_path / "parts" / "checkpoint_last.pt")
    resumed = train(tmp_path / "parts", 3)
    for key, value in whole.items():
        assert torch.equal(resumed[key], value), key


def test_bf16_trains_and_the_checkpoint_says_all_that_is_needed(train, tmp_path, corpus):
    weights = train(tmp_path / "bf16", 2, "common.bf16=true")
    assert all(value.isfinite().all() for value in weights.values())
    (corpus / "bert").rename(corpus / "elsewhere")
    try:
        model = load_model(tmp_path / "bf16" / "checkpoint_last.pt", device="cpu")
        assert model.embed_text("sinus rhythm").shape == (1, 8)
    finally:
        (corpus / "elsewhere").rename(corpus / "bert")


def test_the_demonstration_writes_what_it_says(tmp_path):
    run_demo("simulate_reports.py", "--out", tmp_path / "data", "--recordings", 12)
    listed = [
        line.split("\t")[0]
        for split in ("train", "valid", "test")
        for line in (tmp_path / "data" / f"{split}.tsv").read_text().splitlines()[1:]
    ]
    files = sorted(path.name for path in (tmp_path / "data" / "files").iterdir())
    assert sorted(listed) == files
    assert len(files) == 12
    labels = np.load(tmp_path / "data" / "y.npy")
    names = (tmp_path / "data" / "label_def.csv").read_text().splitlines()[1:]
    labeler = Labeler.from_vocabulary()
    for name in files:
        mat = scipy.io.loadmat(tmp_path / "data" / "files" / name)
        assert mat["feats"].shape == (12, 1000)
        found = set(labeler.label([mat["text"][0]]).labels_flat["name"])
        for label, holds in zip(names, labels[mat["idx"].item()], strict=True):
            assert (label.split(",")[0] in found) == holds, mat["text"]


def run_demo(program, *arguments):
    command = [sys.executable, str(DEMO / program), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment(), capture_output=True)


@pytest.mark.slow
def test_reports_and_labels_of_others_are_found_far_above_chance(tmp_path):
    """The demonstration with fewer recordings and updates, on patients it has not seen."""
    sizes = {"RECORDINGS": "600", "UPDATES": "130", "REQUIRED": "0.65"}
    programs = os.path.dirname(sys.executable)
    path = os.pathsep.join([programs, os.environ["PATH"]])
    command = ["bash", str(DEMO / "demo.sh"), str(tmp_path)]
    done = subprocess.run(
        command, env=environment() | sizes | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-6000:]
    with open(tmp_path / "recall.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["recall@10"]) > 3 * 10 / int(row["recordings"])
        assert float(row["median rank"]) < int(row["recordings"]) / 4
