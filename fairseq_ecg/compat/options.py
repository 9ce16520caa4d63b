"""Configurations for fairseq and Hydra, made of the options that constructors declare."""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import MISSING

from fairseq_ecg.options import REQUIRED, Option, options_of, texts_of_arguments

C = TypeVar("C")


def configuration(*pieces: Callable, **defaults: Any) -> Callable[[type[C]], type[C]]:
    """Make a dataclass of a class: its own fields, and the options of pieces.

    Its own fields are written as any dataclass's, their help in ``Args:`` of the docstring.

    Args:
        pieces: classes or functions, see :func:`fairseq_ecg.options.options_of`.
        defaults: in place of those that the pieces declare.
    """

    def decorate(cls: type[C]) -> type[C]:
        texts = texts_of_arguments(cls)
        own = {
            name: Option(name, kind, getattr(cls, name), texts.get(name))
            for name, kind in inspect.get_annotations(cls).items()
        }
        cls.__annotations__ = {}
        for name, option in (own | options_of(*pieces)).items():
            default, kind = defaults.get(name, option.default), fairseq_type(option.kind)
            if isinstance(default, Mapping) and not default:
                # Of a dictionary fairseq takes out the keys that the default one does not have.
                default, kind = None, typing.Optional[kind]  # noqa: UP045
            cls.__annotations__[name] = kind
            setattr(cls, name, _field(option, default))
        return dataclass(cls)

    return decorate


def make_configuration(
    name: str,
    module: str,
    *pieces: Callable,
    bases: tuple[type, ...] = (FairseqDataclass,),
    **defaults: Any,
) -> type:
    """Make the configuration of what is registered with fairseq by its options alone.

    Args:
        name: of the class, which the module then has among its names, so that it can be pickled.
        module: name of the module.
        pieces: as for :func:`configuration`.
        bases: of the class.
        defaults: as for :func:`configuration`.
    """
    bare = type(name, bases, {"__module__": module, "__doc__": "Made of declared options."})
    made = configuration(*pieces, **defaults)(bare)
    setattr(sys.modules[module], name, made)
    return made


def fairseq_type(kind: Any) -> Any:
    """Return the type of an option as fairseq and OmegaConf read it.

    Args:
        kind: annotation of an argument; choices are a ``Literal``, and what may be a text or
            something else is a text.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choices(*arguments)
    if origin in (typing.Union, types.UnionType):
        if types.NoneType not in arguments:
            return str
        (given,) = (each for each in arguments if each is not types.NoneType)
        return typing.Optional[fairseq_type(given)]  # noqa: UP045 (fairseq knows typing's names)
    if origin is tuple:
        return typing.Tuple[arguments]  # noqa: UP006
    if origin is Sequence:
        return typing.List[arguments]  # noqa: UP006
    if origin is Mapping:
        return typing.Dict[arguments]  # noqa: UP006
    return kind


_choices = cache(lambda *names: ChoiceEnum(list(names)))


def _field(option: Option, default: Any) -> Any:
    metadata = {"help": option.help}
    if default is REQUIRED:
        return field(default=MISSING, metadata=metadata)
    if get_origin(option.kind) is Sequence:
        return field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
