import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.jobs.journal import Journal, checksum

SETTINGS = {"sample_rate": 500}


def open_journal(tmp_path, settings=SETTINGS, **options):
    return Journal(tmp_path / "journal", settings, **options)


def fill(tmp_path, *ids):
    with open_journal(tmp_path) as journal:
        for idx in ids:
            journal.add(idx, f"c{idx}", {"n": idx, "text": "a\tb\nc"})


def test_what_was_noted_is_there_again(tmp_path):
    fill(tmp_path, 3, 1)
    with open_journal(tmp_path) as journal:
        positions = journal.positions()
        assert {idx: checked for idx, (checked, _) in positions.items()} == {1: "c1", 3: "c3"}
        (entry,) = journal.entries([positions[1][1]])
        assert entry == {"n": 1, "text": "a\tb\nc"}


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_line_that_was_cut_off_is_forgotten(tmp_path, lost):
    fill(tmp_path, 1, 2)
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes()[:-lost])
    with open_journal(tmp_path) as journal:
        assert set(journal.positions()) == {1}
        journal.add(5, "c", {})
        assert set(journal.positions()) == {1, 5}


def test_the_last_entry_of_a_record_counts(tmp_path):
    with open_journal(tmp_path) as journal:
        journal.add(1, "old", {"n": 1})
        journal.add(1, "new", {"n": 2})
        checked, position = journal.positions()[1]
        assert checked == "new"
        assert next(journal.entries([position])) == {"n": 2}


def test_other_settings_begin_anew(tmp_path):
    fill(tmp_path, 1)
    with open_journal(tmp_path, {"sample_rate": 250}) as journal:
        assert journal.positions() == {}
    fill(tmp_path, 1)
    with open_journal(tmp_path, again=True) as journal:
        assert journal.positions() == {}


def test_tidy_journals_do_not_say_in_which_order_records_ended(tmp_path):
    for name, ids in (("a", (2, 0, 1)), ("b", (0, 1, 2))):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, *ids)
        with open_journal(tmp_path / name) as journal:
            journal.tidy()
    assert (tmp_path / "a" / "journal").read_bytes() == (tmp_path / "b" / "journal").read_bytes()


def test_checksums_distinguish_rows():
    assert checksum({"a": 1, "b": "x"}) == checksum({"a": 1, "b": "x"})
    assert checksum({"a": 1, "b": "x"}) != checksum({"a": 1, "b": "y"})
    assert checksum({"a": 1.5}) != checksum({"a": 1})
    assert checksum({"a": 1, "b": "x"}) != checksum({"a": 1})


def test_checksums_do_not_depend_on_other_rows():
    alone = pd.DataFrame({"path": ["a"], "age": [50]})
    beside = pd.DataFrame({"path": ["a", "b"], "age": [50, None], "fault": [np.nan, "damaged"]})
    assert checksum(alone.to_dict("records")[0]) == checksum(beside.to_dict("records")[0])
