"""Options, declared once: fields of dataclasses with a help text, of which users' options are made.

A dataclass with such fields is what it configures, or is the value of its options; configurations
for fairseq are made of the fields by ``compat.dataclass_options``.
"""

from dataclasses import field
from typing import Any


def option(default: Any, help: str, **about: Any) -> Any:
    """Declare a field that is an option of users.

    Args:
        default: of the field; a list is copied.
        help: what users read of it.
        about: ``choices``, if there are some only; ``task_name``, what users call it, and
            ``task_default``, what they get, where these are not the field's own.
    """
    metadata = {"help": help, **about}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)
