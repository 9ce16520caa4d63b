"""The table of methods, and tasks that are made of it."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fairseq.criterions import CRITERION_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks.task
from fairseq_ecg.data.views import (
    RecordingView,
    SegmentsView,
    TwoViews,
    VectorcardiogramsView,
)
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.tasks import ECGDiagnosisTask
from fairseq_ecg.tasks.ecg_classification import ECGDiagnosisConfig
from fairseq_ecg.tasks.methods import METHODS, method_of
from tests.segment_files import write_segment_files


def test_every_criterion_has_a_row():
    own = {
        name
        for name, criterion in CRITERION_REGISTRY.items()
        if criterion.__module__.startswith("fairseq_ecg")
    }
    assert METHODS.keys() == own


@pytest.mark.parametrize(
    ("criterion", "view"),
    [
        ("wav2vec2", RecordingView),
        ("wav2vec2_with_cmsc", SegmentsView),
        ("cmsc", SegmentsView),
        ("clocs", SegmentsView),
        ("simclr", TwoViews),
        ("3kg", VectorcardiogramsView),
        ("criterion_of_others", RecordingView),
        (None, RecordingView),
    ],
)
def test_the_criterion_chooses_the_view(criterion, view):
    assert method_of(SimpleNamespace(criterion_name=criterion)).view is view


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, (45, 1.5, 0.5)),
        ({}, (45, 1.5, 0.5)),
        ({"angle": 30, "mask_ratio": 0.25}, (30, 1.5, 0.25)),
        # What is null or zero is left out of the views.
        ({"angle": None, "scale": None, "mask_ratio": 0}, (0, 1, 0)),
        # As fairseq_signals has them by default, of a model that has no such options.
        ({name: f"${{model.{name}}}" for name in ("angle", "scale", "mask_ratio")}, (45, 1.5, 0.5)),
        ({"angle": "${model.angle}", "scale": "${model.here}"}, (45, 2.0, 0.5)),
    ],
)
def test_views_of_3kg_have_the_options_of_the_task(config, expected):
    task = {"criterion_name": "3kg", "inferred_3kg_config": config}
    cfg = OmegaConf.create({"task": task, "model": {"here": 2.0}}).task
    (view,) = method_of(cfg).view_of(cfg).augmentations
    assert (view.angle, view.scale, view.mask_ratio) == expected


def test_other_options_of_3kg_are_refused():
    cfg = SimpleNamespace(criterion_name="3kg", inferred_3kg_config={"angel": 3})
    with pytest.raises(ValueError, match=r"no option 'angel': choose from angle, scale, mask_rat"):
        method_of(cfg).view_of(cfg)


def test_the_base_of_tasks_knows_no_model():
    tree = ast.parse(Path(fairseq_ecg.tasks.task.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in modules if name.startswith("fairseq_ecg.models")}


@pytest.mark.parametrize("data", ["", "store"])
def test_several_heads_are_read_from_files_and_stores(tmp_path, data):
    write_segment_files(
        tmp_path, {"train": [2, 1]}, lambda segment: 500, label=[[0, 1]], target_idx=[[4, 2]]
    )
    pack(tmp_path, tmp_path / "store")
    values = {
        "data": str(tmp_path / data),
        "criterion_name": "multi_head_binary_cross_entropy",
        "seed": 1,
    }
    cfg = OmegaConf.merge(OmegaConf.structured(ECGDiagnosisConfig), values)
    task = ECGDiagnosisTask.setup_task(cfg)
    task.load_dataset("train")
    dataset = task.dataset("train")
    batch = dataset.collater(dataset.__getitems__(np.arange(3)))
    assert [heads.tolist() for heads in batch["target_idx"]] == [[4, 2]] * 3
    assert [labels.tolist() for labels in batch["label"]] == [[0, 1]] * 3
