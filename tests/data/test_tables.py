import gzip

import pandas as pd
import pytest

from fairseq_ecg.data.tables import read_in_parts, read_table, truth_of, whole_numbers, writing
from fairseq_ecg.errors import DataError


def test_a_table_is_passed_on_unchanged(tmp_path, monkeypatch):
    """Numbers keep their zeros, empty cells stay empty, and quotes are where they are needed."""
    monkeypatch.setattr("fairseq_ecg.data.tables.ROWS_AT_ONCE", 2)
    text = 'idx,age,name\n0,71.30,"a, b"\n1,,NA\n2,1e3,"say ""x"""\n'
    (tmp_path / "a.csv").write_text(text)
    with writing(tmp_path / "b.csv", ["idx", "age", "name"]) as append:
        for part in read_in_parts(tmp_path / "a.csv"):
            append(part)
    assert (tmp_path / "b.csv").read_text() == text


def test_missing_cells_are_written_as_pandas_does(tmp_path):
    table = pd.DataFrame({"n": [1, 2], "x": [0.1, None], "t": ["a", None], "b": [True, False]})
    with writing(tmp_path / "a.csv", table.columns) as append:
        append(table)
    assert (tmp_path / "a.csv").read_text() == table.to_csv(index=False)


def test_a_failure_leaves_no_table(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path / "a.csv", ["x"]) as append:
        append(pd.DataFrame({"y": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_columns_come_in_the_order_asked_for(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt", encoding="utf-8-sig") as file:
        file.write("x,y,z\n1,2,3\n")
    table = read_table(tmp_path / "a.csv.gz", ["z", "x"])
    assert table.to_dict("list") == {"z": ["3"], "x": ["1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"y\n1\n", r"no column 'x' \(it has y\)"),
        (b"x\n\xff\n", "cannot be read as a table"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: {message}"):
        read_table(path, ["x"])
    with pytest.raises(DataError, match=rf"a\.csv: {message}"):
        list(read_in_parts(path, ["x"]))


@pytest.mark.parametrize("content", ["x,y\n1,2\n1,2,3\n", "x,y\n1,2,3\n"])
def test_rows_that_are_too_long(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=r"a\.csv.*(cannot be read as a table|more values)"):
        list(read_in_parts(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv.*(cannot be read as a table|more values)"):
        list(read_in_parts(tmp_path / "a.csv", ["y"], typed=True))


def test_whole_numbers():
    assert whole_numbers(pd.Series(["3.0", "12"]), "a.csv: idx").tolist() == [3, 12]
    for wrong in ("3.5", "-1", "x", None):
        with pytest.raises(DataError, match=r"a\.csv: idx, line 3: .* is no whole number"):
            whole_numbers(pd.Series(["1", wrong]), "a.csv: idx")


def test_truth():
    values = pd.Series(["True", " false", "1", 0, True, "yes", None], dtype=object)
    assert truth_of(values).tolist()[:5] == [True, False, True, False, True]
    assert truth_of(values).isna().tolist()[5:] == [True, True]
