import ast
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import wfdb

from fairseq_ecg import formats
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import FORMAT_OF_SUFFIX, FORMATS, ecg_from_array, read_ecg
from fairseq_ecg.formats.reading import format_of


def write(path, signal):
    """Write an ECG of 12 leads at 500 Hz in mV, in the format of the extension."""
    match path.suffix:
        case ".npy":
            np.save(path, signal)
        case ".npz":
            np.savez(path, signal=signal, leads=LEADS, fs=500, units="mV")
        case ".mat":
            scipy.io.savemat(path, {"feats": signal, "curr_sample_rate": 500})
        case ".h5":
            with h5py.File(path, "w") as file:
                file["signal"] = signal
                file.attrs.update({"leads": list(LEADS), "fs": 500, "units": "mV"})
        case ".csv":
            np.savetxt(path, signal.T, delimiter=",", header=",".join(LEADS), comments="")
        case ".edf":
            import edfio

            edfio.Edf(
                [
                    edfio.EdfSignal(row, 500, label=lead, physical_dimension="mV")
                    for lead, row in zip(LEADS, signal, strict=True)
                ]
            ).write(path)
        case ".hea":
            wfdb.wrsamp(
                path.stem,
                fs=500,
                units=["mV"] * 12,
                sig_name=list(LEADS),
                p_signal=signal.T,
                fmt=["16"] * 12,
                write_dir=str(path.parent),
            )
    return path


GIVEN = {
    ".npy": {"leads": LEADS, "sample_rate": 500, "units": "mV"},
    ".csv": {"sample_rate": 500, "units": "mV"},
}
SUFFIXES = [".npy", ".npz", ".mat", ".h5", ".csv", ".edf", ".hea"]


@pytest.fixture
def signal(ecg):
    return ecg.signal[:, :500]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("container", ["file", "unicode", "memory", "zip"])
def test_every_format_is_read_from_everywhere(tmp_path, signal, suffix, container):
    folder = tmp_path / ("Ärzte 心" if container == "unicode" else "plain")
    folder.mkdir()
    path = write(folder / f"rec{suffix}", signal)
    address = path
    if container == "memory":
        address = f"memory://{tmp_path.name}/rec{suffix}"
        for file in folder.iterdir():
            fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/{file.name}", file.read_bytes())
    elif container == "zip":
        address = f"zip://rec{suffix}::{tmp_path}/all.zip"
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    read = read_ecg(address, **GIVEN.get(suffix, {}))
    assert read.where == str(address)
    assert (read.leads, read.sample_rate) == (LEADS, 500.0)
    np.testing.assert_allclose(read.signal, signal, atol=1e-3)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", ".edf"])
def test_content_counts_more_than_the_extension(tmp_path, signal, suffix):
    path = write(tmp_path / f"rec{suffix}", signal)
    for name in ("rec.csv", "rec.unknown", "rec"):
        path = path.rename(tmp_path / name)
        read = read_ecg(path, **GIVEN.get(suffix, {}))
        np.testing.assert_allclose(read.signal, signal, atol=1e-3)


def test_a_format_that_is_given_is_taken(tmp_path, signal):
    path = write(tmp_path / "rec.csv", signal).rename(tmp_path / "rec.out")
    with pytest.raises(DataError, match=r"rec\.out: of no known format\. Known are \.hea, .*"):
        read_ecg(path, **GIVEN[".csv"])
    read = read_ecg(path, format="csv", **GIVEN[".csv"])
    np.testing.assert_allclose(read.signal, signal)
    with pytest.raises(ValueError, match="format='doc': choose one of wfdb, edf"):
        read_ecg(path, format="doc")
    with pytest.raises(DataError, match=r"rec\.out: is no EDF file, or damaged"):
        read_ecg(path, format="edf")


@pytest.mark.parametrize("suffix", [*FORMAT_OF_SUFFIX, ""])
def test_an_empty_file_and_none_at_all_are_distinguished(tmp_path, suffix):
    path = tmp_path / f"rec{suffix}"
    with pytest.raises(DataError, match=r"rec.*: no such (file|WFDB header)"):
        read_ecg(path)
    path.touch()
    with pytest.raises(DataError, match=r"rec.*: (is empty|an empty WFDB header|no such WFDB)"):
        read_ecg(path)


@pytest.mark.parametrize("format", FORMATS)
def test_garbage_is_a_data_error_of_every_format(tmp_path, format):
    if format == "muse":
        pytest.importorskip("fairseq_ecg.formats.muse", reason="needs the reader of MUSE XML")
    path = tmp_path / "rec.bin"
    path.write_bytes(np.random.default_rng(1).bytes(3000))
    with pytest.raises(DataError, match=r"rec\.bin"):
        read_ecg(path, format=format, leads=LEADS, sample_rate=500, units="mV")


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_ecg(tmp_path)


def test_muse_files_are_sent_to_their_reader(tmp_path, ecg, monkeypatch):
    class Reader:
        @staticmethod
        def read_muse(path):
            assert path == tmp_path / "a.xml"
            return SimpleNamespace(ecg=ecg)

    monkeypatch.setitem(sys.modules, "fairseq_ecg.formats.muse", Reader)
    monkeypatch.setattr(formats, "muse", Reader, raising=False)
    (tmp_path / "a.xml").write_text("<RestingECG/>")
    read = read_ecg(tmp_path / "a.xml")
    assert (read.where, read.leads, read.sample_rate) == (str(tmp_path / "a.xml"), LEADS, 257.0)
    np.testing.assert_array_equal(read.signal, ecg.signal)
    with pytest.raises(DataError, match="is sampled at 257 Hz according to the file"):
        read_ecg(tmp_path / "a.xml", sample_rate=500)


def test_tables_of_recordings_are_sent_elsewhere(tmp_path):
    table = pd.DataFrame({"ecg": [[[0.1] * 20, [0.2] * 20]], "id": [7]})
    table.to_parquet(tmp_path / "all.parquet")
    with pytest.raises(DataError, match=r"all\.parquet: a table of Parquet.*ecg_from_array"):
        read_ecg(tmp_path / "all.parquet")
    (cell,) = pd.read_parquet(tmp_path / "all.parquet")["ecg"]
    ecg = ecg_from_array(cell, leads=["I", "II"], sample_rate=500, units="mV")
    np.testing.assert_array_equal(ecg.signal, [[0.1] * 20, [0.2] * 20])


def test_a_remote_header_cannot_name_files_elsewhere(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/evil/a.hea", b"a 1 500 10\n../secret.dat 16 200/mV 16 0 0 0 0 II\n")
    with pytest.raises(DataError, match=r"'\.\./secret\.dat', which names another folder"):
        read_ecg("memory://evil/a.hea")


def test_formats_are_recognised_by_extension_only_where_content_does_not(tmp_path):
    for name, content, format in (
        ("a.dat", b"0       x", "edf"),
        ("a.xml", b"<RestingECG/>", "muse"),
        ("a.tsv", b"I\tII", "csv"),
        ("a.dcm", b"II*" + bytes(200), "dicom"),
        ("a.scp", bytes(16) + b"SCPECG", "scp"),
    ):
        (tmp_path / name).write_bytes(content)
        assert format_of(tmp_path / name) == format


def test_libraries_are_imported_when_they_are_needed():
    """``fairseq-ecg --help`` answers at once, whatever formats there are."""
    libraries = {"wfdb", "h5py", "pydicom", "edfio", "ecgdatakit", "fsspec", "lxml", "pandas"}
    # These are imported when they are needed, and import each other.
    later = {"decimals", "delimited", "header_block", "muse", "table_layout", "times", "workbooks"}
    for path in Path(formats.__file__).parent.glob("*.py"):
        imported = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
        if path.stem not in later:
            assert not imported & libraries, path
            assert not imported & {f"fairseq_ecg.formats.{name}" for name in later}, path
