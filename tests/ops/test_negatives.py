import pytest
import torch

from fairseq_ecg.ops.negatives import contrastive_logits, gather_negatives, sample_negatives


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
