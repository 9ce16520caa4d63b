"""What commands say that lack something, and forms in which leads may be named in them."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from hydra_plugins.fairseq_ecg_plugin import REGISTERED, check_registered
from tests.conftest import TINY_MODEL, USER_DIR
from tests.segment_files import write_segment_files


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    write_segment_files(folder, {"train": [2] * 4}, lambda _: 640)
    return folder


@pytest.fixture
def train(hydra_train, manifests, tmp_path):
    def run(*options, config="w2v_cmsc_rlm", data="cmsc", model=TINY_MODEL):
        return hydra_train(
            f"--config-name={config}",
            f"task.data={manifests / data}",
            "distributed_training.distributed_world_size=1",
            "dataset.num_workers=0",
            "optimization.max_update=1",
            f"checkpoint.save_dir={tmp_path}",
            *model,
            *options,
            cwd=tmp_path,
        )

    return run


def error_of(run) -> str:
    """Line of a log that states the error."""
    return [line for line in run.log.splitlines() if "Error: " in line][-1]


@pytest.mark.parametrize("config", ["w2v_cmsc_rlm", "diagnosis", "w2v"])
def test_a_user_dir_that_is_forgotten(config, train):
    run = train(config=config, model=["model.num_labels=3"] if config == "diagnosis" else [])
    assert run.status == 1
    task = "ecg_classification" if config == "diagnosis" else "ecg_pretraining"
    assert f"task {task} is fairseq-ecg's" in run.log
    assert "add common.user_dir=fairseq_ecg to the command" in run.log
    assert "Traceback" not in run.log


def test_another_user_dir(train, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").touch()
    run = train(f"common.user_dir={tmp_path / 'theirs'}")
    assert "theirs is not it: say common.user_dir=fairseq_ecg" in run.log


def test_the_remedy_works_and_one_lead_is_a_list(train, tmp_path):
    options = ["common.user_dir=fairseq_ecg", "task.enable_padding_leads=true"]
    train(*options, "task.leads_to_load=[0]").check()
    state = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert state["cfg"]["task"]["leads_to_load"] == "[0]"  # as fairseq_signals reads it


@pytest.mark.parametrize("leads", ["0", "[I]"])
def test_one_lead_into_a_network_of_twelve(leads, train):
    run = train(USER_DIR, f"task.leads_to_load={leads}")
    assert run.status == 1
    last = error_of(run)
    assert "they have 1 leads, but the network takes 12 (model.in_d=12)" in last
    assert "task.enable_padding_leads=true" in last


def test_half_precision_without_a_gpu(train):
    run = train(USER_DIR, "common.fp16=true")
    assert run.status == 1
    assert "common.bf16=true" in error_of(run)


def test_keys_of_a_fork(train):
    run = train(USER_DIR, "+task.npy_dataset=true", "+model.linear_evaluation=true")
    assert run.status == 1
    last = error_of(run)
    assert "task.npy_dataset: here fairseq-ecg prepare records" in last
    assert "model.linear_evaluation: here +model.freeze_layers=-1" in last
    assert "configs/README.md" in last


def test_names_that_are_registered_are_known_before(monkeypatch):
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    registries = {"task": TASK_REGISTRY, "model": MODEL_REGISTRY, "criterion": CRITERION_REGISTRY}
    for section, registry in registries.items():
        ours = {n for n, x in registry.items() if x.__module__.startswith("fairseq_ecg.")}
        in_stock = {"wav2vec2", "cross_entropy"}
        assert set(REGISTERED[section]) == ours - in_stock


@pytest.mark.parametrize(
    ("section", "name", "alike"),
    [
        ("task", "ecg_segmentatoin", "ecg_segmentation"),
        ("model", "unet_segmentr", "unet_segmentor"),
        ("model", "arcfase", "arcface"),
        ("criterion", "simcl", "simclr"),
        ("criterion", "1", "arcface"),
    ],
)
def test_names_that_are_unknown(section, name, alike):
    options = {"common": {"user_dir": "fairseq_ecg"}, section: {"_name": name}}
    with pytest.raises(SystemExit, match=rf"^{section}\._name={name} is not known: .*{alike}"):
        check_registered(OmegaConf.create(options))


def test_unknown_names_end_a_run_before_it_begins(train):
    run = train(USER_DIR, "criterion._name=wav2vec2_with_cmcs")
    assert run.status == 1
    assert "is not known: choose wav2vec2_with_cmsc" in run.log
    assert "Traceback" not in run.log
