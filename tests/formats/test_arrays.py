import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ecg_from_array, read_ecg

THREE = ("I", "II", "V1")


@pytest.mark.parametrize("shape", ["(leads, samples)", "(samples, leads)", "(1, leads, samples)"])
def test_the_number_of_leads_tells_the_orientation(tmp_path, ecg, shape):
    array = {"(leads, samples)": ecg.signal, "(samples, leads)": ecg.signal.T}.get(
        shape, ecg.signal[None]
    )
    np.save(tmp_path / "a.npy", array)
    read = read_ecg(tmp_path / "a.npy", leads=LEADS, sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)
    assert (read.leads, read.sample_rate) == (LEADS, 257.0)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 3), "3 leads of 3 samples or the other way round"),
        ((4, 50), r"has shape \(4, 50\), but 3 leads are named"),
        ((2, 3, 50), r"has shape \(2, 3, 50\); one recording is"),
        ((50,), r"has shape \(1, 50\), but 3 leads are named"),
        ((3, 0), "holds no signals"),
        ((), r"has shape \(\); one recording is"),
    ],
)
def test_other_shapes_are_refused(shape, reason):
    with pytest.raises(DataError, match=f"array: {reason}"):
        ecg_from_array(np.zeros(shape), leads=THREE, sample_rate=500, units="mV")


def test_one_lead_has_one_axis():
    ecg = ecg_from_array([1, 2, 3], leads=["lead ii"], sample_rate=100, units="uV")
    assert ecg.leads == ("II",)
    np.testing.assert_array_equal(ecg.signal, [[0.001, 0.002, 0.003]])


def test_cells_of_tables_are_arrays():
    rows = np.empty(3, dtype=object)
    for i in range(3):
        rows[i] = np.arange(10) + i
    for cell in (rows, [list(row) for row in rows]):
        ecg = ecg_from_array(cell, leads=THREE, sample_rate=100, units="mV")
        np.testing.assert_array_equal(ecg.signal, np.arange(10) + np.arange(3)[:, None])
    rows[1] = np.arange(9)
    with pytest.raises(DataError, match="array: is no array of numbers with rows of one length"):
        ecg_from_array(rows, leads=THREE, sample_rate=100, units="mV")


@pytest.mark.parametrize("values", [["a", "b"], [[1, 2], [3]], [1j, 2j], [True, False], None])
def test_what_is_no_array_of_numbers_is_refused(values):
    with pytest.raises(DataError, match="array: "):
        ecg_from_array(values, leads=["I"], sample_rate=100, units="mV")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, r"no names of leads\. Give leads"),
        ({"leads": THREE}, r"lead I has no unit\. Give units \('mV', 'uV', 'V'\), or gain"),
        ({"leads": THREE, "units": "mV"}, r"does not say its sampling rate\. Give sample_rate"),
        ({"leads": THREE, "units": "counts"}, r"lead I is in counts\. Give units .*, or gain"),
        ({"leads": THREE, "units": "furlong"}, "cannot be read in units of 'furlong'"),
        ({"leads": THREE, "gain": 0}, "cannot have a gain of 0"),
        ({"leads": THREE, "units": "mV", "gain": 200}, "cannot be both in mV and in counts"),
        ({"leads": ("I", "II", "lead i"), "units": "mV"}, "lead I is there twice"),
        ({"leads": THREE, "units": ["mV", "uV"]}, "units has 2 values, the file has 3 signals"),
    ],
)
def test_what_an_array_does_not_say_must_be_given(tmp_path, given, reason):
    np.save(tmp_path / "a.npy", np.ones((3, 20)))
    with pytest.raises(DataError, match=rf"a\.npy: .*{reason}"):
        read_ecg(tmp_path / "a.npy", **given)


def test_units_and_gains_convert(tmp_path):
    counts = np.arange(60, dtype=np.int16).reshape(3, 20)
    np.save(tmp_path / "a.npy", counts)

    def read(**given):
        return read_ecg(tmp_path / "a.npy", leads=THREE, sample_rate=500, **given).signal

    np.testing.assert_allclose(read(gain=200), counts / 200)
    np.testing.assert_allclose(read(units="adu", gain=200.0), counts / 200)
    np.testing.assert_allclose(read(units="uV"), counts / 1000)
    np.testing.assert_allclose(read(units="uV", gain=1000), counts / 1000)
    by_lead = read(units=["mV", "uV", "V"])
    np.testing.assert_allclose(by_lead, counts * np.array([[1], [1e-3], [1e3]]))
    by_lead = read(gain=[100, 200, 400])
    np.testing.assert_allclose(by_lead, counts / np.array([[100], [200], [400]]))


@pytest.mark.parametrize("rate", [0, -5, np.nan, np.inf])
def test_rates_are_positive(rate):
    with pytest.raises(ValueError, match="give a positive number"):
        ecg_from_array(np.zeros((3, 9)), leads=THREE, sample_rate=rate, units="mV")


def test_leads_are_a_list():
    with pytest.raises(ValueError, match="leads='II': give a list of names"):
        read_ecg("a.npy", leads="II")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_numbers_keep_their_precision(dtype):
    ecg = ecg_from_array(np.ones((3, 9), dtype), leads=THREE, sample_rate=500, units="uV")
    assert ecg.signal.dtype == dtype


@pytest.mark.parametrize("n_bytes", [0, 4, 60, 300])
def test_a_cut_off_file_is_refused(tmp_path, n_bytes):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 50)))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"a\.npy: is (empty|no \.npy file, or damaged)"):
        read_ecg(path, leads=THREE, sample_rate=500, units="mV")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([print, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: is no \.npy file, or damaged"):
        read_ecg(tmp_path / "a.npy", leads=THREE, sample_rate=500, units="mV")


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (3, 7), elements=st.floats(-30, 30)), st.booleans())
def test_millivolts_survive(tmp_path_factory, signal, transposed):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, signal.T if transposed else signal)
    read = read_ecg(path, leads=THREE, sample_rate=500, units="mV")
    np.testing.assert_array_equal(read.signal, signal)


class Unreadable:
    """What fails as soon as anybody looks at it, as a map of a damaged file does."""

    shape, dtype, ndim = (1, 1000), np.dtype(float), 2

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), OSError(5, "disk")])
def test_whatever_an_array_fails_with_is_a_data_error(error):
    with pytest.raises(DataError, match=rf"^cell 7: cannot be read \({type(error).__name__}"):
        ecg_from_array(Unreadable(error), leads=["I"], sample_rate=500, units="mV", where="cell 7")


@pytest.mark.parametrize(
    ("shape", "rate", "reason"),
    [
        ((3000, 40000), 500, "3,000 channels, more than the most"),
        ((1, 5000), 1e6, "1,000,000 Hz, more than the most"),
        ((1, 5000), 0.5, "0.5 Hz, fewer than the least"),
        ((1, 5 * 10**9), 500, "5,000,000,000 samples of a lead, more than the most"),
    ],
)
def test_implausible_arrays_are_refused_before_anything_is_made_of_them(shape, rate, reason):
    values = np.broadcast_to(np.float32(0), shape)
    leads = [f"E{i}" for i in range(shape[0])]
    with pytest.raises(DataError, match=reason):
        ecg_from_array(values, leads=leads, sample_rate=rate, units="mV")


def write_header(path, shape, descr="<f8", rest=b""):
    with open(path, "wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(rest)


@pytest.mark.parametrize("at_once", [None, 10])
@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, -5), r"a shape of \(3, -5\)"),
        ((3_000_000, 3, 0), "holds no signals"),
        ((0, 3), "holds no signals"),
        ((3, 10**9), "0 of 24000000000 bytes"),
        ((3, 10**12), "says 2.4e.13 bytes when unpacked|says 24,000,000,000,000 bytes"),
    ],
)
def test_headers_that_say_what_is_not_there_are_refused(tmp_path, shape, reason, at_once):
    write_header(tmp_path / "a.npy", shape)
    with pytest.raises(DataError, match=rf"a\.npy: .*({reason})"):
        read_ecg(tmp_path / "a.npy", leads=THREE, sample_rate=500, units="mV", at_once=at_once)


@pytest.mark.parametrize("at_once", [None, 10])
def test_tables_of_columns_are_no_numbers(tmp_path, at_once):
    np.save(tmp_path / "a.npy", np.ones(50, dtype=[("I", "f8"), ("II", "f8"), ("V1", "i2")]))
    with pytest.raises(DataError, match=r"a\.npy: holds a table of 3 columns, not real numbers"):
        read_ecg(tmp_path / "a.npy", leads=THREE, sample_rate=500, units="mV", at_once=at_once)


@pytest.mark.parametrize("at_once", [None, 10])
def test_code_in_an_array_of_objects_is_not_run(tmp_path, at_once):
    class Harm:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    np.save(tmp_path / "a.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", signal=np.array([Harm()], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match=rf"{name}: is no \.np. file, or damaged"):
            read_ecg(tmp_path / name, leads=THREE, sample_rate=500, units="mV", at_once=at_once)
    assert not (tmp_path / "harm").exists()
