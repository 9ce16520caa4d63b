"""From WFDB records and a table of labels to everything that training reads."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
from tqdm import tqdm

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.recording import Recording
from fairseq_ecg.prepare.atomic import replacing
from fairseq_ecg.prepare.labels import LabelTable, read_labels, write_labels
from fairseq_ecg.prepare.manifests import (
    SegmentedRecording,
    write_cmsc_manifest,
    write_manifest,
)
from fairseq_ecg.prepare.recordings import read_recording
from fairseq_ecg.prepare.signals import Segments, segments_of
from fairseq_ecg.prepare.splits import SPLITS, split

MAT_DESCRIPTION = b"MATLAB 5.0 MAT-file"


@dataclass(frozen=True)
class Summary:
    """What was prepared.

    Attributes:
        patients: number by split.
        recordings: number by split.
        segments: number by split.
        too_short: number of recordings shorter than one segment, which are in no split.
        untrainable: labels that hold in no recording of the training split.
    """

    patients: dict[str, int]
    recordings: dict[str, int]
    segments: dict[str, int]
    too_short: int
    untrainable: list[str]


def prepare(
    records: Path,
    labels: Path,
    out: Path,
    *,
    patient_column: str,
    sample_rate: int = 500,
    segment_seconds: float = 5.0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 1,
) -> Summary:
    """Prepare recordings for pre-training and fine-tuning.

    Written are ``segmented/*.mat``, ``labels/{y.npy,label_def.csv,pos_weight.txt}``,
    ``meta_split.csv``, and last the manifests ``manifests/{train,valid,test}.tsv`` and
    ``manifests/cmsc/{train,valid,test}.tsv``. The same input gives the same bytes.

    Args:
        records: folder of WFDB records.
        labels: CSV file, see ``read_labels``; it also says which records to take.
        out: folder to write to; created where absent.
        patient_column: column of ``labels`` that names the patient.
        sample_rate: of the segments in Hz.
        segment_seconds: length of a segment in seconds.
        fractions: of the patients in train, valid and test.
        seed: of the drawing of the splits.

    Returns:
        What was prepared.

    Raises:
        DataError: The input is not as it should be; the message says what and where.
    """
    segment_samples = round(segment_seconds * sample_rate)
    if segment_samples < 1:
        raise DataError(f"{segment_seconds} s at {sample_rate} Hz make no segment")
    table = read_labels(labels, patient_column)
    stems = _file_stems(table, labels)
    segmented, manifests = out / "segmented", out / "manifests"

    counts = []
    for idx, record in enumerate(tqdm(table.records, desc="prepare", unit="recording")):
        recording = read_recording(records / record)
        segments = segments_of(recording.feats, recording.sample_rate, sample_rate, segment_samples)
        _write_segments(segmented / stems[idx], segments, recording, idx, sample_rate)
        counts.append(len(segments.ecg))

    meta = pd.DataFrame({"save_file": stems, patient_column: table.patients})
    meta = meta.rename_axis("idx").reset_index()[np.array(counts) > 0]
    meta = split(meta, "grouped", fractions=fractions, seed=seed, group_column=patient_column)
    split_of = dict(zip(meta["idx"], meta["split"], strict=True))
    splits = [split_of.get(idx) for idx in range(len(stems))]
    write_labels(table, splits, out / "labels")
    _write_meta(out / "meta_split.csv", table, stems, splits, patient_column)
    members: dict[str, list[SegmentedRecording]] = {split: [] for split in SPLITS}
    for stem, count, name in zip(stems, counts, splits, strict=True):
        if name:
            members[name].append(SegmentedRecording(stem, count))
    for label, recordings in members.items():
        name = f"{label}.tsv"
        write_manifest(manifests / name, segmented, recordings, segment_samples)
        write_cmsc_manifest(manifests / "cmsc" / name, segmented, recordings, segment_samples)

    in_training = np.array([name == "train" for name in splits])
    absent = ~table.values[in_training].any(axis=0)
    patients = meta.groupby("split")[patient_column].nunique()
    return Summary(
        patients={label: int(patients.get(label, 0)) for label in SPLITS},
        recordings={label: len(recordings) for label, recordings in members.items()},
        segments={
            label: sum(recording.n_segments for recording in recordings)
            for label, recordings in members.items()
        },
        too_short=splits.count(None),
        untrainable=[name for name, none in zip(table.names, absent, strict=True) if none],
    )


def _file_stems(table: LabelTable, labels: Path) -> list[str]:
    """Return the file name of each recording without extension: its path in one word."""
    stems = [record.replace("/", "_").replace(" ", "_") for record in table.records]
    seen: dict[str, str] = {}
    for stem, record in zip(stems, table.records, strict=True):
        if stem in seen:
            raise DataError(f"{labels}: {seen[stem]} and {record} would both become {stem}.mat")
        seen[stem] = record
    return stems


def _write_segments(
    stem: Path, segments: Segments, recording: Recording, idx: int, sample_rate: int
) -> None:
    """Write ``<stem>_<i>.mat`` for each segment ``i``, with the keys of fairseq_signals."""
    for i, ecg in enumerate(segments.ecg):
        buffer = io.BytesIO()
        scipy.io.savemat(
            buffer,
            {
                "org_sample_rate": int(recording.sample_rate),
                "curr_sample_rate": sample_rate,
                "org_sample_size": recording.feats.shape[1],
                "curr_sample_size": ecg.shape[1],
                "feats": ecg,
                "idx": idx,
                "mean": segments.mean,
                "std": segments.std,
                "segment_i": i,
            },
        )
        content = buffer.getbuffer()
        # scipy writes the time of day into these 116 bytes of free text.
        content[:116] = MAT_DESCRIPTION.ljust(116)
        with replacing(stem.with_name(f"{stem.name}_{i}.mat")) as path:
            path.write_bytes(content)


def _write_meta(
    path: Path,
    table: LabelTable,
    stems: list[str],
    splits: Sequence[str | None],
    patient_column: str,
) -> None:
    """Write which recording has which idx and is in which split."""
    with (
        replacing(path) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["idx", "save_file", "split", patient_column, "record"])
        rows = zip(stems, splits, table.patients, table.records, strict=True)
        for idx, (stem, split, patient, record) in enumerate(rows):
            if split:
                writer.writerow([idx, f"{stem}.mat", split, patient, record])
