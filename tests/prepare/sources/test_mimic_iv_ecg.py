import gzip

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources import mimic_iv_ecg
from fairseq_ecg.prepare.sources.mimic_iv_ecg import MIMICIVECG
from tests.prepare.sources.archives import (
    MIMIC_FOLDER,
    MIMIC_REPORTS,
    beats,
    make_mimic,
    make_mimic_iv,
)


@pytest.fixture
def archive(tmp_path):
    return make_mimic(tmp_path / "raw")


@pytest.fixture
def mimic_iv(tmp_path):
    return make_mimic_iv(tmp_path / "mimic-iv")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_records_as_listed(archive):
    records = MIMICIVECG(archive).records()
    assert list(records) == [
        *("subject_id", "study_id", "file_name", "ecg_time", "path", "machine_report"),
        *("save_file", "source", "dataset"),
    ]
    assert list(records["study_id"]) == [40689238, 44458630, 49036311, 45090959]
    assert list(records["machine_report"]) == MIMIC_REPORTS
    assert records["ecg_time"][0] == "2180-07-23 08:44:00"
    assert records["save_file"][0] == "mimic_iv_ecg_p1000_p10000032_s40689238_40689238.mat"
    assert set(records["source"]) == set(records["dataset"]) == {"mimic_iv_ecg"}


def test_names_do_not_depend_on_which_records_there_are(archive, tmp_path):
    """With one patient, fairseq_signals names files s40689238_40689238.mat."""
    one = MIMICIVECG(make_mimic(tmp_path / "one", subjects=(10000032,))).records()
    everything = MIMICIVECG(archive).records()
    assert list(one["save_file"]) == list(everything["save_file"][:2])


def test_the_unpacked_folder_itself_may_be_given(archive):
    inner = MIMICIVECG(archive / MIMIC_FOLDER).records()
    pd.testing.assert_frame_equal(inner, MIMICIVECG(archive).records())


def test_patients_of_mimic_iv(archive, mimic_iv):
    records = MIMICIVECG(archive, mimic_iv_root=mimic_iv).records()
    assert list(records) == [
        *("subject_id", "study_id", "file_name", "ecg_time", "path", "sex", "anchor_age"),
        *("anchor_year", "anchor_day_offset", "dod", "anchor_year_dt", "age", "machine_report"),
        *("save_file", "source", "dataset"),
    ]
    first, _, second, unknown = records.itertuples()
    # 2014 - 2016 is taken for 2015; (2015 - 2180) * 365.25 = -60266.25 days.
    assert (first.sex, first.anchor_age, first.anchor_year) == (1, 52, 2015)
    assert first.anchor_day_offset == pd.Timedelta(days=-60266)
    assert first.ecg_time == pd.Timestamp("2015-07-23 08:44:00")
    assert first.dod == pd.Timestamp("2015-09-09")
    assert first.anchor_year_dt == pd.Timestamp("2015-01-01")
    assert first.age == 52 + 203 / 365.25
    # 60266 days before 2181-03-04, 2618 days after 2009-01-01.
    assert second.ecg_time == pd.Timestamp("2016-03-03 17:14:00")
    assert (second.sex, second.anchor_year) == (0, 2009)
    assert second.age == 48 + 2618 / 365.25
    assert pd.isna(second.dod)
    assert pd.isna(unknown.ecg_time)
    assert pd.isna(unknown.age)
    assert pd.isna(unknown.sex)
    # As fairseq_signals writes them where a patient is not known.
    columns = ["sex", "anchor_age", "anchor_year", "age"]
    text = records.iloc[[0, 3]].to_csv(columns=columns, index=False)
    assert text.splitlines() == [",".join(columns), f"1,52.0,2015.0,{first.age}", ",,,"]


def test_reports_go_by_study(archive):
    """fairseq_signals goes by the number of the row."""
    path = archive / MIMIC_FOLDER / "machine_measurements.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert list(MIMICIVECG(archive).records()["machine_report"]) == MIMIC_REPORTS


def test_a_study_without_report_is_set_aside(archive, read_all):
    path = archive / MIMIC_FOLDER / "machine_measurements.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    ecgs, _, faults = read_all(MIMICIVECG(archive))
    assert len(ecgs) == 3
    (fault,) = faults.values()
    assert "record_list.csv, line 5: machine_measurements.csv has no study 45090959" in fault


def test_a_study_with_two_reports_is_an_error(archive):
    path = archive / MIMIC_FOLDER / "machine_measurements.csv"
    row = path.read_text().splitlines()[1]
    path.write_text(path.read_text() + row + "\n")
    assert list(MIMICIVECG(archive).records()["machine_report"]) == MIMIC_REPORTS
    path.write_text(path.read_text() + row.replace("Sinus", "No sinus") + "\n")
    with pytest.raises(DataError, match="different reports of study 40689238"):
        MIMICIVECG(archive).records()


def test_a_study_that_is_listed_twice_is_read_once(archive, read_all):
    path = archive / MIMIC_FOLDER / "record_list.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    source = MIMICIVECG(archive)
    assert source.records()["save_file"].is_unique
    ecgs, meta, faults = read_all(source)
    assert len(ecgs) == 4
    (fault,) = faults.values()
    assert "record_list.csv, line 6: study_id 40689238 is already in line 2" in fault
    assert "fault" not in source.describe(meta)


def test_signals_in_millivolts(archive, read_all):
    ecgs, _, _ = read_all(MIMICIVECG(archive))
    ecg = ecgs["mimic_iv_ecg_p1000_p10000117_s49036311_49036311.mat"]
    assert ecg.sample_rate == 500
    expected = beats(500, 10, 49036311)
    for lead, row in zip(ecg.leads, ecg.signal, strict=True):
        np.testing.assert_allclose(row, expected[LEADS.index(lead)], atol=0.5 / 200 + 1e-9)
    odd = ecgs["mimic_iv_ecg_p1000_p10000032_s44458630_44458630.mat"]
    assert set(odd.signal[odd.leads.index("V3")]) == {0.1}
    assert np.flatnonzero(np.isnan(odd.signal[odd.leads.index("V6")])).tolist() == [7]
    assert ecgs["mimic_iv_ecg_p1002_p10020187_s45090959_45090959.mat"].n_samples == 1500


def test_metadata(archive, read_all):
    source = MIMICIVECG(archive)
    _, meta, _ = read_all(source)
    meta["death"] = np.nan
    described = source.describe(meta)
    assert set(described["units"]) == {"mv"}
    assert not {"comments", "base_date", "base_time", "death"} & set(described)
    assert source.labels(described) is None
    assert list(source.describe(meta.iloc[:0])) == list(meta)


def test_counts_without_gain_are_refused(archive, read_all):
    path = next((archive / MIMIC_FOLDER).rglob("49036311.hea"))
    edit(path, "200.0(0)/mV", "0(0)/mV")
    _, _, faults = read_all(MIMICIVECG(archive))
    (fault,) = faults.values()
    assert "49036311.hea" in fault
    assert "gain" in fault


def test_damaged_records_are_set_aside(archive, read_all):
    header = next((archive / MIMIC_FOLDER).rglob("40689238.hea"))
    header.unlink()
    next((archive / MIMIC_FOLDER).rglob("44458630.dat")).unlink()
    ecgs, _, faults = read_all(MIMICIVECG(archive))
    assert len(ecgs) == 2
    assert ["no such WFDB header" in fault for fault in faults.values()] == [True, False]
    assert "44458630.dat" in list(faults.values())[1]


def test_tables_of_mimic_iv(archive, mimic_iv, monkeypatch):
    monkeypatch.setattr(mimic_iv_ecg, "PIECE_ROWS", 1)
    pieces = list(MIMICIVECG(archive, mimic_iv_root=mimic_iv).tables())
    assert [name for name, _ in pieces] == ["patients", *["cardiac_markers"] * 3]
    assert list(pieces[0][1]["subject_id"]) == [10000032, 10000117, 10000248]
    markers = pd.concat([rows for name, rows in pieces if name == "cardiac_markers"])
    assert list(markers["itemid"]) == ["51003", "50911"]
    assert list(markers["charttime"]) == ["2180-07-23 11:51:00", "2192-11-29 02:22:00"]
    assert list(markers["valuenum"]) == ["0.02", "3"]
    assert list(MIMICIVECG(archive).tables()) == []


def test_a_table_that_ends_early_is_an_error(archive, mimic_iv):
    path = mimic_iv / "hosp" / "labevents.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"labevents\.csv\.gz: not a readable table"):
        list(MIMICIVECG(archive, mimic_iv_root=mimic_iv).tables())


def test_a_table_that_is_missing_is_named(archive, mimic_iv):
    (mimic_iv / "hosp" / "labevents.csv.gz").unlink()
    tables = MIMICIVECG(archive, mimic_iv_root=mimic_iv).tables()
    assert next(tables)[0] == "patients"
    with pytest.raises(DataError, match=r"labevents\.csv\.gz: no such file"):
        next(tables)
    (archive / MIMIC_FOLDER / "machine_measurements.csv").unlink()
    with pytest.raises(DataError, match=r"machine_measurements\.csv: no such file"):
        MIMICIVECG(archive).records()
    with pytest.raises(DataError, match="no such folder"):
        MIMICIVECG(archive / "elsewhere")


def test_a_group_of_other_than_two_years_is_an_error(archive, mimic_iv):
    path = mimic_iv / "hosp" / "patients.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace("2008 - 2010", "2008 - 2011")
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match="'2008 - 2011' does not span two years"):
        MIMICIVECG(archive, mimic_iv_root=mimic_iv).records()
