"""HDF5 files, those of MATLAB included, that refer to others, or hold less than they say."""

from itertools import pairwise

import h5py
import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg
from fairseq_ecg.formats.hdf5 import open_hdf5

GIVEN = {"leads": LEADS, "sample_rate": 500, "units": "mV"}
SIGNAL = np.random.default_rng(0).normal(size=(12, 600))


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = SIGNAL
    return path


def virtual(file, secret):
    layout = h5py.VirtualLayout(SIGNAL.shape, "f8")
    layout[:] = h5py.VirtualSource(str(secret), "numbers", shape=SIGNAL.shape)
    file.create_virtual_dataset("signal", layout)


def virtual_of_its_own(file, secret):
    file["hidden"] = SIGNAL
    layout = h5py.VirtualLayout(SIGNAL.shape, "f8")
    layout[:] = h5py.VirtualSource(".", "hidden", shape=SIGNAL.shape)
    file.create_virtual_dataset("deep/signal", layout)


def external_storage(file, secret):
    files = [(str(secret), 0, SIGNAL.nbytes)]
    file.create_dataset("signal", SIGNAL.shape, "f8", external=files)


def external_link(file, secret):
    file["signal"] = h5py.ExternalLink(str(secret), "/numbers")


def external_link_of_a_group(file, secret):
    file["group"] = h5py.ExternalLink(str(secret), "/")
    file["signal"] = h5py.SoftLink("/group/numbers")


def beside_the_signal(file, secret):
    file["signal"] = SIGNAL
    file["meta/fs"] = h5py.ExternalLink(str(secret), "/numbers")


INDIRECTIONS = {
    virtual: "/signal is a virtual data set",
    virtual_of_its_own: "/deep/signal is a virtual data set",
    external_storage: "/signal is a data set with external storage",
    external_link: "/signal is a link to another file",
    external_link_of_a_group: "/group is a link to another file",
    beside_the_signal: "/meta/fs is a link to another file",
}


def write(path, make, *arguments):
    with h5py.File(path, "w", userblock_size=512 if path.suffix == ".mat" else 0) as file:
        make(file, *arguments)
    if path.suffix == ".mat":
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file")


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
@pytest.mark.parametrize("at_once", [None, 100])
@pytest.mark.parametrize("make", INDIRECTIONS, ids=lambda make: make.__name__)
def test_numbers_of_other_files_are_refused_by_name(tmp_path, secret, name, make, at_once):
    path = tmp_path / name
    write(path, make, secret)
    with pytest.raises(DataError, match=rf"{name}: {INDIRECTIONS[make]}.*Write them into one file"):
        read_ecg(path, at_once=at_once, **GIVEN)


def test_what_is_written_into_one_file_is_read(tmp_path, secret):
    write(tmp_path / "a.h5", external_link, secret)
    with h5py.File(tmp_path / "a.h5") as original, h5py.File(tmp_path / "b.h5", "w") as copy:
        copy["signal"] = original["signal"][:]
    np.testing.assert_array_equal(read_ecg(tmp_path / "b.h5", **GIVEN).signal, SIGNAL)


def test_an_object_that_only_a_cell_refers_to_is_refused_as_well(tmp_path, secret):
    def make(file):
        file["signal"] = SIGNAL.T
        files = [(str(secret), 0, 24)]
        hidden = file.create_dataset("hidden", (12, 1), "u2", external=files)
        hidden.attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("leads", data=[hidden.ref] * 12, dtype=h5py.ref_dtype)
        file["leads"].attrs["MATLAB_class"] = np.bytes_("cell")
        del file["hidden"]

    write(tmp_path / "a.mat", make)
    with pytest.raises(DataError, match=r"a\.mat: .*(external storage|is no MATLAB 7\.3 file)"):
        read_ecg(tmp_path / "a.mat", **GIVEN)


def test_links_within_a_file_do_no_harm(tmp_path):
    def make(file):
        file["raw/ecg"] = SIGNAL
        file["signal"] = h5py.SoftLink("/raw/ecg")
        file["nothing"] = h5py.SoftLink("/nowhere")
        file["raw/root"] = file["/"]
        file["again"] = file["raw/ecg"]
        file["type"] = np.dtype("f8")
        file["raw"].attrs["reference"] = file["raw/ecg"].ref
        file["raw"].attrs["region"] = file["raw/ecg"].regionref[:1]

    write(tmp_path / "a.h5", make)
    np.testing.assert_array_equal(read_ecg(tmp_path / "a.h5", **GIVEN).signal, SIGNAL)


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
@pytest.mark.parametrize("at_once", [None, 100])
def test_numbers_that_were_never_written_take_no_memory(tmp_path, name, at_once):
    write(tmp_path / name, lambda file: file.create_dataset("signal", (12, 10**9), "f8"))
    with pytest.raises(DataError, match=rf"{name}: says .* (packed size|bytes when unpacked)"):
        read_ecg(tmp_path / name, at_once=at_once, **GIVEN)


def cells(file, holds):
    """Cell arrays by name, each with the names of what its two cells hold."""
    file["signal"] = SIGNAL.T
    file["word"] = np.array([[73]], np.uint16)
    file["word"].attrs["MATLAB_class"] = np.bytes_("char")
    for name in holds:
        file.create_dataset(name, (2,), h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
    for name, held in holds.items():
        file[name][:] = [file[each].ref for each in held]


def test_cell_arrays_that_hold_themselves_are_refused(tmp_path):
    write(tmp_path / "a.mat", cells, {"leads": ("word", "a"), "a": ("leads", "b"), "b": ("a", "a")})
    with pytest.raises(DataError, match=r"a\.mat: has a cell array that holds itself"):
        read_ecg(tmp_path / "a.mat", **GIVEN)


def test_cell_arrays_that_share_what_they_hold_end(tmp_path):
    names = ["leads", *(f"c{i}" for i in range(40)), "word"]
    held = {name: (after, after) for name, after in pairwise(names)}
    write(tmp_path / "a.mat", cells, held)
    with pytest.raises(DataError, match=r"a\.mat: says 100,001 columns"):
        read_ecg(tmp_path / "a.mat", **GIVEN)


def test_cells_that_nobody_asks_for_are_not_followed(tmp_path):
    write(tmp_path / "a.mat", cells, {"remarks": ("a", "a"), "a": ("remarks", "word")})
    np.testing.assert_array_equal(read_ecg(tmp_path / "a.mat", **GIVEN).signal, SIGNAL)


def test_a_file_of_too_many_objects_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSEQ_ECG_LIMITS", "objects=20")
    write(tmp_path / "a.h5", lambda file: [file.create_group(f"g{i}") for i in range(30)])
    with pytest.raises(DataError, match="says 21 groups"), open_hdf5(tmp_path / "a.h5", "a.h5"):
        pass


@pytest.mark.parametrize("at_once", [None, 100])
def test_numbers_that_netcdf_packed_are_unpacked(tmp_path, at_once):
    counts = np.random.default_rng(2).integers(-900, 900, (2, 400)).astype(np.int16)
    counts[1, 7] = -9999
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("ecg", data=counts)
        data.attrs.update(fs=500, units="mV", leads=["I", "II"])
        data.attrs["scale_factor"] = np.array([0.001])
        data.attrs["add_offset"] = np.float32(0.5)
        data.attrs["_FillValue"] = np.array([-9999], np.int16)
    expected = counts / 1000 + 0.5
    expected[1, 7] = np.nan
    signal = read_ecg(tmp_path / "a.h5", at_once=at_once).signal
    np.testing.assert_allclose(signal[:, :], expected)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["ecg"].attrs["scale_factor"] = "0.001"
    with pytest.raises(
        DataError, match=r"scale_factor of /ecg is '0.001', not one number\. Correct the attribute"
    ):
        read_ecg(tmp_path / "a.h5", at_once=at_once)
