import datetime
import struct

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import read_ecg


def write(path, signal, leads, fs, unit="mV", *, factor=1.0, extra=(), **options):
    kind = edfio.BdfSignal if path.suffix == ".bdf" else edfio.EdfSignal
    signals = [
        kind(
            row * factor,
            fs,
            label=lead,
            physical_dimension=unit,
            physical_range=(-5 * factor, 5 * factor),
        )
        for lead, row in zip(leads, signal, strict=True)
    ]
    file = edfio.Bdf if path.suffix == ".bdf" else edfio.Edf
    file([*signals, *extra], **options).write(path)
    return path


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "Überprüfung 心电图.edf"])
def test_all_leads_are_read(tmp_path, ecg, name):
    path = write(tmp_path / name, ecg.signal, [f"ECG {lead}" for lead in LEADS], 257)
    read = read_ecg(path)
    assert read.leads == LEADS
    assert read.sample_rate == 257
    assert read.where == str(path)
    np.testing.assert_allclose(read.signal, ecg.signal, atol=1e-4)


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1e3), ("mV", 1), ("V", 1e-3), ("nV", 1e6), ("MV", 1)]
)
def test_units_of_the_file_are_converted(tmp_path, ecg, unit, factor):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["i", "ii"], 257, unit, factor=factor)
    np.testing.assert_allclose(read_ecg(path).signal, ecg.signal[:2], atol=1e-3)


def test_the_micro_sign_of_devices_is_read(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257, "uV", factor=1e3)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"uV      ", b"\xb5V      "))
    np.testing.assert_allclose(read_ecg(path).signal, ecg.signal[:1], atol=1e-3)


def test_files_without_units_need_them(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257, "", factor=1e3)
    with pytest.raises(DataError, match=r"a\.edf: lead II has no unit\. Give units"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, units="uV").signal, ecg.signal[:1], atol=1e-3)
    by_gain = read_ecg(path, gain=1000)
    np.testing.assert_allclose(by_gain.signal, ecg.signal[:1], atol=1e-3)


def test_signals_of_other_kinds_and_annotations_are_left_out(tmp_path, ecg):
    slow = np.linspace(0, 5, 50)
    extra = [
        edfio.EdfSignal(slow, 25, label="Resp", physical_dimension="mV"),
        edfio.EdfSignal(slow, 25, label="SpO2", physical_dimension="%"),
        edfio.EdfSignal(ecg.signal[6], 257, label="EMG", physical_dimension="mV"),
        edfio.EdfSignal(ecg.signal[7], 257, label="EMG", physical_dimension="mV"),
        edfio.EdfSignal(ecg.signal[8], 257, label="ECG V7", physical_dimension="mV"),
    ]
    path = write(
        tmp_path / "a.edf",
        ecg.signal[:2],
        ["ECG I", "ECG II"],
        257,
        extra=extra,
        annotations=[edfio.EdfAnnotation(0.5, None, "beat")],
        starttime=datetime.time(1, 2, 3),
    )
    read = read_ecg(path)
    assert read.leads == ("I", "II", "ECG V7")
    assert read.metadata["left_out"] == "Resp, SpO2, EMG, EMG"


def test_leads_of_several_rates_are_refused(tmp_path, ecg):
    extra = [edfio.EdfSignal(np.zeros(250), 125, label="V1", physical_dimension="mV")]
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["I"], 257, extra=extra)
    with pytest.raises(DataError, match=r"I has 514 samples at 257.* V1 has 250 at 125"):
        read_ecg(path)


def test_the_same_lead_twice_is_refused(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["ECG II", "Lead II"], 257)
    with pytest.raises(DataError, match=r"a\.edf: lead II is there twice"):
        read_ecg(path)


def test_recordings_with_gaps_are_refused(tmp_path, ecg):
    path = write(
        tmp_path / "a.edf",
        ecg.signal[:1],
        ["II"],
        257,
        data_record_duration=1,
        annotations=[edfio.EdfAnnotation(0.5, None, "beat")],
    )
    discontinuous = path.read_bytes().replace(b"EDF+C", b"EDF+D")
    path.write_bytes(discontinuous)
    assert read_ecg(path).n_samples == 514  # without a gap after all
    assert b"+1\x14\x14" in discontinuous
    path.write_bytes(discontinuous.replace(b"+1\x14\x14", b"+9\x14\x14"))
    with pytest.raises(DataError, match=r"a\.edf: has gaps \(EDF\+D\)"):
        read_ecg(path)


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.999])
def test_a_cut_off_file_is_refused(tmp_path, ecg, name, part):
    path = write(tmp_path / name, ecg.signal, LEADS, 257)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"{name}: is no {name[2:].upper()} file, or damaged \("):
        read_ecg(path)


def test_a_damaged_header_is_refused(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal, LEADS, 257)
    content = bytearray(path.read_bytes())
    content[252:256] = b"many"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.edf: is no EDF file, or damaged \("):
        read_ecg(path)


@settings(max_examples=20, deadline=None)
@given(arrays(np.int16, (2, 30), elements=st.integers(-(2**15), 2**15 - 1)))
def test_counts_survive(tmp_path_factory, counts):
    path = tmp_path_factory.mktemp("edf") / "a.edf"
    signals = [
        edfio.EdfSignal.from_digital(
            row, 30, label=lead, physical_dimension="uV", physical_range=(-32768, 32767)
        )
        for lead, row in zip(("I", "II"), counts, strict=True)
    ]
    edfio.Edf(signals).write(path)
    np.testing.assert_allclose(read_ecg(path).signal * 1000, counts, rtol=0, atol=1e-6)


def test_a_file_of_another_kind_is_read_as_what_it_is(tmp_path, ecg):
    written = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257)
    other = written.rename(tmp_path / "a.csv")
    np.testing.assert_allclose(read_ecg(other).signal, ecg.signal[:1], atol=1e-4)
    named = tmp_path / "b.edf"
    named.write_bytes(struct.pack("<100d", *range(100)))
    with pytest.raises(DataError, match=r"b\.edf: is no EDF file, or damaged"):
        read_ecg(named)
