"""What a checkpoint says of the data that a network was trained on."""

from typing import Any

import numpy as np

from fairseq_ecg.data import ECGDataset


def notes_of(recordings: ECGDataset) -> dict[str, Any]:
    """Note what users of a network need to give it the like.

    Args:
        recordings: what it is trained on.

    Returns:
        ``sample_rate`` of the first segment in Hz, ``segment_seconds``, the length that most
        segments have, in seconds, what the target notes (``labels``, their names, if a file
        beside the labels says them), and ``mean`` and ``std`` of the twelve leads, if these are
        normalised.
    """
    first = recordings[0]
    rate = float((first[0] if isinstance(first, list) else first)["sample_rate"])
    sizes, counts = np.unique(recordings.sizes, return_counts=True)
    notes = {"sample_rate": rate, "segment_seconds": float(sizes[counts.argmax()]) / rate}
    notes |= recordings.target.notes()
    statistics = recordings.conditioning.statistics
    if statistics is not None:
        notes |= {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
    return notes
