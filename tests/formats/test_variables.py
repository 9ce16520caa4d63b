import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg


def write_npz(path, variables):
    np.savez(path, **variables)


def write_hdf5(path, variables):
    """Arrays are data sets in a group, the rest attributes."""
    with h5py.File(path, "w") as file:
        group = file.create_group("recording")
        for name, value in variables.items():
            if np.ndim(value) > 1:
                group[name] = value
            else:
                group.attrs[name] = value


def write_mat(path, variables):
    """Dictionaries become structs."""
    cells = {
        name: np.array(value, dtype=object) if isinstance(value, list) else value
        for name, value in variables.items()
    }
    scipy.io.savemat(path, cells)


def write_mat_73(path, variables):
    """What MATLAB 7.3 writes: an HDF5 file behind a header, axes reversed, texts as numbers."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, list):
                references = []
                for i, text in enumerate(value):
                    item = file.create_dataset(f"#refs#/{name}{i}", data=codes(text))
                    item.attrs["MATLAB_class"] = np.bytes_("char")
                    references.append(item.ref)
                file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
                file[name].attrs["MATLAB_class"] = np.bytes_("cell")
            elif isinstance(value, str):
                file[name] = codes(value)
                file[name].attrs["MATLAB_class"] = np.bytes_("char")
            else:
                file[name] = np.atleast_2d(value).T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, made by a test".ljust(124) + b"\x00\x02IM")


def codes(text):
    return np.array([[ord(letter)] for letter in text], dtype=np.uint16)


WRITERS = {
    "a.npz": write_npz,
    "a.h5": write_hdf5,
    "a.mat": write_mat,
    "v73.mat": write_mat_73,
}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    def write(**variables):
        WRITERS[request.param](tmp_path / request.param, variables)
        return tmp_path / request.param

    return write


@pytest.mark.parametrize(
    ("signal", "leads", "rate", "units"),
    [
        ("signal", "leads", "sample_rate", "units"),
        ("ecg", "sig_name", "fs", "unit"),
        ("Data", "channel_names", "Sampling_Frequency", "Units"),
        ("p_signal", "lead_names", "sfreq", "units"),
    ],
)
def test_variables_have_many_names(write, ecg, signal, leads, rate, units):
    path = write(
        **{signal: ecg.signal.T * 1000, leads: list(LEADS), rate: 257.0, units: "uV", "age": 57}
    )
    read = read_ecg(path)
    assert (read.leads, read.sample_rate) == (LEADS, 257.0)
    np.testing.assert_allclose(read.signal, ecg.signal)


def test_counts_are_scaled_by_the_gain_of_the_file(write, ecg):
    path = write(signal=np.round(ecg.signal * 200), leads=list(LEADS), fs=500, adc_gain=200.0)
    np.testing.assert_allclose(read_ecg(path).signal, ecg.signal, atol=1 / 400)
    with pytest.raises(DataError, match="has 200 counts per mV according to the file, and 100"):
        read_ecg(path, gain=100)


def test_what_is_missing_is_given(write, ecg):
    path = write(whatever=ecg.signal, sex=1)
    read = read_ecg(path, leads=LEADS, sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)
    with pytest.raises(DataError, match="no names of leads"):
        read_ecg(path, sample_rate=257, units="mV")


def test_what_is_given_must_not_contradict_the_file(write, ecg):
    path = write(signal=ecg.signal[:2], leads=["I", "II"], fs=250.0, units="mV")
    for given, reason in (
        ({"leads": ["II", "I"]}, "signal 1 is lead I according to the file, and II"),
        ({"leads": ["I"]}, r"1 leads are given, the file has 2 signals \(I, II\)"),
        ({"sample_rate": 257}, "is sampled at 250 Hz according to the file, and at 257 Hz"),
        ({"units": "uV"}, "is in mV according to the file, and in uV"),
        ({"gain": 200}, "is in mV according to the file, so that there are no counts"),
    ):
        with pytest.raises(DataError, match=reason):
            read_ecg(path, **given)
    same = read_ecg(path, leads=["lead i", "ii"], sample_rate=250.1, units="millivolt")
    assert same.leads == ("I", "II")
    assert same.sample_rate == 250.1


def test_names_that_say_nothing_are_replaced(write, ecg):
    path = write(signal=ecg.signal[:2], leads=["ch1", "ch2"], fs=250.0, units="mV")
    assert read_ecg(path).leads == ("ch1", "ch2")
    assert read_ecg(path, leads=["V1", "V2"]).leads == ("V1", "V2")


def test_unknown_variables_are_listed(write):
    with pytest.raises(DataError, match=r"none of its variables \(.*\) is known to be the signal"):
        read_ecg(write(one=np.ones((3, 99)), two=np.ones((3, 99))), leads=["I", "II", "V1"])
    path = write(signal=np.ones((3, 99)), two=np.ones((3, 99)))
    read = read_ecg(path, leads=["I", "II", "V1"], sample_rate=500, units="mV")
    assert read.signal.shape == (3, 99)
    assert read.metadata["left_out"].endswith("two")


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, "fast"])
def test_what_is_no_rate_is_refused(write, ecg, rate):
    path = write(signal=ecg.signal, leads=list(LEADS), fs=rate, units="mV")
    with pytest.raises(DataError, match=r"sampling rate must be one positive|not a number"):
        read_ecg(path)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6])
def test_a_cut_off_file_is_refused(write, ecg, part):
    path = write(signal=ecg.signal, leads=list(LEADS), fs=500.0, units="mV")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"{path.name}: is no .* file, or damaged"):
        read_ecg(path)


def test_many_recordings_in_one_file_are_refused(write):
    path = write(signal=np.zeros((4, 100, 12)), fs=400)
    with pytest.raises(DataError, match=r"has shape \(4, 100, 12\); one recording is"):
        read_ecg(path, leads=LEADS, units="mV")


def test_cells_of_several_kinds_are_no_names(tmp_path, ecg):
    leads = np.array(["I", np.ones((2, 2))], dtype=object)
    scipy.io.savemat(tmp_path / "a.mat", {"signal": ecg.signal[:2], "leads": leads, "fs": 500})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["signal"] = ecg.signal[:2]
        file["leads"] = np.array([file["signal"].ref], dtype=h5py.ref_dtype)
    for name in ("a.mat", "a.h5"):
        with pytest.raises(DataError, match="no names of leads"):
            read_ecg(tmp_path / name, sample_rate=500, units="mV")


def test_files_of_fairseq_signals_are_in_millivolts_and_the_standard_order(tmp_path, ecg):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"feats": ecg.signal, "curr_sample_rate": 257, "idx": 3})
    read = read_ecg(path)
    assert (read.leads, read.sample_rate) == (LEADS, 257.0)
    np.testing.assert_array_equal(read.signal, ecg.signal)
    with pytest.raises(DataError, match="is in mV according to the file, and in uV"):
        read_ecg(path, units="uV")
    scipy.io.savemat(path, {"feats": ecg.signal, "curr_sample_rate": 257, "std": np.ones(12)})
    with pytest.raises(DataError, match=r"a\.mat: already standardised, no longer in mV"):
        read_ecg(path)
    scipy.io.savemat(path, {"feats": ecg.signal[:2], "curr_sample_rate": 257})
    with pytest.raises(DataError, match=r"feats has shape \(2, 514\), not \(12, samples\)"):
        read_ecg(path)
    assert read_ecg(path, leads=["V1", "V2"]).leads == ("V1", "V2")


def test_challenge_files_without_header_are_counts(tmp_path, ecg):
    path = tmp_path / "E1.mat"
    counts = np.round(ecg.signal * 1000)
    scipy.io.savemat(path, {"val": counts}, format="4")
    with pytest.raises(DataError, match=r"E1\.mat: lead I has no unit"):
        read_ecg(path, leads=LEADS, sample_rate=500)
    read = read_ecg(path, leads=LEADS, sample_rate=500, gain=1000)
    np.testing.assert_allclose(read.signal, counts / 1000)


def test_real_files_of_fairseq_signals(shared):
    folder = shared / "ecg" / "code_15"
    (path, *_) = sorted((folder / "org").glob("*.mat"))
    read = read_ecg(path)
    assert (read.leads, read.sample_rate) == (LEADS, 400.0)
    np.testing.assert_array_equal(read.signal, scipy.io.loadmat(path)["feats"])
    with pytest.raises(DataError, match="already standardised"):
        read_ecg(folder / "preprocessed" / path.name)


def cells_of(texts):
    cells = np.empty((1, len(texts)), object)
    cells[0, :] = list(texts)
    return cells


def struct_73(path, fields):
    """A struct as MATLAB 7.3 writes it, a group with its fields."""
    write_mat_73(path, fields)
    with h5py.File(path, "r+") as file:
        group = file.create_group("ecg_struct")
        for name in fields:
            file.move(name, f"ecg_struct/{name}")
        group.attrs["MATLAB_class"] = np.bytes_("struct")


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("names", ["cells", "char matrix", "one text"])
def test_a_struct_says_everything(tmp_path, ecg, version, names):
    texts = {"cells": list(LEADS), "char matrix": LEADS, "one text": "I II III aVR aVL aVF V1-V6"}
    leads = texts[names] if names != "one text" else " ".join(LEADS)
    path = tmp_path / "a.mat"
    if version == "5":
        leads = {"cells": cells_of(LEADS), "char matrix": np.array(LEADS)}.get(names, leads)
        fields = {"signal": ecg.signal, "Fs": 257, "leads": leads, "units": "uV", "age": 60}
        scipy.io.savemat(path, {"a": {"b": fields}, "note": "x"})
    else:
        struct_73(path, {"signal": ecg.signal, "Fs": 257.0, "units": "uV"})
        with h5py.File(path, "r+") as file:
            file.move("ecg_struct", "a")
            width = max(map(len, LEADS))
            rows = [leads] if isinstance(leads, str) else [lead.ljust(width) for lead in leads]
            numbers = np.array([[ord(letter) for letter in row] for row in rows], np.uint16)
            file["a/leads"] = numbers.T
            file["a/leads"].attrs["MATLAB_class"] = np.bytes_("char")
    for at_once in (None, 100):
        read = read_ecg(path, at_once=at_once)
        assert (read.leads, read.sample_rate) == (LEADS, 257.0)
        np.testing.assert_allclose(read.signal[:, :], ecg.signal / 1000)
        for given, reason in (
            ({"leads": LEADS[::-1]}, "signal 1 is lead I according to the file, and V6"),
            ({"sample_rate": 500}, "is sampled at 257 Hz according to the file, and at 500 Hz"),
            ({"units": "mV"}, "is in uV according to the file, and in mV"),
            ({"gain": 200}, "is in uV according to the file, so that there are no counts"),
        ):
            with pytest.raises(DataError, match=reason):
                read_ecg(path, at_once=at_once, **given)


def test_what_a_struct_beside_the_signal_says_is_not_overruled(tmp_path, ecg):
    info = {"fs": 257, "units": "mV", "sig_name": cells_of(LEADS)}
    scipy.io.savemat(tmp_path / "a.mat", {"val": ecg.signal, "info": info})
    assert read_ecg(tmp_path / "a.mat").sample_rate == 257
    with pytest.raises(DataError, match="is sampled at 257 Hz according to the file"):
        read_ecg(tmp_path / "a.mat", sample_rate=500)
    with pytest.raises(DataError, match="is in mV according to the file"):
        read_ecg(tmp_path / "a.mat", units="uV")


def test_attributes_of_the_data_set_come_before_those_around_it(tmp_path, ecg):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["ecg/signal"] = ecg.signal
        file["ecg/signal"].attrs.update(fs=257, units="uV", leads=[lead.encode() for lead in LEADS])
        file["ppg/signal"] = np.ones((2, 70))
        file["ppg/signal"].attrs.update(fs=64, units="V", leads=["red", "infrared"])
        file["ppg"].attrs["fs"] = 64
    read = read_ecg(path)
    assert (read.leads, read.sample_rate) == (LEADS, 257)
    assert read.metadata["left_out"] == "ppg/signal"
    np.testing.assert_allclose(read.signal, ecg.signal / 1000)
    with h5py.File(path, "r+") as file:
        file.attrs["fs"] = 500
    with pytest.raises(DataError, match=r"says several sampling rates \(257, 500 Hz\)"):
        read_ecg(path)


def test_of_several_rates_elsewhere_one_is_given(tmp_path, ecg):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["signal"] = ecg.signal
        file["device/fs"], file["export/fs"] = 500.0, 257.0
    given = {"leads": LEADS, "units": "mV"}
    with pytest.raises(DataError, match=r"\(500, 257 Hz\)\. Give one of them as sample_rate"):
        read_ecg(path, **given)
    assert read_ecg(path, sample_rate=257, **given).sample_rate == 257
    with pytest.raises(DataError, match="says several sampling rates"):
        read_ecg(path, sample_rate=250, **given)


def test_recordings_of_cpsc_2018_are_in_millivolts_and_the_standard_order(tmp_path, ecg):
    path = tmp_path / "A0001.mat"
    scipy.io.savemat(path, {"ECG": {"sex": "Male", "age": 60, "data": ecg.signal}})
    read = read_ecg(path, sample_rate=500)
    assert read.leads == LEADS
    np.testing.assert_array_equal(read.signal, ecg.signal)
    np.testing.assert_array_equal(
        read_ecg(path, leads=LEADS, sample_rate=500, units="mV").signal, ecg.signal
    )
    with pytest.raises(DataError, match="does not say its sampling rate"):
        read_ecg(path)


def write_by_lead(path, arrays, fs):
    if path.suffix == ".npz":
        np.savez(path, fs=fs, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"fs": fs, **{name: row[:, None] for name, row in arrays.items()}})
    else:
        with h5py.File(path, "w") as file:
            file["fs"] = fs
            for name, row in arrays.items():
                file[f"ukb_ecg_rest/{name}/instance_0"] = row


@pytest.mark.parametrize("name", ["a.npz", "a.mat", "a.h5", "a.hd5"])
@pytest.mark.parametrize("spelling", ["{}", "ECG_{}", "lead {}", "strip_{}"])
@pytest.mark.parametrize("at_once", [None, 100])
def test_an_array_for_each_lead(tmp_path, ecg, name, spelling, at_once):
    path = tmp_path / name
    rows = dict(zip(LEADS, ecg.signal, strict=True))
    arrays = {spelling.format(lead).replace(" ", "_"): rows[lead] for lead in sorted(LEADS)}
    write_by_lead(path, {**arrays, "other": np.ones(20)}, 257)
    read = read_ecg(path, units="mV", leads=LEADS, at_once=at_once)
    assert (read.leads, read.sample_rate) == (LEADS, 257)
    np.testing.assert_array_equal(read.signal[:, :], ecg.signal)
    assert read_ecg(path, units="mV").leads == LEADS


def test_the_layout_of_ml4h_with_averaged_beats_beside_the_recording(tmp_path, ecg):
    path = tmp_path / "a.hd5"
    with h5py.File(path, "w") as file:
        for lead, row in zip(LEADS, ecg.signal, strict=True):
            file[f"ukb_ecg_rest/strip/{lead}"] = row
            file[f"ukb_ecg_rest/median/{lead}"] = row[:100]
    read = read_ecg(path, sample_rate=500, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)
    assert "ukb_ecg_rest/median/aVR" in read.metadata["left_out"]
    with h5py.File(path, "r+") as file:
        for lead, row in zip(LEADS, ecg.signal, strict=True):
            file[f"ukb_ecg_rest/second/{lead}"] = row
    with pytest.raises(DataError, match=r"leads of several recordings \(ukb_ecg_rest/second/\*, "):
        read_ecg(path, sample_rate=500, units="mV")
    with h5py.File(path) as file, h5py.File(tmp_path / "b.hd5", "w") as own:
        file.copy("ukb_ecg_rest/second", own)
    read = read_ecg(tmp_path / "b.hd5", sample_rate=500, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)


def test_other_signals_are_named(tmp_path, ecg):
    rows = dict(zip(LEADS, ecg.signal, strict=True))
    n = ecg.n_samples
    np.savez(tmp_path / "a.npz", **rows, ppg=np.ones(n), t=np.arange(n), r_peaks=np.arange(9))
    read = read_ecg(tmp_path / "a.npz", sample_rate=257, units="mV")
    assert read.metadata["left_out"] == "ppg"
    np.savez(tmp_path / "b.npz", ecg=ecg.signal, ppg=np.ones(n), i=np.arange(n))
    read = read_ecg(tmp_path / "b.npz", leads=LEADS, sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)
    assert read.metadata["left_out"] == "ppg, i"


def test_leads_of_several_lengths_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", I=np.ones(100), II=np.ones(101))
    with pytest.raises(DataError, match=r"I has 100 samples .*, II has 101"):
        read_ecg(tmp_path / "a.npz", sample_rate=257, units="mV")


def test_cells_that_each_hold_a_lead(tmp_path, ecg):
    cells = cells_of([row[None] for row in ecg.signal])
    scipy.io.savemat(tmp_path / "a.mat", {"ecg": cells, "leads": cells_of(LEADS), "fs": 257})
    np.testing.assert_array_equal(read_ecg(tmp_path / "a.mat", units="mV").signal, ecg.signal)


def test_small_archives_that_say_much_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("signal.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (12, 3 * 10**6)}
        )
        for _ in range(36):
            member.write(bytes(8 * 10**6))
    for at_once in (None, 100):
        with pytest.raises(DataError, match=r"a\.npz: says .* times its packed size"):
            read_ecg(path, leads=LEADS, sample_rate=500, units="mV", at_once=at_once)


@pytest.mark.parametrize("at_once", [None, 10])
def test_arrays_of_an_archive_that_are_not_there_take_no_memory(tmp_path, at_once):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("signal.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (12, 10**8)}
        )
    with pytest.raises(DataError, match=r"0 of 9600000000 bytes of \(12, 100000000\) are there"):
        read_ecg(path, leads=LEADS, sample_rate=500, units="mV", at_once=at_once)


@pytest.mark.parametrize("format", ["mat", "npz", "h5"])
@pytest.mark.parametrize("is_by_lead", [True, False])
def test_units_in_the_names_of_leads_count(format, is_by_lead, tmp_path):
    signal = np.random.default_rng(1).normal(0, 500, (2, 400))
    names = ["I_uV", "II_uV"] if is_by_lead else ["I (uV)", "II [uV]"]
    variables = {"fs": 500}
    variables |= (
        dict(zip(names, signal, strict=True)) if is_by_lead else {"ecg": signal, "leads": names}
    )
    path = tmp_path / f"a.{format}"
    if format == "mat":
        scipy.io.savemat(path, variables)
    elif format == "npz":
        np.savez(path, **variables)
    else:
        with h5py.File(path, "w") as file:
            for name, value in variables.items():
                file[name] = value
    for at_once in (None, 100):
        ecg = read_ecg(path, at_once=at_once)
        assert ecg.leads == ("I", "II")
        np.testing.assert_allclose(ecg.signal[:, :], signal / 1000)
        read_ecg(path, at_once=at_once, units="uV")
        with pytest.raises(DataError, match="is in uV according to the file, and in mV"):
            read_ecg(path, at_once=at_once, units="mV")
