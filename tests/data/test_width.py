"""Tables of very many columns are refused before a parser makes columns of them."""

import gzip

import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.recordings import Description, recordings_in
from fairseq_ecg.prepare.labels import prepare_labels
from fairseq_ecg.prepare.sources import open_source

WIDE = ",".join(f"c{i}" for i in range(200_000))


@pytest.fixture(params=["header", "first row", "packed"])
def wide(request, tmp_path):
    """A table of 200,000 columns, in its header or only below it."""
    text = f"{WIDE},path,name,idx\n" if request.param != "first row" else "path,name,idx\n"
    path = tmp_path / "wide.csv"
    if request.param == "packed":
        path = tmp_path / "wide.csv.gz"
        path.write_bytes(gzip.compress(f"{text}{WIDE}\n".encode()))
    else:
        path.write_text(f"{text}{WIDE}\n{WIDE}\n")
    return path


def test_wide_tables(wide, tmp_path):
    (tmp_path / "meta.csv").write_text("save_file,split\na.mat,train\n")
    for read in (
        lambda: check_width(wide),
        lambda: prepare_labels(wide, tmp_path / "meta.csv", tmp_path / "out"),
        lambda: open_source("generic", tmp_path, {"table": wide}).records(),
    ):
        with pytest.raises(DataError, match=r"wide\.csv.*says 200,0\d\d columns, more than"):
            read()


def test_wide_tables_of_reports_labels_and_recordings(tmp_path, capsys):
    (tmp_path / "wide.csv").write_text(f"path,name,t,{WIDE}\n{WIDE}\n")
    path = str(tmp_path / "wide.csv")
    with pytest.raises(DataError, match="columns, more than"):
        read_label_names(path)
    with pytest.raises(DataError, match="columns, more than"):
        recordings_in(path, Description())[0].read()
    assert main(["label", path, "--text-column", "t", "--out", str(tmp_path / "out")]) == 2
    assert "columns, more than" in capsys.readouterr().err


def test_tables_that_are_no_table_of_paths_for_their_long_lines(tmp_path):
    """A line for each lead may be longer than any header."""
    line = " ".join(["0.125"] * 50_000)
    (tmp_path / "a.csv").write_text(f"I {line}\nII {line}\n")
    (recording,) = recordings_in(str(tmp_path), Description(sample_rate=500, units="mV"))
    assert type(recording.source).__name__ == "_OfFile"
