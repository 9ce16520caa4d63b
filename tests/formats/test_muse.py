import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.muse import read_muse
from tests.prepare.sources.archives import MUSE_LEADS, muse_counts, muse_xml


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording.xml"


@given(arrays.arrays(np.int16, st.tuples(st.just(8), st.integers(1, 40))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_counts_times_units_per_bit(path, counts):
    path.write_text(muse_xml(counts, units_per_bit="2.5"))
    ecg = read_muse(path).ecg
    signal = dict(zip(ecg.leads, ecg.signal, strict=True))
    assert set(signal) == set(LEADS)
    for lead, row in zip(MUSE_LEADS, counts, strict=True):
        np.testing.assert_allclose(signal[lead], row.astype(np.float64) * 0.0025, rtol=1e-12)
    i, ii = signal["I"], signal["II"]
    tolerance = {"rtol": 1e-12, "atol": 1e-10}
    np.testing.assert_allclose(signal["III"], ii - i, **tolerance)
    np.testing.assert_allclose(signal["aVR"], -(i + ii) / 2, **tolerance)
    np.testing.assert_allclose(signal["aVL"], (i - signal["III"]) / 2, **tolerance)
    np.testing.assert_allclose(signal["aVF"], (ii + signal["III"]) / 2, **tolerance)


def test_leads_of_the_file_are_kept(path):
    counts = muse_counts(1, 5, LEADS)
    counts[LEADS.index("aVL")] = 7
    path.write_text(muse_xml(counts, leads=tuple(lead.upper() for lead in LEADS)))
    ecg = read_muse(path).ecg
    assert ecg.leads == LEADS
    assert set(ecg.signal[LEADS.index("aVL")]) == {7 * 0.00488}


def test_no_limb_lead_follows_from_one(path):
    path.write_text(muse_xml(muse_counts(1, 5, ("I", "V1")), leads=("I", "V1")))
    assert read_muse(path).ecg.leads == ("I", "V1")


def test_rate_and_units(path):
    text = muse_xml(muse_counts(1, 5), units="MILLIVOLTS", units_per_bit="0.005", sample_rate=25)
    path.write_text(text.replace("<SampleExponent>0<", "<SampleExponent>1<"))
    ecg = read_muse(path).ecg
    assert ecg.sample_rate == 250
    assert ecg.signal[ecg.leads.index("V1")][3] == muse_counts(1, 5)[2, 3] * 0.005


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        ("MICROVOLTS", "", "lead I is in no unit, not in MICROVOLTS or MILLIVOLTS"),
        (">4.88<", "><", "LeadAmplitudeUnitsPerBit is None, not a number"),
        (">4.88<", ">0<", "LeadAmplitudeUnitsPerBit 0, which cannot be"),
        ("<LeadSampleSize>2", "<LeadSampleSize>4", "samples of 4 bytes"),
        ("<SampleBase>500<", "<SampleBase>fast<", "SampleBase is 'fast', not a number"),
        ("<SampleBase>500<", "<SampleBase>0<", "a sampling rate of 0.0 Hz"),
        ("<LeadID>II<", "<LeadID>i<", "lead I is there twice"),
        ("<WaveformType>Rhythm<", "<WaveformType>Other<", "no waveform of type Rhythm"),
        ("RestingECG>", "HolterECG>", "its first element is not RestingECG"),
        ("<LeadSampleCountTotal>500<", "<LeadSampleCountTotal>501<", "has 500 samples"),
        ("(?s)^.*$", "", "no XML"),
    ],
)
def test_what_cannot_be_read_is_refused(path, pattern, new, message):
    text = muse_xml(muse_counts(1, 5))
    changed = re.sub(pattern, new, text)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(DataError, match=rf"recording\.xml.*{re.escape(message)}"):
        read_muse(path)


def test_a_file_that_ends_early_is_refused(path):
    text = muse_xml(muse_counts(1, 5))
    path.write_text(text[: text.rindex("<WaveFormData>") + 168])
    with pytest.raises(DataError, match=r"lead V6 has \d+ samples, LeadSampleCountTotal says 500"):
        read_muse(path)
    path.write_text(text[: text.rindex("<LeadData>")])
    with pytest.raises(DataError, match=r"has 7 of 8 leads\. Export it again"):
        read_muse(path)
    with pytest.raises(DataError, match="no such file"):
        read_muse(path.with_name("none.xml"))


def test_stray_characters_are_text(path):
    path.write_text(muse_xml(muse_counts(1, 5), location="A & B &amp; C &#38; D\x02"))
    recording = read_muse(path)
    assert recording.metadata["TestDemographics_LocationName"].startswith("A & B & C & D")
    assert recording.ecg.n_samples == 500


def test_entities_are_not_expanded(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not read")
    doctype = (
        f'<!DOCTYPE RestingECG [<!ENTITY file SYSTEM "{secret.as_uri()}"><!ENTITY a "aaaaaaaaaa">'
        '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    )
    text = muse_xml(muse_counts(1, 5), location="&file;&b;")
    path.write_text(text.replace('<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', doctype))
    assert read_muse(path).metadata["TestDemographics_LocationName"] == "&file;&b;"


def test_qrs_complexes(path):
    path.write_text(muse_xml(muse_counts(1, 5), qrs=()))
    assert list(read_muse(path).qrs) == ["Number", "Type", "Time"]
    assert read_muse(path).qrs.empty
    text = muse_xml(muse_counts(1, 5), qrs=((0, 100), (1, 300)))
    path.write_text(re.sub("<Number>.*?</Number>", "", text).replace("<Type>1</Type>", ""))
    assert read_muse(path).qrs.fillna(-1).values.tolist() == [[1, 0, 100], [2, -1, 300]]


def test_fields_below_fields_and_repeated_ones(path):
    extra = (
        "<ExtraQuestions><Question><Label>Pain</Label></Question>"
        "<Question><Label>Fever</Label></Question></ExtraQuestions>"
        "<PharmaData><PharmaRRinterval> 780 </PharmaRRinterval><PharmaUniqueECGID/></PharmaData>"
    )
    text = muse_xml(muse_counts(1, 5)).replace("</RestingECG>", f"{extra}</RestingECG>")
    path.write_text(text)
    metadata = read_muse(path).metadata
    assert metadata["ExtraQuestions_Question_Label"] == "Pain; Fever"
    assert metadata["PharmaData_PharmaRRinterval"] == "780"
    assert metadata["PharmaData_PharmaUniqueECGID"] is None
    assert not [name for name in metadata if "LeadData" in name or "QRS_" in name]
