"""Configurations, by fairseq_signals' functions."""

from typing import Any


def populate_dataclass(dataclass: Any, args: Any) -> Any:
    """Give a configuration the values of arguments by the same names.

    Args:
        dataclass: the configuration, which is changed.
        args: parsed arguments.

    Returns:
        The configuration.
    """
    for name in dataclass.__dataclass_fields__:
        if not name.startswith("_") and hasattr(args, name):
            setattr(dataclass, name, getattr(args, name))
    return dataclass
