import pytest
import torch

from fairseq_ecg.modules import POOLINGS, AttentivePooling, build_pooling


@pytest.fixture
def frames():
    return torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def frame_mask():
    return torch.arange(7) >= torch.tensor([[7], [4], [1]])


@pytest.mark.parametrize("name", POOLINGS)
def test_padded_frames_do_not_count(name, frames, frame_mask):
    pooling = build_pooling(name, 8, 2)
    pooled = pooling(frames, frame_mask)
    assert pooled.shape == (3, 8)
    for row, length in enumerate((7, 4, 1)):
        alone = pooling(frames[row : row + 1, :length])
        torch.testing.assert_close(pooled[row : row + 1], alone)
    poisoned = frames.masked_fill(frame_mask.unsqueeze(-1), 1e4)
    torch.testing.assert_close(pooling(poisoned, frame_mask), pooled)


@pytest.mark.parametrize("name", POOLINGS)
def test_row_without_a_frame_is_nan(name, frames):
    frame_mask = torch.zeros(3, 7, dtype=torch.bool)
    frame_mask[1] = True
    pooled = build_pooling(name, 8, 2)(frames, frame_mask)
    assert pooled[1].isnan().all()
    assert pooled[[0, 2]].isfinite().all()


def test_largest_value(frames):
    assert torch.equal(build_pooling("max", 8, 2)(frames), frames.max(dim=1).values)


def test_attention_is_what_the_paper_says(frames):
    torch.manual_seed(0)
    pooling = AttentivePooling(8, 2).double()
    with torch.no_grad():
        pooling.query.normal_()
    frames = frames.double()
    keys, values = pooling.k_proj(frames), pooling.v_proj(frames)
    heads = []
    for channels in (slice(0, 4), slice(4, 8)):
        scores = keys[..., channels] @ pooling.query[channels] / 2
        weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        heads.append((weights.unsqueeze(-1) * values[..., channels]).sum(dim=1))
    torch.testing.assert_close(pooling(frames), torch.cat(heads, dim=1))


def test_attention_starts_as_a_mean(frames):
    pooling = AttentivePooling(8, 2)
    torch.testing.assert_close(pooling(frames), pooling.v_proj(frames.mean(dim=1)))


def test_unknown_name():
    with pytest.raises(ValueError, match="choose one of mean, max, attentive"):
        build_pooling("median", 8, 2)
