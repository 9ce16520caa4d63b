import numpy as np
import pytest

from fairseq_ecg.ecg.lead_names import is_ecg, standard_leads
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG, arrange, derive_limb_leads, ecg_from_array, standard_lead


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


def test_missing_leads_are_an_error_unless_asked_otherwise(ecg):
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


LIMB = LEADS[:6]
CHEST_IEC = [f"C{n}" for n in range(1, 7)]


@pytest.mark.parametrize(
    "word",
    [
        "Ableitung {}", "EKG-Ableitung {}", "Dérivation {}", "DÉRIVATION {}", "Derivación {}",
        "Derivazione {}", "Derivação {}", "Afleiding {}", "Avledning {}", "Odprowadzenie {}",
        "Svod {}", "Kytkentä {}", "Elvezetés {}", "отведение {}", "{}导联", "{} 誘導",
        "DÃ©rivation {}", "De\u0301rivation {}", "{} (Ableitung)", "Ableitung {} (µV)",
    ],
)  # fmt: skip
def test_lead_in_other_languages(word):
    for lead in LEADS:
        assert standard_lead(word.replace("(Ableitung)", "Ableitung").format(lead)) == lead
    if not word.startswith("{}导"):
        assert standard_lead(word.replace("(Ableitung)", "Ableitung").format("1")) == "I"


@pytest.mark.parametrize(
    "names",
    [
        [*CHEST_IEC, *(f"D{n}" for n in range(1, 7)), "ECG"],
        [*CHEST_IEC, "D1", "D2", "D3", "ECG"],
        [*(f"C{n}" for n in range(1, 33)), "EXG1", "Status"],
        ["C3", "C4", "O1", "ECG"],
        ["C3", "C4", "ECG"],
        ["C4", "EKG"],
        ["L1", "L2", "L3"],
        ["L1", "ECG"],
        ["D1", "ECG"],
        ["D1", "D2", "D3", "D4"],
        ["C3-A2", "C4-A1", "C3"],
        CHEST_IEC,
        ["C 1", "c2", "'C3'", "C4 (uV)"],
        ["D1", "D2", "D3", "SpO2"],
    ],
)
def test_names_of_other_signals_are_no_leads(names):
    assert not set(standard_leads(names)) & set(LEADS)


@pytest.mark.parametrize(
    "names",
    [
        ["C3", "C4", "O1", "ECG II"],
        ["C3", "C4", "ECG I", "ECG II"],
        ["C3", "C4", "I", "II"],
        ["C1", "C2", "C3", "C4", "Fz", "II", "III"],
        ["C3", "C4", "EOG L", "I", "II", "III"],
        ["C1", "EEG Fp1", "I", "II"],
        [*CHEST_IEC, "C7", *LIMB],
        [*CHEST_IEC, "ECG II"],
        ["L1", "L2", "ECG V1"],
        ["L1", "L4", "aVR"],
        ["D1", "D9", "aVR"],
        ["C3", "C4", "M1", "L1", "L2", "V5"],
    ],
)
def test_leads_beside_other_signals_are_distinguished(names):
    stated = standard_leads(names)
    for name, lead in zip(names, stated, strict=True):
        assert lead == (
            name if name[0] in "CDL" or standard_lead(name) not in LEADS else standard_lead(name)
        )


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        (["I", "II", "III", *CHEST_IEC], ("I", "II", "III", *LEADS[6:])),
        ([*LIMB, *CHEST_IEC], LEADS),
        ([*LIMB, *CHEST_IEC, "T1", "EMG"], (*LEADS, "T1", "EMG")),
        (["R", "L", "F", *CHEST_IEC], ("R", "L", "F", *LEADS[6:])),
        (["R", "L", "F", "C2"], ("R", "L", "F", "V2")),
        (["I", "II", "C1", "C5"], ("I", "II", "V1", "V5")),
        (["II", *CHEST_IEC], ("II", *LEADS[6:])),
        (["ECG C1", "ECG C5"], ("V1", "V5")),
        (["Lead D1", "ECG L2"], ("I", "II")),
        (["Ableitung C3", "O1"], ("V3", "O1")),
        (["D1", "D2", "D3"], ("I", "II", "III")),
        (["D2"], ("II",)),
        (["D1", "D2", "D3", "AVR", "AVL", "AVF", *LEADS[6:]], LEADS),
        (["D1", "D2", "D3", "AVR", "AVL", "AVF", *CHEST_IEC], LEADS),
        (["L1", "L2", "L3", "aVR", "aVL", "aVF", *LEADS[6:]], LEADS),
        (["DI", "DII", "DIII", "C1"], ("I", "II", "III", "V1")),
    ],
)
def test_synonyms_are_leads_beside_names_of_an_ecg(names, leads):
    assert tuple(standard_leads(names)) == leads


def test_a_list_that_is_given_is_one_of_leads():
    signal = np.zeros((2, 20))
    for names, leads in (
        (["C1", "C2"], ("V1", "V2")),
        (["L1", "D2"], ("I", "II")),
        (["C3", "O1"], ("C3", "O1")),
        (["C3", "C4"], ("V3", "V4")),
    ):
        assert ecg_from_array(signal, leads=names, sample_rate=250, units="mV").leads == leads


def test_a_channel_is_picked_by_its_own_name():
    ecg = ECG("r", np.arange(4.0)[:, None], ("C3", "C4", "O1", "ECG"), 250.0)
    assert arrange(ecg, ["ECG", "C3"]).leads == ("ECG", "C3")


@pytest.mark.parametrize(
    "name",
    [
        "ECG", "EKG", "ecg", "ECG1", "ECG 1", "EKG2", "ECG_raw", "EcgWaveform", "ECG (mV)",
        "X1-EKG", "EEG-ECG", "Electrocardiogram", "Elektrokardiogramm", "MLII", "ML2", "MCL1",
        "MCL 6", "CM5", "CC5", "V7", "v3r", "Z", "mod.V1",
    ],
)  # fmt: skip
def test_names_of_an_ecg_of_no_named_lead(name):
    assert is_ecg(name)


@pytest.mark.parametrize(
    "name", ["EEG", "Resp", "C3", "ABP", "Decgo", "", "V10", "EMG", "CM", "Status"]
)
def test_names_of_something_else(name):
    assert not is_ecg(name)
