"""Of things that are computed together, one that fails does not take the others with it."""

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.apart import computed_apart


def halves(items):
    """Fail for zeros, of any kind."""
    if 0 in items:
        raise ZeroDivisionError("no half")
    if -1 in items:
        raise MemoryError
    return [item / 2 for item in items]


def computed(items):
    return list(computed_apart(items, halves, lambda item: f"item {item}"))


def test_what_can_be_computed_together_is():
    assert computed([2, 4]) == [([2, 4], [1, 2])]
    assert computed([2]) == [([2], [1])]
    assert computed([]) == []


def test_what_fails_is_named_and_the_others_are_computed():
    (one, zero, none, four) = computed([2, 0, -1, 4])
    assert one == ([2], [1])
    assert four == ([4], [2])
    for (items, error), item, reason in ((zero, 0, "no half"), (none, -1, "MemoryError")):
        assert items == [item]
        assert isinstance(error, DataError)
        assert f"item {item}: cannot be computed" in str(error)
        assert reason in str(error)


def test_who_ends_the_program_ends_it():
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(computed_apart([1, 2], interrupted, str))
