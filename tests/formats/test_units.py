import numpy as np
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.formats import ECG, check_millivolts, millivolt_doubt
from fairseq_ecg.formats.units import is_counts, millivolts_per, says_nothing, split_unit


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("mV", 1), ("MV", 1), ("millivolt", 1), ("uV", 1e-3), ("µV", 1e-3), ("\u03bcV", 1e-3),
        (" uv ", 1e-3), ("Microvolts", 1e-3), ("V", 1e3), ("volt", 1e3), ("nV", 1e-6),
    ],
)  # fmt: skip
def test_units_of_voltage(unit, factor):
    assert millivolts_per(unit) == factor


@pytest.mark.parametrize("unit", ["bpm", "mmHg", "", "adu", "m", "kV/s"])
def test_other_units_have_no_factor(unit):
    assert millivolts_per(unit) is None


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
    ],
)
def test_a_name_is_parted_from_its_unit(name, parts):
    assert split_unit(name) == parts


@pytest.mark.parametrize(
    ("factor", "looks_like"), [(1e3, "microvolts"), (200, "counts"), (1e-3, "volts")]
)
def test_other_units_are_told_by_their_amplitude(ecg, factor, looks_like):
    scaled = ECG("r.csv", ecg.signal * factor, ecg.leads, ecg.sample_rate)
    assert looks_like in millivolt_doubt(scaled)
    with pytest.raises(DataError, match=r"r\.csv: leads span .* mV, (more|less) than an ECG can"):
        check_millivolts(scaled)
    with pytest.warns(UserWarning, match=looks_like):
        check_millivolts(scaled, "warn")
    check_millivolts(scaled, "ignore")


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
    from fairseq_ecg.formats import read_ecg

    paths = sorted((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    assert paths
    for path in paths:
        check_millivolts(read_ecg(path))
