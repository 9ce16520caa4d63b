"""A small valid file of each format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from tests.formats import test_dicom, test_edf, test_scp
from tests.prepare.sources.archives import muse_counts, muse_xml

SAID = {"sample_rate": 250, "leads": list(LEADS), "units": "mV"}
"""Of files that do not say it themselves."""


def ecg_like(n_samples: int = 250) -> np.ndarray:
    """Beats of 1 mV in twelve leads at 250 Hz, ``(12, n_samples)`` in mV, to 0.01 mV."""
    time = np.arange(n_samples) / 250
    beat = np.exp(-(((time % 0.8 - 0.4) / 0.02) ** 2))
    drift = 0.05 * np.sin(2 * np.pi * 0.3 * time)
    return np.array([(0.4 + 0.1 * i) * beat + drift for i in range(12)]).round(2)


def write_record(folder: Path, name: str, format: str = "16") -> Path:
    """Write a WFDB record."""
    wfdb.wrsamp(
        name,
        fs=250,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        p_signal=ecg_like().T,
        fmt=[format] * 12,
        adc_gain=[200] * 12,
        baseline=[0] * 12,
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def good_files(folder: Path) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """Write the files.

    Yields:
        The file to damage, the one to read, and what has to be said of it.
    """
    signal = ecg_like()
    counts = (signal * 200).round().astype(int)
    for format in ("16", "212"):
        header = write_record(folder, f"wfdb{format}", format)
        yield header, header, {}
        yield header.with_suffix(".dat"), header, {}
    for suffix in (".edf", ".bdf"):
        path = test_edf.write(folder / f"a{suffix}", signal, LEADS, 250)
        yield path, path, {}
    group = test_dicom.group(counts, LEADS, 250, sensitivity=5)
    path = test_dicom.write(folder / "a.dcm", group)
    yield path, path, {}
    path = folder / "a.scp"
    test_scp.write(path, counts)
    yield path, path, {}
    path = folder / "a.xml"
    path.write_text(muse_xml(muse_counts(1, 250), sample_rate=250))
    yield path, path, {}

    table = np.column_stack([np.arange(signal.shape[1]) / 250, signal.T])
    for name, separator in (("a.csv", ","), ("semicolons.csv", ";"), ("blanks.txt", " ")):
        path = folder / name
        header = separator.join(["time", *LEADS])
        np.savetxt(path, table, "%.3f", separator, header=header, comments="")
        yield path, path, {"units": "mV"}
    path = folder / "a.npy"
    np.save(path, signal)
    yield path, path, SAID
    path = folder / "a.npz"
    np.savez_compressed(path, signal=signal, fs=250, leads=list(LEADS), units="mV")
    yield path, path, {}
    variables = {"signal": signal, "fs": 250.0, "units": "mV", "leads": list(LEADS)}
    for name, options in (("a.mat", {}), ("packed.mat", {"do_compression": True})):
        path = folder / name
        scipy.io.savemat(path, variables, **options)
        yield path, path, {}
    path = folder / "old.mat"
    scipy.io.savemat(path, {"signal": signal, "fs": 250.0}, format="4")
    yield path, path, {"units": "mV", "leads": list(LEADS)}
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("signal", data=signal, chunks=(12, 50), compression="gzip")
        file["signal"].attrs.update({"fs": 250, "units": "mV", "leads": list(LEADS)})
    yield path, path, {}
