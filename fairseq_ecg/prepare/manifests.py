"""Manifests: lists of segment files by split, in the formats of fairseq_signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_ecg.prepare.atomic import replacing


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
    lines = [f"\t{root.resolve()}/"]
    for recording in recordings:
        for i in range(recording.n_segments):
            lines.append(f"{recording.stem}_{i}.mat\t{segment_samples}")
    _write(path, lines)


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
    lines = [f"{root.resolve()}/", "mat"]
    for recording in recordings:
        for i in range(0, recording.n_segments - 1, 2):
            lines.append(f"{recording.stem}\t{segment_samples}\t0\t{i},{i + 1}")
    _write(path, lines)


def _write(path: Path, lines: list[str]) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
