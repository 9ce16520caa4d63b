import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Semantics
from fairseq_ecg.labeler.semantics import COMPATIBLE, choose


def test_choices():
    assert choose("default") == Semantics()
    assert choose("compatible") == COMPATIBLE
    chosen = choose("default", ["negation=nearest", "parent_gain=0.3", "clean=false"])
    assert chosen == Semantics(negation="nearest", parent_gain=0.3, clean=False)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("negate=nearest", "no choice 'negate'; there are attribution"),
        ("negation=never", "choose one of clause, nearest, ignored"),
        ("parent_gain=much", "give a number"),
        ("parent_gain=nan", "give a number"),
        ("clean=1", "choose one of true, false"),
        ("clean", "choose one of true, false"),
    ],
)
def test_mistakes(choice, message):
    with pytest.raises(DataError, match=message):
        choose("default", [choice])
    with pytest.raises(DataError, match="no mode 'strict'"):
        choose("strict")
