"""Options are declared by signatures and docstrings, of which configurations are made."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, List, Literal, Optional  # noqa: UP035

import pytest
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass import FairseqDataclass
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.compat.options import configuration, fairseq_type
from fairseq_ecg.ops.augment import AUGMENTATIONS, BaselineShift
from fairseq_ecg.options import options_of, values_of


class Plain:
    """One.

    Args:
        size: of
            it.
        kind: which one.
        rest: of a subclass.
    """

    def __init__(self, *, size: int = 1, kind: Literal["a", "b"] = "a", **rest):
        pass


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Another.

    Args:
        size: of the other.
        names: of all.
    """

    size: int = 2
    names: Sequence[str] = ("x",)


@configuration(Plain, Sized, kind="b")
class Config(FairseqDataclass):
    """Of both.

    Args:
        own: its own.
    """

    own: float | None = None


def test_of_several_declarations_the_first_counts():
    options = options_of(Plain, Sized)
    assert {name: (x.default, x.help) for name, x in options.items()} == {
        "size": (1, "of it"),
        "kind": ("a", "which one"),
        "names": (("x",), "of all"),
    }


def test_a_dataclass_has_the_options_of_its_bases():
    options = options_of(BaselineShift)
    assert "p" not in options  # it is no keyword-only field: each augmentation has its own
    assert options["max_amplitude"].default == 0.25
    assert options["min_amplitude"].help
    assert all(option.help for option in options_of(*AUGMENTATIONS.values()).values())


def test_a_configuration_has_own_fields_and_options():
    fields = Config.__dataclass_fields__
    assert {name: fields[name].metadata["help"] for name in fields if name != "_name"} == {
        "own": "its own",
        "size": "of it",
        "kind": "which one",
        "names": "of all",
    }
    cfg = OmegaConf.structured(Config(size=3))
    assert values_of(cfg, Plain) == {"size": 3, "kind": "b"}
    assert values_of(cfg, Sized) == {"size": 3, "names": ["x"]}
    assert type(values_of(cfg, Plain)["kind"]) is str


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int | None, Optional[int]),  # noqa: UP045 (fairseq reads typing's names)
        (Sequence[float] | None, Optional[List[float]]),  # noqa: UP006, UP045
        (str | Sequence[int], str),
        (Any, Any),
    ],
)
def test_types_that_fairseq_reads(kind, expected):
    assert fairseq_type(kind) == expected


def test_made_configurations_can_be_pickled():
    for name in ("wav2vec2_with_cmsc", "clocs", "focal_loss"):
        config = CRITERION_DATACLASS_REGISTRY[name]
        assert pickle.loads(pickle.dumps(config)) is config
