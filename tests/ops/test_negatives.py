import pytest
import torch

from fairseq_ecg.ops.negatives import (
    contrastive_logits,
    drawn_indices,
    gather_negatives,
    sample_negatives,
)
from fairseq_ecg.ops.philox import COMMON_LANE, Stream, origin, random_words


def test_negatives_are_other_frames_of_the_same_row():
    torch.manual_seed(0)
    rows, frames, number = 3, 5, 40
    indices = sample_negatives(rows, frames, number).view(rows, frames, number)
    row = indices // frames
    assert (row == torch.arange(rows).view(-1, 1, 1)).all()
    frame = indices % frames
    own = torch.arange(frames).view(1, -1, 1)
    assert (frame != own).all()
    for other in range(frames - 1):
        assert (frame[:, -1] == other).any()


def test_cross_sample_negatives_come_from_the_whole_batch():
    torch.manual_seed(0)
    indices = sample_negatives(3, 5, 0, cross_sample_negatives=200)
    assert set(indices.flatten().tolist()) == set(range(15))


def test_one_frame_has_no_negatives():
    with pytest.raises(ValueError, match=r"1 masked frame.*mask_prob"):
        sample_negatives(2, 1, 10)


def test_drawn_negatives_are_others_whatever_the_batch():
    origins = torch.stack([origin(7, 1, record) for record in (5, 2**32 - 1, 9)])
    indices = drawn_indices(origins, 5, 200).view(3, 5, 200)
    assert (indices // 5 == torch.arange(3).view(-1, 1, 1)).all()
    for frame in range(5):
        assert set((indices[1, frame] % 5).tolist()) == set(range(5)) - {frame}
    alone = drawn_indices(origins[1:2], 5, 200).view(5, 200)
    torch.testing.assert_close(indices[1] - 5, alone, rtol=0, atol=0)


def test_a_drawn_negative_is_a_word_of_its_row():
    origins = torch.stack([origin(7, 1, 5), origin(7, 1, 6)])
    words = random_words(origins, Stream.NEGATIVES, COMMON_LANE, 6 * 3)
    for frame, number in ((0, 0), (2, 1), (5, 2)):
        position = int(words[1, 3 * frame + number]) * 5 // 2**32
        expected = 6 + position + (position >= frame)
        assert drawn_indices(origins, 6, 3)[1, 3 * frame + number] == expected


def test_drawn_cross_sample_negatives_stand_behind_those_of_their_frame():
    origins = torch.stack([origin(7, 1, record) for record in range(3)])
    indices = drawn_indices(origins, 5, 2, cross_sample_negatives=300).view(3, 5, 302)
    own = drawn_indices(origins, 5, 2).view(3, 5, 2)
    torch.testing.assert_close(indices[..., :2], own, rtol=0, atol=0)
    for row, frame in ((0, 0), (1, 3), (2, 4)):
        others = set(range(15)) - {5 * row + frame}
        assert set(indices[row, frame, 2:].tolist()) == others


def test_gathered_negatives_are_the_indexed_frames():
    pool = torch.arange(24.0).view(2, 3, 4)
    indices = torch.tensor([[1, 2, 0, 2, 0, 1], [4, 5, 3, 5, 3, 4]])
    negatives = gather_negatives(pool, indices, frames=3)
    assert negatives.shape == (2, 2, 3, 4)
    torch.testing.assert_close(negatives[0, 1, 0], pool[1, 1])
    torch.testing.assert_close(negatives[1, 0, 2], pool[0, 1])


def test_logits_are_cosines_over_temperature_and_exclude_equal_negatives():
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    negatives = torch.randn(5, 2, 3, 4)
    negatives[3, 1, 2] = y[1, 2]
    logits = contrastive_logits(x, y, negatives, 0.1)
    assert logits.shape == (6, 2, 3)
    cosine = (x * y).sum(-1) / x.norm(dim=-1) / y.norm(dim=-1)
    torch.testing.assert_close(logits[0], cosine / 0.1)
    assert torch.isneginf(logits).nonzero().tolist() == [[4, 1, 2]]
