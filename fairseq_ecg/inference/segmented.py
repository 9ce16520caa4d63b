"""A recording as segments that a network reads, however it came to be cut."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.ecg.quality import Quality, quality
from fairseq_ecg.formats import ECG


@dataclass(frozen=True, eq=False)
class SegmentedRecording:
    """Segments of one recording, and what is known of it.

    Attributes:
        sample_rate: of the recording as it was given, in Hz.
        n_samples: its length as it is stored.
        spans: start and end of each segment in the recording in seconds.
        padded: samples behind the recording in its only segment.
        missing_leads: that it lacked, derived ones included.
        flat_leads: others that are constant.
        quality: of the recording as it was given.
        segments: ``(rows, segment_samples)`` float32 each, computed as they are asked for.
        doubts: reasons to doubt what was read.
        leads: of which each has all ``spans`` by itself, one lead after the other; empty: they go
            through the network together.
        length: in samples at the network's rate.
    """

    sample_rate: float
    n_samples: int
    spans: tuple[tuple[float, float], ...]
    padded: int
    missing_leads: tuple[str, ...]
    flat_leads: tuple[str, ...]
    quality: Quality
    segments: Iterable[torch.Tensor]
    doubts: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    length: int = 0

    @classmethod
    def of_ecg(cls, ecg: ECG, preprocessing: Preprocessing, **policies):
        """Prepare a recording in mV, see :meth:`Preprocessing.segments`."""
        found = preprocessing.segments(ecg, **policies)
        return cls(
            ecg.sample_rate,
            ecg.n_samples,
            tuple(found.span(number) for number in range(len(found))),
            found.padded,
            found.missing_leads,
            found.flat_leads,
            quality(ecg),
            found,
            ecg.doubts,
            found.leads,
            found.length,
        )
