import pytest
import torch

from fairseq_ecg.data.collation import collate_ecgs, target_length


def ecg(n_samples: int, n_leads: int = 2) -> torch.Tensor:
    return 1.0 + torch.arange(n_samples).expand(n_leads, n_samples)


def no_crop(position, surplus):
    raise AssertionError("nothing is longer than the batch")


@pytest.mark.parametrize(
    ("pad", "max_length", "expected"),
    [(True, None, 9), (False, None, 4), (True, 6, 6), (False, 6, 4), (False, 3, 3), (True, 20, 9)],
)
def test_target_length(pad, max_length, expected):
    assert target_length([5, 9, 4], pad=pad, max_length=max_length) == expected


def test_equal_lengths_are_stacked():
    batch, mask = collate_ecgs([ecg(5), -ecg(5)], 5, no_crop)
    assert torch.equal(batch, torch.stack([ecg(5), -ecg(5)]))
    assert mask.shape == batch.shape
    assert not mask.any()


def test_short_ones_are_padded_on_the_right():
    batch, mask = collate_ecgs([ecg(3), ecg(5)], 5, no_crop)
    assert batch[0, 1].tolist() == [1, 2, 3, 0, 0]
    assert mask[0, 0].tolist() == mask[0, 1].tolist() == [False, False, False, True, True]
    assert not mask[1].any()


def test_long_ones_are_cropped_all_leads_alike():
    asked = []

    def crop_start(position, surplus):
        asked.append((position, surplus))
        return 2

    batch, mask = collate_ecgs([ecg(4), ecg(7)], 4, crop_start)
    assert asked == [(1, 3)]
    assert batch[1].tolist() == [[3, 4, 5, 6], [3, 4, 5, 6]]
    assert not mask.any()


def test_the_batch_is_float32_whatever_goes_in():
    assert collate_ecgs([ecg(3).double(), ecg(3)], 3, no_crop)[0].dtype == torch.float32
