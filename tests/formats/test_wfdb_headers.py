"""Headers as the WFDB library and real archives write them, and those of strangers."""

import os
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.data.recording import read_wfdb
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.limits import VARIABLE

N = 100
COUNTS = np.arange(-50, 50)


@pytest.fixture
def write(tmp_path):
    """Write a header of words of 16 bits, and the counts -50 to 49 of each of its signals."""

    def write(record, *signals, name="a", n_signals=1, file="a.dat"):
        counts = np.repeat(COUNTS[:, None], n_signals, axis=1)
        counts.astype("<i2").tofile(tmp_path / file)
        lines = "\n".join([record, *(signals or ["a.dat 16 1000/mV 16 0 0 0 0 II"])])
        text = lines if isinstance(lines, bytes) else f"{lines}\n".encode()
        (tmp_path / f"{name}.hea").write_bytes(text)
        return tmp_path / f"{name}.hea"

    return write


ENCODINGS = {
    "Latin-1": b"\xb5V",
    "UTF-8": "µV".encode(),
    "UTF-8, Greek letter": "μV".encode(),
    "ASCII": b"uV",
}


@pytest.mark.parametrize("unit", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("format", ["16", "61", "80", "212", "16x1", "16:2"])
def test_the_micro_sign_is_read_in_every_encoding_and_format(tmp_path, unit, format):
    data = {"61": COUNTS.astype(">i2"), "80": (COUNTS + 128).astype("u1")}
    if format == "212":
        low, high = COUNTS[::2] & 0xFFF, COUNTS[1::2] & 0xFFF
        triples = [low & 0xFF, low >> 8 | high >> 8 << 4, high & 0xFF]
        data["212"] = np.stack(triples, axis=1).astype("u1")
    data.get(format, COUNTS.astype("<i2")).tofile(tmp_path / "a.dat")
    comment = "# Größe: 1,80 m\n".encode() + b"# na\xefve\n"
    header = b"a 1 500 100\na.dat " + format.encode() + b" 0.5/" + unit + b" 16 0 0 0 0 II\n"
    (tmp_path / "a.hea").write_bytes(header + comment)
    for at_once in (None, 30):
        read = read_ecg(tmp_path / "a", at_once=at_once)
        shift = 2 if format == "16:2" else 0
        expected = np.append(COUNTS[shift:] * 2e-3, [np.nan] * shift)
        np.testing.assert_allclose(read.signal[:, :][0], expected)
        assert read.metadata["comments"] == "Größe: 1,80 m\nnaïve"


@pytest.mark.parametrize("unit", list(ENCODINGS.values())[:2])
def test_the_micro_sign_is_read_in_segments(tmp_path, unit):
    for name in ("s1", "s2"):
        COUNTS.astype("<i2").tofile(tmp_path / f"{name}.dat")
        text = f"{name} 1 500 100\n{name}.dat 16 1/".encode() + unit + b" 16 0 0 0 0 II\n"
        (tmp_path / f"{name}.hea").write_bytes(text)
    (tmp_path / "all.hea").write_text("all/2 1 500 200\ns1 100\ns2 100\n")
    np.testing.assert_allclose(read_ecg(tmp_path / "all").signal[0], np.tile(COUNTS, 2) / 1000)


RATES = {
    "250": 250,
    "2.5e2": 250,
    "2.5E+02": 250,
    "250.": 250,
    "250/1(0)": 250,
    "250/360": 250,
    "250/": 250,
    "360/24000(-12.5)": 360,
    "128.5/1e3": 128.5,
    "1e3": 1000,
}


@pytest.mark.parametrize(("text", "rate"), RATES.items(), ids=RATES)
def test_the_whole_field_of_the_rate_counts(write, text, rate):
    path = write(f"a 1 {text} 100")
    assert read_ecg(path).sample_rate == rate
    assert read_wfdb(str(path.with_suffix("")), "x.mat").sample_rate == rate
    assert read_ecg(write(f"a 1 {text} 100", "a.dat 80 1000 8 0 0 0 0 II")).sample_rate == rate


@pytest.mark.parametrize(
    "text", ["2.5d2", "250Hz", "250,5", "nan", "inf", "-250", "0x10", "250//1"]
)
def test_what_is_no_rate_is_refused(write, text):
    path = write(f"a 1 {text} 100")
    for read in (read_ecg, lambda path: read_wfdb(str(path.with_suffix("")), "x.mat")):
        with pytest.raises(DataError, match=r"is no WFDB header, .* is no sampling rate"):
            read(path)


@pytest.mark.parametrize("text", ["1e9", "1e-300", "1e-7", "0.001", "1", "1e999", "9" * 400])
@pytest.mark.parametrize("format", ["16", "80"])
def test_a_rate_that_is_not_plausible_is_refused(write, text, format):
    path = write(f"a 1 {text} 100", f"a.dat {format} 1000/mV 16 0 0 0 0 II")
    for read in (read_ecg, lambda path: read_wfdb(str(path.with_suffix("")), "x.mat")):
        with pytest.raises(DataError, match=r"plausible|which cannot be"):
            read(path)


def test_a_limit_can_be_moved_as_the_message_says(write, monkeypatch):
    path = write("a 1 1e-3 100")
    with pytest.raises(DataError, match=rf"set {VARIABLE}=lowest_rate=0\.001 in") as refused:
        read_ecg(path)
    monkeypatch.setenv(VARIABLE, str(refused.value).rpartition(f"{VARIABLE}=")[2].split()[0])
    assert read_ecg(path).sample_rate == 0.001


def test_a_rate_of_0_is_none(write):
    path = write("a 1 0 100")
    with pytest.raises(DataError, match="does not say its sampling rate"):
        read_ecg(path)
    assert read_ecg(path, sample_rate=500).sample_rate == 500


def test_slow_signals_beside_an_ecg_do_not_matter(tmp_path):
    counts = np.arange(300, dtype="<i2")
    counts.tofile(tmp_path / "a.dat")
    lines = "a.dat 16x299 1000/mV 16 0 0 0 0 II\na.dat 16 10/C 16 0 0 0 0 Temp\n"
    (tmp_path / "a.hea").write_text(f"a 2 1 1\n{lines}")
    read = read_ecg(tmp_path / "a")
    assert (read.sample_rate, read.metadata["left_out"]) == (299, "Temp")


NAMES = {
    "E07835.mat": "a.dat",
    "dotted.name.2": "a.dat",
    "ge/a": "ge/a.dat",
    "records/ge/a": "records/ge/a.dat",
    "ge/a ": "a.dat",
    "of another name": "a.dat",
}


@pytest.mark.parametrize(("record", "file"), NAMES.items(), ids=NAMES)
def test_records_may_be_called_anything(write, record, file):
    record = record.split()[0]
    path = write(f"{record} 1 500 100 05-May-2020 09:49:17", f"{file} 16 1000/mV 16 0 0 0 0 II")
    np.testing.assert_allclose(read_ecg(path).signal[0], COUNTS / 1000)
    np.testing.assert_allclose(read_wfdb(str(path)[:-4], "x.mat").feats[0], COUNTS / 1000)


def test_a_name_that_is_a_number_is_no_number_of_segments(write):
    path = write("ge/00001 1 500 100", name="00001")
    assert read_ecg(path).n_samples == N


@pytest.mark.parametrize("name", ["two.dots.dat", "a-b_c.d1", "a", "Aufnahme_ä.dat"])
@pytest.mark.parametrize("format", ["16", "16x2"])
def test_files_may_be_called_anything(write, name, format):
    path = write("a 1 500", f"{name} {format} 1000/mV 16 0 0 0 0 II", file=name)
    np.testing.assert_allclose(read_ecg(path).signal[0], COUNTS / 1000)


ELSEWHERE = ["../x.dat", "/etc/passwd", "sub/x.dat", "..", "sub\\x.dat", "C:x.dat", "a\x01.dat"]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("format", ["16", "212", "516"])
def test_files_of_other_folders_are_refused(write, tmp_path, name, format):
    (tmp_path.parent / "x.dat").write_bytes(bytes(300))
    path = write("a 1 500 100", f"{name} {format} 1000/mV 16 0 0 0 0 II")
    with pytest.raises(DataError, match=r"a\.hea: the file of a signal is '.*', which "):
        read_ecg(path)
    with pytest.raises(DataError, match="the file of a signal is"):
        read_wfdb(str(path)[:-4], "x.mat")
    record = name.removesuffix(".dat")
    (tmp_path / "all.hea").write_text(f"all/1 1 500 100\n{record} 100\n")
    with pytest.raises(DataError, match=r"all\.hea: the file of a segment is '.*', which "):
        read_ecg(tmp_path / "all")


@pytest.mark.parametrize("folder", ["..", "/etc", "a/../.."])
def test_the_folder_of_a_record_leads_nowhere_else(write, folder):
    path = write(f"{folder}/a 1 500 100", f"{folder}/a.dat 16 1000/mV 16 0 0 0 0 II")
    with pytest.raises(DataError, match="names another folder"):
        read_ecg(path)


@pytest.mark.parametrize("length", [" 0", " 0 12:00:00", ""])
@pytest.mark.parametrize("format", ["16", "16x2", "80", "212", "32", "61"])
def test_a_length_that_is_not_said_is_that_of_the_file(write, length, format):
    path = write(f"a 1 500{length}", f"a.dat {format} 1000/mV 16 0 0 0 0 II")
    assert read_ecg(path).n_samples == {"80": 200, "212": 132, "32": 50}.get(format, 100) + (
        format == "212"
    )


def write_by_wfdb(path, counts, format):
    """Write two leads of 500 Hz, ``(N, 2)`` counts of 1000 per mV; return the header."""
    wfdb.wrsamp(
        path.stem,
        fs=500,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        d_signal=counts,
        fmt=[format] * 2,
        adc_gain=[1000.0] * 2,
        baseline=[0] * 2,
        write_dir=str(path.parent),
    )
    return path


@pytest.mark.parametrize("format", ["508", "516", "524"])
def test_a_length_that_is_not_said_is_that_of_a_compressed_file(tmp_path, format):
    signals = (COUNTS[:, None] + [0, 1]).astype(np.int64)
    path = write_by_wfdb(tmp_path / "a.hea", signals, format)
    path.write_text(path.read_text().replace("500 100", "500 0"))
    np.testing.assert_allclose(read_ecg(path).signal, signals.T / 1000)


def test_the_shortest_file_tells_a_length_that_is_not_said(tmp_path):
    np.arange(100, dtype="<i2").tofile(tmp_path / "a.dat")
    np.arange(80, dtype="<i2").tofile(tmp_path / "b.dat")
    lines = "a.dat 16 1000/mV 16 0 0 0 0 I\nb.dat 16 1000/mV 16 0 0 0 0 II\n"
    (tmp_path / "a.hea").write_text(f"a 2 500 0\n{lines}")
    read = read_ecg(tmp_path / "a")
    assert read.signal.shape == (2, 80)
    assert read.doubts == ("a.dat is longer than the header says",)


COUNTED = {
    "a/3 1 500 200\ns1 100\ns2 100\n": "says 3 segments, and lists 2",
    "a/1 1 500 200\ns1 100\ns2 100\n": "says 1 segments, and lists 2",
    "a 3 500 100\na.dat 16\na.dat 16\n": "says 3 signals, and lists 2",
    "a 1 500 100\na.dat 16\na.dat 16\n": "says 1 signals, and lists 2",
    "a/2 2 500 200\ns1 100\ns2 100\n": "it says 2 signals, s1 has 1",
    "a/2 1 500 300\ns1 100\ns2 200\n": "it says 200 frames of s2, which has 100",
    "a/0 1 500 300\n": "it says 0 segments",
    "a/1 1 500 100\na 100\n": "its segment a has segments",
}


@pytest.mark.parametrize(("text", "message"), COUNTED.items(), ids=COUNTED.values())
def test_numbers_that_contradict_each_other_are_named(write, text, message):
    for name in ("s1", "s2"):
        write(f"{name} 1 500 100", name=name)
    path = write("a 1 500 100")
    path.write_text(text)
    for at_once in (None, 30):
        with pytest.raises(DataError, match=rf"a\.hea: .*{message}"):
            read_ecg(path, at_once=at_once)


def test_segments_with_other_signals_are_refused(write, tmp_path):
    write("s1 1 500 100", name="s1")
    write("s2 1 500 100", "a.dat 16 1000/mV 16 0 0 0 0 V1", name="s2")
    (tmp_path / "all.hea").write_text("all/2 1 500 200\ns1 100\ns2 100\n")
    with pytest.raises(DataError, match=r"s2 has the signals V1, and not II"):
        read_ecg(tmp_path / "all")


def test_signals_in_several_files_need_not_lie_side_by_side(tmp_path):
    counts = np.arange(300).reshape(100, 3)
    (counts[:, [0, 2]] % 100 + 128).astype("u1").tofile(tmp_path / "a.dat")
    (counts[:, 1] % 100 + 128).astype("u1").tofile(tmp_path / "b.dat")
    lines = [
        f"{file}.dat 80 1000/mV 8 0 0 0 0 {lead}"
        for file, lead in zip("aba", LEADS[:3], strict=True)
    ]
    (tmp_path / "a.hea").write_text("\n".join(["a 3 500 100", *lines]))
    np.testing.assert_allclose(read_ecg(tmp_path / "a").signal, counts.T % 100 / 1000)


HOSTILE = {
    "samples": ("a 12 500 1000000000000", None, "plausible"),
    "more samples": (f"a 12 500 1{'0' * 30}", None, "plausible"),
    "digits": (f"a 12 500 1{'0' * 5000}", None, "no WFDB header"),
    "signals": ("a 200000 500 100", "a.dat 16\n" * 200_000, "plausible"),
    "segments": ("a/200000 1 500 100", "s 1\n" * 200_000, "plausible"),
    "long segments": ("a/2 1 500", "s 4000000000\ns 4000000000\n", "plausible"),
    "samples a frame": ("a 1 500 100", "a.dat 16x99999999999 1000/mV\n", "plausible"),
    "samples a frame, no length": ("a 1 500", "a.dat 16x99999999999 1000/mV\n", "no signals"),
    "baseline": ("a 1 500 100", f"a.dat 16 1000({'9' * 400})/mV 16 0\n", "32 bits"),
    "zero": ("a 1 500 100", f"a.dat 16 1000/mV 16 {'9' * 400}\n", "32 bits"),
    "offset": ("a 1 500 100", f"a.dat 16+{'9' * 30} 1000/mV\n", "has 0 frames"),
    "gain": ("a 1 500 100", "a.dat 16 1e999/mV\n", "no gain"),
    "small gain": ("a 1 500 100", "a.dat 16 1e-320/mV\n", "no gain"),
    "digits of a gain": ("a 1 500 100", f"a.dat 16 {'1' * 100_000}x/mV\n", "no gain"),
    "digits of a rate": (f"a 1 {'1' * 100_000}x 100", "a.dat 16\n", "no sampling rate"),
    "format": ("a 1 500 100", "a.dat 17 1000/mV\n", "format 17"),
    "formats": ("a 2 500 10", "a.dat 16 1\na.dat 212 1\n", "several formats"),
    "long": ("a 1 500 100", "#" * (2**24 + 1), "plausible"),
}


@pytest.mark.parametrize(("first", "lines", "message"), HOSTILE.values(), ids=HOSTILE)
def test_headers_that_lie_are_refused_at_once(tmp_path, first, lines, message):
    np.zeros(1200, "<i2").tofile(tmp_path / "a.dat")
    if lines is None:
        lines = "".join(f"a.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "a.hea").write_text(f"{first}\n{lines}")
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as refused:
            read_ecg(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 1000
    assert time.process_time() - start < 5


def test_a_skew_beyond_the_end_leaves_no_samples(write):
    path = write("a 1 500 100", f"a.dat 16:{'9' * 30} 1000/mV 16 0 0 0 0 II")
    assert np.isnan(read_ecg(path).signal).all()


@pytest.mark.parametrize("suffix", [".dat", ".hea"])
def test_a_pipe_is_no_file_of_a_record(write, tmp_path, suffix):
    path = write("a 1 500 100")
    path.with_suffix(suffix).unlink()
    os.mkfifo(path.with_suffix(suffix))
    with pytest.raises(DataError, match=r"a\.dat: is a named pipe, not a file|no such WFDB header"):
        read_ecg(path)
    with pytest.raises(DataError, match=rf"a\{suffix}: is a named pipe, not a file"):
        read_wfdb(str(path)[:-4], "x.mat")


BASE = (
    "rec 2 250/1(0) 40 12:00:00 01/02/2020\n"
    "rec.dat 16+0 1000(0)/mV 16 0 1 2 0 I\n"
    "rec.dat 16+0 1000(0)/mV 16 0 1 2 0 II\n"
    "# Age: 60\n"
)
PIECES = [
    *"019./():+x~# \n\tµ\x00",
    "99999999999",
    "-1",
    "1e5",
    "1e-5",
    "nan",
    "rec",
    "rec.dat",
    "../",
]
PIECES += ["212", "16", "508", "8", "80", "310", "/2", "/mV"]
CHANGES = st.tuples(st.integers(0, len(BASE)), st.integers(0, 6), st.sampled_from(PIECES))


@settings(max_examples=300, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_changed_headers_are_refused_or_read_with_what_is_in_the_file(tmp_path_factory, changes):
    text = BASE
    for offset, n_removed, piece in changes:
        offset = min(offset, len(text))
        text = text[:offset] + piece + text[offset + n_removed :]
    folder = tmp_path_factory.mktemp("fuzz")
    np.arange(80, dtype="<i2").tofile(folder / "rec.dat")
    (folder / "rec.hea").write_text(text, encoding="utf-8")
    for at_once in (None, 5):
        start = time.process_time()
        with suppress(DataError):
            read = read_ecg(folder / "rec.hea", at_once=at_once)
            assert read.signal[:, :].shape[1] <= 160  # as many bytes as the file has
            assert 10 <= read.sample_rate <= 200_000
        assert time.process_time() - start < 3
