from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.records import read_records, read_source, save_file, write_records
from fairseq_ecg.prepare.sources import open_source


def write(tmp_path, **columns):
    table = {"path": ["a", "b"], "save_file": ["a.mat", "b.mat"], "source": "s", "dataset": "d"}
    path = tmp_path / "records.csv"
    pd.DataFrame(table | columns).to_csv(path, index=False)
    return path


def test_ids_with_leading_zeros_stay_text(tmp_path):
    path = write(tmp_path, path=["001", "2"], patient=["007", "12"], age=[7, 8])
    records = read_records(path)
    assert records["path"].tolist() == ["001", "2"]
    assert records["patient"].tolist() == ["007", "12"]
    assert records["age"].tolist() == [7, 8]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"idx": 1}, "column 'idx' is made by the step 'signals': rename it"),
        ({"mean_3": 1}, "column 'mean_3' is made by the step 'signals'"),
        ({"save_file": "a.mat"}, r"a and b would both become a\.mat"),
        ({"dataset": ["d", None]}, "record 2: no value in column 'dataset'"),
    ],
)
def test_mistakes_are_reported(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_records(write(tmp_path, **columns))


@pytest.mark.parametrize("name", ["../a.mat", "/tmp/a.mat", "..", "a/b.mat", "a\\b.mat", "a\nb"])
def test_files_of_records_lie_in_their_folder(tmp_path, name):
    with pytest.raises(DataError, match=r"'save_file' is .* the plain name of a file in a folder"):
        read_records(write(tmp_path, save_file=["a.mat", name]))


def test_missing_columns_and_files_are_reported(tmp_path):
    (tmp_path / "records.csv").write_text("path,source\na,b\n")
    with pytest.raises(DataError, match="no column 'dataset'"):
        read_records(tmp_path / "records.csv")
    (tmp_path / "records.csv").write_text("path,source,dataset,save_file\n")
    with pytest.raises(DataError, match="there are none"):
        read_records(tmp_path / "records.csv")
    with pytest.raises(DataError, match="Run the step 'records' first"):
        read_records(tmp_path / "none.csv")
    with pytest.raises(DataError, match="Run the step 'records' first"):
        read_source(tmp_path)
    (tmp_path / "source.yaml").write_text("- code_15\n")
    with pytest.raises(DataError, match="is damaged"):
        read_source(tmp_path)


def test_names_of_files_say_source_and_path(tmp_path):
    source = open_source("code_15", tmp_path)
    for path in ("g 1/p/r.1.hea", str(tmp_path.absolute() / "g 1/p/r.1.hea")):
        assert save_file(source, path) == "code_15_g_1_p_r.1.mat"
    assert save_file(source, "/elsewhere/r") == "code_15_elsewhere_r.mat"


def test_a_source_is_found_again_also_where_it_was_moved(tmp_path, write_code_15, monkeypatch):
    write_code_15(tmp_path / "raw", {5: np.ones((12, 40), np.float32)})
    monkeypatch.chdir(tmp_path)
    write_records("code_15", Path("raw"), tmp_path / "out")
    monkeypatch.chdir("/")
    assert read_source(tmp_path / "out").raw_root == tmp_path / "raw"
    (tmp_path / "raw").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="raw: no such folder"):
        read_source(tmp_path / "out")
    assert read_source(tmp_path / "out", tmp_path / "moved").raw_root == tmp_path / "moved"


def test_unknown_sources_are_refused(tmp_path):
    with pytest.raises(DataError, match="source 'ecg': not one of mimic_iv_ecg, physionet2021"):
        open_source("ecg", tmp_path)
