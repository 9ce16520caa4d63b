"""Configurations made of options that are declared once, where they act, see `ops.options`."""

import dataclasses
from enum import Enum
from types import UnionType
from typing import Any, List, Optional, Tuple, get_args, get_origin, get_type_hints  # noqa: UP035

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import ListConfig

_GENERIC = {list: List, tuple: Tuple}  # noqa: UP006 (fairseq knows types by their names in typing)


def configuration_of(*declared: type) -> type[FairseqDataclass]:
    """Make a base of a fairseq configuration with the options that dataclasses declare.

    Args:
        declared: dataclasses; of several declarations of one option the first counts.
    """
    fields: dict[str, tuple[str, Any, dataclasses.Field]] = {}
    for cls in declared:
        hints = get_type_hints(cls)
        for option in _options(cls):
            name = _task_name(option)
            fields.setdefault(name, (name, *_fairseq_field(option, hints[option.name])))
    return dataclasses.make_dataclass("Options", fields.values(), bases=(FairseqDataclass,))


def values_of(cfg: Any, *declared: type) -> dict[str, Any]:
    """Pick the values of the options that dataclasses declare out of a configuration.

    Args:
        cfg: has them by the names that users know.
        declared: dataclasses.

    Returns:
        The values by the names of the fields, as plain Python objects.
    """
    return {
        option.name: _plain(getattr(cfg, _task_name(option)))
        for cls in declared
        for option in _options(cls)
    }


def _options(cls: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(cls) if "help" in field.metadata]


def _task_name(option: dataclasses.Field) -> str:
    return option.metadata.get("task_name", option.name)


def _fairseq_field(option: dataclasses.Field, hint: Any) -> tuple[Any, dataclasses.Field]:
    kind = ChoiceEnum(list(option.metadata["choices"])) if "choices" in option.metadata else hint
    default = option.metadata.get("task_default", option.default)
    return _typing(kind), dataclasses.field(
        default=default, metadata={"help": option.metadata["help"]}
    )


def _typing(hint: Any) -> Any:
    """Write a type as fairseq's argument parser knows it."""
    if get_origin(hint) is UnionType:
        (kind,) = (each for each in get_args(hint) if each is not type(None))
        return Optional[_typing(kind)]  # noqa: UP045
    generic = _GENERIC.get(get_origin(hint))
    return generic[get_args(hint)] if generic else hint


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value)
    return list(value) if isinstance(value, ListConfig) else value
