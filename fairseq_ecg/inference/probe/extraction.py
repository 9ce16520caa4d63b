"""Embeddings that were extracted before, in the folder of a run as fairseq_signals leaves it."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fairseq_ecg.data.documents import load_yaml
from fairseq_ecg.data.label_file import LabelFile
from fairseq_ecg.data.manifest import read_manifest
from fairseq_ecg.data.segment_files import recording_of_segment
from fairseq_ecg.data.tables import read_table, whole_numbers
from fairseq_ecg.errors import DataError, damage_as_data_error
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.inference.extracted import pool_embeddings
from fairseq_ecg.inference.probe.embedding import Features


def read_extracted(
    directory: Path,
    manifest_file: Path,
    split: str,
    *,
    data: Path | None = None,
    label_file: Path | None = None,
    device: str = "cpu",
) -> Features:
    """Read the embeddings of a split, made by ``fairseq-ecg pool`` or here.

    Args:
        directory: holds ``emb_<split>.npy``, or ``encoder_out_<split>.npy`` of which it is made,
            and ``config.yaml``, the configuration of the run.
        manifest_file: table of recordings with ``save_file`` and ``idx``.
        split: its name.
        data: folder of ``<split>.tsv``; None: ``task.data`` of the configuration.
        label_file: ``y.npy``; None: ``task.label_file`` of the configuration.
        device: that averages frames.

    Returns:
        Segments in the order of ``<split>.tsv``.

    Raises:
        DataError: files are missing or do not belong together.
    """
    if data is None or label_file is None:
        task = _task(directory / "config.yaml")
        data = Path(data or _setting(task, "data", directory))
        label_file = Path(label_file or _setting(task, "label_file", directory))
    tsv = data / f"{split}.tsv"
    manifest = read_manifest(tsv, None)
    embeddings = _embeddings(directory, split, device)
    if len(embeddings) != len(manifest):
        raise DataError(
            f"{directory}: {len(embeddings)} embeddings of {split}, but {tsv} lists "
            f"{len(manifest)} segments: extract them again"
        )
    table = read_table(manifest_file, ["save_file", "idx"])
    idx = whole_numbers(table["idx"], str(manifest_file))
    idx_of = dict(zip(table["save_file"].map(_recording), idx, strict=True))
    names = [_recording(recording_of_segment(entry.path)) for entry in manifest]
    labels = LabelFile(label_file, missing=True)
    recordings, recording_of = np.unique(names, return_inverse=True)
    rows = []
    for name in recordings:
        if name not in idx_of:
            raise DataError(f"{manifest_file}: no save_file {name}, which {tsv} lists")
        rows.append(labels.row(int(idx_of[name]), str(name)).numpy())
    return Features(embeddings, recording_of, tuple(recordings), np.array(rows, np.float64))


def _recording(path: str) -> str:
    return os.path.basename(path).removesuffix(".mat")


def _embeddings(directory: Path, split: str, device: str) -> np.ndarray:
    path = directory / f"emb_{split}.npy"
    if not path.is_file():
        path = pool_embeddings(directory, split, device)
    if os.path.isfile(MemmapReader.file_to_default_header(path)):
        embeddings = np.array(MemmapReader.from_header(path).array)
    else:
        with damage_as_data_error(str(path), ".npy file", "Delete it and extract again"):
            embeddings = np.load(path)
    if embeddings.ndim != 2:
        raise DataError(
            f"{path}: has the shape {embeddings.shape}, not (segments, channels). Delete it"
        )
    return embeddings.astype(np.float32)


def _task(path: Path) -> Mapping:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. Copy the run's .hydra/config.yaml there, or name manifests "
            "and labels"
        )
    with damage_as_data_error(str(path), "YAML file"):
        task = load_yaml(path.read_text(encoding="utf-8"), str(path))["task"]
        return dict(task)


def _setting(task: Mapping, key: str, directory: Path) -> str:
    if not task.get(key) or task[key] == "???":
        raise DataError(f"{directory / 'config.yaml'}: says no task.{key}")
    return task[key]
