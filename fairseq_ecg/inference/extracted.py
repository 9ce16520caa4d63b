"""From what the extraction programs store to what is used of it: one row per recording."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.ops.pooling import mean_of_nonzero

ROWS_AT_ONCE = 256


def pool_embeddings(directory: Path, split: str, device: str = "cpu") -> Path:
    """Average the encoder output of every recording as the classifier does before its labels.

    Padded frames do not count, see :func:`fairseq_ecg.ops.pooling.mean_of_nonzero`.

    Args:
        directory: holds ``encoder_out_<split>.npy``, and ``padding_mask_<split>.npy`` where
            recordings are padded.
        split: name of the subset.
        device: that computes.

    Returns:
        ``emb_<split>.npy``, which ``np.load`` reads: ``(N, D)`` float32.

    Raises:
        DataError: the stores are not there, or cannot be read.
    """

    def pooled(encoder_out: np.ndarray, padding_mask: np.ndarray | None) -> np.ndarray:
        mask = None if padding_mask is None else torch.from_numpy(padding_mask != 0).to(device)
        frames = torch.from_numpy(encoder_out.astype(np.float32)).to(device)
        return mean_of_nonzero(frames, mask).cpu().numpy()

    return _row_by_row(directory, split, "encoder_out", "emb", pooled)


def maximum_attention(directory: Path, split: str, device: str = "cpu") -> Path:
    """Reduce saliency to the largest attention weight of every frame in the last layer.

    For each frame as the query, the largest weight that it gives to any frame; ECG-FM's saliency
    maps show it.

    Arguments and errors are those of `pool_embeddings`, of ``saliency_<split>.npy``.

    Returns:
        ``attn_max_<split>.npy``, which ``np.load`` reads: ``(N, T')`` float32, 0 in padded frames.
    """

    def largest(saliency: np.ndarray, padding_mask: np.ndarray | None) -> np.ndarray:
        last = torch.from_numpy(saliency[:, -1].astype(np.float32)).to(device)
        attention = last.max(dim=2).values.cpu().numpy()
        return attention if padding_mask is None else np.where(padding_mask != 0, 0, attention)

    return _row_by_row(directory, split, "saliency", "attn_max", largest)


def _row_by_row(
    directory: Path,
    split: str,
    source: str,
    result: str,
    function: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
) -> Path:
    """Apply a function to the rows of a store, and of the padding mask beside it if there is one.

    The whole store never is in memory.
    """
    store = _open(directory / f"{source}_{split}.npy")
    mask_file = directory / f"padding_mask_{split}.npy"
    mask = _open(mask_file) if mask_file.exists() else None
    if mask is not None and len(mask) != len(store):
        raise DataError(
            f"{mask_file} has {len(mask)} recordings, {store.file} {len(store)}: they are of "
            "different extractions. Extract both again"
        )
    rows = []
    for start in progress_bar(range(0, len(store), ROWS_AT_ONCE), result, "batch", show=True):
        chosen = slice(start, start + ROWS_AT_ONCE)
        rows.append(function(store[chosen], None if mask is None else np.array(mask[chosen])))
    path = directory / f"{result}_{split}.npy"
    with replacing(path) as unfinished:
        np.save(unfinished, np.concatenate(rows))
    return path


def _open(path: Path) -> MemmapReader:
    if not path.exists():
        raise DataError(
            f"{path}: no such file. Extract it by fairseq-hydra-inference or "
            "fairseq-hydra-validate with common_eval.extract=[encoder_out,saliency]"
        )
    return MemmapReader.from_header(path)
