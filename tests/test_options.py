"""What users can set of tasks, models and criterions, held to a list: `options.json` beside this.

An option that is added is added to the list by ``python -m tests.test_options``; one that is
renamed, or whose default, choices or help change, breaks configurations and documents of users.
"""

import dataclasses
import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY

import fairseq_ecg.tasks  # noqa: F401 (registers)

LIST = Path(__file__).with_name("options.json")
REGISTRIES = {
    "task": TASK_DATACLASS_REGISTRY,
    "model": MODEL_DATACLASS_REGISTRY,
    "criterion": CRITERION_DATACLASS_REGISTRY,
}


def registered() -> Iterator[tuple[str, type]]:
    for kind, registry in REGISTRIES.items():
        for name, configuration in registry.items():
            if configuration.__module__.startswith("fairseq_ecg"):
                yield f"{kind}={name}", configuration


def options_of(configuration: type) -> dict[str, dict[str, Any]]:
    return {
        option.name: {
            "type": type_of(option),
            "default": default_of(option),
            "help": option.metadata.get("help"),
        }
        for option in dataclasses.fields(configuration)
    }


def type_of(option: dataclasses.Field) -> str | list[str]:
    if isinstance(option.type, type):
        if issubclass(option.type, enum.Enum):
            return [str(choice.value) for choice in option.type]
        return option.type.__name__
    return str(option.type)


def default_of(option: dataclasses.Field) -> Any:
    value = option.default
    if value is dataclasses.MISSING:
        value = option.default_factory()
    return str(value) if isinstance(value, enum.Enum) else value


def test_every_configuration_is_in_the_list():
    assert json.loads(LIST.read_text()).keys() == dict(registered()).keys()


@pytest.mark.parametrize(("name", "configuration"), list(registered()))
def test_options_are_those_of_the_list(name, configuration):
    options = json.loads(json.dumps(options_of(configuration)))  # tuples become lists
    assert options == json.loads(LIST.read_text())[name]


if __name__ == "__main__":
    options = {name: options_of(configuration) for name, configuration in registered()}
    LIST.write_text(json.dumps(options, indent=1) + "\n")
