"""From manifests and recordings on disk to batches; numpy and torch, without fairseq."""

from importlib import import_module
from typing import Any

# Each is imported when it is asked for: errors and files are used by programs that need no torch.
_MODULE_OF = {
    "LEADS": "ecg.leads",
    "SOURCES": "data.sources",
    "TARGETS": "data.targets",
    "VIEWS": "data.views",
    "DataError": "errors",
    "DatasetOptions": "data.options",
    "ECGDataset": "data.dataset",
    "Entry": "data.manifest",
    "HeadsTarget": "data.targets",
    "Manifest": "data.manifest",
    "RecordSource": "data.sources",
    "SegmentsView": "data.views",
    "labels_of": "data.targets",
    "lead_indices": "ecg.leads",
    "read_cmsc_manifest": "data.manifest",
    "read_manifest": "data.manifest",
    "read_question_manifest": "data.manifest",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"fairseq_ecg.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
