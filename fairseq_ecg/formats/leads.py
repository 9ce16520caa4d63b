"""Names of leads as files spell them, and limb leads that follow from others."""

from dataclasses import replace

import numpy as np

from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.formats.ecg import ECG

_SPELLINGS = {lead.lower(): lead for lead in LEADS}


def standard_lead(name: str) -> str:
    """Return a lead's name as ``fairseq_ecg.data.leads.LEADS`` spells it, other names as they are.

    Args:
        name: in any case, blanks around it do not count.
    """
    return _SPELLINGS.get(name.strip().lower(), name.strip())


def derive_limb_leads(ecg: ECG) -> ECG:
    """Add the limb leads that are missing and follow from I and II.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven, Goldberger).

    Returns:
        The ECG with the derived leads last; unchanged where I or II is missing.
    """
    if not {"I", "II"} <= set(ecg.leads):
        return ecg
    i, ii = (ecg.signal[ecg.leads.index(lead)] for lead in ("I", "II"))
    derived = {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    missing = [lead for lead in derived if lead not in ecg.leads]
    if not missing:
        return ecg
    signal = np.concatenate([ecg.signal, [derived[lead] for lead in missing]])
    return replace(ecg, signal=signal, leads=(*ecg.leads, *missing))
