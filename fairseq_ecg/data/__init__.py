"""From manifests and recordings on disk to batches; numpy and torch, without fairseq."""

from importlib import import_module
from typing import Any

# Each is imported when it is asked for: errors and files are used by programs that need no torch.
_MODULE_OF = {
    "LEADS": "leads",
    "SOURCES": "sources",
    "TARGETS": "targets",
    "VIEWS": "views",
    "CMSCEntry": "manifest",
    "CMSCManifest": "manifest",
    "DataError": "errors",
    "DatasetOptions": "options",
    "ECGDataset": "dataset",
    "Entry": "manifest",
    "HeadsTarget": "targets",
    "Manifest": "manifest",
    "RecordSource": "sources",
    "SegmentsView": "views",
    "labels_of": "targets",
    "lead_indices": "leads",
    "read_cmsc_manifest": "manifest",
    "read_manifest": "manifest",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
