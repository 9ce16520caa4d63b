"""The archives that ECGs come from, each in a module of its own."""

import importlib
from collections.abc import Mapping
from pathlib import Path

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.source import Source

SOURCES = {
    "mimic_iv_ecg": "fairseq_ecg.prepare.sources.mimic_iv_ecg:MIMICIVECG",
    "physionet2021": "fairseq_ecg.prepare.sources.physionet2021:PhysioNet2021",
    "code_15": "fairseq_ecg.prepare.sources.code_15:CODE15",
    "ptb_xl": "fairseq_ecg.prepare.sources.ptb_xl:PTBXL",
    "ludb": "fairseq_ecg.prepare.sources.ludb:LUDB",
    "ecg_id": "fairseq_ecg.prepare.sources.ecg_id:ECGID",
    "muse": "fairseq_ecg.prepare.sources.muse:MUSE",
    "generic": "fairseq_ecg.prepare.sources.generic:Generic",
}
"""Class of each source, imported when it is asked for."""

__all__ = ["SOURCES", "Source", "open_source"]


def open_source(name: str, raw_root: Path, options: Mapping | None = None) -> Source:
    """Open an archive.

    Args:
        name: of the source, a key of ``SOURCES``.
        raw_root: folder of the archive.
        options: further arguments of the source's class.

    Returns:
        The source.

    Raises:
        DataError: there is no such source or folder.
    """
    if name not in SOURCES:
        raise DataError(f"source {name!r}: not one of {', '.join(SOURCES)}")
    if not raw_root.is_dir():
        raise DataError(f"{raw_root}: no such folder. Give the folder of the {name} archive")
    module, cls = SOURCES[name].split(":")
    return getattr(importlib.import_module(module), cls)(raw_root, **(options or {}))
