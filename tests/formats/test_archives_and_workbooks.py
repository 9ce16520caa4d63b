"""Archives and workbooks, which are distinguished from ``.npz`` by what is in them."""

import bz2
import gzip
import io
import lzma
import shutil
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.formats.reading import format_of
from tests.formats.test_text_exports import read

N = 300
WAVE = np.sin(np.arange(N) / 9)
TABLE = pd.DataFrame({"time (s)": np.arange(N) * 0.004, "I (mV)": WAVE, "II (mV)": WAVE / 3})


def write_workbook(path, **sheets):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, (sheet, header) in sheets.items():
            sheet.to_excel(book, sheet_name=name, index=False, header=header)


def test_a_sheet_is_read_as_a_table(tmp_path):
    path = tmp_path / "a.xlsx"
    write_workbook(path, data=(TABLE, True), empty=(pd.DataFrame(), True))
    ecg = read(path)
    assert (ecg.leads, ecg.sample_rate) == (("I", "II"), pytest.approx(250))
    np.testing.assert_allclose(ecg.signal, [WAVE, WAVE / 3], rtol=1e-15)
    shutil.copy(path, tmp_path / "renamed.npz.bin")
    assert format_of(tmp_path / "renamed.npz.bin") == "xlsx"
    with pytest.raises(DataError, match="is in mV according to the file, and in uV"):
        read_ecg(path, units="uV")


def test_a_sheet_with_times_texts_and_lines_above(tmp_path):
    moments = pd.Timestamp("2024-02-01 23:59:59") + pd.to_timedelta(np.arange(N) * 4, "ms")
    table = pd.DataFrame({"a": moments, "b": [f"{value:.5f}".replace(".", ",") for value in WAVE]})
    above = pd.DataFrame({"a": ["Device", "Unit", "timestamp"], "b": ["X", "mV", "II"]})
    about = pd.DataFrame({"a": ["Name", "Comment"], "b": ["X", "a\ttab and\na line"]})
    sheets = {"about": (about, False), "ecg": (pd.concat([above, table]), False)}
    write_workbook(tmp_path / "a.xlsx", **sheets)
    ecg = read(tmp_path / "a.xlsx")
    assert (ecg.leads, ecg.sample_rate) == (("II",), pytest.approx(250))
    np.testing.assert_allclose(ecg.signal[0], WAVE, atol=1e-5)


def test_of_several_tables_one_is_saved_as_csv(tmp_path):
    path = tmp_path / "a.xlsx"
    write_workbook(path, first=(TABLE, True), second=(TABLE, True))
    with pytest.raises(DataError, match=r"several tables \('first', 'second'\)\. Save the sheet"):
        read_ecg(path)
    pd.read_excel(path, sheet_name="second").to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_allclose(read_ecg(tmp_path / "a.csv").signal[0], WAVE)
    write_workbook(path, first=(pd.DataFrame(), True))
    with pytest.raises(DataError, match=r"a\.xlsx: is a workbook without a table"):
        read_ecg(path)


def write_zip(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_workbook_that_cannot_be_read_says_what_it_is(tmp_path, monkeypatch, is_installed):
    if is_installed:
        pytest.importorskip("openpyxl")
    else:
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        monkeypatch.setattr("fairseq_ecg.formats.workbooks.find_spec", lambda name: None)
    write_zip(tmp_path / "a.xlsx", xl__workbook_xml="<x/>")
    said = (
        r"is no workbook \(\.xlsx\), or damaged .*\. Save the sheet of the recording as CSV"
        if is_installed
        else r"is a workbook, which openpyxl reads\. Install it \(pip install "
        r"'fairseq-ecg\[xlsx\]'\), or save the sheet as CSV"
    )
    for at_once in (None, 10):
        with pytest.raises(DataError, match=rf"a\.xlsx: {said}"):
            read_ecg(tmp_path / "a.xlsx", at_once=at_once)


def test_the_extra_that_a_message_names_brings_the_reader():
    root = Path(__file__).resolve().parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert extras["optional-dependencies"]["xlsx"] == ["openpyxl"]


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    pytest.importorskip("openpyxl")
    with (
        zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/workbook.xml", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    with pytest.raises(DataError, match="times its packed size"):
        read_ecg(tmp_path / "a.xlsx")


@pytest.fixture
def npy(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.ones((12, 50)))
    return buffer.getvalue()


GIVEN = {"leads": LEADS, "sample_rate": 500, "units": "mV"}


@pytest.mark.parametrize("name", ["a.zip", "a.dat.zip", "a"])
def test_an_archive_of_files_is_unpacked_or_looked_into(tmp_path, npy, name):
    path = tmp_path / name
    write_zip(path, one_npy=npy, two_dcm="DICM", folder__="")
    with pytest.raises(DataError, match=r"is an archive of 2 files \(one\.npy, two\.dcm\)\. Unpac"):
        read_ecg(path, **GIVEN)
    assert read_ecg(f"zip://one.npy::{path}", **GIVEN).signal.shape == (12, 50)
    with zipfile.ZipFile(path) as archive:
        archive.extract("one.npy", tmp_path)
    assert read_ecg(tmp_path / "one.npy", **GIVEN).signal.shape == (12, 50)


def test_a_workbook_of_another_program_says_so(tmp_path):
    write_zip(tmp_path / "a.ods", content_xml="<x/>", mimetype="x")
    with pytest.raises(DataError, match=r"a\.ods: is a workbook or document\. Save it as CSV"):
        read_ecg(tmp_path / "a.ods")
    (tmp_path / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(DataError, match=r"a\.xls: .*\. Save it as CSV, or as \.xlsx"):
        read_ecg(tmp_path / "a.xls")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n")
    with pytest.raises(DataError, match=r"a\.pdf: is a document"):
        read_ecg(tmp_path / "a.pdf")


def test_what_is_packed_says_how_to_unpack_it(tmp_path, npy):
    packed = {
        "a.tgz": (gzip.compress(npy), r"by gzip\. Let its name end in \.gz, or unpack it"),
        "a.npy.bz2": (bz2.compress(npy), r"by bzip2\. Unpack it"),
        "a.npy.xz": (lzma.compress(npy), r"by xz\. Unpack it"),
        "a.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), r"of 7-Zip\. Unpack it"),
        "a.rar": (b"Rar!\x1a\x07\0" + bytes(50), r"of RAR\. Unpack it"),
    }
    for name, (content, reason) in packed.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: is .*{reason}"):
            read_ecg(tmp_path / name, **GIVEN)
    (tmp_path / "a.tgz").rename(tmp_path / "a.npy.gz")
    assert read_ecg(tmp_path / "a.npy.gz", **GIVEN).signal.shape == (12, 50)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.npy.gz", "a.npy.gz")
    with pytest.raises(DataError, match=r"a\.tar: is an archive of tar\. Unpack it"):
        read_ecg(tmp_path / "a.tar", **GIVEN)


def test_samples_that_look_like_a_packed_file_are_samples(tmp_path):
    samples = np.frombuffer(b"BZh0" * 200, "<i2")
    samples.tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text("a 1 500 400\na.dat 16 200/mV 16 0 0 0 0 I\n")
    np.testing.assert_array_equal(read_ecg(tmp_path / "a.dat").signal[0], samples / 200)
