import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.recordings import Description, recordings_in

SIGNAL = np.random.default_rng(0).normal(size=(12, 600)).round(3)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    for name, rate in (("a", 500), ("b", 250)):
        wfdb.wrsamp(
            name,
            fs=rate,
            units=["mV"] * 12,
            sig_name=list(LEADS),
            p_signal=SIGNAL.T,
            fmt=["16"] * 12,
            write_dir=str(tmp_path),
        )
    pd.DataFrame(SIGNAL.T, columns=LEADS).to_csv(tmp_path / "more" / "c.csv", index=False)
    (tmp_path / "more" / "notes.txt").write_text("no ECG")
    return tmp_path


def ecgs(source, **said):
    return [recording.read() for recording in recordings_in(source, Description(**said))]


def names(source, **said):
    return [recording.name for recording in recordings_in(source, Description(**said))]


@pytest.mark.parametrize(
    "source",
    [
        SIGNAL,
        SIGNAL.T,
        SIGNAL.tolist(),
        torch.from_numpy(SIGNAL),
        SIGNAL[None],
        [SIGNAL],
        (SIGNAL * 1000).astype(np.int16),
    ],
    ids=["upright", "turned", "lists", "tensor", "3-D", "list", "counts"],
)
def test_arrays(source):
    said = {"gain": 1000.0} if getattr(source, "dtype", None) == np.int16 else {}
    (ecg,) = ecgs(source, sample_rate=500, **said)
    np.testing.assert_allclose(ecg.signal, SIGNAL, atol=2e-3)
    assert (ecg.leads, ecg.sample_rate) == (LEADS, 500.0)
    assert names(source, sample_rate=500) == [0]


def test_leads_and_units_of_arrays():
    (ecg,) = ecgs(SIGNAL[:2] * 1000, sample_rate=400, leads=["v1", "Lead II"], units="uV")
    assert ecg.leads == ("V1", "II")
    np.testing.assert_allclose(ecg.signal, SIGNAL[:2])
    (ecg,) = ecgs(SIGNAL[0], sample_rate=400, leads=["I"])
    assert ecg.signal.shape == (1, 600)


@pytest.mark.parametrize(
    ("source", "said", "message"),
    [
        (SIGNAL, {}, "say its sampling rate"),
        (SIGNAL, {"sample_rate": 500, "leads": ["I", "II"]}, "but 2 leads are named"),
        (SIGNAL[:3], {"sample_rate": 500}, "but 12 leads are named"),
        (SIGNAL[:, :12], {"sample_rate": 500}, "or the other way round"),
        (SIGNAL[:2], {"sample_rate": 500, "leads": ["I", "W9"]}, "unknown lead W9; the leads are"),
        (SIGNAL[:1], {"sample_rate": 500, "leads": "I"}, "leads='I': give a list of names"),
        (SIGNAL[:1], {"sample_rate": 500, "leads": [0]}, "give a list of names"),
        (SIGNAL, {"sample_rate": 0}, "sample_rate=0: give a positive number"),
        (SIGNAL, {"sample_rate": "500"}, "sample_rate='500': give a positive number"),
        (SIGNAL, {"sample_rate": float("nan")}, "sample_rate=nan"),
        ([[1.0, 2.0], [1.0]], {"sample_rate": 500}, "rows of one length"),
        (SIGNAL[:2], {"sample_rate": 500, "leads": ["I", "DI"]}, "lead I is there twice"),
        (SIGNAL, {"sample_rate": 500, "units": "mmHg"}, "mmHg"),
        (np.array(["a"]), {"sample_rate": 500}, "not real numbers"),
        (np.zeros((2, 2, 2, 2)), {"sample_rate": 500}, "has shape"),
        ([], {}, "no recordings"),
    ],
)
def test_arrays_that_cannot_be_understood(source, said, message):
    with pytest.raises(DataError, match=message):
        ecgs(source, **said)


def test_leads_beside_the_twelve_are_kept_by_their_names():
    more = np.concatenate([SIGNAL, SIGNAL[:3]])
    for others in (["V7", "v8", "V9"], ["vx", "vy", "vz"], ["V3R", "V4R", "X"]):
        (ecg,) = ecgs(more, sample_rate=500, leads=iter([*LEADS, *others]))
        assert ecg.leads[:12] == LEADS
        assert len(ecg.leads) == 15


def test_masked_samples_have_no_value():
    masked = np.ma.masked_array(SIGNAL, mask=np.zeros(SIGNAL.shape, bool))
    masked[3, 5:9] = np.ma.masked
    (ecg,) = ecgs(masked, sample_rate=500)
    assert np.argwhere(np.isnan(ecg.signal)).tolist() == [[3, i] for i in range(5, 9)]


def test_a_table_of_samples_has_a_column_for_each_lead():
    table = pd.DataFrame(SIGNAL[:2].T, columns=["Lead II", "v1"])
    (ecg,) = ecgs(table.assign(time=0), sample_rate=500)
    assert ecg.leads == ("II", "V1")
    np.testing.assert_array_equal(ecg.signal, SIGNAL[:2])


def test_columns_of_an_eeg_are_no_leads():
    table = pd.DataFrame(SIGNAL[:4].T, columns=["C3", "C4", "O1", "ECG"])
    with pytest.raises(DataError, match="no column"):
        ecgs(table, sample_rate=500)


def test_folders_hold_recordings_once(folder):
    expected = [str(folder / "a.hea"), str(folder / "b.hea"), str(folder / "more" / "c.csv")]
    assert names(folder) == expected
    records = recordings_in(str(folder), Description())[:2]
    assert [record.read().sample_rate for record in records] == [500, 250]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"no recordings in .*empty"):
        ecgs(folder / "empty")


def test_records_files_and_lists(folder):
    (record,) = ecgs(folder / "a")
    np.testing.assert_allclose(record.signal, SIGNAL, atol=1e-3)
    (csv,) = ecgs(folder / "more" / "c.csv", sample_rate=500, units="mV")
    np.testing.assert_array_equal(csv.signal, SIGNAL)
    ecg = ECG("own", SIGNAL, LEADS, 500.0)
    mixed = [str(folder / "a.hea"), ecg, SIGNAL, ecg]
    assert names(mixed, sample_rate=500) == [str(folder / "a.hea"), "own", 2, "own (2)"]
    with pytest.raises(DataError, match="none"):
        ecgs(folder / "none.hea")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_name_files_from_their_own_folder(folder, suffix):
    table = pd.DataFrame({"id": [7, 8], "path": ["a.hea", "b"]})
    path = folder / f"table.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    assert names(path) == ["a.hea", "b"]
    assert [ecg.sample_rate for ecg in ecgs(path)] == [500, 250]
    absolute = table.assign(path=[str(folder / name) for name in table["path"]])
    assert [ecg.sample_rate for ecg in ecgs(absolute)] == [500, 250]


def test_tables_without_paths(folder):
    with pytest.raises(DataError, match=r"no column 'path' \(it has file\)"):
        ecgs(pd.DataFrame({"file": ["a"]}))
    with pytest.raises(DataError, match="the table, row 2: no path"):
        ecgs(pd.DataFrame({"path": [str(folder / "a.hea"), None]}))


@pytest.fixture
def prepared(tmp_path):
    """Four segments of one recording and two of another, and manifests of them."""
    (tmp_path / "segmented").mkdir()
    names = [f"a_{number}" for number in (0, 1, 2, 10)] + ["b_0", "b_1"]
    for name in names:
        variables = {"feats": SIGNAL, "curr_sample_rate": 500, "std": np.ones((12, 1))}
        scipy.io.savemat(
            tmp_path / "segmented" / f"{name}.mat", variables | {"segment_i": int(name[2:])}
        )
    (tmp_path / "manifests" / "cmsc").mkdir(parents=True)
    root = f"{tmp_path / 'segmented'}/"
    rows = "".join(f"{name}.mat\t600\n" for name in names[::-1])
    (tmp_path / "manifests" / "test.tsv").write_text(f"\t{root}\n{rows}")
    (tmp_path / "manifests" / "cmsc" / "test.tsv").write_text(
        f"{root}\nmat\na\t600\t0\t0,1,2,10\nb\t600\t0\t0,1\n"
    )
    return tmp_path


def test_manifests_list_recordings_by_their_segments(prepared):
    manifests = prepared / "manifests"
    for source, said, expected in (
        (manifests / "test.tsv", {}, ["b.mat", "a.mat"]),
        (manifests, {"split": "test"}, ["b.mat", "a.mat"]),
        (manifests / "cmsc" / "test.tsv", {}, ["a.mat", "b.mat"]),
    ):
        recordings = recordings_in(source, Description(**said))
        assert [recording.name for recording in recordings] == expected
        (first,) = (recording for recording in recordings if recording.name == "a.mat")
        files = [file.name for file in first.source.files]
        assert files == [f"a_{number}.mat" for number in (0, 1, 2, 10)]
    with pytest.raises(DataError, match=r"valid\.tsv: no such manifest"):
        recordings_in(manifests, Description(split="valid"))
    with pytest.raises(DataError, match=r"test\.tsv: is no store and no folder of manifests"):
        recordings_in(manifests / "test.tsv", Description(split="test"))


def test_what_looks_like_a_manifest_and_is_none(folder):
    path = folder / "two.tsv"
    pd.DataFrame(SIGNAL[:2].T, columns=["I", "II"]).to_csv(path, index=False, sep="\t")
    (ecg,) = ecgs(path, sample_rate=500, units="mV")
    assert ecg.leads == ("I", "II")
    assert ecg.n_samples == SIGNAL.shape[1]
    pd.DataFrame({"path": ["a.hea"], "number": [7]}).to_csv(path, index=False, sep="\t")
    assert names(path) == ["a.hea"]
    pd.DataFrame({"path": []}).to_csv(folder / "none.csv", index=False)
    with pytest.raises(DataError, match=r"none\.csv: no recordings, the table has no rows"):
        ecgs([SIGNAL, folder / "none.csv"], sample_rate=500)


def test_recordings_of_an_array_file_are_read_one_by_one(tmp_path):
    np.save(tmp_path / "all.npy", np.stack([SIGNAL, 2 * SIGNAL]).swapaxes(1, 2))
    path = str(tmp_path / "all.npy")
    assert names(path, sample_rate=500) == [f"{path}[0]", f"{path}[1]"]
    first, second = ecgs(path, sample_rate=500)
    np.testing.assert_array_equal(second.signal, 2 * first.signal)
    assert first.leads == LEADS
    np.save(tmp_path / "one.npy", SIGNAL)
    for said in ({}, {"leads": LEADS, "units": "mV"}):
        (one,) = ecgs(tmp_path / "one.npy", sample_rate=500, **said)
        np.testing.assert_array_equal(one.signal, SIGNAL)
    with pytest.raises(DataError, match=r"one\.npy: say its sampling rate"):
        ecgs(tmp_path / "one.npy")
