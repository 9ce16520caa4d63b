import binascii
import struct
import sys

import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg

LEAD_CODES = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
NANOVOLTS = 5000
"""A count, as most devices write it."""


def with_crc(content: bytes) -> bytes:
    return struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content


def section(number: int, body: bytes) -> bytes:
    body += bytes(len(body) % 2)
    reserved = b"SCPECG" if number == 0 else bytes(6)
    return with_crc(struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved + body)


def write(path, counts, codes=LEAD_CODES, microseconds=2000, starts=None):
    """Write an SCP-ECG file whose rhythm (section 6) is not compressed."""
    n_leads, n_samples = counts.shape
    offsets = b"".join(
        struct.pack("<IIB", start, start + n_samples - 1, code)
        for start, code in zip(starts or [1] * n_leads, codes, strict=True)
    )
    leads = section(3, struct.pack("<BB", n_leads, n_leads << 3 | 4) + offsets)
    sizes = struct.pack(f"<{n_leads}H", *[2 * n_samples] * n_leads)
    samples = counts.astype("<i2").tobytes()
    rhythm = section(6, struct.pack("<HHBB", NANOVOLTS, microseconds, 0, 0) + sizes + samples)
    patient = section(1, struct.pack("<BH", 2, 6) + b"p0057\0" + struct.pack("<BH", 255, 0))
    found = {1: patient, 3: leads, 6: rhythm}
    pointers, at = b"", 6 + 16 + 12 * 10
    for number in range(12):
        size = 136 if number == 0 else len(found.get(number, b""))
        start = 7 if number == 0 else at + 1
        pointers += struct.pack("<HII", number, size, start if size else 0)
        at += 0 if number == 0 else size
    body = section(0, pointers) + patient + leads + rhythm
    path.write_bytes(with_crc(struct.pack("<I", 6 + len(body)) + body))
    return path


@pytest.fixture
def counts(ecg):
    return np.round(ecg.signal * 1e6 / NANOVOLTS).astype(int)


@pytest.fixture
def decoder():
    pytest.importorskip("ecgdatakit", reason="needs the extra scp")


def test_the_rhythm_is_read_in_millivolts(decoder, tmp_path, counts, ecg):
    read = read_ecg(write(tmp_path / "a.scp", counts))
    assert (read.leads, read.sample_rate) == (LEADS, 500.0)
    assert read.metadata == {"patient": "p0057"}
    np.testing.assert_allclose(read.signal, counts * NANOVOLTS / 1e6)
    np.testing.assert_allclose(read.signal, ecg.signal, atol=NANOVOLTS / 1e6)


def test_leads_of_the_file_are_those_it_names(decoder, tmp_path, counts):
    read = read_ecg(write(tmp_path / "a.scp", counts[:3], codes=(2, 1, 9), microseconds=1000))
    assert (read.leads, read.sample_rate) == (("II", "I", "V7"), 1000.0)
    np.testing.assert_allclose(read.signal, counts[:3] * NANOVOLTS / 1e6)


@pytest.mark.parametrize("part", [0.002, 0.02, 0.5, 0.99])
def test_a_cut_off_file_is_refused(decoder, tmp_path, counts, part):
    path = write(tmp_path / "a.scp", counts)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=r"a\.scp: is no SCP-ECG file, or damaged"):
        read_ecg(path)


def test_a_checksum_that_is_wrong_is_noticed(decoder, tmp_path, counts):
    path = write(tmp_path / "a.scp", counts)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.scp: is no SCP-ECG file, or damaged \(ChecksumW"):
        read_ecg(path)


def test_leads_of_one_time_after_the_other_are_doubted(decoder, tmp_path, counts):
    starts = [1 + 514 * (i // 3) for i in range(12)]
    read = read_ecg(write(tmp_path / "a.scp", counts, starts=starts))
    assert read.leads == LEADS
    np.testing.assert_allclose(read.signal, counts * NANOVOLTS / 1e6)
    (doubt,) = read.metadata["doubts"]
    assert "aVR aVL aVF at sample 515" in doubt


def test_without_scale_samples_are_counts(decoder, tmp_path, counts, monkeypatch):
    monkeypatch.setitem(globals(), "NANOVOLTS", 0)
    path = write(tmp_path / "a.scp", counts)
    with pytest.raises(DataError, match=r"a\.scp: lead I has no unit\. Give units .*gain"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, gain=200).signal, counts / 200)


@pytest.mark.parametrize("start", [0, 2**31, 2**32 - 600])
def test_lengths_that_lie_are_refused_at_once(decoder, tmp_path, counts, start):
    path = write(tmp_path / "a.scp", counts)
    content = bytearray(path.read_bytes())
    offset = content.index(struct.pack("<IIB", 1, 514, 1))
    content[offset : offset + 8] = struct.pack("<II", start % 2, start or 2**32 - 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.scp: "):
        read_ecg(path)


AECG = """<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<id root="1"/>{series}</AnnotatedECG>"""
SERIES = """<component><series><code code="RHYTHM"/><component><sequenceSet>
<component><sequence><code code="TIME_RELATIVE"/><value xsi:type="GLIST_PQ">
<head value="0" unit="s"/><increment value="{step}" unit="{unit}"/></value></sequence></component>
{leads}</sequenceSet></component></series></component>"""
LEAD = """<component><sequence><code code="{code}"/><value xsi:type="SLIST_PQ">
<origin value="{origin}" unit="uV"/><scale value="{scale}"{unit}/><digits>{digits}</digits></value>
</sequence></component>"""


def aecg(path, counts, leads=LEADS, *, step="0.002", unit="s", scale_unit=' unit="uV"', n_series=1):
    sequences = "".join(
        LEAD.format(
            code=f"MDC_ECG_LEAD_{lead.upper()}",
            origin=10,
            scale=2.5,
            unit=scale_unit,
            digits=" ".join(map(str, row)),
        )
        for lead, row in zip(leads, counts, strict=True)
    )
    series = SERIES.format(step=step, unit=unit, leads=sequences) * n_series
    path.write_text(AECG.format(series=series))
    return path


def test_hl7_aecg_is_read_in_millivolts(decoder, tmp_path, counts):
    read = read_ecg(aecg(tmp_path / "a.xml", counts))
    assert (read.leads, read.sample_rate) == (LEADS, 500.0)
    np.testing.assert_allclose(read.signal, counts * 0.0025 + 0.01, atol=1e-12)
    exact = read_ecg(aecg(tmp_path / "a.xml", counts, step="3.9", unit="ms"))
    assert exact.sample_rate == pytest.approx(1000 / 3.9, rel=1e-12)


def test_what_is_not_read_of_hl7_aecg_is_named(decoder, tmp_path, counts):
    read = read_ecg(aecg(tmp_path / "a.xml", counts, n_series=3))
    assert read.metadata["left_out"] == "2 more rhythm series"
    path = aecg(tmp_path / "a.xml", counts)
    path.write_text(path.read_text().replace("MDC_ECG_LEAD_V6", "MDC_PRESS_BLD"))
    read = read_ecg(path)
    assert (read.leads, read.metadata["left_out"]) == (LEADS[:-1], "'MDC_PRESS_BLD'")


def test_hl7_aecg_without_units_needs_them(decoder, tmp_path, counts):
    path = aecg(tmp_path / "a.xml", counts, scale_unit="")
    with pytest.raises(DataError, match=r"lead I has no unit"):
        read_ecg(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<id", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><id'),
        ("<id", "<a>" * 1_000_001),
        ('value="0.002"', 'value="1e300"'),
        ('value="0.002"', 'value="0"'),
        ("</digits>", " many</digits>"),
        ("</AnnotatedECG>", ""),
    ],
    ids=range(6),
)
def test_damaged_hl7_aecg_is_refused(decoder, tmp_path, counts, old, new):
    path = aecg(tmp_path / "a.xml", counts)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=r"a\.xml: "):
        read_ecg(path)


def ishne(path, counts, codes, *, nanovolts=2500, rate=250):
    """Write an ISHNE file of counts ``(n_leads, n_samples)``."""
    n_leads, n_samples = counts.shape

    def each(values, rest):
        return struct.pack("<12h", *values, *[rest] * (12 - n_leads))

    head = struct.pack("<4i", 0, n_samples, 522, 522) + struct.pack("<h", 1)
    head += b"First\0".ljust(40, b"x") + bytes(40) + b"p7\0".ljust(20, b"x") + bytes(28)
    head += struct.pack("<h", n_leads) + each(codes, -9) + each([1] * n_leads, -9)
    head += each([nanovolts] * n_leads, -9) + struct.pack("<h", 0) + bytes(40)
    head += struct.pack("<h", rate) + bytes(248)
    assert len(head) == 512
    crc = struct.pack("<H", binascii.crc_hqx(head, 0xFFFF))
    path.write_bytes(b"ISHNE1.0" + crc + head + counts.T.astype("<i2").tobytes())
    return path


def test_ishne_holter_is_read_in_millivolts(decoder, tmp_path, counts):
    counts = counts[:3].copy()
    counts[1, 100:110] = -32768
    read = read_ecg(ishne(tmp_path / "a.ecg", counts, [6, 11, 1]))
    assert (read.leads, read.sample_rate) == (("II", "V1", "signal 3"), 250.0)
    assert read.metadata == {"patient": "p7"}
    expected = counts * 0.0025
    expected[1, 100:110] = np.nan
    np.testing.assert_allclose(read.signal, expected, atol=1e-12)
    np.testing.assert_array_equal(
        read_ecg((tmp_path / "a.ecg").rename(tmp_path / "a.dat")).signal, read.signal
    )


def test_a_cut_off_ishne_file_is_doubted(decoder, tmp_path, counts):
    path = ishne(tmp_path / "a.ecg", counts[:2], [5, 6])
    path.write_bytes(path.read_bytes()[:-2])
    read = read_ecg(path)
    assert read.n_samples == 513
    assert "truncated" in read.metadata["doubts"][0]
    with pytest.raises(DataError, match=r"lead I has no unit"):
        read_ecg(ishne(tmp_path / "b.ecg", counts[:2], [5, 6], nanovolts=0))
    with pytest.raises(DataError, match=r"b\.ecg: "):
        read_ecg(ishne(tmp_path / "b.ecg", counts[:2], [5, 6], rate=-1))


def test_other_xml_names_what_to_do(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<CardiologyXML/>")
    with pytest.raises(DataError, match=r"not RestingECG but CardiologyXML\. Export it as HL7"):
        read_ecg(path)


@pytest.mark.parametrize("format", ["scp", "aecg", "ishne"])
def test_another_format_is_not_read_by_this_one(decoder, tmp_path, counts, format):
    other = {"scp": "aecg", "aecg": "ishne", "ishne": "scp"}[format]
    path = {
        "scp": lambda: write(tmp_path / "a.x", counts),
        "aecg": lambda: aecg(tmp_path / "a.x", counts),
        "ishne": lambda: ishne(tmp_path / "a.x", counts[:2], [5, 6]),
    }[other]()
    with pytest.raises(DataError, match=r"a\.x: is no .* file, but "):
        read_ecg(path, format=format)


def test_without_its_decoder_the_remedy_is_named(tmp_path, counts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ecgdatakit", None)
    with pytest.raises(DataError, match=r"a\.scp: .*pip install 'fairseq-ecg\[scp\]'.*convert"):
        read_ecg(write(tmp_path / "a.scp", counts))
