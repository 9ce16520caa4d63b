import numpy as np
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats import ECG, arrange, derive_limb_leads, standard_lead


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(
    "spelling",
    [
        "{}", " {} ", "'{}'", "ECG {}", "ECG_{}", "EKG {}", "Lead {}", "lead{}", "LEAD_{}",
        "{}-lead", "MDC_ECG_LEAD_{}", "MDC-ECG-LEAD-{}", "{} (mV)", "{} [uV]", "{}_mV",
        "{} µV", "Lead {} (Einthoven)",
    ],
)  # fmt: skip
def test_spellings_of_all_leads_are_understood(lead, spelling):
    for name in (lead, lead.upper(), lead.lower()):
        assert standard_lead(spelling.format(name)) == lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("DI", "I"),
        ("DII", "II"),
        ("DIII", "III"),
        ("D1", "I"),
        ("D3", "III"),
        ("L2", "II"),
        ("Lead 2", "II"),
        ("Lead 1 (mV)", "I"),
        ("AVR", "aVR"),
        ("a VL", "aVL"),
        ("aV-F", "aV-F"),
        ("C1", "V1"),
        ("C6", "V6"),
        ("V 3", "V3"),
        ("\u2161", "II"),
    ],
)
def test_synonyms(name, lead):
    assert standard_lead(name) == lead


@pytest.mark.parametrize(
    "name",
    [
        "-aVR", "\u2212aVR", "MLII", "MCL1", "V7", "V3R", "X", "I-II", "V1-V2", "ch1", "ECG1", "1",
        "Resp", "", "V", "II (filtered)", "ABP", "lead", "V10", "I II III",
    ],
)  # fmt: skip
def test_other_names_are_kept(name):
    assert standard_lead(f" {name} ") == name


def test_leads_are_arranged_by_name(ecg):
    shuffled = ECG("r", ecg.signal[[6, 1, 0]], ("V1", "II", "I"), 257.0, {"age": 3})
    arranged = arrange(shuffled, ["lead i", "V1"])
    assert arranged.leads == ("I", "V1")
    assert arranged.metadata == {"age": 3}
    np.testing.assert_array_equal(arranged.signal, ecg.signal[[0, 6]])


def test_missing_leads_are_an_error_unless_told_otherwise(ecg):
    part = ECG("r", ecg.signal[:2], ("I", "II"), 257.0)
    with pytest.raises(DataError, match=r"r: lacks lead III, aVR, .* V6 \(it has I, II\)"):
        arrange(part)
    filled = arrange(part, missing="nan")
    assert filled.leads == LEADS
    assert np.isnan(filled.signal[2:]).all()
    np.testing.assert_array_equal(filled.signal[:2], part.signal)
    assert not arrange(part, missing="zero").signal[2:].any()
    with pytest.raises(ValueError, match="missing='none': choose error, nan, zero or derive"):
        arrange(part, missing="none")


def test_a_lead_asked_for_twice_is_refused(ecg):
    with pytest.raises(ValueError, match="names a lead twice"):
        arrange(ecg, ["I", "lead I"])


@pytest.mark.parametrize("present", [(a, b) for a in LEADS[:6] for b in LEADS[:6] if a < b])
def test_limb_leads_follow_from_any_two(ecg, present):
    rows = [LEADS.index(lead) for lead in present]
    derived = arrange(ECG("r", ecg.signal[rows], present, 257.0), LEADS[:6], missing="derive")
    np.testing.assert_allclose(derived.signal, ecg.signal[:6], atol=1e-12)


def test_limb_leads_from_i_and_ii_are_exact(ecg):
    one, two = ecg.signal[0], ecg.signal[1]
    derived = arrange(ECG("r", ecg.signal[:2], ("I", "II"), 257.0), LEADS[:6], missing="derive")
    expected = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    np.testing.assert_array_equal(derived.signal, expected)


def test_what_cannot_be_derived_is_an_error_or_filled(ecg):
    part = ECG("r", ecg.signal[[0, 1, 6]], ("I", "II", "V1"), 257.0)
    with pytest.raises(DataError, match="lacks lead V2, V3, V4, V5, V6"):
        arrange(part, missing="derive")
    filled = arrange(derive_limb_leads(part), missing="zero")
    np.testing.assert_allclose(filled.signal[:7], ecg.signal[:7], atol=1e-12)
    one_limb_lead = ECG("r", ecg.signal[:1], ("I",), 257.0)
    assert derive_limb_leads(one_limb_lead) is one_limb_lead


def test_a_sample_without_value_gives_none():
    ecg = ECG("r", np.array([[1.0, np.nan], [2.0, 3.0]]), ("I", "II"), 500.0)
    derived = arrange(ecg, ["III"], missing="derive")
    np.testing.assert_array_equal(derived.signal, [[1.0, np.nan]])
