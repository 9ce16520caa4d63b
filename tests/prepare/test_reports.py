"""Recordings with their reports."""

import os
import random
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.reports import SOURCES, prepare_reports, read_excluded
from fairseq_ecg.prepare.sources.reports import TRANSLATED
from tests.ecg_qa import N_ECGS, make_ecg_qa
from tests.interruptions import kill, replace_until
from tests.prepare.sources.archives import MIMIC_RECORDS, make_mimic, write_wfdb
from tests.prepare.test_archive import tree


@pytest.fixture
def ptb_xl(tmp_path):
    return make_ecg_qa(tmp_path).ptb_xl


def change(ptb_xl, row, **values):
    """Change a row of the tables."""
    for name in ("ptbxl_database.csv", TRANSLATED):
        table = pd.read_csv(ptb_xl / name)
        for column, value in values.items():
            table.loc[row, column] = value
        table.to_csv(ptb_xl / name, index=False)


def prepare(source, folder, **options):
    return prepare_reports(source, folder, **options)


def texts(folder):
    """Reports by file."""
    return {
        path.name: scipy.io.loadmat(path)["text"].item()
        for path in sorted((folder / "segmented").iterdir())
    }


def test_the_file_of_a_recording(ptb_xl, tmp_path):
    change(ptb_xl, 1, report="über 90 µV", scp_codes="{'SR': 0.0, 'AFIB': 15.0}")
    change(ptb_xl, 2, scp_codes="{}")
    prepared = prepare(SOURCES["ptb_xl"](ptb_xl), tmp_path / "out")
    assert not len(prepared.quarantine)
    found = scipy.io.loadmat(tmp_path / "out" / "segmented" / "00002_hr.mat")
    assert [key for key in found if key[0] != "_"] == [
        *("curr_sample_rate", "feats", "text", "diagnoses")
    ]
    assert found["text"].item() == "über 90 µV"
    assert found["diagnoses"].tolist() == ["SR  ", "AFIB"]
    assert found["curr_sample_rate"].dtype == np.int64
    stored = np.fromfile(ptb_xl / "records500" / "00000" / "00002_hr.dat", "<i2").reshape(-1, 12)
    np.testing.assert_array_equal(found["feats"], stored.T / 1000)
    without = scipy.io.loadmat(tmp_path / "out" / "segmented" / "00003_hr.mat")
    assert without["diagnoses"].size == 0


def test_reports_in_english_where_they_are_there(ptb_xl, tmp_path, caplog):
    table = pd.read_csv(ptb_xl / "ptbxl_database.csv").assign(report="Sinusrhythmus")
    table.to_csv(ptb_xl / "ptbxl_database.csv", index=False)
    prepare(SOURCES["ptb_xl"](ptb_xl), tmp_path / "english")
    assert texts(tmp_path / "english")["00001_hr.mat"] == "sinus rhythm."
    assert not caplog.text
    (ptb_xl / TRANSLATED).unlink()
    prepare(SOURCES["ptb_xl"](ptb_xl), tmp_path / "german")
    assert set(texts(tmp_path / "german").values()) == {"Sinusrhythmus"}
    assert "partly in German" in caplog.text


def test_splits_are_drawn_of_sorted_names(ptb_xl, tmp_path, capsys):
    table = pd.read_csv(ptb_xl / TRANSLATED)
    table.iloc[::-1].to_csv(ptb_xl / TRANSLATED, index=False)
    folder = tmp_path / "out"
    source = ["--source=ptb_xl", f"--raw-root={ptb_xl}", f"--processed-root={folder}"]
    assert main(["prepare", "text", *source, "--valid-percent=0.24", "--seed=7"]) == 0
    names = [f"{ecg_id:05d}_hr.mat\t1250" for ecg_id in range(1, N_ECGS + 1)]
    random.Random(7).shuffle(names)
    parts = {"train": names[:12], "valid": names[12:16], "test": names[16:]}
    for split, rows in parts.items():
        lines = (folder / "manifests" / f"{split}.tsv").read_text().splitlines()
        assert lines == [str((folder / "segmented").resolve()), *rows]
    with pytest.raises(DataError, match=r"0\.6 for validation.* between 0 and 0\.5"):
        prepare(SOURCES["ptb_xl"](ptb_xl), folder, valid_fraction=0.6)


def test_what_has_no_text_or_no_value_is_set_aside(ptb_xl, tmp_path, capsys):
    change(ptb_xl, 2, report=" ")
    change(ptb_xl, 3, report=None)
    change(ptb_xl, 4, scp_codes="SR")
    signal = np.ones((12, 1250))
    signal[5, 7] = np.nan
    write_wfdb(ptb_xl / "records500" / "00000" / "00006_hr", signal, sample_rate=500)
    folder = tmp_path / "out"
    command = ["prepare", "text", "--source=ptb_xl", f"--raw-root={ptb_xl}"]
    command += [f"--processed-root={folder}"]
    assert main(command) == EXIT_SOME_LEFT_OUT
    assert "4 records cannot be used" in capsys.readouterr().out
    reasons = pd.read_csv(folder / "quarantine.csv")["reason"].tolist()
    table = ptb_xl / TRANSLATED
    for reason, expected in zip(
        reasons,
        [
            f"{table}, line 4: its report is empty",
            f"{table}, line 5: its report is empty",
            "scp_codes is 'SR', not likelihoods by statement",
            "00006_hr.hea: skipped for a nan value",
        ],
        strict=True,
    ):
        assert expected in reason
    assert len(texts(folder)) == N_ECGS - 4
    rows = [
        row
        for path in (folder / "manifests").iterdir()
        for row in path.read_text().splitlines()[1:]
    ]
    assert len(rows) == N_ECGS - 4
    with pytest.raises(DataError, match="report is empty"):
        prepare(SOURCES["ptb_xl"](ptb_xl), tmp_path / "strict", strict=True)
    change(ptb_xl, 2, report="normal")  # once it is corrected, the next run takes it
    assert main(command) == EXIT_SOME_LEFT_OUT
    assert texts(folder)["00003_hr.mat"] == "normal"


def test_recordings_to_leave_out(ptb_xl, tmp_path):
    exclude = tmp_path / "exclude.tsv"
    exclude.write_text("0\t2\n1\t20\n\n")
    assert read_excluded(exclude) == {2, 20}
    prepare(SOURCES["ptb_xl"](ptb_xl, exclude=read_excluded(exclude)), tmp_path / "out")
    assert set(texts(tmp_path / "out")) == {
        f"{ecg_id:05d}_hr.mat" for ecg_id in range(1, N_ECGS + 1) if ecg_id not in (2, 20)
    }
    exclude.write_text("0\t2\n21\n")
    with pytest.raises(DataError, match=r"exclude.tsv, line 2: '21' has no number"):
        read_excluded(exclude)
    with pytest.raises(DataError, match="no such file"):
        read_excluded(tmp_path / "absent.tsv")
    with pytest.raises(DataError, match="--exclude leaves no recording"):
        prepare(SOURCES["ptb_xl"](ptb_xl, exclude=range(99)), tmp_path / "none")


def test_reports_of_mimic_iv_ecg(tmp_path):
    root = make_mimic(tmp_path / "mimic")
    source = SOURCES["mimic_iv_ecg"](root, exclude=[MIMIC_RECORDS[2][1]])
    folder = tmp_path / "out"
    prepared = prepare(source, folder)
    # Statements as they are, joined by a blank; the second record has an invalid sample, the last
    # one no statement.
    assert texts(folder) == {"40689238.mat": "Sinus rhythm Borderline ECG"}
    assert "diagnoses" not in scipy.io.loadmat(folder / "segmented" / "40689238.mat")
    nan, empty = prepared.quarantine["reason"]
    assert "44458630.hea: skipped for a nan value" in nan
    assert "machine_measurements.csv, line 5: its report is empty" in empty
    assert pd.read_csv(folder / "segmented.csv")["patient_id"].tolist() == [10000032]


def test_a_study_that_is_not_listed_is_set_aside(tmp_path):
    root = make_mimic(tmp_path / "mimic")
    (table,) = root.rglob("record_list.csv")
    rows = pd.read_csv(table)
    rows[rows["study_id"] != 49036311].to_csv(table, index=False)
    prepared = prepare(SOURCES["mimic_iv_ecg"](root), tmp_path / "out")
    reasons = prepared.quarantine.set_index("record")["reason"]
    assert "record_list.csv has no study 49036311. Download both" in reasons["49036311"]


@pytest.mark.parametrize("n_files", [0, 2, 23, 26])
def test_a_run_that_was_killed_goes_on(ptb_xl, tmp_path, n_files):
    whole = tmp_path / "whole"
    prepare(SOURCES["ptb_xl"](ptb_xl), whole)
    folder = tmp_path / "killed"
    child = os.fork()
    if not child:
        os.replace = replace_until(n_files, kill)
        prepare(SOURCES["ptb_xl"](ptb_xl), folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1]
    made = {path.name: path.stat().st_mtime_ns for path in folder.glob("segmented/0*.mat")}
    prepare(SOURCES["ptb_xl"](ptb_xl), folder)
    assert tree(folder) == tree(whole)
    again = [
        name
        for name, time in made.items()
        if (folder / "segmented" / name).stat().st_mtime_ns != time
    ]
    assert len(again) <= 1  # the one in hand, written and not yet noted
    shutil.rmtree(folder)
