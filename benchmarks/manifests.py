"""Manifests of made-up recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_ecg.prepare.manifests import HEADERS, cmsc_row, write_lines


@dataclass(frozen=True)
class SegmentedRecording:
    """The segment files ``<stem>_0.mat`` to ``<stem>_<n_segments - 1>.mat`` of one recording."""

    stem: str
    n_segments: int


def write_manifest(
    path: Path, root: Path, recordings: Sequence[SegmentedRecording], segment_samples: int
) -> None:
    """Write a manifest of single segments: the root, then file and number of samples.

    Args:
        path: ``<split>.tsv``.
        root: folder of the segment files.
        recordings: in the order of the manifest.
        segment_samples: length of a segment in samples.
    """
    rows = (
        f"{recording.stem}_{i}.mat\t{segment_samples}"
        for recording in recordings
        for i in range(recording.n_segments)
    )
    write_lines(path, [HEADERS["tab"](f"{root.resolve()}/")], rows)


def write_cmsc_manifest(
    path: Path, root: Path, recordings: Sequence[SegmentedRecording], segment_samples: int
) -> None:
    """Write a manifest of pairs of neighbouring segments, for contrastive learning.

    The third field is always 0. An odd last segment has no partner and is left out.

    Args:
        path: ``cmsc/<split>.tsv``.
        root: folder of the segment files.
        recordings: in the order of the manifest.
        segment_samples: length of a segment in samples.
    """
    rows = (
        cmsc_row(recording.stem, segment_samples, i, i + 1)
        for recording in recordings
        for i in range(0, recording.n_segments - 1, 2)
    )
    write_lines(path, [f"{root.resolve()}/", "mat"], rows)
