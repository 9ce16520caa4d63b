import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.archive import prepare_signals
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.sources.muse import MUSE
from fairseq_ecg.prepare.stages import Settings
from tests.prepare.sources.archives import make_muse, muse_counts, muse_xml


@pytest.fixture
def archive(tmp_path):
    return make_muse(tmp_path / "muse")


def test_records_are_the_files_below_the_folder(archive):
    """fairseq_signals looks below the root of the file system (D9)."""
    records = MUSE(archive).records()
    assert list(records) == ["path", "save_file", "source", "dataset"]
    assert list(records["path"]) == [
        *("2019/MUSE_2.xml", "2019/MUSE_10.xml", "2020/MUSE_1.xml", "2020/MUSE_3.xml")
    ]
    assert list(records["save_file"])[:2] == ["2019_MUSE_2.mat", "2019_MUSE_10.mat"]
    assert set(records["source"]) == set(records["dataset"]) == {"uhn"}
    assert set(MUSE(archive, name="clinic").records()["dataset"]) == {"clinic"}


def test_signals_in_millivolts(archive, read_all):
    ecgs, meta, faults = read_all(MUSE(archive))
    assert faults == {}
    assert set(meta["sample_rate"]) == {500}
    for name, seed in (("2019_MUSE_2.mat", 2), ("2020_MUSE_3.mat", 3)):
        ecg = ecgs[name]
        assert set(ecg.leads) == set(LEADS)
        counts = muse_counts(10 if seed == 2 else 3, seed, LEADS)
        for lead, row in zip(ecg.leads, ecg.signal, strict=True):
            # Derived leads are rounded once more than those of the file.
            np.testing.assert_allclose(row, counts[LEADS.index(lead)] * 0.00488, atol=0.01)


def test_metadata(archive, read_all):
    source = MUSE(archive)
    described = source.describe(read_all(source)[1])
    assert list(described)[-6:] == ["age", "patient_id", "acq_dt", "edit_dt", "dob", "sex"]
    first, second, third, _ = described.itertuples()
    assert first.MuseInfo_MuseVersion == "8.0.2.10132"
    assert first.PatientDemographics_PatientID == "000123"
    assert first.RestingECGMeasurements_VentricularRate == "77"
    assert first.OriginalRestingECGMeasurements_VentricularRate == "78"
    assert first.Diagnosis_DiagnosisStatement == "Normal sinus rhythm Normal ECG"
    assert first.Waveform_WaveformType == "Rhythm"
    assert first.QRSTimesTypes_GlobalRR == "782"
    assert first.Order_RequisitionNumber == "77"
    assert described["PatientDemographics_Race"].isna().all()  # UNKNOWN
    assert (first.age, first.patient_id, first.sex) == (61, 123, 1)
    assert first.acq_dt == pd.Timestamp("2019-06-21 13:05:42")
    assert first.edit_dt == pd.Timestamp("2019-06-22 08:15:00")
    assert first.dob == pd.Timestamp("1958-03-15")
    assert (second.age, second.sex) == (1.5, 0)  # 18 months
    assert second.TestDemographics_LocationName == "CARE & CURE"
    assert pd.isna([third.age, third.patient_id, third.sex]).all()
    assert described["patient_id"].dtype == np.float64


def test_columns_stand_where_fairseq_signals_has_them(archive, tmp_path):
    folder = tmp_path / "prepared"
    records = write_records("muse", archive, folder)
    assert len(records) == 4
    prepare_signals(read_source(folder), folder, Settings())
    names = list(pd.read_csv(folder / "meta.csv", dtype=str))
    assert names[6:9] == ["lead_order", "avail_leads", "MuseInfo_MuseVersion"]
    rate = names.index("sample_rate")
    assert names[rate - 1 : rate + 2] == [
        *("Waveform_SampleType", "sample_rate", "Waveform_SampleExponent")
    ]
    flags = names.index("nan_any")
    assert names[flags - 1] == "Waveform_ACFilter"
    assert names[flags + 5 :] == [
        *(f"mean_{i}" for i in range(12)),
        *(f"std_{i}" for i in range(12)),
        *("sample_size", "age", "patient_id", "acq_dt", "edit_dt", "dob", "sex"),
    ]
    # A patient of unknown sex makes numbers of all, as in fairseq_signals.
    sexes = pd.read_csv(folder / "meta.csv", dtype=str)["sex"]
    assert list(sexes.fillna("")) == ["1.0", "0.0", "", "1.0"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["000123", "xxxxx", "9"], [123.0, None, 9.0]),
        (["A12", "xxxxx", "000123"], ["A12", None, "000123"]),
        (["9007199254740993", "9007199254740992"], ["9007199254740993", "9007199254740992"]),
    ],
)
def test_patients_are_never_mixed_up(tmp_path, ids, expected):
    meta = pd.DataFrame({"PatientDemographics_PatientID": ids})
    found = MUSE(tmp_path).describe(meta)["patient_id"]
    assert [None if pd.isna(value) else value for value in found] == expected


@pytest.mark.parametrize(
    ("age", "units", "years"),
    [("61", "YEARS", 61), ("18", "MONTHS", 1.5), ("73", "DAYS", 0.2), ("5", None, None)],
)
def test_age_in_years(tmp_path, age, units, years):
    meta = pd.DataFrame(
        {"PatientDemographics_PatientAge": [age], "PatientDemographics_AgeUnits": [units]}
    )
    found = MUSE(tmp_path).describe(meta)["age"][0]
    assert found == pytest.approx(years) if years is not None else pd.isna(found)


def test_tables_of_every_recording(archive):
    source = MUSE(archive)
    records = source.records().to_dict("records")
    tables = [source.read(record).metadata for record in records[:2]]
    assert tables[0]["qrs_data"].values.tolist() == [[1, 0, 338], [2, 0, 1120]]
    assert tables[1]["qrs_data"].values.tolist() == [[1, 0, 338]]  # D9: a single complex
    leads = tables[0]["lead_data"]
    assert list(leads["LeadID"]) == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    assert set(leads["LeadAmplitudeUnitsPerBit"]) == {"4.88"}
    assert "WaveFormData" not in leads


def test_damaged_files_are_set_aside(archive, read_all):
    (archive / "2019" / "MUSE_2.xml").write_text("<html></html>")
    (archive / "2020" / "MUSE_4.xml").write_text(muse_xml(muse_counts(1, 4), units="COUNTS"))
    ecgs, _, faults = read_all(MUSE(archive))
    assert len(ecgs) == 3
    foreign, counts = faults.values()
    assert "MUSE_2.xml: no MUSE export" in foreign
    assert "MUSE_4.xml: lead I is in COUNTS, not in MICROVOLTS" in counts


def test_files_of_one_name_are_distinguished(archive, read_all):
    text = (archive / "2019" / "MUSE_2.xml").read_text()
    (archive / "2019" / "MUSE 2.XML").write_text(text)
    source = MUSE(archive)
    assert source.records()["save_file"].is_unique
    ecgs, _, faults = read_all(source)
    assert len(ecgs) == 4
    (fault,) = faults.values()
    assert "another file becomes 2019_MUSE_2.mat, too. Rename it" in fault


def test_a_folder_without_recordings_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no \.xml files"):
        MUSE(tmp_path).records()
