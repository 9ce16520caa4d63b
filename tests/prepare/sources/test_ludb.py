import json

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.ludb import LUDB
from fairseq_ecg.prepare.sources.ludb_diagnoses import DIAGNOSES
from tests.prepare.sources.archives import LUDB_DIAGNOSES, make_ludb, write_ludb_record

VARIABLES = {
    "label": (82, np.int64),
    "curr_sample_rate": None,
    "feats": (2000, np.float64),
    **dict.fromkeys(("p", "qrs", "t", "none", "segment_label"), (2000, np.int64)),
    "segment_mask": (2000, np.bool_),
}


def segments(source):
    """What is made of every record, by its file, and why of others nothing is."""
    made, faults = {}, {}
    for record in source.records().to_dict("records"):
        try:
            made[record["save_file"]] = source.segment(record, source.read(record))
        except DataError as error:
            faults[record["save_file"]] = str(error)
    return made, faults


@pytest.fixture
def archive(tmp_path):
    return make_ludb(tmp_path / "ludb-1.0.1")


def test_records_of_the_archive_of_a_flat_folder_and_of_the_folder_above(archive, tmp_path):
    records = LUDB(archive).records()
    assert list(records) == ["path", "save_file", "source", "dataset", "patient_id"]
    assert list(records["path"]) == list(records["patient_id"]) == ["1", "2", "10"]
    assert list(records["save_file"]) == ["1.mat", "2.mat", "10.mat"]
    assert set(records["source"]) == set(records["dataset"]) == {"ludb"}
    flat = make_ludb(tmp_path / "flat", flat=True)
    for root in (archive.parent, archive / "data", flat):
        pd.testing.assert_frame_equal(LUDB(root).records(), records)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no records .* Give the folder of LUDB"):
        LUDB(tmp_path / "empty").records()


def test_the_file_of_a_recording(archive, tmp_path):
    signal = write_ludb_record(archive / "data" / "2", diagnoses=LUDB_DIAGNOSES["2"])
    made, faults = segments(LUDB(archive))
    assert not faults
    assert list(made) == ["1.mat", "2.mat", "10.mat"]
    for variables in made.values():
        assert list(variables) == list(VARIABLES)
        for name, expected in VARIABLES.items():
            if expected:
                rows = 12 if name == "feats" else 1
                assert variables[name].shape == (rows, expected[0])
                assert variables[name].dtype == expected[1]
    variables = made["2.mat"]
    assert variables["curr_sample_rate"] == 500
    np.testing.assert_array_equal(variables["feats"], signal)
    assert sorted(np.flatnonzero(variables["label"])) == sorted(
        map(DIAGNOSES.index, LUDB_DIAGNOSES["2"])
    )
    # Leads are later by 0 to 11 samples: by 5 in the mean, rounded down.
    qrs = np.flatnonzero(np.diff(variables["qrs"][0], prepend=0, append=0))
    assert qrs.tolist() == [
        each for beat in range(0, 1681, 400) for each in (beat + 135, beat + 186)
    ]
    mask = np.flatnonzero(~variables["segment_mask"][0])
    assert (mask[0], mask[-1], len(mask)) == (65, 1600 + 305, 1600 + 241)


def test_files_of_separate_leads_have_the_waves_of_their_own(archive):
    source = LUDB(archive, separate_leads=True)
    records = source.records()
    names = [lead.lower() for lead in LEADS]
    assert list(records["save_file"]) == [f"{i}_{name}.mat" for i in (1, 2, 10) for name in names]
    assert list(records["patient_id"]) == [name for name in ("1", "2", "10") for _ in LEADS]
    made, faults = segments(source)
    assert not faults
    whole, _ = segments(LUDB(archive))
    for n, name in enumerate(names):
        variables = made[f"10_{name}.mat"]
        assert list(variables) == list(VARIABLES)
        np.testing.assert_array_equal(variables["feats"], whole["10.mat"]["feats"][n : n + 1])
        np.testing.assert_array_equal(variables["label"], whole["10.mat"]["label"])
        assert np.flatnonzero(variables["p"])[0] == 60 + n
        assert np.flatnonzero(variables["qrs"])[0] == 130 + n
        assert np.flatnonzero(variables["t"])[-1] == 1600 + 300 + n


@pytest.mark.parametrize("rate", [250, 100, 360, 1000])
def test_another_rate_by_a_cubic_spline_on_the_exact_grid(archive, rate):
    made, faults = segments(LUDB(archive, sample_rate=rate, resample=True))
    native, _ = segments(LUDB(archive))
    assert not faults
    feats, given = made["1.mat"]["feats"], native["1.mat"]["feats"]
    assert feats.shape == (12, 4 * rate)
    assert made["1.mat"]["curr_sample_rate"] == rate
    for row in (0, 7):
        spline = CubicSpline(np.arange(2000), given[row])
        times = [n * 500 / rate for n in range(4 * rate)]
        np.testing.assert_allclose(feats[row], spline(times), rtol=0, atol=1e-12)
    if rate == 1000:  # every second sample is one that was given
        np.testing.assert_allclose(feats[:, ::2], given, rtol=0, atol=1e-12)
    # Lead n has its first onset of P at 60 + n samples of 500 Hz.
    onsets = [round((60 + n) * rate / 500) for n in range(12)]
    assert np.flatnonzero(made["1.mat"]["p"])[0] == sum(onsets) // 12


def test_another_rate_is_skipped_unless_resampled(archive):
    write_ludb_record(archive / "data" / "2", sample_rate=250)
    made, faults = segments(LUDB(archive))
    assert list(made) == ["1.mat", "10.mat"]
    assert list(faults) == ["2.mat"]
    assert "2.hea: skipped, it has 250 Hz and not the desired sampling rate" in faults["2.mat"]
    assert "Give --resample to the step 'records'" in faults["2.mat"]
    made, faults = segments(LUDB(archive, resample=True))
    assert not faults
    assert {each["feats"].shape for each in made.values()} == {(12, 2000)}
    for rate in (0, -500, float("nan")):
        with pytest.raises(DataError, match="give one above 0"):
            LUDB(archive, sample_rate=rate)


@pytest.mark.parametrize("separate", [False, True])
def test_a_record_without_waves_is_nowhere_annotated(tmp_path, separate):
    write_ludb_record(tmp_path / "1", annotations={})
    made, faults = segments(LUDB(tmp_path, separate_leads=separate))
    assert not faults
    assert len(made) == (12 if separate else 1)
    for variables in made.values():
        assert variables["segment_mask"].all()
        assert (variables["segment_label"] == 3).all()


def too_long(peak, symbol, length):
    return [(peak - 10, "("), (peak, symbol), (peak - 10 + length, ")")]


def test_a_wave_that_is_too_long_is_named(tmp_path):
    """Of P waves in a recording, and not in separate leads."""
    everywhere = {lead.lower(): too_long(900, "p", 151) for lead in LEADS}
    write_ludb_record(tmp_path / "1", annotations=everywhere)
    _, faults = segments(LUDB(tmp_path))
    assert (
        "1.hea, mean of the leads: the p wave from sample 890 to 1041 is longer" in faults["1.mat"]
    )
    made, faults = segments(LUDB(tmp_path, separate_leads=True))
    assert not faults
    assert made["1_v1.mat"]["p"].sum() == 152
    in_one = everywhere | {"v1": too_long(900, "t", 201)}
    write_ludb_record(tmp_path / "1", annotations=in_one)
    made, faults = segments(LUDB(tmp_path, separate_leads=True))
    assert list(faults) == ["1_v1.mat"]
    assert "lead v1: the t wave from sample 890 to 1091 is longer than 0.4 s" in faults["1_v1.mat"]
    assert len(made) == 11


def test_what_cannot_be_used_is_named(archive):
    data = archive / "data"
    typo = ["Rhythm: Sinus rythm."]
    write_ludb_record(data / "1", diagnoses=typo)
    write_ludb_record(data / "2", gap=70)
    (data / "10.v3").unlink()
    write_ludb_record(data / "11")
    (data / "11.dat").unlink()
    write_ludb_record(data / "12")
    (data / "12.hea").unlink()
    write_ludb_record(data / "13")
    (data / "13.avf").write_bytes(b"\xff")
    _, faults = segments(LUDB(archive))
    expected = {
        "1.mat": "1.hea: 'Rhythm: Sinus rythm.' is not one of LUDB's 82 diagnoses. Correct the "
        "line of the header, to 'Rhythm: Sinus rhythm.' perhaps",
        "2.mat": "2.hea: skipped for a nan value",
        "10.mat": "10.v3: no such annotations",
        "11.mat": "11.dat is missing",
        "12.mat": "12.hea: no such WFDB header",
        "13.mat": "13.avf: is no file of annotations, or damaged",
    }
    assert faults.keys() == expected.keys()
    for name, text in expected.items():
        assert text in faults[name]
    records = LUDB(archive, separate_leads=True).records()
    (fault,) = records[records["path"] == "12"]["fault"]
    assert "12.hea: no such header. Download it" in fault
    assert len(records) == 5 * 12 + 1


@pytest.mark.parametrize("name", ["ii", "../x", "vx"])
def test_signals_that_are_no_leads_of_their_own(archive, name):
    header = archive / "data" / "1.hea"
    header.write_text(header.read_text().replace(" 0 i\n", f" 0 {name}\n"))
    records = LUDB(archive, separate_leads=True).records()
    assert len(records) == 2 * 12 + 1
    assert f"1.hea: has the signals {name}, ii, iii" in records["fault"][0]
    _, faults = segments(LUDB(archive))
    assert list(faults) == ["1.mat"]


def test_metadata_and_labels(archive, read_all):
    source = LUDB(archive)
    meta = source.describe(read_all(source)[1])
    assert set(meta["age"]) == {51}
    assert set(meta["sex"]) == {1}
    assert meta["diagnoses"][1] == "; ".join(LUDB_DIAGNOSES["2"])
    labels = source.labels(meta)
    assert list(labels) == ["idx", *DIAGNOSES]
    made, _ = segments(source)
    expected = np.concatenate([made[name]["label"] for name in meta["save_file"]])
    np.testing.assert_array_equal(labels.drop(columns="idx"), expected)


def test_diagnoses_are_those_that_were_recorded(shared):
    recorded = json.loads((shared / "golden" / "rest" / "ludb_labels.json").read_text())
    assert list(DIAGNOSES) == recorded
