import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
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


def two_rhythms(second, **changes):
    """A file with the 8 leads of MUSE in its first rhythm and ``second`` in another."""
    first = muse_xml(muse_counts(2, 5))
    counts = np.arange(1000)[None] * np.arange(1, len(second) + 1)[:, None]
    other = muse_xml(counts.astype(np.int16), leads=second)
    for old, new in changes.items():
        other = re.sub(rf"<{old}>[^<]*<", f"<{old}>{new}<", other)
    rhythm = other[other.index("   <Waveform>", other.index("<WaveformType>Median")) :]
    return first.replace("</RestingECG>", rhythm)


def test_leads_in_several_waveforms_are_one_recording(path):
    path.write_text(two_rhythms(("V7", "V8", "V9")))
    recording = read_muse(path)
    ecg = recording.ecg
    assert ecg.leads == (*MUSE_LEADS, "V7", "V8", "V9", "III", "aVR", "aVL", "aVF")
    np.testing.assert_allclose(ecg.signal[9], 2 * np.arange(1000) * 0.00488)
    assert ecg.metadata["left_out"] == f"{' '.join(MUSE_LEADS)} of waveform 1 (derived)"
    assert "doubts" not in ecg.metadata
    assert list(recording.leads["LeadID"]) == [*MUSE_LEADS, "V7", "V8", "V9"]
    read = read_ecg(path)
    assert (read.leads, read.metadata["left_out"]) == (ecg.leads, ecg.metadata["left_out"])


@pytest.mark.parametrize("chest", [slice(2, 8), slice(2, 5)])
def test_leads_are_taken_from_whichever_waveform_has_them(path, chest):
    text = muse_xml(muse_counts(1, 5))
    limb = muse_xml(muse_counts(1, 5)[:2], leads=MUSE_LEADS[:2])
    chest_leads = muse_xml(muse_counts(1, 5)[chest], leads=MUSE_LEADS[chest])
    start = chest_leads.index("   <Waveform>", chest_leads.index("<WaveformType>Median"))
    path.write_text(limb.replace("</RestingECG>", chest_leads[start:]))
    ecg = read_muse(path).ecg
    expected = text and muse_counts(1, 5) * 0.00488
    rows = [0, 1, *range(8)[chest]]
    assert set(ecg.leads) == {MUSE_LEADS[row] for row in rows} | set(LEADS[:6])
    for row in rows:
        np.testing.assert_allclose(ecg.signal[ecg.leads.index(MUSE_LEADS[row])], expected[row])


def test_what_is_left_of_other_waveforms_is_named(path):
    path.write_text(two_rhythms(("II", "V1")))
    ecg = read_muse(path).ecg
    assert set(ecg.leads) == set(LEADS)
    np.testing.assert_allclose(ecg.signal[1], muse_counts(2, 5)[1] * 0.00488)
    assert ecg.metadata["left_out"].endswith("(derived), II V1 of waveform 3")
    path.write_text(two_rhythms(("V7", "V8"), SampleBase=250))
    assert read_muse(path).metadata["left_out"].endswith("V7 V8 of waveform 3")


def test_leads_of_different_times_are_doubted(path):
    path.write_text(two_rhythms(("V7", "V8"), WaveformStartTime=2))
    (doubt,) = read_muse(path).metadata["doubts"]
    assert "V7 V8 at 2" in doubt


def test_nul_and_comments_say_nothing(path):
    text = muse_xml(muse_counts(1, 5), patient="7\0\0\0")
    path.write_text(text.replace("<LeadID>", "<!-- a comment --><LeadID>"))
    recording = read_muse(path)
    assert recording.metadata["PatientDemographics_PatientID"] == "7"
    assert all(isinstance(column, str) for column in recording.leads)
    path.write_bytes(text.replace("\0", "").replace("ISO-8859-1", "UTF-16").encode("utf-16"))
    assert read_muse(path).metadata["PatientDemographics_PatientID"] == "7"


LAUGHS = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "haha"}">' for i in range(10))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<SampleExponent>0<", "<SampleExponent>400<", "SampleExponent is 400, which cannot be"),
        ("<SampleExponent>0<", "<SampleExponent>1e300<", "SampleExponent is 1e+300, which cannot"),
        ("<SampleExponent>0<", "<SampleExponent>-9<", "says 5e-07 Hz, fewer than the least"),
        ("<SampleBase>500<", "<SampleBase>1e308<", "says 1e+308 Hz, more than the most"),
        ("<Time>338<", "<Time>1e300<", "a field of QRS is '1e300', which cannot be"),
        ("<Time>338<", "<Time>1e19<", "a field of QRS is '1e19', which cannot be"),
        ("<NumberofLeads>8<", "<NumberofLeads>1e300<", "has 8 of 1e+300 leads"),
        ("<LeadSampleCountTotal>500<", "<LeadSampleCountTotal>1e9<", "LeadSampleCountTotal says"),
        (">EMERGENCY<", f">{'<a>' * 2000}{'</a>' * 2000}<", "no XML (Excessive depth"),
        (">EMERGENCY<", f">{'<a/>' * 1_000_000}<", "tags, more than the most that is plausible"),
        (">EMERGENCY<", f">{'x' * 11_000_000}<", "no XML (Resource limit exceeded: Text node"),
    ],
    ids=range(11),
)
def test_hostile_files_are_refused_at_once(path, old, new, message):
    text = muse_xml(muse_counts(1, 5))
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=rf"recording\.xml.*{re.escape(message)}"):
        read_muse(path)


@pytest.mark.parametrize("where", ["text", "attribute"])
def test_entities_do_not_multiply(path, where):
    text = muse_xml(muse_counts(1, 5)).replace(
        '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', f"<!DOCTYPE RestingECG [{LAUGHS}]>"
    )
    if where == "text":
        text = text.replace(">EMERGENCY<", ">&e9;<")
    else:
        text = text.replace('<QRS Number="1">', '<QRS Number="&e9;">')
    path.write_text(text)
    tracemalloc.start()
    try:
        read_muse(path)
    except DataError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**25


def test_no_other_file_is_read(path, tmp_path):
    secret, dtd = tmp_path / "secret.txt", tmp_path / "other.dtd"
    secret.write_text("do not read")
    dtd.write_text('<!ENTITY inside "do not read"><!ATTLIST QRS Number CDATA "77">')
    include = (
        '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" '
        f'href="{secret.as_uri()}"/>'
    )
    text = muse_xml(muse_counts(1, 5), location=f"{include}&file;&inside;")
    text = re.sub("<Number>.*?</Number>", "", text).replace('<QRS Number="1">', "<QRS>")
    for doctype in (
        f'SYSTEM "{dtd.as_uri()}" [<!ENTITY file SYSTEM "{secret.as_uri()}">]',
        f'[<!ENTITY % other SYSTEM "{dtd.as_uri()}"> %other;]',
    ):
        path.write_text(text.replace('SYSTEM "restecg.dtd"', doctype))
        recording = read_muse(path)
        assert "do not read" not in str(dict(recording.metadata))
        assert list(recording.qrs["Number"]) == [1, 2]
