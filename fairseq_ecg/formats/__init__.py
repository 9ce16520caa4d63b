"""Reading ECGs from the files that devices, archives and people write, in mV."""

from fairseq_ecg.formats.ecg import ECG

__all__ = ["ECG"]
