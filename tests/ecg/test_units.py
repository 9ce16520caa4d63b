import numpy as np
import pytest

from fairseq_ecg.ecg.units import (
    is_counts,
    is_of_another_kind,
    millivolts_per,
    says_nothing,
    split_unit,
)
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import (
    ECG,
    check_millivolts,
    ecg_from_array,
    millivolt_doubt,
    read_ecg,
)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("mV", 1), ("MV", 1), ("millivolt", 1), ("uV", 1e-3), ("µV", 1e-3), ("\u03bcV", 1e-3),
        (" uv ", 1e-3), ("Microvolts", 1e-3), ("V", 1e3), ("volt", 1e3), ("nV", 1e-6),
        ("mVolt", 1), ("uVolt", 1e-3), ("MVOLTS", 1), ("milli-volts", 1), ("Micro Volt", 1e-3),
        ("ÂµV", 1e-3), ("Î¼V", 1e-3), ("\u00e6V", 1e-3), ("(mV)", 1), ("[uV]", 1e-3), ("mV.", 1),
        ("\u33b7", 1), ("µVolts", 1e-3), ("mv", 1), ("Mikrovolt", 1e-3), ("milivoltios", 1),
        ("µ V", 1e-3), ("nanovolts", 1e-6),
    ],
)  # fmt: skip
def test_units_of_voltage(unit, factor):
    assert millivolts_per(unit) == factor


@pytest.mark.parametrize(
    "unit", ["bpm", "mmHg", "", "adu", "m", "kV/s", "mVs", "kV", "uV/bit", "mm"]
)
def test_other_units_have_no_factor(unit):
    assert millivolts_per(unit) is None


@pytest.mark.parametrize(
    "unit",
    ["bpm", "mmHg", "%", "°C", "degC", "mg", "g", "m/s^2", "L/min", "Ohm", "kΩ", "/min", "Boolean",
     "cmH2O", "Hz", "ms", "uS", "mV/s", "ºC"],
)  # fmt: skip
def test_units_of_another_kind_are_known(unit):
    assert is_of_another_kind(unit)


@pytest.mark.parametrize("unit", ["mV", "uV", "", "adu", "mVpp", "units", "?V", "1e-6V"])
def test_units_that_may_be_voltages_are_not_of_another_kind(unit):
    assert not is_of_another_kind(unit)


def test_words_for_counts_and_for_nothing():
    assert is_counts("ADU")
    assert is_counts("counts")
    assert not is_counts("mV")
    assert all(map(says_nothing, (None, "", " ", "NU", "unknown", "n/a")))
    assert not says_nothing("mV")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("V1 (mV)", ("V1", "mV")),
        ("V1[uV]", ("V1", "uV")),
        ("V1_mV", ("V1", "mV")),
        ("time (ms)", ("time", "ms")),
        ("V1", ("V1", None)),
        ("lead_V", ("lead_V", None)),
        ("II (filtered)", ("II (filtered)", None)),
        ("V1_uV", ("V1", "uV")),
        ("V1_mVolt", ("V1", "mVolt")),
        ("V1 microvolts", ("V1", "microvolts")),
        ("V1 [ÂµV]", ("V1", "ÂµV")),
    ],
)
def test_a_name_is_parted_from_its_unit(name, parts):
    assert split_unit(name) == parts


@pytest.mark.parametrize(
    ("factor", "looks_like"), [(1e3, "microvolts"), (200, "counts"), (1e-3, "volts")]
)
def test_other_units_are_recognised_by_their_amplitude(ecg, factor, looks_like):
    scaled = ECG("r.csv", ecg.signal * factor, ecg.leads, ecg.sample_rate)
    assert looks_like in millivolt_doubt(scaled)
    with pytest.raises(DataError, match=r"r\.csv: leads span .* mV, (more|less) than an ECG can"):
        check_millivolts(scaled)
    with pytest.warns(UserWarning, match=looks_like):
        check_millivolts(scaled, "warn")
    check_millivolts(scaled, "ignore")


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "uV"), (1e-3, "V")])
def test_the_remedy_works_whether_the_file_says_a_unit_or_not(tmp_path, ecg, factor, unit):
    given = {"leads": ecg.leads, "sample_rate": ecg.sample_rate}
    np.save(tmp_path / "r.npy", ecg.signal * factor)
    wrong = read_ecg(tmp_path / "r.npy", **given, units="mV")
    assert f"give units='{unit}'" in millivolt_doubt(wrong)
    right = read_ecg(tmp_path / "r.npy", **given, units=unit)
    np.testing.assert_allclose(right.signal, ecg.signal)
    np.savez(tmp_path / "r.npz", signal=ecg.signal * factor, leads=ecg.leads, fs=257, units="mV")
    wrong = read_ecg(tmp_path / "r.npz")
    with pytest.raises(DataError, match="is in mV according to the file"):
        read_ecg(tmp_path / "r.npz", units=unit)
    doubt = millivolt_doubt(wrong)
    assert "the file says mV" in doubt
    assert f"give the signal of the ECG to ecg_from_array with units='{unit}'" in doubt
    right = ecg_from_array(wrong.signal, **given, units=unit)
    np.testing.assert_allclose(right.signal, ecg.signal)
    check_millivolts(right)


def test_millivolts_are_not_doubted(ecg):
    check_millivolts(ecg)
    with_faults = ecg.signal.copy()
    with_faults[7] *= 1e4  # an electrode off
    with_faults[0, 5] = np.nan
    with_faults += 40.0  # a constant offset says nothing of the unit
    assert millivolt_doubt(ECG("r", with_faults, ecg.leads, 257.0)) is None


@pytest.mark.parametrize("value", [0.0, 0.1, np.nan])
def test_flat_leads_say_nothing(value):
    assert millivolt_doubt(ECG("r", np.full((2, 50), value), ("I", "II"), 500.0)) is None


def test_real_ecgs_are_not_doubted(shared):
    paths = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    assert paths
    for path in paths:
        check_millivolts(read_ecg(path))
