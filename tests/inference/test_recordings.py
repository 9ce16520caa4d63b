import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
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
        (SIGNAL[:2], {"sample_rate": 500, "leads": ["I", "V9"]}, "unknown lead V9; the leads are"),
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


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_tables_name_files_from_their_own_folder(folder, form):
    table = pd.DataFrame({"id": [7, 8], "path": ["a.hea", "b"]})
    path = folder / f"table.{form}"
    if form == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if form == "tsv" else ",")
    assert names(path) == ["a.hea", "b"]
    assert [ecg.sample_rate for ecg in ecgs(path)] == [500, 250]
    absolute = table.assign(path=[str(folder / name) for name in table["path"]])
    assert [ecg.sample_rate for ecg in ecgs(absolute)] == [500, 250]


def test_tables_without_paths(folder):
    with pytest.raises(DataError, match=r"no column 'path' \(it has file\)"):
        ecgs(pd.DataFrame({"file": ["a"]}))
    with pytest.raises(DataError, match="the table, row 2: no path"):
        ecgs(pd.DataFrame({"path": ["a", None]}))
