"""A map of embeddings in two dimensions."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

FEWEST_FOR_UMAP = 10
"""Below this UMAP has no neighbourhoods to keep, and principal components show more."""
MOST_NEIGHBOURS = 15
MIN_DISTANCE = 0.1


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Where segments lie to each other.

    Attributes:
        positions: ``(N, 2)`` in [0, 1], the longer side filling it.
        method: how it was made, in words.
    """

    positions: np.ndarray
    method: str


def map_embeddings(embeddings: np.ndarray, seed: int) -> EmbeddingMap:
    """Map embeddings.

    UMAP as in ECG-FM's quick start (``min_dist`` 0.1), whose 3 neighbours grow with the number of
    segments up to 15; principal components of fewer than ten segments, or without umap-learn.

    Args:
        embeddings: ``(N, D)``.
        seed: of UMAP; with the same one the map is the same.

    Returns:
        The map.
    """
    n = len(embeddings)
    if n >= FEWEST_FOR_UMAP and find_spec("umap"):
        neighbours = min(MOST_NEIGHBOURS, max(3, n // 5))
        positions = _umap(embeddings, neighbours, seed)
        method = f"UMAP, {neighbours} neighbours, seed {seed}"
    else:
        positions = _principal_components(embeddings)
        why = f"{n} segments" if n < FEWEST_FOR_UMAP else "umap-learn is not installed"
        method = f"principal components ({why})"
    lowest = positions.min(axis=0)
    span = (positions.max(axis=0) - lowest).max() or 1.0
    return EmbeddingMap((positions - lowest) / span, method)


def _umap(embeddings: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    import umap

    n_threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            # That a seed costs parallelism, and that few points have no spectral start.
            warnings.simplefilter("ignore")
            mapper = umap.UMAP(
                n_neighbors=neighbours, min_dist=MIN_DISTANCE, random_state=seed, n_jobs=1
            )
            return mapper.fit_transform(embeddings)
    finally:
        torch.set_num_threads(n_threads)  # numba gives OpenMP, torch's too, all processors


def _principal_components(embeddings: np.ndarray) -> np.ndarray:
    """Project onto the two directions of largest variance, their signs fixed."""
    centred = embeddings - embeddings.mean(axis=0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    positions = np.zeros((len(embeddings), 2))
    for axis, direction in enumerate(directions[:2]):
        positions[:, axis] = centred @ direction * np.sign(direction[np.abs(direction).argmax()])
    return positions
