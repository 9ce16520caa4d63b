import hashlib
import itertools

import numpy as np
import pytest
import torch

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.masking import (
    BatchMasking,
    SpanMasking,
    Streams,
    compute_mask_indices,
    cpp_kernel,
    draw_masked,
    stream_of,
)

SPANS = SpanMasking(0.65, 10, min_masks=2)


def draw(**options):
    rng = np.random.RandomState(0)
    shape = options.pop("shape", (3, 156))
    padding = options.pop("padding", None)
    return compute_mask_indices(shape, padding, SpanMasking(0.65, 10, min_masks=2, **options), rng)


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
    mask = compute_mask_indices((3, 156), None, SPANS)
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
        masking = SpanMasking(0.4, 10, min_masks=2, no_overlap=True, min_space=3)
        mask = compute_mask_indices((1, 156), None, masking, rng)
        found = spans(mask[0])
        assert [end - begin for begin, end in found] == [10] * len(found)
        assert len(found) >= 2
        distances = [b[0] - a[1] for a, b in itertools.pairwise(found)]
        assert min(distances) >= 3


def test_every_row_is_cut_to_the_same_number():
    rng = np.random.RandomState(1)
    mask = compute_mask_indices((128, 156), None, SPANS, rng)
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


def streams(rows, first=0):
    return [np.random.RandomState(seed) for seed in range(first, first + rows)]


def masks(drawn, frames):
    return torch.zeros(len(drawn), frames, dtype=torch.bool).scatter(1, drawn, True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_type": "uniform", "mask_other": 2},
        {"mask_type": "normal", "mask_other": 3.0},
        {"mask_type": "poisson"},
        {"no_overlap": True, "min_space": 2, "mask_prob": 0.4},
    ],
    ids=["static", "uniform", "normal", "poisson", "apart"],
)
def test_streams_of_their_own_give_the_same_distribution(options):
    masking = SpanMasking(**{"mask_prob": 0.65, "mask_length": 10, "min_masks": 2} | options)
    # Padded rows draw their number of spans row by row in both.
    padding = torch.zeros(8, 156, dtype=torch.bool)
    rng = np.random.RandomState(0)
    old = np.stack([compute_mask_indices((8, 156), padding, masking, rng) for _ in range(60)])
    new = np.stack(
        [masks(draw_masked([156] * 8, masking, streams(8, 8 * k)), 156) for k in range(60)]
    )
    sizes = [drawn[:, 0].sum(axis=-1) for drawn in (old, new)]
    # 60 means of standard deviation 6 or less: differences beyond 4 are 4 standard errors.
    assert abs(sizes[0].mean() - sizes[1].mean()) < 4
    runs = [np.mean([len(spans(row)) for row in drawn.reshape(-1, 156)]) for drawn in (old, new)]
    assert runs[0] == pytest.approx(runs[1], rel=0.05)
    shares = [drawn.reshape(-1, 4, 39).mean(axis=(0, 2)) for drawn in (old, new)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.04)


def test_a_row_with_fewer_masked_frames_has_some_of_the_same():
    alone = masks(draw_masked([156], SPANS, streams(1)), 156)[0]
    together = masks(draw_masked([156] * 64, SPANS, streams(64)), 156)
    assert together[0].sum() < alone.sum()
    assert not (together[0] & ~alone).any()
    assert len(set(together.sum(dim=1).tolist())) == 1


def test_order_of_rows_changes_nothing():
    forwards = draw_masked([156, 90, 120], SPANS, streams(3))
    backwards = draw_masked([120, 90, 156], SPANS, streams(3)[::-1])
    assert torch.equal(forwards, backwards.flip(0))
    assert forwards[1].max() < 90


def test_a_fixed_number_of_masked_frames():
    drawn = draw_masked([156, 130], SPANS, streams(2), number=120)
    assert drawn.shape == (2, 120)
    assert (drawn.diff(dim=1) > 0).all()
    assert drawn[1].max() < 130
    spans_alone = draw_masked([156], SPANS, streams(1))[0]
    assert set(spans_alone.tolist()) <= set(drawn[0].tolist())
    with pytest.raises(ValueError, match=r"task\.masked_frames\), but a recording has 100 frames"):
        draw_masked([156, 100], SPANS, streams(2), number=120)


needs_extension = pytest.mark.skipif(
    backends.missing("cpu") is not None, reason="needs the compiled extension"
)
SEVERAL_KEYS = [
    [1, 2, 5, 0, 3],
    [0, 0, 0, 0, 0],
    [2**40 + 7, 1, 2**31, 1, 3],
    [2**63 - 1, 9, 1, 1, 3],
]


def test_streams_are_those_of_their_keys():
    rows = Streams(np.array(SEVERAL_KEYS))
    assert len(rows) == 4
    for row, key in zip(rows, SEVERAL_KEYS, strict=True):
        assert row.randint(2**31) == stream_of(key).randint(2**31)


@needs_extension
@pytest.mark.parametrize("number", [None, 4])
@pytest.mark.parametrize(
    "masking",
    [
        SPANS,
        SpanMasking(0.3, 3),
        SpanMasking(0.0, 5),
        SpanMasking(0.9, 200, min_masks=2),
        SpanMasking(0.65, 1, min_masks=5),
    ],
    ids=["published", "no least", "none", "longer than rows", "single frames"],
)
def test_the_kernel_draws_the_bits_of_the_reference(masking, number):
    rng = np.random.RandomState(0)
    keys = np.array(SEVERAL_KEYS + rng.randint(0, 2**31, size=(60, 5)).tolist())
    valid = [156, 12, 5, 64, *rng.randint(4, 157, size=60).tolist()]
    channels = [70] * len(keys)
    other = SpanMasking(0.4, 6, min_masks=1)
    found = cpp_kernel.draw_masked(
        [valid, channels], [masking, other], Streams(keys), [number, None]
    )
    rows = list(Streams(keys))
    expected = [draw_masked(valid, masking, rows, number), draw_masked(channels, other, rows)]
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == two.dtype == torch.int64
        assert torch.equal(one, two)


@needs_extension
def test_batches_are_masked_alike_by_kernel_and_reference(monkeypatch):
    masking = BatchMasking(((2, 2),) * 4, SPANS, SpanMasking(0.3, 2), n_channels=64)
    keys = np.arange(40).reshape(8, 5)
    samples = [2500, 2000, 1500, 2500, 160, 800, 2400, 2499]
    found = masking.draw(2500, samples, Streams(keys))
    monkeypatch.setattr(backends, "missing", lambda backend: "not compiled")
    expected = masking.draw(2500, samples, Streams(keys))
    assert found.keys() == expected.keys() == {"masked_frames", "masked_channels"}
    for name, drawn in found.items():
        assert torch.equal(drawn, expected[name])
    with pytest.raises(ValueError, match="has 10 frames"):
        BatchMasking(((2, 2),) * 4, SPANS, number=11).draw(2500, samples, Streams(keys))


def test_what_the_kernel_does_not_serve_is_drawn_by_the_reference():
    kinds = [{"mask_type": "poisson"}, {"no_overlap": True, "min_space": 1}, {"mask_length": 0}]
    for options in kinds[:2]:
        masking = SpanMasking(**{"mask_prob": 0.5, "mask_length": 4, "min_masks": 1} | options)
        keys = np.arange(15).reshape(3, 5)
        drawn = BatchMasking(((2, 2),), masking).draw(200, [200] * 3, Streams(keys))
        expected = draw_masked([100] * 3, masking, list(Streams(keys)))
        assert torch.equal(drawn["masked_frames"], expected)
    for options in kinds:
        assert not cpp_kernel.serves(SpanMasking(**{"mask_prob": 0.5, "mask_length": 4} | options))


@needs_extension
def test_the_kernel_refuses_what_it_cannot_read():
    keys = Streams(np.array([[1, 2]]))
    for valid, masking, message in (
        ([[3, 4]], SPANS, r"valid must be \(B,\)"),
        ([[-3]], SPANS, "valid must not be negative"),
        ([[30]], SpanMasking(0.5, 0), "mask lengths must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            cpp_kernel.draw_masked(valid, [masking], keys, [None])
    with pytest.raises(ValueError, match="keys must not be negative"):
        cpp_kernel.draw_masked([[30]], [SPANS], Streams(np.array([[-1]])), [None])
    with pytest.raises(ValueError, match="fewer than 31 positions"):
        cpp_kernel.draw_masked([[30]], [SPANS], keys, [31])
