import sys

import numpy as np
import pytest
import torch

from fairseq_ecg.inference.report.embedding_map import map_embeddings


def two_groups(n):
    random = np.random.default_rng(1)
    far = np.repeat([0.0, 20.0], [n // 2, n - n // 2])[:, None]
    return (random.normal(size=(n, 8)) + far).astype(np.float32)


def distances(positions, n):
    """Largest distance within a group of :func:`two_groups`, and distance between the groups."""
    groups = positions[: n // 2], positions[n // 2 :]
    within = max(np.linalg.norm(group - group.mean(0), axis=1).max() for group in groups)
    return within, np.linalg.norm(groups[0].mean(0) - groups[1].mean(0))


def test_few_segments_are_mapped_by_their_principal_components():
    embeddings = two_groups(9)
    made = map_embeddings(embeddings, 1)
    assert made.method == "principal components (9 segments)"
    within, between = distances(made.positions, 9)
    assert between > 3 * within
    assert made.positions.min() == 0
    assert made.positions.max() == 1
    np.testing.assert_array_equal(made.positions, map_embeddings(embeddings, 2).positions)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_segments_have_positions(n):
    positions = map_embeddings(two_groups(n), 1).positions
    assert positions.shape == (n, 2)
    assert np.isfinite(positions).all()


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_is_seeded():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    embeddings = two_groups(16)
    n_threads = torch.get_num_threads()
    made = map_embeddings(embeddings, 3)
    assert torch.get_num_threads() == n_threads
    assert made.method == "UMAP, 3 neighbours, seed 3"
    within, between = distances(made.positions, 16)
    assert between > within
    np.testing.assert_array_equal(made.positions, map_embeddings(embeddings, 3).positions)


def test_without_umap_the_map_says_so(monkeypatch):
    monkeypatch.setattr(
        sys.modules["fairseq_ecg.inference.report.embedding_map"], "find_spec", lambda _: None
    )
    assert "umap-learn is not installed" in map_embeddings(two_groups(12), 1).method
