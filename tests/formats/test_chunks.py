"""Long recordings are read in chunks, whatever their format, with the numbers of the whole."""

import gzip
import struct
import tempfile

import edfio
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import (
    arrange,
    delimited,
    ecg_from_array,
    edf,
    millivolt_doubt,
    read_ecg,
)
from fairseq_ecg.formats.chunks import ChunkedSignal, LazyArray
from tests.formats.test_dicom import group
from tests.formats.test_dicom import write as write_dicom

N, RATE, AT_ONCE = 1003, 257, 300
INTERVALS = ((0, 300), (300, 999), (699, 702), (990, 2000), (400, 400), (None, None))
GIVEN = {"leads": LEADS, "sample_rate": RATE, "units": "uV"}


@pytest.fixture(scope="module")
def counts():
    """Whole numbers of a converter, ``(12, N)``."""
    return np.random.default_rng(0).integers(-2000, 2000, (12, N))


def check(path, *, is_lazy=True, **given):
    """Compare chunks with the whole."""
    whole, long = read_ecg(path, **given), read_ecg(path, at_once=AT_ONCE, **given)
    assert isinstance(whole.signal, np.ndarray)
    assert isinstance(long.signal, ChunkedSignal)
    assert all(isinstance(each, LazyArray) == is_lazy for each in long.signal.samples)
    assert (long.signal.shape, long.signal.dtype) == (whole.signal.shape, whole.signal.dtype)
    assert (long.leads, long.sample_rate) == (whole.leads, whole.sample_rate)
    assert long.metadata == whole.metadata
    assert long.n_samples == whole.n_samples > AT_ONCE
    for start, stop in INTERVALS:
        for rows in (slice(None), slice(1, 2)):
            expected = whole.signal[rows, start:stop]
            np.testing.assert_array_equal(long.signal[rows, start:stop], expected)
    short = read_ecg(path, at_once=whole.n_samples, **given)
    np.testing.assert_array_equal(short.signal, whole.signal)
    assert isinstance(short.signal, np.ndarray)
    return long


def write_header(folder, signals, n_samples, name="long"):
    lines = "".join(f"{line}\n" for line in signals)
    text = f"{name} {len(signals)} {RATE} {n_samples}\n{lines}# Age: 60\n"
    (folder / f"{name}.hea").write_text(text)
    return folder / name


@pytest.mark.parametrize(
    "format",
    ["16", "24", "32", "61", "80", "160", "212", "310", "311", "16+24", "16x2", "212x3", "8"],
)
def test_wfdb(tmp_path, format):
    samples = np.random.default_rng(0).integers(0, 256, 60_000, dtype=np.uint8)
    samples.tofile(tmp_path / "long.dat")  # of any bytes each format makes samples
    lines = [f"long.dat {format} 200/uV 16 0 0 0 0 {lead}" for lead in LEADS[:3]]
    check(write_header(tmp_path, lines, N), is_lazy=format != "8")


def test_wfdb_with_samples_without_value_and_skewed_signals(tmp_path, counts):
    samples = counts[:2].copy()
    samples[0, 700] = -(2**15)
    samples.T.astype("<i2").tofile(tmp_path / "long.dat")
    lines = ["long.dat 16 0 16 0 0 0 0 I", "long.dat 16:4 0 16 0 0 0 0 II"]
    long = check(write_header(tmp_path, lines, N), gain=200)
    assert np.isnan(long.signal[:, 600:]).sum() == 1 + 4


@pytest.mark.parametrize("format", ["508", "516", "524"])
def test_wfdb_compressed_by_flac(tmp_path, counts, format):
    wfdb.wrsamp(
        "long",
        fs=RATE,
        units=["mV"] * 2,
        sig_name=["I", "V1"],
        d_signal=counts[:2].T // (32 if format == "508" else 1),
        fmt=[format] * 2,
        adc_gain=[200.0] * 2,
        baseline=[5] * 2,
        write_dir=str(tmp_path),
    )
    check(tmp_path / "long")


@pytest.mark.parametrize("layout", ["fixed", "variable"])
def test_wfdb_of_several_segments(tmp_path, counts, layout):
    """Signals come and go, gains change, and one of the layout is in no segment."""
    segments = {"s1": (LEADS[:3], 200, 350), "s2": (LEADS[:3], 400, 250), "s3": (LEADS[:3], 200, 9)}
    listed = ["s1 350", "s2 250", "s3 9"]
    if layout == "variable":
        segments |= {"s2": (("V1", "II"), 400, 250), "s3": (("II",), 200, 9)}
        listed = ["layout 0", "s1 350", "~ 40", "s2 250", "s3 9"]
        lines = [f"~ 0 0 16 0 0 0 0 {lead}" for lead in (*LEADS[:3], "V1", "V6")]
        write_header(tmp_path, lines, 0, "layout")
    for name, (leads, gain, n_samples) in segments.items():
        signals = [f"{name}.dat 16 {gain}/mV 16 0 0 0 0 {lead}" for lead in leads]
        write_header(tmp_path, signals, n_samples, name)
        counts[: len(leads), :n_samples].T.astype("<i2").tofile(tmp_path / f"{name}.dat")
    n_signals, n_samples = (5, 649) if layout == "variable" else (3, 609)
    text = f"all/{len(listed)} {n_signals} {RATE} {n_samples}\n" + "\n".join(listed) + "\n"
    (tmp_path / "all.hea").write_text(text)
    long = check(tmp_path / "all")
    np.testing.assert_array_equal(long.signal[:1, :2], counts[:1, :2] / 200)
    path = tmp_path / "s2.hea"
    path.write_text(path.read_text().replace("/mV", "/uV"))
    for at_once in (None, AT_ONCE):
        with pytest.raises(
            DataError, match=r"all\.hea: I+ is in mV and uV, depending on the segme"
        ):
            read_ecg(tmp_path / "all", at_once=at_once)


@pytest.mark.parametrize("suffix", [".edf", ".bdf", ".edf.gz"])
def test_edf(tmp_path, counts, suffix):
    kind, file = (edfio.BdfSignal, edfio.Bdf) if suffix == ".bdf" else (edfio.EdfSignal, edfio.Edf)
    n_records = 17
    signals = [
        kind(row[: n_records * 59] / 7.0, 59, label=lead, physical_dimension="uV")
        for lead, row in zip(LEADS[:2], counts[:2], strict=True)
    ]
    signals.insert(1, kind(np.arange(n_records * 3.0), 3, label="SpO2", physical_dimension="%"))
    path = tmp_path / f"long{suffix.removesuffix('.gz')}"
    file(signals, data_record_duration=1, annotations=[edfio.EdfAnnotation(3, None, "x")]).write(
        path
    )
    if suffix.endswith(".gz"):
        path.with_name("long.edf.gz").write_bytes(gzip.compress(path.read_bytes()))
    long = check(path.with_name(f"long{suffix}"))
    assert long.leads == ("I", "II")


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_damage_and_gaps_of_a_long_edf_are_found(tmp_path, counts, monkeypatch, suffix):
    monkeypatch.setattr(edf, "_PART_BYTES", 1)
    kind, file = (edfio.BdfSignal, edfio.Bdf) if suffix == ".bdf" else (edfio.EdfSignal, edfio.Edf)
    signal = kind(counts[0, :1000] / 7.0, 100, label="I", physical_dimension="uV")
    path = tmp_path / f"long{suffix}"
    file([signal], data_record_duration=1, annotations=[edfio.EdfAnnotation(3, None, "x")]).write(
        path
    )
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        DataError, match=rf"long\{suffix}: is no {suffix[1:].upper()} file, or dama"
    ):
        read_ecg(path, at_once=AT_ONCE)
    assert content.count(b"+9\x14\x14") == 1
    path.write_bytes(content.replace(b"+9\x14\x14", b"+8\x14\x14"))
    with pytest.raises(DataError, match=rf"long\{suffix}: has gaps"):
        read_ecg(path, at_once=AT_ONCE)


@pytest.mark.parametrize("dtype", ["<i2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, counts, dtype, order):
    path = tmp_path / "long.npy"
    for array in (counts, counts.T, counts[None]):
        np.save(path, np.asarray(array, dtype, order=order))
        check(path, **GIVEN)
    np.save(path, counts[0].astype(dtype))
    check(path, **GIVEN | {"leads": ["V1"]})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"long\.npy: is no \.npy file, or damaged"):
        read_ecg(path, at_once=AT_ONCE, **GIVEN | {"leads": ["V1"]})


def test_what_is_packed_is_unpacked_for_as_long_as_it_is_read(tmp_path, counts, monkeypatch):
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    np.save(tmp_path / "long.npy", counts)
    path = tmp_path / "long.npy.gz"
    path.write_bytes(gzip.compress((tmp_path / "long.npy").read_bytes()))
    long = check(path, **GIVEN)
    assert len(list((tmp_path / "copies").iterdir())) == 1
    del long
    assert not list((tmp_path / "copies").iterdir())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, counts, save):
    path = tmp_path / "long.npz"
    save(path, signal=counts.astype(np.float32), leads=LEADS, fs=RATE, units="uV")
    check(path)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 100), "compression": "gzip"}])
@pytest.mark.parametrize("transposed", [False, True])
def test_hdf5(tmp_path, counts, options, transposed):
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        signal = counts.astype(np.int16)
        group = file.create_group("recording")
        group.create_dataset("ecg", data=signal, **options)
        if transposed:
            del group["ecg"]
            group.create_dataset("ecg", data=signal.T)
        group["leads"] = [lead.encode() for lead in LEADS]
        group["ecg"].attrs["fs"] = RATE
        group["ecg"].attrs["units"] = "uV"
    check(path)


@pytest.mark.parametrize("format", ["4", "5", "5 compressed", "5 of the other order", "7.3"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_mat(tmp_path, counts, format, dtype):
    path = tmp_path / "long.mat"
    signal = counts.astype(dtype)
    if format == "7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["val"] = signal.T
            file["fs"] = [[float(RATE)]]
        path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + path.read_bytes()[512:])
    else:
        variables = {"a_long_name_of_something": np.ones((2, 500)) * 1j, "val": signal, "fs": RATE}
        if format == "5 of the other order":
            path.write_bytes(big_endian(variables))
        else:
            scipy.io.savemat(path, variables, format=format[0], do_compression=" " in format)
    check(path, is_lazy=format != "4", leads=LEADS, units="uV")


def big_endian(variables):
    """A ``.mat`` file as a machine writes it whose numbers begin with their highest byte."""
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H2s", 0x0100, b"MI")
    for name, value in variables.items():
        value = np.atleast_2d(value)
        kind, code = (
            {"i": (10, 3), "f": (7, 7)}[value.dtype.kind] if value.dtype.itemsize < 8 else (6, 9)
        )
        if value.dtype.kind == "c":
            continue
        numbers = value.T.astype({3: ">i2", 7: ">f4", 9: ">f8"}[code]).tobytes()
        matrix = struct.pack(">4I", 6, 8, kind, 0) + struct.pack(">2I2i", 5, 8, *value.shape)
        matrix += struct.pack(">2I", 1, len(name)) + name.encode()
        matrix += bytes(-len(matrix) % 8) + struct.pack(">2I", code, len(numbers)) + numbers
        matrix += bytes(-len(matrix) % 8)
        content += struct.pack(">2I", 14, len(matrix)) + matrix
    return content


def test_dicom(tmp_path, counts):
    counts = counts.copy()
    counts[:, 650:720] = counts[3, 950:] = -(2**15)
    item = group(counts, LEADS, RATE, sensitivity=2.5)
    item.WaveformPaddingValue = (-(2**15)).to_bytes(2, "little", signed=True)
    long = check(write_dicom(tmp_path / "long.dcm", item))
    assert np.isnan(long.signal[:, 300:]).sum() == 12 * 70 + 53


@pytest.mark.parametrize("lines_at_once", [199, 2**17])
@pytest.mark.parametrize("style", ["times", "dates", "semicolons", "blanks", "no header"])
def test_csv(tmp_path, counts, monkeypatch, style, lines_at_once):
    monkeypatch.setattr(delimited, "_LINES_AT_ONCE", lines_at_once)
    path = tmp_path / "long.csv"
    table = pd.DataFrame(counts[:2].T / 7.0, columns=["II (µV)", "V1 (µV)"])
    table.iloc[500, 1] = np.nan
    given = {"sample_rate": RATE}
    if style in ("times", "dates"):
        times = np.arange(N) / RATE
        if style == "dates":
            times = pd.Timestamp("2020-01-01 23:59:59") + pd.to_timedelta(times, "s").round("us")
        table.insert(0, "time", times)
        table["remark"] = ["paced" if row == 900 else "" for row in range(N)]
        given = {}
    if style == "no header":
        given |= {"leads": ["II", "V1"], "units": "uV"}
        table.to_csv(path, index=False, header=False)
    elif style == "semicolons":
        table.to_csv(path, sep=";", decimal=",", encoding="latin-1", lineterminator="\r\n")
    elif style == "blanks":
        table.columns = ["II_uV", "V1_uV"]
        table.fillna(0).to_csv(path, sep=" ", index=False)
    else:
        table.to_csv(path, index=False)
    path.write_bytes(b"# a device\n" + path.read_bytes())
    long = check(path, **given)
    assert (long.leads, long.sample_rate) == (("II", "V1"), pytest.approx(RATE))


def test_a_long_csv_names_the_line_of_what_is_wrong(tmp_path, counts, monkeypatch):
    monkeypatch.setattr(delimited, "_LINES_AT_ONCE", 250)
    path = tmp_path / "long.csv"
    table = pd.DataFrame(counts[:2].T, columns=["I_uV", "II_uV"])
    table.to_csv(path, index=False)
    lines = path.read_text().splitlines()
    for wrong, message in (
        ("1,2,3", "line 701: has 3 cells, the first line has 2"),
        ("1,x", "line 701: 'x' in II_uV is no number"),
    ):
        path.write_text("\n".join([*lines[:700], wrong, *lines[700:]]))
        for at_once in (None, AT_ONCE):
            with pytest.raises(DataError, match=rf"long\.csv, {message}"):
                read_ecg(path, sample_rate=RATE, at_once=at_once)
    times = np.arange(N) / RATE
    times[800:] += 3 / RATE
    table.assign(time=times).to_csv(path, index=False)
    for at_once in (None, AT_ONCE):
        with pytest.raises(DataError, match=r"not evenly spaced \(sample \d+\)"):
            read_ecg(path, at_once=at_once)


def test_arrays_in_memory_are_converted_a_chunk_at_a_time(counts):
    given = {"leads": LEADS, "sample_rate": RATE, "gain": 200}
    long = ecg_from_array(counts, at_once=AT_ONCE, **given)
    assert isinstance(long.signal, ChunkedSignal)
    expected = ecg_from_array(counts, **given).signal
    np.testing.assert_array_equal(long.signal[:, 100:500], expected[:, 100:500])


def test_long_recordings_are_arranged_derived_and_doubted_like_others(tmp_path, counts):
    np.save(tmp_path / "a.npy", counts[:2])
    given = {"leads": ["I", "II"], "sample_rate": RATE, "units": "uV"}
    whole = read_ecg(tmp_path / "a.npy", **given)
    long = read_ecg(tmp_path / "a.npy", at_once=AT_ONCE, **given)
    for leads, missing in ((["II", "I"], "error"), (LEADS[:6], "derive")):
        expected = arrange(whole, leads, missing).signal
        np.testing.assert_array_equal(arrange(long, leads, missing).signal, expected)
    assert millivolt_doubt(long) is None
    as_mv = read_ecg(tmp_path / "a.npy", at_once=AT_ONCE, **given | {"units": "mV"})
    assert "units='uV'" in millivolt_doubt(as_mv)
