"""Configurations for fairseq and Hydra, made of the options that constructors declare."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from fairseq.dataclass import ChoiceEnum
from omegaconf import MISSING

from fairseq_ecg.modules.options import REQUIRED, Option, options_of

C = TypeVar("C")


def with_options(*pieces: Callable, **defaults: Any) -> Callable[[type[C]], type[C]]:
    """Make a dataclass of a class: its own fields, and the options of pieces.

    Args:
        pieces: classes or functions, see :func:`fairseq_ecg.modules.options.options_of`.
        defaults: in place of those that the pieces declare.
    """

    def decorate(configuration: type[C]) -> type[C]:
        annotations = dict(inspect.get_annotations(configuration))
        for piece in pieces:
            for name, option in options_of(piece).items():
                annotations[name] = fairseq_type(option.kind)
                setattr(configuration, name, _field(option, defaults.get(name, option.default)))
        configuration.__annotations__ = annotations
        return dataclass(configuration)

    return decorate


def fairseq_type(kind: Any) -> Any:
    """Return the type of an option as fairseq and OmegaConf read it.

    Args:
        kind: annotation of an argument; choices are a ``Literal``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choices(*arguments)
    if origin in (typing.Union, types.UnionType) and str in arguments:
        return str
    if origin is tuple:
        return typing.Tuple[arguments]  # noqa: UP006 (fairseq reads types by their names in typing)
    if origin is Sequence:
        return typing.List[arguments]  # noqa: UP006
    return kind


_choices = cache(lambda *names: ChoiceEnum(list(names)))


def _field(option: Option, default: Any) -> Any:
    metadata = {"help": option.help}
    if default is REQUIRED:
        return field(default=MISSING, metadata=metadata)
    if get_origin(option.kind) is Sequence:
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)
