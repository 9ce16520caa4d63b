"""Published configs and commands against fairseq's schema."""

import os
import subprocess
import sys
import warnings

import pytest
import yaml
from fairseq.dataclass.initialize import hydra_init
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from hydra_plugins.fairseq_ecg_plugin import _translate, choose_launch, config_folder, silence
from tests.conftest import ROOT, environment

NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def composed(name, *overrides):
    """Compose a config as ``fairseq-hydra-train --config-name NAME`` does."""
    GlobalHydra.instance().clear()
    hydra_init(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with initialize(version_base="1.1", config_path=None):
            return compose(config_name=name, overrides=list(overrides))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_found_and_accepted(name):
    cfg = composed(name)
    with (config_folder() / f"{name}.yaml").open() as file:
        written = yaml.safe_load(file)
    assert cfg.dataset.batch_size == written["dataset"]["batch_size"]
    if written["model"] is None:  # a config of evaluation
        assert cfg.model is None
        return
    assert cfg.model._name == written["model"]["_name"]
    assert cfg.optimization.lr == [float(lr) for lr in written["optimization"]["lr"]]


def test_keys_of_fairseq_signals_are_accepted():
    cfg = composed(
        "w2v_cmsc_rlm_small",
        "common.log_format=csv",
        "common.wandb_entity=me",
        "common_eval.extract=[output,encoder_out]",
        "common_eval.save_outputs=true",
    )
    assert str(cfg.common.log_format) == "csv"
    assert cfg.common.wandb_entity == "me"
    assert cfg.common_eval.extract == ["output", "encoder_out"]


@pytest.mark.parametrize("log_format", ["json", "none", "simple", "tqdm"])
def test_stock_log_formats_stay(log_format):
    cfg = composed("w2v_cmsc_rlm", f"common.log_format={log_format}")
    assert str(cfg.common.log_format) == log_format


@pytest.mark.parametrize(
    "override", ["common.log_format=xml", "common.no_such_key=1", "optimization.lr=fast"]
)
def test_wrong_keys_and_values_are_still_refused(override):
    with pytest.raises(ConfigCompositionException):
        composed("w2v_cmsc_rlm", override)


class TestLaunch:
    """How processes find each other, on a machine without GPUs."""

    @pytest.fixture(autouse=True)
    def bare_environment(self, monkeypatch):
        for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"):
            monkeypatch.delenv(name, raising=False)
        for name in list(os.environ):
            if name.startswith("SLURM"):
                monkeypatch.delenv(name)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    @staticmethod
    def cfg(**options):
        defaults = {
            "distributed_world_size": 4,
            "distributed_init_method": None,
            "distributed_backend": "nccl",
            "distributed_port": -1,
            "distributed_rank": 0,
            "distributed_no_spawn": False,
            "device_id": 0,
        }
        common = {"cpu": False}
        return OmegaConf.create({"common": common, "distributed_training": defaults | options})

    def test_too_few_gpus_are_one_clear_line(self):
        with pytest.raises(SystemExit) as exit_:
            choose_launch(self.cfg())
        message = str(exit_.value)
        assert "\n" not in message
        assert "distributed_world_size=1" in message
        assert "torchrun --nproc_per_node=4" in message

    def test_torchrun_without_gpus(self, monkeypatch):
        ranks = {"MASTER_ADDR": "h", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "1"}
        for name, value in ranks.items():
            monkeypatch.setenv(name, value)
        cfg = self.cfg()
        choose_launch(cfg)
        launch = cfg.distributed_training
        assert launch.distributed_init_method == "env://"
        assert (launch.distributed_world_size, launch.distributed_rank) == (2, 1)
        assert launch.distributed_backend == "gloo"
        assert launch.distributed_no_spawn

    def test_fixed_port_of_published_configs(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
        cfg = self.cfg(distributed_port=12355)
        choose_launch(cfg)
        assert cfg.distributed_training.distributed_init_method == "tcp://localhost:12355"

    @pytest.mark.parametrize("world", [1, 4])
    def test_what_works_is_left_alone(self, world, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
        cfg = self.cfg(distributed_world_size=world)
        before = OmegaConf.to_container(cfg)
        choose_launch(cfg)
        assert OmegaConf.to_container(cfg) == before

    def test_slurm_is_left_to_fairseq(self, monkeypatch):
        monkeypatch.setenv("SLURM_JOB_NODELIST", "a,b")
        cfg = self.cfg()
        before = OmegaConf.to_container(cfg)
        choose_launch(cfg)
        assert OmegaConf.to_container(cfg) == before


def test_plugin_is_light():
    code = """
import sys
import hydra_plugins.fairseq_ecg_plugin as plugin
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
plugin.FairseqECGSearchPath().manipulate_search_path(ConfigSearchPathImpl())
assert not {"torch", "fairseq", "fairseq_ecg"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=60)


@pytest.mark.parametrize(
    ("program", "silenced"),
    [("/usr/bin/fairseq-hydra-train", True), ("/usr/bin/jupyter", False)],
)
def test_only_programs_of_fairseq_are_quiet(program, silenced, monkeypatch):
    monkeypatch.setattr("sys.argv", [program])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence()
        warnings.warn("\nThe version_base parameter is not specified.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert len(caught) == (1 if silenced else 2)


def test_options_may_be_taken_of_a_model_that_lacks_them():
    import fairseq_ecg.tasks  # noqa: F401

    views = {"angle": "${model.angle}", "scale": "${model.here}", "mask_ratio": 0.5}
    task = {"_name": "ecg_pretraining", "inferred_3kg_config": views}
    cfg = OmegaConf.create({"task": task, "model": {"here": 2.0}, "criterion": {}})
    _translate(cfg)
    found = OmegaConf.to_container(cfg, resolve=True)
    assert found["task"]["inferred_3kg_config"] == {"scale": 2.0, "mask_ratio": 0.5}
