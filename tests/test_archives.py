"""Every archive goes to a pre-training and a fine-tuning run by the documented commands."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairseq_ecg.cli import main
from tests.conftest import ROOT, TINY_MODEL, USER_DIR
from tests.prepare.sources.archives import (
    make_cinc_weights,
    make_code_15,
    make_mimic,
    make_mimic_iv,
    make_muse,
    make_physionet2021,
    make_ptb_xl,
)

SHORT_RUN = (
    "distributed_training.distributed_world_size=1",
    "dataset.num_workers=0",
    "optimization.max_epoch=1",
    "common.log_format=csv",
)
HALVES = ("splits.fractions=[0.5,0.5]", "splits.split_labels=[train,valid]")
"""Splits of archives with three patients; the published fractions need more."""


def mimic_iv_ecg(folder: Path) -> tuple[str, ...]:
    mimic_iv = make_mimic_iv(folder / "mimic-iv")
    return (f"raw_root={make_mimic(folder)}", f"records.mimic_iv_root={mimic_iv}", *HALVES)


def physionet2021(folder: Path) -> tuple[str, ...]:
    weights, abbreviations = make_cinc_weights(folder / "evaluation-2021")
    return (
        f"raw_root={make_physionet2021(folder)}",
        f"records.weights_path={weights}",
        f"records.weight_abbrev_path={abbreviations}",
        *HALVES,
    )


def code_15(folder: Path) -> tuple[str, ...]:
    return (f"raw_root={make_code_15(folder)}", *HALVES, "splits.seed=3")


def ptb_xl(folder: Path) -> tuple[str, ...]:
    folds = ("splits.split_values=[1-8,9-10]", HALVES[1])
    return (f"raw_root={make_ptb_xl(folder)}", *folds)


def muse(folder: Path) -> tuple[str, ...]:
    return (f"raw_root={make_muse(folder)}", *HALVES, "splits.seed=2")


def rhythm(meta: pd.DataFrame) -> pd.DataFrame:
    """Labels of a report, of which archives themselves have none."""
    reports = meta.filter(regex="^(machine_report|Diagnosis_DiagnosisStatement)$").iloc[:, 0]
    columns = {"AF": "Atrial fibrillation", "SR": "[Ss]inus rhythm"}
    labels = {name: reports.fillna("").str.contains(text) for name, text in columns.items()}
    return pd.DataFrame({"idx": meta["idx"], **labels}).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("archive", [mimic_iv_ecg, physionet2021, code_15, ptb_xl, muse])
def test_from_archive_to_checkpoints(archive, hydra_train, tmp_path):
    out = tmp_path / "data"
    configuration = ROOT / "examples" / "prepare" / f"{archive.__name__}.yaml"
    changes = archive(tmp_path / "raw")
    locations = [f"processed_root={out}", "signals.jobs=1"]
    assert main(["prepare", "all", str(configuration), *changes, *locations]) == 0
    hydra_train(
        USER_DIR,
        f"task.data={out / 'manifests' / 'cmsc'}",
        "dataset.disable_validation=true",
        *SHORT_RUN,
        f"checkpoint.save_dir={tmp_path / 'pretrained'}",
        *TINY_MODEL,
        "--config-name=w2v_cmsc_rlm",
        cwd=tmp_path,
    ).check()

    labels = out / "labels" / "labels.csv"
    if not labels.is_file():
        labels.parent.mkdir(exist_ok=True)
        rhythm(pd.read_csv(out / "meta.csv")).to_csv(labels, index=False)
        files = (f"--labels={labels}", f"--meta-splits={out / 'meta_split.csv'}")
        assert main(["prepare", "labels", *files, f"--output-dir={labels.parent}"]) == 0
    with open(labels.parent / "label_def.csv", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    pos_weight = (labels.parent / "pos_weight.txt").read_text().replace("inf", "1.0")
    hydra_train(
        USER_DIR,
        f"task.data={out / 'manifests'}",
        f"+task.label_file={labels.parent / 'y.npy'}",
        f"+criterion.pos_weight={pos_weight}",
        f"model.model_path={tmp_path / 'pretrained' / 'checkpoint_last.pt'}",
        f"model.num_labels={len(names)}",
        "dataset.disable_validation=true",
        *SHORT_RUN,
        f"checkpoint.save_dir={tmp_path / 'diagnosis'}",
        "--config-name=diagnosis",
        cwd=tmp_path,
    ).check()
    state = torch.load(tmp_path / "diagnosis" / "checkpoint_last.pt", weights_only=True)
    assert state["model"]["proj.weight"].shape[0] == len(names)
    assert np.load(labels.parent / "y.npy").shape[1] == len(names)
