"""Reading ECGs from the files that devices, archives and people write, in mV."""

from fairseq_ecg.ecg.arrangement import arrange, derive_limb_leads
from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.ecg.units import check_millivolts, millivolt_doubt
from fairseq_ecg.formats.arrays import ecg_from_array
from fairseq_ecg.formats.reading import FORMAT_OF_SUFFIX, FORMATS, read_ecg

__all__ = [
    "ECG",
    "FORMATS",
    "FORMAT_OF_SUFFIX",
    "arrange",
    "check_millivolts",
    "derive_limb_leads",
    "ecg_from_array",
    "millivolt_doubt",
    "read_ecg",
    "standard_lead",
]
