import binascii
import struct
import sys

import numpy as np
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
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


def write(path, counts, codes=LEAD_CODES, microseconds=2000):
    """Write an SCP-ECG file whose rhythm (section 6) is not compressed."""
    n_leads, n_samples = counts.shape
    places = b"".join(struct.pack("<IIB", 1, n_samples, code) for code in codes)
    leads = section(3, struct.pack("<BB", n_leads, n_leads << 3 | 4) + places)
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


def test_without_its_decoder_the_remedy_is_named(tmp_path, counts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ecgdatakit", None)
    with pytest.raises(DataError, match=r"a\.scp: .*pip install 'fairseq-ecg\[scp\]'.*convert"):
        read_ecg(write(tmp_path / "a.scp", counts))
