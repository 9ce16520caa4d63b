"""Packed stores: the segments of many ``.mat`` files in a few files that batches are read from.

README.md describes the layout. Stores are written by `fairseq_ecg.prepare.pack`.
"""

from fairseq_ecg.data.store.layout import DTYPES, is_store
from fairseq_ecg.data.store.reader import Questions, Segments, Store

__all__ = ["DTYPES", "Questions", "Segments", "Store", "is_store"]
