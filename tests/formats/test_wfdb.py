import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg

STEP = 1 / 1000
"""mV; of a converter with 1000 counts per mV."""


@pytest.fixture
def write(tmp_path, ecg):
    def write(signal=None, name="rec", *, leads=LEADS, fs=257.0, fmt="16", unit="mV", gain=1000.0):
        signal = ecg.signal if signal is None else signal
        wfdb.wrsamp(
            name,
            fs=fs,
            units=[unit] * len(leads),
            sig_name=list(leads),
            d_signal=np.round(signal.T * 1000).astype(np.int64),
            fmt=[fmt] * len(leads),
            adc_gain=[gain] * len(leads),
            baseline=[0] * len(leads),
            comments=["Age: 57", "Sex: Female"],
            write_dir=str(tmp_path),
        )
        return tmp_path / name

    return write


@pytest.mark.parametrize("extension", ["", ".hea", ".dat"])
def test_a_record_is_read_by_any_of_its_names(write, ecg, extension):
    path = write()
    read = read_ecg(f"{path}{extension}")
    assert read.leads == LEADS
    assert read.sample_rate == 257
    assert read.where == f"{path}.hea"
    assert read.metadata == {"comments": "Age: 57\nSex: Female"}
    np.testing.assert_allclose(read.signal, ecg.signal, atol=STEP / 2)


@pytest.mark.parametrize("fmt", ["80", "212", "16", "24", "32", "508", "516", "524"])
def test_every_format_of_signal_files(write, ecg, fmt):
    small = ecg.signal / 20  # within the 8 bits of format 80 and 508
    read = read_ecg(write(small, fmt=fmt))
    np.testing.assert_allclose(read.signal, small, atol=STEP / 2)


@pytest.mark.parametrize("fs", [257.0, 1000.0, 128.5, 360.0])
def test_rates_need_not_be_whole_numbers(write, fs):
    assert read_ecg(write(fs=fs)).sample_rate == fs


def test_names_units_and_order_are_those_of_the_file(write, ecg):
    order = [3, 6, 0]
    names = [LEADS[i].lower() for i in order]
    path = write(ecg.signal[order], leads=names, unit="uV", gain=1.0)
    read = read_ecg(path)
    assert read.leads == ("aVR", "V1", "I")
    np.testing.assert_allclose(read.signal, ecg.signal[order], atol=STEP / 2)


HEADERS = {
    "gain and unit": "a.dat 16 1000/mV 16 0 0 0 0 II",
    "gain alone": "a.dat 16 1000 16 0 0 0 0 II",
    "baseline": "a.dat 16 1000(0)/mV 16 0 0 0 0 II",
    "lower case": "a.dat 16 1000.0(0)/mv 16 0 0 0 0 ii",
    "microvolts": "a.dat 16 1(0)/uV 16 0 0 0 0 Lead II",
    "volts": "a.dat 16 1e6/V 16 0 0 0 0 ecg_ii",
    "offset": "a.dat 16+0 1000/mV 16 0 0 0 0 II",
}


@pytest.mark.parametrize("line", HEADERS.values(), ids=HEADERS)
def test_styles_of_headers(tmp_path, line):
    counts = np.arange(-50, 50, dtype="<i2")
    counts.tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text(f"a 1 500 100 12:00:00 1/2/2020\n{line}\n#Age: 61\n")
    read = read_ecg(tmp_path / "a")
    assert read.leads == ("II",)
    assert read.metadata["comments"] == "Age: 61"
    np.testing.assert_allclose(read.signal[0], counts / 1000)


@pytest.mark.parametrize("gain", ["", " 0", " 0/mV", " 0(0)/mV 16 0 0 0 0 the  lead"])
def test_a_signal_without_gain_is_refused_until_it_is_given(tmp_path, gain):
    counts = np.arange(100, dtype="<i2")
    counts.tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text(f"a 1 500 100\na.dat 16{gain}\n")
    with pytest.raises(DataError, match=r"a\.hea: .*has no unit.* or gain"):
        read_ecg(tmp_path / "a", leads=["II"])
    read = read_ecg(tmp_path / "a", leads=["II"], gain=400)
    np.testing.assert_allclose(read.signal[0], counts / 400)


def test_a_header_without_rate_needs_one(tmp_path):
    np.zeros(100, "<i2").tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text("a 1\na.dat 16 200/mV 16 0 0 0 0 II\n")
    with pytest.raises(DataError, match=r"a\.hea: does not say its sampling rate"):
        read_ecg(tmp_path / "a")
    assert read_ecg(tmp_path / "a", sample_rate=360).sample_rate == 360


def test_signals_of_other_kinds_are_left_out(tmp_path):
    np.arange(300, dtype="<i2").tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text(
        "a 3 500 100\na.dat 16 1000/mV 16 0 0 0 0 II\na.dat 16 10/mmHg 16 0 0 0 0 ABP\n"
        "a.dat 16 1000/mV 16 0 0 0 0 MLII\n"
    )
    read = read_ecg(tmp_path / "a")
    assert read.leads == ("II", "MLII")
    assert read.metadata["left_out"] == "ABP"


def test_leads_with_several_samples_a_frame_keep_their_rate(tmp_path):
    counts = np.arange(300, dtype="<i2")  # two samples of II and one of a pressure a frame
    counts.tofile(tmp_path / "a.dat")
    (tmp_path / "a.hea").write_text(
        "a 2 125 100\na.dat 16x2 1000/mV 16 0 0 0 0 II\na.dat 16 10/mV 16 0 0 0 0 Resp\n"
    )
    read = read_ecg(tmp_path / "a")
    assert read.sample_rate == 250
    np.testing.assert_allclose(read.signal[0], counts.reshape(-1, 3)[:, :2].ravel() / 1000)


def test_invalid_samples_have_no_value(write, ecg):
    signal = ecg.signal.copy()
    signal[4, 7] = -(2**15) / 1000
    read = read_ecg(write(signal))
    assert np.argwhere(np.isnan(read.signal)).tolist() == [[4, 7]]


@pytest.mark.parametrize("layout", ["fixed", "variable"])
def test_records_of_several_segments(write, tmp_path, ecg, layout):
    write(ecg.signal[:, :300], "s1")
    write(ecg.signal[:, 300:], "s2")
    segments, gap = "s1 300\ns2 214\n", 0
    if layout == "variable":
        lines = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
        (tmp_path / "layout.hea").write_text(f"layout 12 257 0\n{lines}")
        segments, gap = "layout 0\ns1 300\n~ 20\ns2 214\n", 20
    n_segments = segments.count("\n")
    (tmp_path / "all.hea").write_text(f"all/{n_segments} 12 257 {514 + gap}\n{segments}")
    read = read_ecg(tmp_path / "all")
    assert read.leads == LEADS
    expected = np.insert(ecg.signal, [300] * gap, np.nan, axis=1)
    np.testing.assert_allclose(read.signal, expected, atol=STEP / 2)


def test_the_only_segment_of_a_layout_in_another_order(write, tmp_path, ecg):
    write(ecg.signal, "s1")
    lines = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS[::-1])
    (tmp_path / "layout.hea").write_text(f"layout 12 257 0\n{lines}")
    (tmp_path / "all.hea").write_text("all/2 12 257 514\nlayout 0\ns1 514\n")
    read = read_ecg(tmp_path / "all")
    assert read.leads == LEADS[::-1]
    np.testing.assert_allclose(read.signal, ecg.signal[::-1], atol=STEP / 2)


@pytest.mark.parametrize("fmt", ["16", "516"])
def test_a_cut_off_signal_file_is_refused(write, fmt):
    record = write(fmt=fmt)
    path = min(path for path in record.parent.iterdir() if path.suffix != ".hea")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"rec\.hea: is no WFDB record, or damaged \("):
        read_ecg(record)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "rec twelve 500\n", "rec 1 500 20\n"])
def test_a_damaged_header_is_refused(tmp_path, text):
    (tmp_path / "rec.hea").write_text(text)
    with pytest.raises(DataError, match=r"rec\.hea: "):
        read_ecg(tmp_path / "rec")


def test_missing_files_are_named(write, tmp_path):
    with pytest.raises(DataError, match=r"none\.hea: no such WFDB header"):
        read_ecg(tmp_path / "none.hea")
    path = write()
    path.with_suffix(".dat").unlink()
    with pytest.raises(DataError, match=r"rec\.hea: no such WFDB record \(rec\.dat is missing\)"):
        read_ecg(path)


def test_challenge_records_are_read_with_their_header(tmp_path, ecg):
    import scipy.io

    counts = np.round(ecg.signal * 1000).astype(np.int16)
    scipy.io.savemat(tmp_path / "E1.mat", {"val": counts}, format="4")
    lines = "".join(f"E1.mat 16+24 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    (tmp_path / "E1.hea").write_text(f"E1 12 257 514 05-Feb-2020 11:39:16\n{lines}")
    np.testing.assert_allclose(read_ecg(tmp_path / "E1").signal, counts / 1000)
    np.testing.assert_allclose(read_ecg(tmp_path / "E1.mat").signal, counts / 1000)


@settings(max_examples=20, deadline=None)
@given(arrays(np.int64, (3, 40), elements=st.integers(-(2**15) + 1, 2**15 - 1)))
def test_counts_survive(tmp_path_factory, counts):
    folder = tmp_path_factory.mktemp("wfdb")
    wfdb.wrsamp(
        "r",
        fs=500,
        units=["mV"] * 3,
        sig_name=["I", "II", "V1"],
        d_signal=counts.T,
        fmt=["16"] * 3,
        adc_gain=[200.0] * 3,
        baseline=[7] * 3,
        write_dir=str(folder),
    )
    read = read_ecg(folder / "r")
    np.testing.assert_array_equal(np.round(read.signal * 200 + 7), counts)


LINES = st.tuples(
    st.sampled_from(["16", "16x1", "16:0"]),
    st.sampled_from([" 200", " 1e3", " 1000.5", " 0.001", " -100"]),
    st.sampled_from(["", "(0)", "(-12)", "(32767)"]),
    st.sampled_from(["", "/mV", "/uV", "/V"]),
    st.sampled_from(["", " 16 0 0 0 0 ", " 16 7 1 2 0 "]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=3), st.sampled_from([0, 24]), st.integers(0, 2**32 - 1))
def test_words_of_16_bits_are_what_wfdb_reads(tmp_path_factory, lines, offset, seed):
    folder = tmp_path_factory.mktemp("wfdb")
    words = np.random.default_rng(seed).integers(-(2**15), 2**15, (30, len(lines)), endpoint=True)
    words[words == 2**15] = -(2**15)  # without value
    (folder / "r.dat").write_bytes(bytes(offset) + words.astype("<i2").tobytes())
    start = f"+{offset}" if offset else ""
    signals = [
        f"r.dat {format}{start}{gain}{baseline}{unit}{rest}" + (f"lead {lead}" if rest else "")
        for (format, gain, baseline, unit, rest), lead in zip(lines, LEADS, strict=False)
    ]
    (folder / "r.hea").write_text(
        f"r {len(lines)} 257.5 30 1:02:03 1/2/2020\n" + "\n".join(signals)
    )
    record = wfdb.rdrecord(folder / "r")
    read = read_ecg(folder / "r", leads=LEADS[: len(lines)])
    factors = [{"mV": 1.0, "uV": 1e-3, "V": 1e3}[unit] for unit in record.units]
    np.testing.assert_array_equal(read.signal, (record.p_signal * factors).T)
    assert read.sample_rate == record.fs
