"""Which signals of a file are its ECG, in what units."""

import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import Channel, Given, ParsedRecord, to_ecg
from fairseq_ecg.limits import VARIABLE

RAMP = np.arange(500.0)


def channel(name, unit="mV", rate=250, n=500, **more):
    return Channel(RAMP[:n] / 1000, name, unit, rate, **more)


def made(*channels, at_once=None, **given):
    return to_ecg("a.edf", ParsedRecord(channels), Given(**given), at_once)


@pytest.mark.parametrize("name", ["ECG", "EKG", "MCL1", "ECG1", "MLII", "EcgWaveform"])
def test_one_ecg_beside_other_signals_is_taken(name):
    ecg = made(
        channel("Accel X", "mg", 50, 100),
        channel(name),
        channel("EEG C3", "uV"),
        channel("SpO2", "%", 1, 2),
        channel("ECG rate", "bpm", 1, 2),
        channel("EKG_Off", "", 1, 2),
        channel("ABP", "mmHg"),
    )
    assert ecg.leads == (name,)
    assert ecg.metadata["left_out"] == "Accel X, EEG C3, SpO2, ECG rate, EKG_Off, ABP"
    np.testing.assert_array_equal(ecg.signal[0], RAMP / 1000)


def test_several_ecgs_without_names_of_leads_are_taken():
    ecg = made(
        channel("ECG1"), channel("ECG2", "uV"), channel("Resp"), channel("ECG low", rate=25, n=50)
    )
    assert (ecg.leads, ecg.metadata["left_out"]) == (("ECG1", "ECG2"), "Resp, ECG low")
    assert ecg.signal[1, 400] == 0.4 * 1e-3


def test_an_ecg_without_unit_needs_one_whatever_is_beside_it():
    beside = channel("SpO2", "%", 1, 2)
    with pytest.raises(DataError, match=r"lead ECG has no unit\. Give units"):
        made(channel("ECG", ""), beside)
    ecg = made(channel("ECG", ""), beside, units="uV")
    assert (ecg.leads, ecg.metadata["left_out"]) == (("ECG",), "SpO2")
    assert made(channel("ECG", ""), beside, gain=200).leads == ("ECG",)


def test_ecgs_of_one_name_need_other_names():
    with pytest.raises(DataError, match=r"lead ECG is there twice\. .*or give leads, names in the"):
        made(channel("ECG"), channel("ECG"), channel("SpO2", "%", 1, 2))
    ecg = made(
        channel("ECG"), channel("ECG"), channel("SpO2", "%", 1, 2), leads=["II", "V5", "SpO2"]
    )
    assert (ecg.leads, ecg.metadata["left_out"]) == (("II", "V5"), "SpO2")


def test_leads_may_be_given_for_some_of_the_signals():
    ecg = made(channel("ch1"), channel("ch2", "%", 1, 2), leads=["II", "other"])
    assert (ecg.leads, ecg.metadata["left_out"]) == (("II",), "ch2")


def test_voltages_that_are_named_by_leads_stay():
    ecg = made(channel("x"), channel("y"), channel("z", "%"), leads=["ECG", "PPG", "SpO2"])
    assert (ecg.leads, ecg.metadata["left_out"]) == (("ECG", "PPG"), "z")


def test_electrodes_of_an_eeg_are_no_leads():
    ecg = made(*(channel(name, "uV") for name in ("C3", "C4", "O1")), channel("ECG"))
    assert (ecg.leads, ecg.metadata["left_out"]) == (("ECG",), "C3, C4, O1")
    ecg = made(*(channel(f"C{n}", "uV") for n in range(1, 7)))
    assert not set(ecg.leads) & set(LEADS)
    ecg = made(*(channel(f"C{n}", "uV") for n in range(1, 7)), leads=LEADS[6:])
    assert ecg.leads == LEADS[6:]


def test_units_that_are_given_help_where_the_file_has_an_unknown_one():
    strange = channel("II", "mVpp")
    with pytest.raises(
        DataError, match=r"lead II is in .mVpp., not in V, mV, uV or nV\. .*give units"
    ):
        made(strange)
    assert made(strange, units="uV").signal[0, 400] == 0.4e-3
    assert made(strange, gain=2).signal[0, 400] == 0.2
    assert made(strange, units="uV").stated_unit is None
    ecg = made(strange, channel("other", "strange"), units="uV")
    assert (ecg.leads, ecg.metadata["left_out"]) == (("II",), "other")


@pytest.mark.parametrize("unit", ["mmHg", "%", "bpm"])
def test_units_that_are_given_do_not_make_a_lead_of_something_else(unit):
    with pytest.raises(DataError, match=f"lead II is in '{unit}', not in V"):
        made(channel("II", unit), units="mV")


def test_fields_of_fixed_width_end_at_nul():
    ecg = made(channel("I\0\0\0", "uV\0\0"), channel(" II \0junk", "mV\0"))
    assert ecg.leads == ("I", "II")
    assert ecg.signal[0, 400] == 0.4e-3


def test_what_a_reader_left_out_stays_named():
    content = ParsedRecord(
        [channel("I"), channel("SpO2", "%")], {"left_out": "II of group 2", "doubts": ("short",)}
    )
    assert to_ecg("a", content, Given()).metadata == {
        "left_out": "II of group 2, SpO2",
        "doubts": ("short",),
    }


def test_the_unit_of_the_file_is_reported():
    assert made(channel("I", "uV")).stated_unit == "uV"
    assert made(channel("I", None), units="uV").stated_unit is None
    assert made(channel("I", "mV", uncalibrated="has no scale"), gain=5).stated_unit is None


@pytest.mark.parametrize("rate", [1e-300, 0.001, 1.0, 1e9, float("inf"), float("nan"), 0.0, -5.0])
def test_rates_that_cannot_be_are_refused(rate):
    with pytest.raises(DataError, match="Hz"):
        made(channel("I", rate=rate))
    with pytest.raises(DataError, match="Hz"):
        made(channel("I", rate=None), sample_rate=rate)


def test_limits_can_be_moved(monkeypatch):
    with pytest.raises(DataError, match=f"{VARIABLE}=lowest_rate=1 in the environment"):
        made(channel("I", rate=1.0))
    monkeypatch.setenv(VARIABLE, "lowest_rate=1.0")
    assert made(channel("I", rate=1.0)).sample_rate == 1.0


def test_too_many_signals_are_refused_at_once():
    with pytest.raises(DataError, match="200,000 channels"):
        made(*[channel("I")] * 200_000)


def test_notes_are_added_to_those_that_are_there():
    assert with_notes({"a": 1}) == {"a": 1}
    once = with_notes({"a": 1}, ["resp", "SpO2"], ["too long"])
    assert once == {"a": 1, "left_out": "resp, SpO2", "doubts": ("too long",)}
    assert with_notes(once) == once
    twice = with_notes(once, ["V7"], ["too old"])
    assert twice["left_out"] == "resp, SpO2, V7"
    assert twice["doubts"] == ("too long", "too old")
