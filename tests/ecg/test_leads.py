import numpy as np
import pytest

from fairseq_ecg.ecg.leads import (
    LEADS,
    LeadSelection,
    lead_indices,
    leads_as_text,
)


@pytest.mark.parametrize(
    ("leads", "indices"),
    [
        (None, list(range(12))),
        ("['II', 'v1', 3]", [1, 6, 3]),
        ("[0, 11]", [0, 11]),
        (("aVR", "avl", "AVF"), [3, 4, 5]),
        (np.array([5, 2]), [5, 2]),
        (LEADS, list(range(12))),
        ([0], [0]),
        (0, [0]),
        (np.int64(3), [3]),
        ("0", [0]),
        (" [0] ", [0]),
        ("(0,)", [0]),
        ("II", [1]),
        ("'II'", [1]),
        ("[II]", [1]),
        ("II, v1", [1, 6]),
        ("II,3", [1, 3]),
        ("[I, 'V6', 2]", [0, 11, 2]),
        (["0"], [0]),
    ],
)
def test_leads_are_read(leads, indices):
    assert lead_indices(leads) == indices


@pytest.mark.parametrize(
    ("leads", "message"),
    [
        ("1.5", "is not a list of leads"),
        ({"I": 0}, "is not a list of leads"),
        (b"I", "is not a list of leads"),
        ("__import__('os').getcwd()", "unknown lead"),
        ("12", "unknown lead 12"),
        (-1, "unknown lead -1"),
        ("I;II", "unknown lead 'I;II'"),
        ("", "names no lead"),
        ("II,1", "names a lead twice"),
        ("['V7']", "unknown lead 'V7'; the leads are I, II"),
        ("[12]", "unknown lead 12"),
        ("[-1]", "unknown lead -1"),
        ("[True]", "unknown lead True"),
        ("[1.0]", "unknown lead 1.0"),
        ("['I', 0]", "names a lead twice"),
        ("[]", "names no lead"),
    ],
)
def test_what_is_no_list_of_leads_is_refused(leads, message):
    with pytest.raises(ValueError, match=message):
        lead_indices(leads)


@pytest.mark.parametrize(
    ("leads", "text"),
    [
        (None, None),
        ("['II', 'v1']", "['II', 'v1']"),
        ([0], "[0]"),
        (["I", 1], "['I', 1]"),
        ("0", "[0]"),
        (0, "[0]"),
        ("II", "[1]"),
        ("[I, V1]", "[0, 6]"),
        ("V9", "V9"),
    ],
)
def test_leads_are_written_as_fairseq_signals_evaluates_them(leads, text):
    assert leads_as_text(leads) == text


def test_without_bucket_leads_keep_the_order_given():
    selection = LeadSelection((6, 1))
    assert selection.draw(None) == [6, 1]
    assert list(selection.row_layouts()) == [[6, 1]]


def test_the_lead_drawn_from_a_bucket_comes_last():
    selection = LeadSelection((7, 6, 1, 0), bucket=(6, 7))
    assert list(selection.row_layouts()) == [[0, 1, 6], [0, 1, 7]]
    drawn = [selection.draw(np.random.RandomState(seed)) for seed in range(10)]
    expected = [[0, 1, np.random.RandomState(seed).choice([6, 7], size=1)[0]] for seed in range(10)]
    assert drawn == expected
    assert {leads[-1] for leads in drawn} == {6, 7}


def test_padding_gives_every_lead_its_standard_row():
    selection = LeadSelection((6, 1), pad=True)
    assert selection.rows(selection.draw(None)) == list(range(12))


def test_bucket_and_padding_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        LeadSelection((0, 1), bucket=(1,), pad=True)


def test_a_bucket_must_be_loaded():
    with pytest.raises(ValueError, match="leads_bucket holds V1, V2, which leads_to_load does not"):
        LeadSelection((0, 1), bucket=(1, 6, 7))
