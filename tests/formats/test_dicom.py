import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
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


def write(path, *groups):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
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
