"""Keys of HeartWise's fork: each is answered, and each answer is accepted here."""

import re
from dataclasses import dataclass

import pytest
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.cli import main
from fairseq_ecg.compat.other_keys import DOCUMENT, HEARTWISE, check_keys
from fairseq_ecg.errors import DataError
from tests.conftest import ROOT

CONFIG = {
    "task": {"_name": "ecg_classification"},
    "model": {"_name": "ecg_transformer_classifier"},
    "criterion": {"_name": "binary_cross_entropy_with_logits"},
}


def config(key, value):
    section, name = key.split(".")
    return OmegaConf.create(CONFIG | {section: CONFIG[section] | {name: value}})


@pytest.mark.parametrize("theirs", HEARTWISE)
def test_every_key_is_answered(theirs):
    key, _, value = theirs.partition("=")
    with pytest.raises(DataError) as error:
        check_keys(config(key, value or True))
    assert f"{theirs}: here {HEARTWISE[theirs]}" in str(error.value)
    assert DOCUMENT in str(error.value)


@pytest.mark.parametrize("theirs", HEARTWISE)
def test_every_answer_is_something_that_there_is(theirs, capsys):
    answer = HEARTWISE[theirs]
    registries = {
        "task": TASK_DATACLASS_REGISTRY,
        "model": MODEL_DATACLASS_REGISTRY,
        "criterion": CRITERION_DATACLASS_REGISTRY,
    }
    named = re.findall(r"\b(task|model|criterion)\.(\w+)(?:=(\w+))?", answer)
    assert named
    for section, option, value in named:
        if option == "_name":
            assert value in registries[section]
        else:
            assert any(
                option in dataclass_.__dataclass_fields__
                for name, dataclass_ in registries[section].items()
                if name in ("ecg_classification", "ecg_transformer_classifier", "focal_loss")
                or name == "asymmetric_loss"
            )
    for command in re.findall("fairseq-ecg (prepare [a-z]+) ", answer):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        options = capsys.readouterr().out
        assert all(option in options for option in re.findall(r"--\w+", answer))


def test_the_document_has_the_table():
    table = (ROOT / DOCUMENT).read_text()
    for theirs, ours in HEARTWISE.items():
        assert f"| `{theirs}` |" in table, theirs
        commands = [part for part in re.split(", then .*", ours) if part]
        assert all(f"`{command}`" in table for command in commands)


@pytest.mark.parametrize("value", [None, False])
def test_keys_that_say_nothing_are_taken_out(value):
    cfg = config("model.linear_evaluation", value)
    cfg.task.npy_dataset = value
    OmegaConf.set_struct(cfg, True)
    check_keys(cfg)
    assert OmegaConf.to_container(cfg) == CONFIG


def test_several_keys_are_answered_at_once():
    cfg = config("model.linear_evaluation", True)
    cfg.criterion._name = "mse2"
    with pytest.raises(DataError, match=r"freeze_layers=-1; criterion\._name=mse2: here crit"):
        check_keys(cfg)


def test_keys_that_somebody_has_are_left_alone():
    cfg = OmegaConf.create({"criterion": {"_name": "focal_loss", "gamma": 1.0}, "task": None})
    before = OmegaConf.to_container(cfg)
    check_keys(cfg)
    assert OmegaConf.to_container(cfg) == before


def test_options_of_a_users_own_model(monkeypatch):
    @dataclass
    class Config:
        linear_evaluation: bool = False

    monkeypatch.setitem(MODEL_DATACLASS_REGISTRY, "mine", Config)
    monkeypatch.setitem(CRITERION_DATACLASS_REGISTRY, "bce", Config)
    cfg = OmegaConf.create(
        {"model": {"_name": "mine", "linear_evaluation": True}, "criterion": {"_name": "bce"}}
    )
    check_keys(cfg)
    assert cfg.model.linear_evaluation
