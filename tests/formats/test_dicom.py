import io
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    TwelveLeadECGWaveformStorage,
    generate_uid,
)

from fairseq_ecg import limits
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import check_millivolts, read_ecg

MDC_CODES = ("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8")


def coded(value, scheme, meaning):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def sources_of(style, lead):
    """Code of a lead in each of the ways that devices write."""
    number = MDC_CODES[LEADS.index(lead)]
    return {
        "MDC number": coded(f"2:{number}", "MDC", f"Lead {lead}"),
        "MDC name": coded(f"MDC_ECG_LEAD_{lead.upper()}", "MDC", f"Lead {lead}"),
        "SCP number": coded(f"5.6.3-9-{number}", "SCPECG", f"Lead {lead} (Einthoven)"),
        "meaning": coded("X7", "99LOCAL", f"Lead {lead}"),
        "label": coded("X7", "99LOCAL", "a lead"),
    }[style]


def group(counts, leads, rate, *, sensitivity, unit="uV", style="SCP number", kind="ORIGINAL"):
    """Multiplex group of ``counts`` (leads, samples)."""
    item = Dataset()
    item.WaveformOriginality = kind
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = counts.shape
    item.SamplingFrequency = rate
    item.WaveformBitsAllocated = 16
    item.WaveformSampleInterpretation = "SS"
    item.WaveformData = counts.T.astype("<i2").tobytes()
    item.ChannelDefinitionSequence = []
    for i, lead in enumerate(leads):
        channel = Dataset()
        channel.ChannelSourceSequence = [sources_of(style, lead)]
        channel.ChannelLabel = lead if style == "label" else "?"
        if sensitivity is not None:
            channel.ChannelSensitivity = sensitivity
            channel.ChannelSensitivityCorrectionFactor = 1.0
            channel.ChannelBaseline = i
            channel.ChannelSensitivityUnitsSequence = [coded(unit, "UCUM", "a unit")]
        item.ChannelDefinitionSequence.append(channel)
    return item


def write(path, *groups, syntax=ExplicitVRLittleEndian):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SOPClassUID = TwelveLeadECGWaveformStorage
    dataset.PatientAge = "057Y"
    if groups:
        dataset.WaveformSequence = list(groups)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def counts(ecg):
    return np.round(ecg.signal * 400).astype(int)


@pytest.mark.parametrize("style", ["MDC number", "MDC name", "SCP number", "meaning", "label"])
def test_leads_are_known_by_codes_meanings_and_labels(tmp_path, counts, style):
    path = write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=2.5, style=style))
    read = read_ecg(path)
    assert read.leads == LEADS
    assert read.sample_rate == 257
    assert read.metadata["PatientAge"] == "057Y"


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-3), ("mV", 1), ("V", 1e3)])
def test_sensitivity_correction_and_baseline_are_applied(tmp_path, counts, unit, factor):
    item = group(counts[:2], LEADS[:2], 500, sensitivity=1.25, unit=unit)
    for channel in item.ChannelDefinitionSequence:
        channel.ChannelSensitivityCorrectionFactor = 1.01
    read = read_ecg(write(tmp_path / "a.dcm", item))
    expected = (counts[:2] * 1.25 * 1.01 + [[0], [1]]) * factor
    np.testing.assert_allclose(read.signal, expected, rtol=1e-12)


def test_the_rhythm_is_taken_not_median_beats(tmp_path, counts):
    read = read_ecg(
        write(
            tmp_path / "a.dcm",
            group(counts[:, :300], LEADS, 1000, sensitivity=2.5, kind="DERIVED"),
            group(counts[:1], LEADS[:1], 257, sensitivity=2.5),
            group(counts[:, :100], LEADS, 257, sensitivity=2.5),
            group(counts, LEADS, 257, sensitivity=2.5),
        )
    )
    assert (read.leads, read.n_samples, read.sample_rate) == (LEADS, 514, 257)
    assert read.metadata["left_out"] == (
        f"{' '.join(LEADS)} of multiplex group 1 (derived), I of multiplex group 2, "
        f"{' '.join(LEADS)} of multiplex group 3"
    )


def test_nothing_but_median_beats_is_refused(tmp_path, counts):
    path = write(tmp_path / "a.dcm", group(counts, LEADS, 500, sensitivity=1, kind="DERIVED"))
    with pytest.raises(DataError, match=r"a\.dcm: holds derived waveforms"):
        read_ecg(path)


def test_counts_need_a_gain(tmp_path, counts):
    path = write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=None))
    with pytest.raises(DataError, match=r"a\.dcm: lead I has no unit\. Give units"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, gain=400).signal, counts / 400)


def test_padding_has_no_value(tmp_path, counts):
    counts[3, 100:] = -32768
    item = group(counts, LEADS, 257, sensitivity=2.5)
    item.WaveformPaddingValue = np.int16(-32768).tobytes()
    read = read_ecg(write(tmp_path / "a.dcm", item))
    assert np.isnan(read.signal[3, 100:]).all()
    assert np.isnan(read.signal).sum() == 414


def alone(value):
    """Counts in which a value stands where padding does not."""
    counts = np.round(400 * np.sin(np.arange(514) / 9 + np.arange(12)[:, None])).astype(int) + 7
    counts[:, 100:200:10] = value
    counts[3, 300:330] = counts[5, -60:] = value  # in one channel: an electrode that is off
    return counts


@pytest.mark.parametrize("value", [0, 7, -3])
@pytest.mark.parametrize("at_once", [None, 50])
def test_padding_that_samples_are_as_well_fills_all_channels_at_once(tmp_path, value, at_once):
    counts = alone(value)
    item = group(counts, LEADS, 257, sensitivity=2.5)
    expected = read_ecg(write(tmp_path / "a.dcm", item)).signal
    assert not np.isnan(expected).any()
    item.WaveformPaddingValue = np.int16(value).tobytes()
    read = read_ecg(write(tmp_path / "b.dcm", item), at_once=at_once)
    np.testing.assert_array_equal(read.signal[:, :], expected)
    counts[:, :40] = counts[:, 220:270] = counts[:, -80:] = value
    item.WaveformData = counts.T.astype("<i2").tobytes()
    read = read_ecg(write(tmp_path / "c.dcm", item), at_once=at_once).signal[:, :]
    for start, stop in ((0, 40), (220, 270), (434, 514)):
        assert np.isnan(read[:, start:stop]).all()
        expected[:, start:stop] = np.nan
    np.testing.assert_array_equal(read, expected)


def test_a_baseline_of_zeros_is_no_padding(tmp_path):
    """Leads that are flat between beats, as those of simulators."""
    beats = np.round(900 * np.exp(-(((np.arange(1500) % 250 - 120) / 6.0) ** 2)))
    counts = (np.linspace(-1.2, 1.5, 12)[:, None] * beats).astype(int)
    assert (counts == 0).all(axis=0).mean() > 0.8
    item = group(counts, LEADS, 250, sensitivity=2.5)
    item.WaveformPaddingValue = bytes(2)
    assert not np.isnan(read_ecg(write(tmp_path / "a.dcm", item)).signal).any()


@pytest.mark.parametrize("value", [-32768, 32767, 30000])
def test_padding_far_from_all_samples_is_padding_everywhere(tmp_path, value):
    item = group(alone(value), LEADS, 257, sensitivity=2.5)
    item.WaveformPaddingValue = np.int16(value).tobytes()
    read = read_ecg(write(tmp_path / "a.dcm", item))
    np.testing.assert_array_equal(np.isnan(read.signal), alone(value) == value)


def test_leads_in_several_groups_are_one_recording(tmp_path, counts):
    halves = [
        group(counts[rows], LEADS[rows], 257, sensitivity=2.5)
        for rows in (slice(0, 6), slice(6, 12))
    ]
    whole = read_ecg(write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=2.5)))
    for n, order in enumerate((halves, halves[::-1])):
        for at_once in (None, 100):
            read = read_ecg(write(tmp_path / f"{n}.dcm", *order), at_once=at_once)
            assert set(read.leads) == set(LEADS)
            assert not {"left_out", "doubts"} & set(read.metadata)
            for lead, row in zip(read.leads, read.signal[:, :], strict=True):
                # Baselines are the indices of the channels in their groups.
                shift = LEADS.index(lead) % 6 - LEADS.index(lead)
                expected = whole.signal[LEADS.index(lead)] + shift / 1000
                np.testing.assert_allclose(row, expected, atol=1e-12)


def test_groups_without_names_take_those_that_are_given(tmp_path, counts):
    groups = [
        group(counts[rows], LEADS[rows], 257, sensitivity=2.5, style="label")
        for rows in (slice(0, 6), slice(6, 12))
    ]
    for each in groups:
        for channel in each.ChannelDefinitionSequence:
            del channel.ChannelSourceSequence, channel.ChannelLabel
    path = write(tmp_path / "a.dcm", *groups)
    with pytest.raises(DataError, match="does not name its 12 leads"):
        read_ecg(path)
    assert read_ecg(path, leads=LEADS).leads == LEADS


@pytest.mark.parametrize("offsets", [False, True])
def test_leads_of_one_time_after_the_other_have_their_own(tmp_path, counts, offsets):
    groups = [
        group(counts[i : i + 3, i * 20 : i * 20 + 125], LEADS[i : i + 3], 50, sensitivity=2.5)
        for i in range(0, 12, 3)
    ]
    if offsets:
        for i, each in enumerate(groups):
            each.MultiplexGroupTimeOffset = 2500 * i
    strip = group(counts[1:2, :500], ["II"], 50, sensitivity=2.5)
    read = read_ecg(write(tmp_path / "a.dcm", *groups, strip))
    assert (read.leads, read.n_samples) == (LEADS, 125)
    np.testing.assert_allclose(read.signal[9], counts[9, 180:305] * 0.0025, atol=1e-12)
    assert read.metadata["left_out"] == "II of multiplex group 5"
    doubts = read.metadata.get("doubts", ())
    assert len(doubts) == offsets
    assert all("aVR aVL aVF at 2500 ms" in doubt for doubt in doubts)


def test_a_rhythm_strip_of_the_same_length_adds_nothing(tmp_path, counts):
    strip = group(counts[[1, 6]] + 5, ["II", "V1"], 257, sensitivity=2.5)
    read = read_ecg(write(tmp_path / "a.dcm", strip, group(counts, LEADS, 257, sensitivity=2.5)))
    assert read.leads == LEADS
    np.testing.assert_allclose(read.signal[0], counts[0] * 0.0025)
    assert read.metadata["left_out"] == "II V1 of multiplex group 1"


def test_leads_of_another_rate_are_left_out_by_name(tmp_path, counts):
    read = read_ecg(
        write(
            tmp_path / "a.dcm",
            group(counts[:6], LEADS[:6], 257, sensitivity=2.5),
            group(counts[6:], LEADS[6:], 500, sensitivity=2.5),
        )
    )
    assert read.leads == LEADS[:6]
    assert read.metadata["left_out"] == "V1 V2 V3 V4 V5 V6 of multiplex group 2"


@pytest.mark.parametrize("part", ["data set", "file meta information"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_preamble_are_read(tmp_path, counts, part, syntax):
    path = write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=2.5), syntax=syntax)
    expected = read_ecg(path).signal
    content = path.read_bytes()
    start = 132
    if part == "data set":
        start += 12 + int.from_bytes(content[140:144], "little")
    path.write_bytes(content[start:])
    np.testing.assert_array_equal(read_ecg(path).signal, expected)
    np.testing.assert_array_equal(read_ecg(path, at_once=100).signal[:, :], expected)
    path.write_bytes(bytes(2) + content[start + 2 :])
    with pytest.raises(DataError, match=r"a\.dcm: is no DICOM file, or damaged"):
        read_ecg(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ChannelSensitivity", 0),
        ("ChannelSensitivityCorrectionFactor", 0),
    ],
)
def test_without_sensitivity_samples_are_counts(tmp_path, counts, name, value):
    item = group(counts[:2], LEADS[:2], 257, sensitivity=2.5)
    for channel in item.ChannelDefinitionSequence:
        setattr(channel, name, value)
    path = write(tmp_path / "a.dcm", item)
    with pytest.raises(DataError, match=r"lead I has no calibration \(its sensitivity is .*gain"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, gain=400).signal, counts[:2] / 400)


def test_texts_end_at_nul(tmp_path, counts):
    item = group(counts[:2], LEADS[:2], 257, sensitivity=2.5, style="MDC number")
    for channel in item.ChannelDefinitionSequence:
        channel.ChannelSourceSequence[0].CodeValue += "\0\0x"
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = "uV\0\0junk"
    read = read_ecg(write(tmp_path / "a.dcm", item))
    assert read.leads == ("I", "II")
    np.testing.assert_allclose(read.signal[0], counts[0] * 0.0025)
    item = group(counts[:2], LEADS[:2], 257, sensitivity=2.5, style="label")
    for channel in item.ChannelDefinitionSequence:
        channel.ChannelLabel += "\0x"
    assert read_ecg(write(tmp_path / "b.dcm", item)).leads == ("I", "II")


def deflated(path, data, level=9):
    """Write a file whose data set is a stream that is inflated to ``data``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(file, meta)
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = [packer.compress(part) for part in data]
    path.write_bytes(bytes(128) + b"DICM" + file.getvalue() + b"".join(packed) + packer.flush())
    return path


def test_deflated_data_sets_are_read_as_long_as_that_is_plausible(tmp_path, counts, monkeypatch):
    plain = write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=2.5))
    content = plain.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    path = deflated(tmp_path / "b.dcm", [content[start:]])
    np.testing.assert_array_equal(read_ecg(path).signal, read_ecg(plain).signal)
    monkeypatch.setattr(limits, "FREELY_UNPACKED", 2**20)
    bomb = deflated(tmp_path / "c.dcm", [content[start:], *[bytes(2**20)] * 64])
    with pytest.raises(DataError, match=r"c\.dcm: says .* times its packed size"):
        read_ecg(bomb)
    damaged = path.read_bytes()
    path.write_bytes(damaged[:-2000])
    with pytest.raises(DataError, match=r"b\.dcm: "):
        read_ecg(path)


def test_sequences_without_end_are_refused(tmp_path):
    path = write(tmp_path / "a.dcm")
    opened = b"\x00\x54\x00\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + opened * 20_000)
    with pytest.raises(DataError, match=r"a\.dcm: is no DICOM file, or damaged \(RecursionError"):
        read_ecg(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NumberOfWaveformSamples", 4_000_000_000, "is no DICOM waveform, or damaged"),
        ("NumberOfWaveformSamples", 4_100_000_000, "says 4,100,000,000 samples of a lead"),
        ("NumberOfWaveformSamples", 0, "holds no signals"),
        ("NumberOfWaveformChannels", 60_000, "says 60,000 channels"),
        ("NumberOfWaveformChannels", 6, "12 channel definitions of 6 channels"),
        ("SamplingFrequency", "0.001", "says 0.001 Hz"),
        ("SamplingFrequency", "1e300", r"says 1e\+300 Hz"),
        ("SamplingFrequency", "0", "a sampling rate of 0.0 Hz"),
        ("WaveformBitsAllocated", 0, "samples of 0 bits"),
        ("WaveformSampleInterpretation", "MB", "samples of 16 bits that are MB"),
    ],
)
@pytest.mark.parametrize("at_once", [None, 100])
def test_numbers_that_lie_are_refused_at_once(tmp_path, counts, name, value, message, at_once):
    item = group(counts, LEADS, 257, sensitivity=2.5)
    setattr(item, name, value)
    path = write(tmp_path / "a.dcm", item)
    with pytest.raises(DataError, match=rf"a\.dcm: .*{message}"):
        read_ecg(path, at_once=at_once)


def test_a_dicom_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: a DICOM file without waveforms"):
        read_ecg(write(tmp_path / "a.dcm"))


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_cut_off_file_is_refused(tmp_path, counts, part):
    path = write(tmp_path / "a.dcm", group(counts, LEADS, 257, sensitivity=2.5))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=r"a\.dcm: "):
        read_ecg(path)


def test_samples_that_are_not_there_are_noticed(tmp_path, counts):
    item = group(counts, LEADS, 257, sensitivity=2.5)
    item.WaveformData = item.WaveformData[:-200]
    with pytest.raises(DataError, match=r"a\.dcm: is no DICOM waveform, or damaged"):
        read_ecg(write(tmp_path / "a.dcm", item))


def test_a_real_recording(tmp_path):
    """The 12-lead ECG that pydicom ships for its own tests."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    read = read_ecg(path)
    assert read.leads == LEADS
    assert read.sample_rate == 1000
    assert read.n_samples == 10000
    check_millivolts(read)
    raw = pydicom.dcmread(path).waveform_array(0)
    np.testing.assert_allclose(read.signal, raw.T / 1000)
