"""Reading ECGs from the files that devices, archives and people write, in mV."""

from fairseq_ecg.formats.arrays import ecg_from_array
from fairseq_ecg.formats.ecg import ECG
from fairseq_ecg.formats.leads import arrange, derive_limb_leads, standard_lead
from fairseq_ecg.formats.reading import FORMAT_OF_SUFFIX, FORMATS, read_ecg
from fairseq_ecg.formats.units import check_millivolts, millivolt_doubt

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
