"""From manifests and recordings on disk to batches; numpy and torch, without fairseq."""

from fairseq_ecg.data.cmsc_dataset import CMSCECGDataset
from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.file_dataset import FileECGDataset
from fairseq_ecg.data.leads import LEADS, lead_indices
from fairseq_ecg.data.manifest import (
    CMSCEntry,
    CMSCManifest,
    Entry,
    Manifest,
    read_cmsc_manifest,
    read_manifest,
)
from fairseq_ecg.data.path_dataset import PathECGDataset

__all__ = [
    "LEADS",
    "CMSCECGDataset",
    "CMSCEntry",
    "CMSCManifest",
    "DataError",
    "ECGDataset",
    "Entry",
    "FileECGDataset",
    "Manifest",
    "PathECGDataset",
    "lead_indices",
    "read_cmsc_manifest",
    "read_manifest",
]
