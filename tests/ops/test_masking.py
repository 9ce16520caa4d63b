import hashlib
import itertools

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.masking import compute_mask_indices


def draw(**options):
    rng = np.random.RandomState(0)
    shape = options.pop("shape", (3, 156))
    padding = options.pop("padding", None)
    return compute_mask_indices(shape, padding, 0.65, 10, min_masks=2, rng=rng, **options)


def padded_second_row():
    padding = torch.zeros(3, 156, dtype=torch.bool)
    padding[1, 100:] = True
    return padding


@pytest.mark.parametrize(
    ("options", "masked", "digest"),
    [
        ({}, 67, "2fa970be05e3"),
        ({"mask_type": "uniform", "mask_other": 2}, 55, "a15a15f372ad"),
        ({"mask_type": "normal", "mask_other": 3.0}, 72, "fcf9188edcea"),
        ({"mask_type": "poisson"}, 57, "f9bdfa33a838"),
        ({"padding": padded_second_row()}, 47, "bc51d03f9ee0"),
        ({"shape": (2, 12)}, 12, "14548bed5b3c"),
    ],
    ids=["static", "uniform", "normal", "poisson", "padded", "whole row"],
)
def test_masks_of_fairseq_signals(options, masked, digest):
    mask = draw(**options)
    assert mask.sum(axis=1).tolist() == [masked] * len(mask)
    assert hashlib.md5(mask.tobytes()).hexdigest()[:12] == digest


def test_global_stream_is_the_default():
    np.random.seed(0)
    mask = compute_mask_indices((3, 156), None, 0.65, 10, min_masks=2)
    np.testing.assert_array_equal(mask, draw())


def test_padded_frames_are_never_masked():
    mask = draw(padding=padded_second_row())
    assert not mask[1, 100:].any()


def spans(row):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


def test_spans_kept_apart_have_their_length_and_distance():
    rng = np.random.RandomState(0)
    for _ in range(20):
        mask = compute_mask_indices(
            (1, 156), None, 0.4, 10, min_masks=2, no_overlap=True, min_space=3, rng=rng
        )
        found = spans(mask[0])
        assert [end - begin for begin, end in found] == [10] * len(found)
        assert len(found) >= 2
        distances = [b[0] - a[1] for a, b in itertools.pairwise(found)]
        assert min(distances) >= 3


def test_every_row_is_cut_to_the_same_number():
    rng = np.random.RandomState(1)
    mask = compute_mask_indices((128, 156), None, 0.65, 10, min_masks=2, rng=rng)
    assert len(set(mask.sum(axis=1).tolist())) == 1


def test_shortest_row_decides_for_all():
    padding = torch.zeros(2, 156, dtype=torch.bool)
    padding[1, 12:] = True
    mask = draw(shape=(2, 156), padding=padding)
    first, second = mask.sum(axis=1)
    assert 0 < first == second <= 12


def test_unknown_type():
    with pytest.raises(ValueError, match="'square' is not one of static"):
        draw(mask_type="square")
