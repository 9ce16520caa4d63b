"""Checksums of WFDB headers, and files of another length than these say."""

import numpy as np
import pytest
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.formats.wfdb import WFDBRecord
from tests.formats.test_wfdb_headers import write_by_wfdb

N = 300
BITS = {"8": 7, "80": 8, "508": 8, "310": 10, "311": 10, "212": 12, "24": 24, "524": 24, "32": 32}


def checksum(counts) -> int:
    """As header(5) says: the sum as a signed number of 16 bits."""
    return int((np.sum(counts, dtype=np.int64) + 2**15) % 2**16 - 2**15)


def encode(format, counts):
    """Bytes of counts, (samples,), as signal(5) says."""
    if format == "8":
        return np.diff(counts, prepend=counts[0]).astype("i1").tobytes()
    if format in ("310", "311"):
        a, b, c = (counts[i::3] & 0x3FF for i in range(3))
        if format == "310":
            words = [(a << 1 & 0x7FE) | (c & 0x1F) << 11, (b << 1 & 0x7FE) | (c & 0x3E0) << 6]
            return np.stack(words, axis=1).astype("<u2").tobytes()
        return (a | b << 10 | c << 20).astype("<u4").tobytes()
    if format == "212":
        a, b = counts[::2] & 0xFFF, counts[1::2] & 0xFFF
        return np.stack([a & 0xFF, a >> 8 | b >> 8 << 4, b & 0xFF], axis=1).astype("u1").tobytes()
    if format == "24":
        return (counts[:, None] >> [0, 8, 16] & 0xFF).astype("u1").tobytes()
    if format in ("80", "160"):
        half = {"80": 2**7, "160": 2**15}[format]
        return (counts + half).astype({"80": "u1", "160": "<u2"}[format]).tobytes()
    return counts.astype({"16": "<i2", "61": ">i2", "32": "<i4"}[format]).tobytes()


@pytest.fixture
def write(tmp_path):
    """Write two signals with right checksums; ``per_frame`` and ``skew`` of the first."""

    def write(format="16", per_frame=1, skew=0, name="rec", seed=0, extra="", length=N):
        rng = np.random.default_rng(seed)
        half = 2 ** (BITS.get(format, 16) - 1)
        frames = rng.integers(-half, half, (N, per_frame + 1))
        if format == "8":
            frames = np.cumsum(rng.integers(-40, 40, frames.shape), axis=0) + 1000
            frames = frames.astype(np.int64)
        else:
            frames[7] = -half  # without value, and counted all the same
        own = [frames[:, :per_frame].ravel(), frames[:, per_frame]]
        lines = []
        if format == "8":
            diffs = [np.diff(one, prepend=one[0]) for one in own]
            mixed = np.concatenate([diffs[0].reshape(N, per_frame), diffs[1].reshape(N, 1)], axis=1)
            data = mixed.astype("i1").tobytes()
        else:
            data = encode(format, frames.ravel())
        (tmp_path / f"{name}.dat").write_bytes(data)
        for lead, counts in zip(LEADS, own, strict=False):
            field = format if lead == "II" else f"{format}x{per_frame}:{skew}"
            rest = f"16 0 {counts[0]} {checksum(counts)} 0 {lead}"
            lines.append(f"{name}.dat {field}{extra} 1000/mV {rest}")
        text = "\n".join([f"{name} 2 500 {length}", *lines])
        (tmp_path / f"{name}.hea").write_text(f"{text}\n")
        return tmp_path / f"{name}.hea"

    return write


def change(path, offset=-12):
    """Flip a bit of a file, of the lowest byte of a sample."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << 3
    path.write_bytes(data)


def doubts_of(path, at_once=None):
    return read_ecg(path, at_once=at_once).doubts


def refusal_of(path, at_once=None):
    """What is said where the record is to be verified."""
    with pytest.raises(DataError) as refused:
        read_ecg(path, at_once=at_once, verify=True)
    return str(refused.value)


def verify(path, at_once=None):
    assert read_ecg(path, at_once=at_once, verify=True).doubts == ()


FORMATS = ["8", "16", "24", "32", "61", "80", "160", "212", "310", "311"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("skew", [0, 4])
def test_a_changed_sample_is_doubted_in_every_format(write, format, skew):
    path = write(format, 1, skew)
    for at_once in (None, 50):
        verify(path, at_once)
    change(path.with_suffix(".dat"))
    (doubt,) = doubts_of(path)
    assert doubt.startswith("the samples do not have the checksum that the header says: I")
    is_later = format != "8"  # whose samples are read from the first on, all at once
    assert doubts_of(path, at_once=50) == (() if is_later else (doubt,))
    for at_once in (None, 50):
        refused = refusal_of(path, at_once)
        assert refused.startswith(f"{path}: {doubt}. ")
        assert "--verify" in refused


@pytest.mark.parametrize("format", ["16", "61", "80", "212"])
def test_all_samples_of_a_frame_are_summed(tmp_path, write, format):
    path = write(format, 3, 5)
    record = WFDBRecord(path, "here")
    assert record.read_all()[1] == record.doubts_of_checksums() == ()
    change(path.with_suffix(".dat"))
    assert len(record.read_all()[1]) == len(record.doubts_of_checksums()) == 1


@pytest.mark.parametrize("format", ["508", "516", "524"])
def test_compressed_signals_have_checksums_too(tmp_path, format):
    half = 2 ** (BITS.get(format, 16) - 1)
    counts = np.random.default_rng(1).integers(-half, half, (N, 2))
    path = write_by_wfdb(tmp_path / "rec.hea", counts, format)
    verify(path)
    text = path.read_text()
    said = wfdb.rdheader(str(tmp_path / "rec")).checksum
    path.write_text(text.replace(f" {said[1]} ", f" {said[1] + 1} "))
    assert doubts_of(path)[0].endswith("the header says: II")
    path.write_text(text.replace(f"500 {N}", f"500 {N - 9}"))
    assert "rec.dat is longer than the header says" in doubts_of(path)


@pytest.mark.parametrize("field", ["0 0 0", "", "5", "5 0 0"])
def test_checksums_that_nobody_wrote_say_nothing(write, field):
    path = write()
    first, *lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        start, _, rest = line.partition("/mV ")
        name = rest.split()[-1]
        lines[i] = f"{start}/mV 16 0 {field} {name}"
    path.write_text("\n".join([first, *lines]))
    verify(path)


def test_a_flat_lead_has_a_checksum_of_0_where_others_have_one(write, tmp_path):
    path = write()
    words = np.fromfile(tmp_path / "rec.dat", "<i2").reshape(-1, 2)
    words[:, 1] = 0
    words.tofile(tmp_path / "rec.dat")
    first, one, two = path.read_text().splitlines()
    two = "rec.dat 16 1000/mV 16 0 0 0 0 II"
    path.write_text("\n".join([first, one, two]))
    assert doubts_of(path) == ()
    words[5, 1] = 1
    words.tofile(tmp_path / "rec.dat")
    assert doubts_of(path)[0].endswith("the header says: II")


@pytest.mark.parametrize("said", [lambda n: n % 2**16, lambda n: n + 2**16, lambda n: n - 2**17])
def test_a_checksum_may_be_written_with_or_without_sign(write, said):
    path = write()
    lines = path.read_text().splitlines()
    fields = lines[1].split()
    fields[6] = str(said(int(fields[6])))
    path.write_text("\n".join([lines[0], " ".join(fields), lines[2]]))
    verify(path)


EXTRA = {"8": 1, "16": 1, "24": 1, "32": 1, "61": 1, "80": 1, "160": 1, "212": 3, "310": 4}
"""Bytes behind the last sample that are no padding of a block."""


@pytest.mark.parametrize(("format", "extra"), EXTRA.items())
@pytest.mark.parametrize("at_once", [None, 50])
def test_a_file_that_is_longer_than_said_is_doubted(write, format, extra, at_once):
    path = write(format)
    data = path.with_suffix(".dat")
    data.write_bytes(data.read_bytes() + bytes(extra))
    expected = ("rec.dat is longer than the header says",)
    assert doubts_of(path, at_once=at_once) == expected
    assert refusal_of(path, at_once).startswith(f"{path}: {expected[0]}. ")


def test_a_length_that_is_less_than_there_is_is_doubted(write):
    path = write(length=N - 1)
    doubts = doubts_of(path)
    assert len(doubts) == 2  # the checksums are of all samples, too
    assert doubts[0] == "rec.dat is longer than the header says"


def test_what_fills_a_block_is_no_doubt(write, tmp_path):
    path = write("16")
    path.write_text(path.read_text().replace(" 0 I", " 512 I"))  # size of the block
    data = path.with_suffix(".dat").read_bytes()
    assert len(data) % 512
    path.with_suffix(".dat").write_bytes(data + bytes(-len(data) % 512))
    verify(path)
    path.with_suffix(".dat").write_bytes(data + bytes(600))
    assert "longer" in doubts_of(path)[0]


@pytest.mark.parametrize(("format", "n"), [("212", 7), ("310", 7), ("311", 8), ("310", 8)])
def test_a_last_block_that_is_whole_is_no_doubt(tmp_path, format, n):
    counts = np.zeros(12, np.int64)
    counts[:n] = np.arange(n) * 10
    whole = {"212": 8, "310": 9, "311": 9}[format]
    (tmp_path / "rec.dat").write_bytes(encode(format, counts[:whole]))
    line = f"rec.dat {format} 1000/mV 16 0 0 {checksum(counts[:n])} 0 II"
    (tmp_path / "rec.hea").write_text(f"rec 1 500 {n}\n{line}\n")
    read = read_ecg(tmp_path / "rec", verify=True)
    np.testing.assert_allclose(read.signal[0], counts[:n] / 1000)


def test_frames_behind_the_end_of_a_skewed_record_are_no_doubt(write):
    path = write(skew=6)
    data = path.with_suffix(".dat")
    data.write_bytes(data.read_bytes() + bytes(6 * 4))
    verify(path)
    data.write_bytes(data.read_bytes() + bytes(4))
    assert "longer" in doubts_of(path)[0]


@pytest.fixture
def of_segments(write, tmp_path):
    """Write a record of two segments with other counts each."""

    def of_segments(layout="fixed", length=2 * N, second=N):
        write(name="s1", seed=1)
        write(name="s2", seed=2)
        listed, n = [f"s1 {N}", f"s2 {second}"], 2
        if layout == "variable":
            lines = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in ("II", "I", "V6"))
            (tmp_path / "layout.hea").write_text(f"layout 3 500 0\n{lines}")
            listed, n = ["layout 0", listed[0], listed[1]], 3
        text = f"all/{len(listed)} {n} 500 {length}\n" + "\n".join(listed)
        (tmp_path / "all.hea").write_text(f"{text}\n")
        return tmp_path / "all.hea"

    return of_segments


@pytest.mark.parametrize("layout", ["fixed", "variable"])
@pytest.mark.parametrize("at_once", [None, 100])
def test_segments_have_checksums_of_their_own(of_segments, tmp_path, layout, at_once):
    path = of_segments(layout)
    read_ecg(path, verify=True, at_once=at_once)
    change(tmp_path / "s2.dat")
    with pytest.raises(DataError, match=r"all\.hea: the samples .* header says: I+ of s2\. "):
        read_ecg(path, verify=True, at_once=at_once)
    if at_once is None:
        assert read_ecg(path).doubts[0].endswith("of s2")


def test_lengths_of_segments_that_disagree_are_doubted(of_segments):
    (doubt,) = read_ecg(of_segments(length=2 * N + 50)).doubts
    assert doubt == "the header says 650 frames, its segments have 600"
    short = read_ecg(of_segments(length=2 * N - 50))
    assert short.n_samples == 2 * N - 50
    assert short.doubts == ("the header says 550 frames, its segments have 600",)
    (doubt,) = read_ecg(of_segments(second=N - 50, length=2 * N - 50)).doubts
    assert doubt == "the header says 250 frames of s2, which has 300"


@pytest.mark.parametrize("layout", ["fixed", "variable"])
@pytest.mark.parametrize("at_once", [None, 100])
def test_rates_of_segments_that_disagree_are_doubted(of_segments, layout, at_once):
    path = of_segments(layout)
    text = path.read_text()
    path.write_text(text.replace(" 500 ", " 250 ", 1))
    ecg = read_ecg(path, at_once=at_once)
    assert ecg.sample_rate == 250
    assert ecg.doubts == tuple(
        f"the header says 250 Hz, {name} says 500 Hz" for name in ("s1", "s2")
    )
    with pytest.raises(DataError, match="the header says 250 Hz, s1 says 500 Hz"):
        read_ecg(path, at_once=at_once, verify=True)
    path.write_text(text.replace(" 500 ", " 500.01 ", 1))
    assert read_ecg(path, at_once=at_once, verify=True).sample_rate == 500.01


def test_the_rate_of_segments_counts_where_the_record_has_none(of_segments):
    path = of_segments("variable")
    first, *lines = path.read_text().splitlines()
    path.write_text("\n".join([first.split(" 500")[0], *lines]))
    assert read_ecg(path, verify=True).sample_rate == 500
    with pytest.raises(DataError, match="sampled at 500 Hz according to the file"):
        read_ecg(path, sample_rate=250)
    second = path.with_name("s2.hea")
    second.write_text(second.read_text().replace(" 500 ", " 360 ", 1))
    with pytest.raises(DataError, match="does not say its sampling rate"):
        read_ecg(path)


def test_signals_that_the_layout_lacks_are_doubted(of_segments, tmp_path):
    path = of_segments("variable")
    layout = tmp_path / "layout.hea"
    layout.write_text(layout.read_text().replace(" I\n", " V5\n"))
    doubts = read_ecg(path).doubts
    assert doubts[0] == "I of s1 is not among the signals of the record"


def test_segments_may_share_a_file(tmp_path):
    counts = np.arange(200, dtype="<i2")
    counts.tofile(tmp_path / "a.dat")
    for i, part in enumerate((counts[:120], counts[120:])):
        line = f"a.dat 16+{240 * i} 1000/mV 16 0 0 {checksum(part)} 0 II"
        (tmp_path / f"s{i}.hea").write_text(f"s{i} 1 500 {part.size}\n{line}\n")
    (tmp_path / "all.hea").write_text("all/2 1 500 200\ns0 120\ns1 80\n")
    read = read_ecg(tmp_path / "all", verify=True)
    np.testing.assert_allclose(read.signal[0], counts / 1000)
    assert "longer" in read_ecg(tmp_path / "s0").doubts[0]


def test_many_doubts_are_reported_in_short(tmp_path):
    np.arange(10, dtype="<i2").tofile(tmp_path / "a.dat")
    for i in range(50):
        (tmp_path / f"s{i}.hea").write_text(f"s{i} 1 500 10\na.dat 16 1000 16 0 0 1 0 II\n")
    listed = "".join(f"s{i} 10\n" for i in range(50))
    (tmp_path / "all.hea").write_text(f"all/50 1 500 500\n{listed}")
    (doubt,) = read_ecg(tmp_path / "all").doubts
    assert doubt.endswith("II of s0; II of s1; II of s2; and 47 more")


def test_a_changed_record_keeps_its_numbers(write):
    path = write()
    words = np.fromfile(path.with_suffix(".dat"), "<i2").reshape(-1, 2).astype(float)
    words[words == -(2**15)] = np.nan
    path.write_text(path.read_text().replace(" 0 I", " 0  I").replace("16 0 ", "16 0 "))
    change(path.with_suffix(".dat"), 1000)
    changed = np.fromfile(path.with_suffix(".dat"), "<i2").reshape(-1, 2).astype(float)
    changed[changed == -(2**15)] = np.nan
    np.testing.assert_array_equal(read_ecg(path).signal, changed.T / 1000)
    assert not np.array_equal(changed, words, equal_nan=True)
