"""Registration with fairseq, also under names that stock fairseq has taken."""

from collections.abc import Callable
from typing import Any

import fairseq.criterions
import fairseq.models
import fairseq.optim
from fairseq.dataclass import FairseqDataclass

from fairseq_ecg.compat.options import make_configuration


def register_model(name: str, dataclass: type[FairseqDataclass]) -> Callable[[type], type]:
    """Register a model as fairseq's decorator does, in place of a stock model of that name.

    fairseq's decorator silently keeps the older class.

    Args:
        name: name of the model in a config.
        dataclass: its configuration.

    Raises:
        ValueError: the name is taken by another plugin.
    """
    _give_up(name, fairseq.models.MODEL_REGISTRY)
    fairseq.models.MODEL_DATACLASS_REGISTRY.pop(name, None)
    for architecture in fairseq.models.ARCH_MODEL_INV_REGISTRY.pop(name, []):
        fairseq.models.ARCH_MODEL_REGISTRY.pop(architecture)
        fairseq.models.ARCH_MODEL_NAME_REGISTRY.pop(architecture)
        fairseq.models.ARCH_CONFIG_REGISTRY.pop(architecture)
    return fairseq.models.register_model(name, dataclass=dataclass)


def register_criterion(name: str, **defaults: Any) -> Callable[[type], type]:
    """Register a criterion, whose configuration has the options that its constructor declares.

    A stock criterion of that name gives it up.

    Args:
        name: name of the criterion in a config.
        defaults: in place of those that the constructor declares.

    Raises:
        ValueError: the name is taken by another plugin.
    """

    def register(criterion: type) -> type:
        title, module = f"{criterion.__name__}Config", criterion.__module__
        config = make_configuration(title, module, criterion, **defaults)
        _give_up(name, fairseq.criterions.CRITERION_REGISTRY)
        return fairseq.criterions.register_criterion(name, dataclass=config)(criterion)

    return register


def register_optimizer(name: str, dataclass: type[FairseqDataclass]) -> Callable[[type], type]:
    """Register an optimizer, as `register_model` does a model."""
    _give_up(name, fairseq.optim.OPTIMIZER_REGISTRY)
    return fairseq.optim.register_optimizer(name, dataclass=dataclass)


def _give_up(name: str, registry: dict[str, type]) -> None:
    taken = registry.get(name)
    if taken is None:
        return
    if not taken.__module__.startswith("fairseq."):
        raise ValueError(f"{name!r} is registered already, by {taken.__module__}")
    del registry[name]
