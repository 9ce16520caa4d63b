"""Values in messages."""

import reprlib


def shortened(value: object, most: int = 200) -> str:
    """Return a value as a message shows it: at a length that can be read, whatever it is.

    Args:
        value: anything.
        most: characters of a text, or of what is no container.
    """
    limits = reprlib.Repr()
    limits.maxstring = limits.maxother = most
    try:
        return limits.repr(value)
    except ValueError:  # a number of too many digits
        return f"a {type(value).__name__}"
