import numpy as np
import pytest
import torch

from fairseq_ecg.data.collation import Crop, target_length


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


def joined(signals, length, crop_start=no_crop):
    """A batch of signals, and its padding mask."""
    lengths = np.array([signal.shape[-1] for signal in signals])
    crop = Crop.drawn(lengths, length, crop_start)
    return crop.join(signals, torch.float32), crop.padding_mask()


def test_equal_lengths_are_stacked():
    batch, mask = joined([ecg(5), -ecg(5)], 5)
    assert torch.equal(batch, torch.stack([ecg(5), -ecg(5)]))
    assert mask.shape == (2, 5)
    assert not mask.any()


def test_a_batch_of_that_length_is_taken_as_it_is():
    signals = torch.stack([ecg(5), -ecg(5)])
    batch, _ = joined(signals, 5)
    assert batch.data_ptr() == signals.data_ptr()


def test_short_ones_are_padded_on_the_right():
    batch, mask = joined([ecg(3), ecg(5)], 5)
    assert batch[0, 1].tolist() == [1, 2, 3, 0, 0]
    assert mask.tolist() == [[False, False, False, True, True], [False] * 5]


def test_long_ones_are_cropped_all_leads_alike():
    asked = []

    def crop_start(position, surplus):
        asked.append((position, surplus))
        return 2

    batch, mask = joined([ecg(4), ecg(7)], 4, crop_start)
    assert asked == [(1, 3)]
    assert batch[1].tolist() == [[3, 4, 5, 6], [3, 4, 5, 6]]
    assert not mask.any()


def test_what_goes_with_the_signals_is_cropped_and_padded_with_them():
    crop = Crop.drawn(np.array([3, 7]), 5, lambda position, surplus: 1)
    numbers = crop.join([torch.arange(3), torch.arange(7)], torch.int64, -1)
    assert numbers.tolist() == [[0, 1, 2, -1, -1], [1, 2, 3, 4, 5]]
    assert crop.valid.tolist() == [3, 5]


def test_the_batch_is_float32_whatever_goes_in():
    assert joined([ecg(3).double(), ecg(3)], 3)[0].dtype == torch.float32
