"""Draws of batches: their distributions, and that they depend on nothing but their origin."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.augment import (
    AUGMENTATIONS,
    BaselineShift,
    BaselineWander,
    EMGNoise,
    PowerlineNoise,
    RandomLeadsMask,
    VectorcardiogramView,
    apply_batch,
    build_augmentations,
    draw_batch,
)
from fairseq_ecg.ops.augment.batch import describe
from fairseq_ecg.ops.augment.table import APPLIED, ITEMS, ROWS
from fairseq_ecg.ops.augment.vectorcardiogram_view import _ECG_OF_VCG, _VCG_OF_ECG
from fairseq_ecg.ops.philox import origin

FIVE = tuple(AUGMENTATIONS)
N_RECORDINGS = 2000


def draw(augmentations, n_recordings=N_RECORDINGS, *, n_leads=12, length=1000, rate=500, seed=1):
    """Draws of recordings 0, 1, ..., all of one length, leads in standard order."""
    return draw_batch(
        augmentations,
        torch.stack([origin(seed, 1, record) for record in range(n_recordings)]),
        sample_rates=torch.full((n_recordings,), rate),
        lengths=torch.full((n_recordings,), length),
        layouts=torch.arange(n_leads).repeat(n_recordings, 1),
    )


def columns(augmentations, draws, index=0):
    """Whether one augmentation is applied, what it has of each row, and its items."""
    first = describe(augmentations)[4 * index + 1]
    parameters = draws["parameters"][:, first:].numpy()
    n_rows = draws["layouts"].shape[1]
    n_items = augmentations[index].n_items
    return (
        parameters[:, APPLIED],
        parameters[:, ROWS : ROWS + n_rows],
        parameters[:, ITEMS : ITEMS + n_items],
    )


def assert_uniform(numbers, low, high):
    numbers = np.ravel(numbers)
    assert low <= numbers.min()
    assert numbers.max() <= high
    assert kstest(numbers, "uniform", (low, high - low)).pvalue > 1e-3


def assert_normal(numbers, mean, deviation):
    assert kstest(np.ravel(numbers), "norm", (mean, deviation)).pvalue > 1e-3


def assert_share(is_so, share):
    """Held to four standard deviations."""
    is_so = np.ravel(is_so)
    assert abs(is_so.mean() - share) <= 4 * (share * (1 - share) / is_so.size) ** 0.5


@pytest.mark.parametrize("name", FIVE)
def test_applied_as_often_as_the_probability_says(name):
    for p in (0.0, 0.3, 1.0):
        augmentations = build_augmentations([name], p)
        applied, _, _ = columns(augmentations, draw(augmentations))
        assert_share(applied, p)


def test_probabilities_are_independent():
    augmentations = build_augmentations(["emg_noise", "emg_noise"], [0.5, 0.5])
    draws = draw(augmentations)
    one, other = (columns(augmentations, draws, index)[0] for index in range(2))
    assert_share(one != other, 0.5)


def test_powerline_noise():
    augmentations = [PowerlineNoise(max_amplitude=0.5, min_amplitude=0.2)]
    draws = draw(augmentations)
    _, rows, items = columns(augmentations, draws)
    amplitude, frequency, phase = items.T
    assert (rows == 1).all()
    assert_uniform(amplitude, 0.2, 0.5)
    assert_uniform(phase, 0, 2 * np.pi)
    assert_share(frequency == 50, 0.5)
    assert_share(frequency == 60, 0.5)

    draws = draw(augmentations, 8)
    noise = apply_batch(torch.zeros(8, 12, 1000), augmentations, draws)
    assert torch.equal(noise[:, 6], noise[:, 0])
    spectrum = np.fft.rfft(noise[:, 0].double().numpy()) / 500
    for row in range(8):
        line = int(frequency[row] * 1000 / 500)
        assert abs(spectrum[row, line]) == pytest.approx(amplitude[row], abs=1e-6)
        spectrum[row, line] = 0
    assert abs(spectrum).max() < 1e-6


def test_emg_noise():
    augmentations = [EMGNoise(max_amplitude=0.5, min_amplitude=0.2, dependency=False)]
    _, rows, _ = columns(augmentations, draw(augmentations))
    assert_uniform(rows, 0.2, 0.5)
    assert abs(np.corrcoef(rows.T) - np.eye(12)).max() < 4.5 / N_RECORDINGS**0.5

    draws = draw(augmentations, 2, length=5000)
    noise = apply_batch(torch.zeros(2, 12, 5000), augmentations, draws).double()
    standard = noise.numpy() / rows[:2, :, None]
    assert_normal(standard, 0, 1)
    # No lead resembles another one or itself some samples later.
    assert abs(np.corrcoef(standard.reshape(24, -1)) - np.eye(24)).max() < 4.5 / 5000**0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs((standard[..., lag:] * standard[..., :-lag]).mean()) < 4 / 120_000**0.5


def test_baseline_shift():
    augmentations = [BaselineShift(max_amplitude=0.3, min_amplitude=0.1, num_segment=2)]
    draws = draw(augmentations)
    _, rows, items = columns(augmentations, draws)
    size = np.where(rows > 0, 1, -1) - rows
    np.testing.assert_allclose(size, size[:, :1].repeat(12, axis=1), atol=1e-12)
    assert_uniform(size[:, 0], 0.1, 0.3)
    assert_share(rows > 0, 0.5)
    assert_share((rows[:, 1:] > 0) == (rows[:, :-1] > 0), 0.5)

    starts, stops = items.reshape(-1, 2).T
    assert (items == items.round()).all()
    # Lengths are rounded down.
    assert_normal(stops - starts + np.random.RandomState(0).uniform(0, 1, len(starts)), 200, 40)
    assert_uniform((starts + 0.5) / (1000 - (stops - starts)), -0.01, 1.01)

    noise = apply_batch(torch.zeros(len(rows), 12, 1000), augmentations, draws)
    for row in range(10):
        expected = np.zeros(1000)
        for start, stop in items[row].reshape(2, 2).astype(int):
            expected[start:stop] = 1
        expected = expected * rows[row, :, None]
        np.testing.assert_allclose(noise[row], expected, rtol=1e-7)


def test_baseline_wander():
    augmentations = [
        BaselineWander(
            max_amplitude=0.4, min_amplitude=0.1, max_freq=0.3, min_freq=0.1, k=2, dependency=False
        )
    ]
    draws = draw(augmentations)
    _, rows, items = columns(augmentations, draws)
    assert_normal(rows, 1, 0.5)
    for k in range(2):
        amplitude, frequency, phase = items[:, 3 * k : 3 * k + 3].T
        assert_uniform(amplitude, 0.1, 0.4)
        assert_uniform(frequency, 0.1, 0.3)
        assert_uniform(phase, 0, 2 * np.pi)

    noise = apply_batch(torch.zeros(len(rows), 12, 1000), augmentations, draws).double().numpy()
    t = np.arange(1000)
    for row in range(5):
        terms = [a * np.cos(2 * np.pi * f * t / 500 + r) for a, f, r in items[row].reshape(2, 3)]
        expected = sum(terms) * rows[row, :, None]
        np.testing.assert_allclose(noise[row], expected, atol=1e-6)
        correlation = np.corrcoef(noise[row])
        np.testing.assert_allclose(correlation, np.sign(np.outer(rows[row], rows[row])), atol=1e-5)


def test_random_leads_mask():
    augmentations = [RandomLeadsMask(mask_leads_prob=0.3)]
    _, keep, _ = columns(augmentations, draw(augmentations))
    assert_share(keep, 0.7)
    masked = 12 - keep.sum(axis=1)
    assert abs(masked.mean() - 3.6) < 4 * (12 * 0.3 * 0.7 / N_RECORDINGS) ** 0.5
    assert abs(masked.var() - 12 * 0.3 * 0.7) < 0.5
    assert abs(np.corrcoef(keep.T) - np.eye(12)).max() < 4.5 / N_RECORDINGS**0.5


def test_conditional_leads_mask():
    augmentations = [
        RandomLeadsMask(mask_leads_selection="conditional", mask_leads_condition=(4, 5))
    ]
    _, keep, _ = columns(augmentations, draw(augmentations))
    assert (keep[:, :6].sum(axis=1) == 2).all()
    assert (keep[:, 6:].sum(axis=1) == 1).all()
    for lead in range(12):
        assert_share(keep[:, lead], 2 / 6 if lead < 6 else 1 / 6)


def test_vectorcardiogram_view():
    augmentations = [VectorcardiogramView(angle=30, scale=2, mask_ratio=0.25)]
    draws = draw(augmentations, length=999)
    _, starts, items = columns(augmentations, draws)
    assert (items[:, :2] == [249, 999]).all()
    assert_uniform(starts + 0.5, 0, 999)

    matrices = items[:, 2:].reshape(-1, 12, 8)
    independent = matrices[:, [0, 1, 6, 7, 8, 9, 10, 11]]
    moved = _VCG_OF_ECG.numpy() @ independent @ _ECG_OF_VCG.numpy()  # scales times rotation
    scales = np.linalg.norm(moved, axis=2)
    assert_uniform(scales, 1, 2)
    angles = Rotation.from_matrix(moved / scales[..., None]).as_euler("zyx", degrees=True)
    assert_uniform(angles, -30, 30)
    # Nothing of a vectorcardiogram is lost on the way to the leads and back.
    np.testing.assert_allclose(_VCG_OF_ECG @ _ECG_OF_VCG, np.eye(3), atol=1e-12)
    one, two = matrices[:, 0], matrices[:, 1]
    derived = np.stack([two - one, -(two + one) / 2, one - two / 2, two - one / 2], axis=1)
    np.testing.assert_allclose(matrices[:, 2:6], derived, atol=1e-12)

    view = apply_batch(torch.ones(len(matrices), 12, 999), augmentations, draws)
    is_zero = (view == 0).numpy()
    assert (is_zero.sum(axis=2) == 249).all()
    for row, lead in ((0, 0), (1, 5), (2, 11)):
        interval = (int(starts[row, lead]) + np.arange(249)) % 999
        assert is_zero[row, lead, interval].all()


@pytest.mark.parametrize(
    "settings", [{"angle": -1.0}, {"scale": -0.5}, {"mask_ratio": 1.5}, {"p": 2.0}]
)
def test_bad_settings_of_a_view_are_refused(settings):
    with pytest.raises(ValueError, match=r"=-?\d"):
        VectorcardiogramView(**settings)


def test_lengths_of_recordings_matter_one_by_one():
    augmentations = [BaselineShift()]
    together = draw_batch(
        augmentations,
        origin(1, 1, 5).repeat(2, 1),
        sample_rates=torch.tensor([500, 257.5]),
        lengths=torch.tensor([1000, 4000]),
        layouts=torch.arange(12).repeat(2, 1),
    )
    _, _, items = columns(augmentations, together)
    np.testing.assert_allclose(items[1] / items[0], 4, rtol=0.02)


def test_draws_depend_on_their_origin_alone():
    augmentations = [*build_augmentations(FIVE, 0.5), VectorcardiogramView()]
    together = draw(augmentations, 20)
    some = torch.tensor([7, 3, 19])
    alone = draw_batch(
        augmentations,
        together["origins"][some],
        sample_rates=torch.full((3,), 500),
        lengths=torch.full((3,), 1000),
        layouts=together["layouts"][some],
    )
    for name, tensor in alone.items():
        assert torch.equal(tensor, together[name][some])


@pytest.mark.parametrize("column", range(4))
def test_every_part_of_an_origin_matters(column):
    origins = origin(3, 4, 5, 6).repeat(2, 1)
    origins[1, column] += 1
    augmentations = [EMGNoise(min_amplitude=0.4), PowerlineNoise(dependency=False)]
    draws = draw_batch(
        augmentations,
        origins,
        sample_rates=torch.full((2,), 500),
        lengths=torch.full((2,), 40),
        layouts=torch.arange(12).repeat(2, 1),
    )
    _, _, (one, other) = columns(augmentations, draws, 1)
    assert (one[[0, 2]] != other[[0, 2]]).all()
    noise = apply_batch(torch.zeros(2, 12, 40), augmentations, draws)
    assert (noise[0] != noise[1]).all()


def test_repeated_augmentations_are_drawn_anew():
    augmentations = build_augmentations(["emg_noise", "emg_noise"])
    draws = draw(augmentations, 3)
    _, one, _ = columns(augmentations, draws, 0)
    _, other, _ = columns(augmentations, draws, 1)
    assert (one != other).all()


def test_draws_are_the_same_without_the_extension(monkeypatch):
    augmentations = [*build_augmentations(FIVE, 0.5), VectorcardiogramView()]
    with_extension = draw(augmentations, 20)
    monkeypatch.setattr(backends, "missing", lambda backend: "hidden")
    without = draw(augmentations, 20)
    for name, tensor in with_extension.items():
        assert torch.equal(tensor, without[name])


def test_draws_are_small_plain_tensors():
    draws = draw(build_augmentations(FIVE), 128)
    assert all(type(tensor) is torch.Tensor for tensor in draws.values())
    assert sum(tensor.nbytes for tensor in draws.values()) < 128 * 1000


@pytest.mark.parametrize(
    ("augmentations", "layout", "message"),
    [
        ([PowerlineNoise()], [1, 2, 3], "set dependency=False"),
        ([VectorcardiogramView()], [0, 1, 2], "needs the twelve leads in standard order"),
        ([EMGNoise()], [0, 0, 1], "not standard positions"),
        ([EMGNoise()], [0, 1, 12], "not standard positions"),
        ([EMGNoise()] * 33, [0, 1], "33 augmentations: at most 32"),
    ],
)
def test_leads_that_cannot_be_served_are_refused(augmentations, layout, message):
    with pytest.raises(ValueError, match=message):
        draw_batch(
            augmentations,
            origin(1, 1, 1).repeat(2, 1),
            sample_rates=torch.full((2,), 500),
            lengths=torch.full((2,), 100),
            layouts=torch.tensor([range(len(layout)), layout]),
        )
