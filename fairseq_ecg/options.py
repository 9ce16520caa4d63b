"""Options, declared once: by the signature and the docstring of what they act on.

The keyword-only arguments of a constructor (its base classes' included) or of a function are its
options; so are the ``kw_only`` fields of a dataclass, which are arguments of its constructor. A
class whose constructor hands further keywords on to a part of it names the class of the part among
its ``option_parts``: the part's options are its own. Annotations say what a value can be, ``Args:``
of the docstring what it does. Configurations of fairseq are made of them by
:func:`fairseq_ecg.compat.options.configuration`.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

from fairseq_ecg.errors import shortened


@dataclass(frozen=True)
class Range:
    """Which numbers an option can have, and what of a network they are the size of.

    Args:
        least: least number.
        most: largest number.
        size: ``layers``, ``width`` (channels, or what takes as much memory) or ``kernel`` (samples
            or frames); empty if it is none of these.
    """

    least: float = -math.inf
    most: float = math.inf
    size: str = ""

    def sizes(self, value: int) -> dict[str, int]:
        """Size that a value stands for, by its name."""
        return {self.size: value} if self.size else {}


@dataclass(frozen=True)
class Indices:
    """Indices by name, which count channels of a network from 0 on."""

    def sizes(self, value: Mapping[str, int]) -> dict[str, int]:
        """Size that a value stands for, by its name."""
        return {"width": max(value.values(), default=-1) + 1}


Probability = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0)]
"""A whole number that is no size; a plain ``int`` is 1 at least."""
Layers = Annotated[int, Range(1, size="layers")]
Width = Annotated[int, Range(1, size="width")]
ClassIndices = Annotated[Mapping[str, int], Indices()]
OptionalWidth = Annotated[int, Range(0, size="width")]
Kernel = Annotated[int, Range(1, size="kernel")]

REQUIRED = inspect.Parameter.empty
"""Default of an option that has none."""


@dataclass(frozen=True)
class Option:
    """An option as its signature and docstring declare it.

    Attributes:
        name: of the argument.
        kind: its annotation, without what ``Annotated`` adds.
        default: :data:`REQUIRED` if there is none.
        help: what the docstring says of it.
        limits: a :class:`Range`, or what else has ``sizes`` and raises ValueError there.
    """

    name: str
    kind: Any
    default: Any
    help: str | None
    limits: Any = None

    def checked(self, value: Any) -> Any:
        """Return a value if the option can have it, a choice as plain string.

        Raises:
            ValueError: it cannot.
        """
        if self.kind is bool:
            expected, fits = "true or false", isinstance(value, bool)
        elif self.kind is int:
            least = 1 if self.limits is None else self.limits.least
            expected = f"a whole number from {least} on"
            fits = _is_number(value) and isinstance(value, int) and least <= value < 2**63
        elif self.kind is float:
            expected, fits = "a number", _is_number(value)
            if self.limits is not None:
                expected = f"a number from {self.limits.least} to {self.limits.most}"
                fits = fits and self.limits.least <= value <= self.limits.most
        elif self.kind is str or get_origin(self.kind) is Literal:
            expected, fits = "a name", isinstance(value, str | Enum)
            value = str(value) if fits else value
        elif get_origin(self.kind) is tuple:
            expected = "three positive numbers"
            fits = _is_list(value) and len(value) == len(get_args(self.kind))
            fits = fits and all(_is_number(number) and number > 0 for number in value)
        elif get_origin(self.kind) is Mapping:
            value = {} if value is None else value
            expected, fits = "whole numbers by name", isinstance(value, Mapping)
            value = dict(value) if fits else value
            fits = fits and all(isinstance(name, str) for name in value)
            fits = fits and all(_is_number(x) and isinstance(x, int) for x in value.values())
        elif self.limits is not None:
            self.limits.sizes(value)
            return value
        else:
            expected = "a list of names"
            fits = _is_list(value) and all(isinstance(element, str) for element in value)
        if not fits:
            raise ValueError(f"{self.name}={shortened(value)} is not {expected}")
        return value

    def sizes(self, value: Any) -> dict[str, int]:
        """Sizes of a network that a value stands for, by name."""
        return {} if self.limits is None else self.limits.sizes(value)


def options_of(*pieces: Callable) -> dict[str, Option]:
    """Return the options of classes and functions, by name.

    Args:
        pieces: options are the keyword-only arguments of a function, or of the constructors of a
            class and of its bases. Of several declarations of one option the first counts.
    """
    found: dict[str, Option] = {}
    for piece in pieces:
        found |= {name: x for name, x in _options_of_one(piece).items() if name not in found}
    return found


def _options_of_one(piece: Callable) -> dict[str, Option]:
    if not inspect.isclass(piece):
        return _declared(piece, texts_of_arguments(piece))
    found: dict[str, Option] = {}
    texts: dict[str, str] = {}
    for base in reversed(inspect.getmro(piece)):
        for part in vars(base).get("option_parts", ()):
            found |= _options_of_one(part)
        texts |= texts_of_arguments(base)
        if inspect.isfunction(vars(base).get("__init__")):
            found |= _declared(vars(base)["__init__"], texts)
    return found


def _declared(function: Callable, texts: Mapping[str, str]) -> dict[str, Option]:
    """Options of one signature."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kind, limits = parameter.annotation, None
            if get_origin(kind) is Annotated:
                kind, limits = get_args(kind)[:2]
            found[name] = Option(name, kind, parameter.default, texts.get(name), limits)
    return found


def texts_of_arguments(documented: object) -> dict[str, str]:
    """Return what ``Args:`` of a docstring says, by argument, in one line without the full stop.

    Args:
        documented: a class or function.
    """
    doc = inspect.getdoc(documented) or ""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", doc, re.MULTILINE)
    pairs = re.findall(
        r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE
    )
    return {name: re.sub(r"\s+", " ", text).removesuffix(".") for name, text in pairs}


def chosen(piece: Callable, cfg: Any) -> dict[str, Any]:
    """Pick from a configuration the options of a class or function.

    Args:
        piece: see :func:`options_of`.
        cfg: a plain mapping, one of omegaconf's, or an object with the values as attributes.

    Returns:
        Value by name, of those that the configuration says; choices as plain strings.

    Raises:
        ValueError: an option cannot have its value.
    """
    options = options_of(piece)
    return {name: options[name].checked(x) for name, x in sorted(_said(cfg, options).items())}


def complete(piece: Callable, cfg: Any) -> dict[str, Any]:
    """Pick from a configuration all that a class or function needs, as :func:`chosen` does.

    Raises:
        ValueError: an option that it needs is missing, or one has a value that it cannot have.
    """
    values = chosen(piece, cfg)
    for name, option in options_of(piece).items():
        if option.default is REQUIRED and name not in values:
            raise ValueError(f"{name}, {option.help}, is missing: set model.{name}")
    return values


def values_of(cfg: Any, *pieces: Callable) -> dict[str, Any]:
    """Pick from a configuration the options of classes and functions, without a check.

    Args:
        cfg: as for :func:`chosen`; fairseq has checked its types.
        pieces: see :func:`options_of`.

    Returns:
        Value by name, of those that the configuration says; choices as plain strings, sequences as
        lists.
    """
    return {name: _plain(x) for name, x in _said(cfg, options_of(*pieces)).items()}


def _said(cfg: Any, names: Iterable[str]) -> dict[str, Any]:
    """Values of a configuration under those of the names that it has."""
    values = cfg if isinstance(cfg, Mapping) else vars(cfg)
    return {name: values[name] for name in names if name in values}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value)
    return list(value) if _is_list(value) else value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
