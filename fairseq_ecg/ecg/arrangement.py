"""An ECG with other leads: in another order, or computed from those that are there."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS, LIMB_LEADS
from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.errors import DataError

OF_I_AND_II = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""Einthoven's and Goldberger's leads as sums of I and II."""


def derive_limb_leads(ecg: ECG) -> ECG:
    """Add the limb leads that are missing, where at least two are there.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven, Goldberger),
    or what follows of these for the first two limb leads present.

    Returns:
        The ECG with all six limb leads, the derived ones last; unchanged if there are fewer than
        two to derive from.
    """
    present = [lead for lead in LIMB_LEADS if lead in ecg.leads]
    missing = [lead for lead in LIMB_LEADS if lead not in ecg.leads]
    if len(present) < 2 or not missing:
        return ecg
    signal = ecg.signal[:, :]  # of a long recording: all of it is needed
    first, second = (signal[ecg.leads.index(lead)] for lead in present[:2])
    basis = np.array([OF_I_AND_II[lead] for lead in present[:2]])
    derived = []
    for lead in missing:
        of_first, of_second = np.array(OF_I_AND_II[lead]) @ np.linalg.inv(basis)
        derived.append(float(of_first) * first + float(of_second) * second)
    return replace(ecg, signal=np.concatenate([signal, derived]), leads=(*ecg.leads, *missing))


def arrange(
    ecg: ECG,
    leads: Sequence[str] = LEADS,
    missing: Literal["error", "nan", "zero", "derive"] = "error",
) -> ECG:
    """Return an ECG with exactly the leads asked for, in this order.

    Args:
        ecg: with leads in any order; those not asked for are dropped.
        leads: names, spelled in any way that `standard_lead` knows.
        missing: what becomes of leads that are not there: an error, rows of NaN, rows of zeros,
            or limb leads derived of two others and an error for the rest. To derive what can be
            and fill the rest, arrange what `derive_limb_leads` returns.

    Raises:
        DataError: a lead is missing.
        ValueError: a lead is asked for twice, or ``missing`` is none of the four.
    """
    if missing not in ("error", "nan", "zero", "derive"):
        raise ValueError(f"missing={missing!r}: choose error, nan, zero or derive")
    names = tuple(lead if lead in ecg.leads else standard_lead(lead) for lead in leads)
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(leads)} names a lead twice")
    source = derive_limb_leads(ecg) if missing == "derive" else ecg
    row_of = {name: row for row, name in enumerate(source.leads)}
    absent = [name for name in names if name not in row_of]
    if absent and missing in ("error", "derive"):
        raise DataError(
            f"{ecg.where}: lacks lead {', '.join(absent)} (it has {', '.join(ecg.leads)})"
        )
    fill = 0.0 if missing == "zero" else np.nan
    signal = np.full((len(names), ecg.n_samples), fill, dtype=source.signal.dtype)
    for row, name in enumerate(names):
        if name in row_of:
            of_lead = row_of[name]
            signal[row] = source.signal[of_lead : of_lead + 1, :]
    return replace(ecg, signal=signal, leads=names)
