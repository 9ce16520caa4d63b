import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.io import loadmat

from fairseq_ecg.ecg import blocks, standardisation
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.archive import prepare_signals
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.sources.generic import Generic
from fairseq_ecg.prepare.stages import Settings


def write_wfdb(folder, name, signal, fs=100, leads=LEADS, comments=()):
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        name,
        fs=fs,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        d_signal=np.round(1000 * signal.T).astype(np.int64),
        fmt=["16"] * len(leads),
        adc_gain=[1000.0] * len(leads),
        baseline=[0] * len(leads),
        comments=list(comments),
        write_dir=str(folder),
    )


@pytest.fixture
def signals():
    """Seven recordings in mV, ``(12, 250)``, whole µV."""
    rng = np.random.default_rng(0)
    return np.round(rng.normal(size=(7, 12, 250)), 3)


def read_all(source, records):
    return [source.read(record) for record in records.to_dict("records")]


def test_a_folder_is_a_source(tmp_path, signals):
    write_wfdb(tmp_path / "a b", "r1", signals[0])
    write_wfdb(tmp_path / "c", "r1", signals[1], leads=tuple(lead.lower() for lead in LEADS))
    np.savez(tmp_path / "r.npz", feats=signals[2], curr_sample_rate=100)
    np.save(tmp_path / "n.npy", 1000 * signals[3])
    (tmp_path / "README.md").write_text("no recording")
    source = Generic(tmp_path, pattern="**/*.hea")
    records = source.records()
    assert records["path"].tolist() == ["a b/r1.hea", "c/r1.hea"]
    assert records["save_file"].tolist() == ["generic_a_b_r1.mat", "generic_c_r1.mat"]
    for ecg, signal in zip(read_all(source, records), signals, strict=False):
        assert ecg.leads == LEADS
        assert ecg.sample_rate == 100
        np.testing.assert_allclose(ecg.signal, signal, atol=1e-9)
    assert Generic(tmp_path).records()["path"].tolist() == [
        *("a b/r1.hea", "c/r1.hea", "n.npy", "r.npz")
    ]
    source = Generic(
        tmp_path, pattern="*.npy", leads=LEADS, sample_rate=100, units="uV", name="ours"
    )
    records = source.records()
    assert records["save_file"].tolist() == ["ours_n.mat"]
    np.testing.assert_allclose(read_all(source, records)[0].signal, signals[3], atol=1e-9)
    with pytest.raises(DataError, match=r"no file with an extension .* that matches \*\.edf"):
        Generic(tmp_path, pattern="*.edf").records()


def test_links_are_followed_but_not_in_circles(tmp_path, signals):
    write_wfdb(tmp_path / "elsewhere", "r1", signals[0])
    np.savetxt(tmp_path / "elsewhere" / "t.csv.gz", signals[1].T, delimiter=",")
    (tmp_path / "raw" / ".trash").mkdir(parents=True)
    (tmp_path / "raw" / ".trash" / "._r2.hea").write_bytes(b"")
    (tmp_path / "raw" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "raw" / "back").symlink_to(tmp_path / "raw")
    records = Generic(tmp_path / "raw").records()
    assert records["path"].tolist() == ["link/r1.hea", "link/t.csv.gz"]
    records = Generic(tmp_path / "raw", pattern="link/**/*.hea").records()
    assert records["path"].tolist() == ["link/r1.hea"]


def test_names_that_no_table_can_hold_are_set_aside(tmp_path, signals):
    write_wfdb(tmp_path / "raw", "good", signals[0])
    for name in (b"caf\xe9.npz", b"a\x1b[2Jb.npz", b"one\\two.npz", b"two\nlines.npz"):
        with open(os.fsencode(tmp_path / "raw") + b"/" + name, "wb") as file:
            np.savez(file, feats=signals[1], curr_sample_rate=100)
    folder = tmp_path / "processed"
    write_records("generic", tmp_path / "raw", folder)
    prepare_signals(read_source(folder), folder, Settings(sample_rate=100, segment_seconds=1))
    assert {os.path.basename(path) for path in pd.read_csv(folder / "meta.csv")["path"]} == {
        "good.hea", "one\\two.npz", "two\nlines.npz",
    }  # fmt: skip
    reasons = pd.read_csv(folder / "quarantine.csv")["reason"].tolist()
    assert sorted(reasons) == [
        f"{name}: cannot be listed by this name. Rename the file"
        for name in (r"a\x1b[2Jb.npz", r"caf\xe9.npz")
    ]


def write_table(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)


def test_a_table_gives_what_files_do_not_say(tmp_path, signals):
    for i in range(3):
        np.save(tmp_path / f"n{i}.npy", signals[i] * (1, 1000, 400)[i])
    reversed_leads = " ".join(reversed(LEADS))
    rows = {
        "file": ["n0.npy", "n1.npy", "n2.npy"],
        "who": ["007", "007", "12"],
        "site": ["x", "x", "y"],
        "names": [",".join(LEADS), reversed_leads, ";".join(LEADS)],
        "hz": [100, 250, 500.5],
        "unit": ["mV", "uV", ""],
        "per_mv": ["", "", 400],
        "sample_rate": [1, 2, 3],
        "AF": [0, 1, 0],
    }
    write_table(tmp_path / "t.csv", rows)
    source = Generic(
        tmp_path,
        table="t.csv",
        path_column="file",
        patient_column="who",
        dataset_column="site",
        leads_column="names",
        sample_rate_column="hz",
        units_column="unit",
        gain_column="per_mv",
    )
    records = source.records()
    assert records["patient_id"].tolist() == ["007", "007", "12"]
    assert records["dataset"].tolist() == ["x", "x", "y"]
    assert records["table_sample_rate"].tolist() == ["1", "2", "3"]
    ecgs = read_all(source, records)
    for ecg, signal, rate in zip(ecgs, signals, (100, 250, 500.5), strict=False):
        assert ecg.sample_rate == rate
        np.testing.assert_allclose(ecg.signal, signal, atol=1e-9)
    assert ecgs[1].leads == tuple(reversed(LEADS))


@pytest.mark.parametrize("transposed", [False, True])
def test_one_array_of_all_recordings(tmp_path, signals, transposed):
    array = 1000 * signals
    np.save(tmp_path / "all.npy", array.swapaxes(1, 2) if transposed else array)
    given = {"array": "all.npy", "leads": LEADS, "sample_rate": 100, "units": "uV"}
    source = Generic(tmp_path, **given)
    records = source.records()
    assert records["save_file"].iloc[-1] == "generic_all_6.mat"
    for ecg, signal in zip(read_all(source, records), signals, strict=True):
        np.testing.assert_allclose(ecg.signal, signal, atol=1e-9)
    write_table(tmp_path / "t.csv", {"row": [5, 2], "patient": ["a", "b"], "AF": [1, 0]})
    source = Generic(tmp_path, table="t.csv", row_column="row", patient_column="patient", **given)
    ecgs = read_all(source, source.records())
    np.testing.assert_allclose(ecgs[0].signal, signals[5], atol=1e-9)
    with pytest.raises(DataError, match=r"2 rows, but all\.npy holds 7 records"):
        Generic(tmp_path, table="t.csv", **given).records()
    write_table(tmp_path / "t.csv", {"row": [5, 7]})
    with pytest.raises(DataError, match="row 2: row is '7', not a number from 0 to 6"):
        Generic(tmp_path, table="t.csv", row_column="row", **given).records()
    source = Generic(tmp_path, array="all.npy", leads=LEADS)
    record = source.records().iloc[0].to_dict()
    with pytest.raises(DataError, match="does not say its sample_rate"):
        source.read(record)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_from_a_table_to_segments_and_labels(tmp_path, signals, kind):
    for i in range(4):
        write_wfdb(tmp_path / "raw", f"r{i}", signals[i], comments=["Age: 50"])
    table = pd.DataFrame(
        {
            "record": [f"r{i}" for i in range(4)],
            "patient": ["01", "01", "2", "3"],
            "AF": [0, 1, 0, 1],
            "LBBB": [True, False, False, True],
            "comments": ["w", "x", "y", "z"],
        }
    )
    path = tmp_path / f"table.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    options = {"table": path, "patient_column": "patient"}
    out = tmp_path / "out"
    write_records("generic", tmp_path / "raw", out, options)
    source = read_source(out)
    prepare_signals(source, out, Settings(sample_rate=100, segment_seconds=1))
    labels = pd.read_csv(out / "labels" / "labels.csv")
    assert list(labels) == ["idx", "AF", "LBBB"]
    assert labels["AF"].tolist() == [0, 1, 0, 1]
    meta = pd.read_csv(out / "meta.csv", dtype=str)
    assert meta["patient_id"].tolist() == ["01", "01", "2", "3"]
    assert meta["comments"].tolist() == ["w", "x", "y", "z"]
    assert meta["file_comments"].tolist() == ["Age: 50"] * 4
    assert len(list((out / "segmented").iterdir())) == 8
    write_records("generic", tmp_path / "raw", out, options | {"label_columns": ["LBBB"]})
    prepare_signals(read_source(out), out, Settings(sample_rate=100, segment_seconds=1))
    assert list(pd.read_csv(out / "labels" / "labels.csv")) == ["idx", "LBBB"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "none.csv"}, r"none\.csv: no such table"),
        ({"table": "t.csv"}, r"t\.csv: no column path, record, file, filename \(it has a, p\)"),
        ({"table": "t.csv", "path_column": "b"}, "no column 'b'"),
        ({"table": "t.csv", "path_column": "a", "patient_column": "p"}, "row 2: no p"),
        ({"patient_column": "p"}, "column 'p' for patient: there is no table"),
        ({"units": "mV", "units_column": "u"}, "units is given, and the column 'u'"),
        ({"array": "t.csv"}, r"t\.csv: is no \.npy file"),
        ({"array": "none.npy"}, r"none\.npy: no such array"),
    ],
)
def test_mistakes_are_reported(tmp_path, options, message):
    (tmp_path / "t.csv").write_text("a,p\nx,1\ny,\n")
    with pytest.raises(DataError, match=message):
        Generic(tmp_path, **options).records()


def test_what_a_table_lists_again_is_set_aside(tmp_path, signals):
    for i in range(2):
        write_wfdb(tmp_path, f"r{i}", signals[i])
    write_table(
        tmp_path / "t.csv",
        {"record": ["r0", "r1", "r0"], "who": [1, 2, 3], "AF": [0, 1, 1], "fault": ["", "x", ""]},
    )
    options = {"table": "t.csv", "patient_column": "who"}
    write_records("generic", tmp_path, tmp_path / "out", options)
    settings = Settings(sample_rate=100, segment_seconds=1)
    prepared = prepare_signals(read_source(tmp_path / "out"), tmp_path / "out", settings)
    assert prepared.quarantine["reason"].tolist() == [
        f"{tmp_path}/t.csv, line 4: record r0 is already in line 2"
    ]
    meta = pd.read_csv(tmp_path / "out" / "meta.csv")
    assert meta["patient_id"].tolist() == [1, 2]
    assert meta["table_fault"].tolist()[1] == "x"
    assert "fault" not in meta
    labels = pd.read_csv(tmp_path / "out" / "labels" / "labels.csv")
    assert labels.to_dict("list") == {"idx": [0, 1], "AF": [0, 1]}


def test_files_that_would_have_one_name_are_refused(tmp_path, signals):
    for folder in ("p/a", "p_a"):
        write_wfdb(tmp_path / folder, "r", signals[0])
    with pytest.raises(DataError, match=r"would both become generic_p_a_r\.mat"):
        write_records("generic", tmp_path, tmp_path / "out")


class AtOnce(Generic):
    """Reads the whole of a recording."""

    def read(self, record):
        ecg = super().read(record)
        assert not isinstance(ecg.signal, np.ndarray)
        return replace(ecg, signal=ecg.signal[:, :])


@pytest.mark.parametrize("kind", ["wfdb", "npy", "csv", "array"])
def test_a_long_recording_makes_the_same_files_as_one_that_is_read_at_once(
    tmp_path, signals, monkeypatch, kind
):
    raw, signal = tmp_path / "raw", np.concatenate(signals, axis=1)
    raw.mkdir()
    given = {"leads": list(LEADS), "sample_rate": 100, "units": "mV"}
    if kind == "wfdb":
        write_wfdb(raw, "long", signal)
        given = {}
    elif kind == "npy":
        np.save(raw / "long.npy", signal)
    elif kind == "array":
        np.save(raw / "long.npy", signal[None])
        given["array"] = "long.npy"
    else:
        pd.DataFrame(signal.T).to_csv(raw / "long.csv", index=False, header=False)
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 500)
    found = {}
    for source in (Generic(raw, **given), AtOnce(raw, **given)):
        out = tmp_path / type(source).__name__
        out.mkdir()
        source.records().to_csv(out / "records.csv", index=False)
        prepare_signals(source, out, Settings(segment_seconds=1, sample_rate=100))
        found[out] = {path.relative_to(out): path.read_bytes() for path in out.glob("*/*.mat")}
    first, second = found.values()
    assert len(first) == 1 + 1 + 17
    assert first == second


@pytest.mark.parametrize("skip", [("org",), ("org", "preprocessed")])
def test_stages_of_a_long_recording_are_skipped(tmp_path, signals, monkeypatch, skip):
    """What is read of their files is worked on in blocks as well, with the same numbers."""
    write_wfdb(tmp_path / "raw", "long", np.concatenate(signals, axis=1), leads=LEADS[::-1])
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 500)
    write_records("generic", tmp_path / "raw", tmp_path / "out", {})
    source, folder = Generic(tmp_path / "raw"), tmp_path / "out" / "segmented"
    settings = Settings(segment_seconds=1, sample_rate=77)
    prepare_signals(source, tmp_path / "out", settings)
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(expected) == 17
    shutil.rmtree(folder)
    read = []
    blocks_of = standardisation.blocks_of
    monkeypatch.setattr(
        standardisation,
        "blocks_of",
        lambda signal: (read.append(each.shape) or each for each in blocks_of(signal)),
    )
    prepare_signals(source, tmp_path / "out", replace(settings, skip=skip))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert max(n_samples for _, n_samples in read) == 500


def test_blocks_of_a_long_recording_are_standardised_as_the_whole(tmp_path, signals, monkeypatch):
    write_wfdb(tmp_path / "raw", "long", np.concatenate(signals, axis=1))
    source = Generic(tmp_path / "raw")
    write_records("generic", tmp_path / "raw", tmp_path / "whole", {})
    write_records("generic", tmp_path / "raw", tmp_path / "blocks", {})
    settings = Settings(segment_seconds=1, sample_rate=100)
    prepare_signals(source, tmp_path / "whole", settings)
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 500)
    prepare_signals(source, tmp_path / "blocks", settings)
    segments = sorted((tmp_path / "whole" / "segmented").iterdir())
    assert len(segments) == 17
    for path in segments:
        found = loadmat(tmp_path / "blocks" / "segmented" / path.name)["feats"]
        np.testing.assert_allclose(found, loadmat(path)["feats"], rtol=0, atol=1e-11)
