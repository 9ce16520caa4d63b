"""Named arrays (``.npz``, ``.mat``, HDF5) of which one is the signal and others describe it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairseq_ecg.data.errors import DataError, damage_as_data_error
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.arrays import as_rows, stored_npy
from fairseq_ecg.formats.channels import Channel, Content, Given
from fairseq_ecg.formats.location import LocalFile, Location

NAMES = {
    "signal": (
        "signal", "signals", "ecg", "ekg", "data", "feats", "val", "p_signal", "waveform",
        "waveforms", "tracing", "tracings", "values", "x",
    ),
    "leads": (
        "leads", "lead_names", "lead_name", "lead", "sig_name", "sig_names", "signal_names",
        "channels", "channel_names", "ch_names",
    ),
    "sample_rate": (
        "sample_rate", "sampling_rate", "samplerate", "samplingrate", "sample_frequency",
        "sampling_frequency", "samplingfrequency", "curr_sample_rate", "frequency", "freq", "fs",
        "sfreq",
    ),
    "units": ("units", "unit"),
    "gain": ("gain", "adc_gain", "counts_per_mv"),
}  # fmt: skip
"""Names of variables by what they hold, the preferred ones first; in any case."""


def content_of(where: str, variables: Mapping[str, Any], given: Given) -> Content:
    """Find an ECG among variables.

    The signal is the variable with one of `NAMES`, or the only array of at least two dimensions.
    Variables as fairseq_signals writes them (``feats`` and ``curr_sample_rate``) are known to be
    in mV, unless ``std`` is there, and in the standard order where there are twelve leads.

    Args:
        where: names the file in error messages.
        variables: arrays, numbers and texts by name.
        given: number of leads where the file has no names.

    Raises:
        DataError: there is no signal, or something that describes it is no name, rate or unit.
    """
    folded = {name.lower(): value for name, value in variables.items()}
    values = _signal(where, folded)
    leads = _texts(_first(folded, "leads"))
    units = _texts(_first(folded, "units"))
    if {"feats", "curr_sample_rate"} <= folded.keys():
        if "std" in folded:
            raise DataError(f"{where}: already standardised, no longer in mV. Give the original")
        units = units or ["mV"]
        if leads is None and given.leads is None:
            if len(LEADS) not in np.shape(values):
                raise DataError(
                    f"{where}: feats has shape {np.shape(values)}, not (12, samples). Give leads"
                )
            leads = list(LEADS)
    n_leads = len(leads) if leads else None if given.leads is None else len(given.leads)
    rows = as_rows(values, n_leads, where)
    units = _for_each(where, "units", units, len(rows))
    gains = _for_each(where, "gain", _numbers(where, "gain", _first(folded, "gain")), len(rows))
    rate = _numbers(where, "sample_rate", _first(folded, "sample_rate"))
    if rate is not None and (len(set(rate)) != 1 or not 0 < rate[0] < np.inf):
        raise DataError(f"{where}: the sampling rate must be one positive number (Hz), is {rate}")
    return Content(
        [
            Channel(row, leads[i] if leads else None, units[i], rate[0] if rate else None, gains[i])
            for i, row in enumerate(rows)
        ]
    )


def _first(variables: Mapping[str, Any], what: str) -> Any:
    """Return the variable that goes by one of the names, None where there is none."""
    return next((variables[name] for name in NAMES[what] if name in variables), None)


def _signal(where: str, variables: Mapping[str, Any]) -> Any:
    values = _first(variables, "signal")
    if values is not None:
        return values
    arrays = [
        name
        for name, value in variables.items()
        if np.ndim(value) > 1 and min(np.shape(value)) > 0 and _is_numeric(value)
    ]
    large = [name for name in arrays if max(np.shape(variables[name])) > _FEW] or arrays
    if len(large) != 1:
        raise DataError(
            f"{where}: none of its variables ({', '.join(variables) or 'there are none'}) is "
            "known to be the signal. Call it 'signal'"
        )
    return variables[large[0]]


def _is_numeric(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return (np.asarray(value).dtype if dtype is None else dtype).kind in "fiu"


_FEW = 64
"""Arrays without a longer side are no signals where there are others: matrices, tables."""


def _texts(value: Any) -> list[str] | None:
    """Return names or units from whatever array or sequence holds them; None without texts."""
    if value is None:
        return None
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        for item in _flat(value)
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    if len(texts) == 1 and "," in texts[0]:  # one text such as "I,II,V1"
        texts = texts[0].split(",")
    return [text.strip() for text in texts]


def _flat(value: Any) -> list[Any]:
    """Return the items of nested arrays and lists, which is how MATLAB's cells are read."""
    if isinstance(value, str | bytes):
        return [value]
    if isinstance(value, list):
        return [item for element in value for item in _flat(element)]
    array = np.asarray(value)
    if array.dtype == object:
        return _flat(list(array.ravel())) if array.ndim else [value]
    return array.ravel().tolist()


def _numbers(where: str, what: str, value: Any) -> list[float] | None:
    if value is None:
        return None
    try:
        return [float(item) for item in _flat(value)]
    except (TypeError, ValueError):
        raise DataError(f"{where}: its {what} is {value!r}, not a number") from None


def _for_each(where: str, what: str, values: list | None, n: int) -> list:
    if values is None or len(values) == 1:
        return [values[0] if values else None] * n
    if len(values) != n:
        raise DataError(f"{where}: has {n} leads, and {len(values)} values of {what}")
    return values


def read_npz(location: Location, given: Given, at_once: int | None = None) -> Content:
    """Read a ``.npz`` file: a signal, and leads, rate, units and gain where they are in it."""
    where = str(location)
    with (
        location.open() as file,
        damage_as_data_error(where, ".npz file"),
        np.load(file, allow_pickle=False) as archive,
    ):
        long = [] if at_once is None else _long_arrays(archive, at_once)
        variables = {name: archive[name] for name in archive.files if name not in long}
        for name in long:
            with archive.zip.open(f"{name}.npy") as member:
                file = LocalFile.copy_of(member, f"{location.stem}.npy")
            variables[name] = stored_npy(file, where)
    return content_of(where, variables, given)


def _long_arrays(archive: Any, at_once: int) -> list[str]:
    """Names of arrays that may be longer than ``at_once`` samples."""
    n_bytes = {member.filename: member.file_size for member in archive.zip.infolist()}
    return [name for name in archive.files if n_bytes.get(f"{name}.npy", 0) > at_once]
