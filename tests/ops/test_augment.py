import pickle

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.augment import (
    AUGMENTATIONS,
    BaselineShift,
    BaselineWander,
    EMGNoise,
    PowerlineNoise,
    RandomLeadsMask,
    augment,
    build_augmentations,
    check_leads,
)

EIGHT_INDEPENDENT_LEADS = [0, 1, *range(6, 12)]


@pytest.fixture
def ecg() -> torch.Tensor:
    wave = np.sin(0.05 * np.arange(1200)).reshape(12, 100)
    return torch.from_numpy(wave.astype(np.float32))


# Results of fairseq_signals after np.random.seed(0): first samples of lead I, sample 50 of aVF, the
# sum of all, and the number np.random.rand() gives next.
RECORDED = [
    (
        PowerlineNoise(max_amplitude=0.1),
        (-0.0686938092, 0.0061032418, 0.0975344852),
        0.6044170260,
        66.2721554996,
        0.4236547993,
    ),
    (
        PowerlineNoise(max_amplitude=0.1, dependency=False),
        (-0.0686938092, 0.0061032418, 0.0975344852),
        0.6305462122,
        39.1925295948,
        0.4236547993,
    ),
    (
        EMGNoise(max_amplitude=0.1, dependency=False),
        (0.0346374884, 0.0913986787, 0.0868468210),
        0.6345276833,
        37.5469415054,
        0.1968520547,
    ),
    (
        BaselineShift(max_amplitude=0.1, shift_ratio=0.2, dependency=False),
        (0, 0.0499791689, 0.0998334140),
        0.6992400289,
        -95.1398936254,
        0.5288949198,
    ),
    (
        BaselineWander(max_amplitude=0.1, dependency=False),
        (0.0401703268, 0.0903528035, 0.1404103190),
        0.7720459104,
        97.6191490283,
        0.5218483217,
    ),
    (
        RandomLeadsMask(mask_leads_prob=0.5),
        (0, 0.0499791689, 0.0998334140),
        0,
        69.4041401888,
        0.9255966383,
    ),
]


@pytest.mark.parametrize(("augmentation", "start", "sample", "total", "following"), RECORDED)
def test_reproduces_fairseq_signals(ecg, augmentation, start, sample, total, following):
    rng = np.random.RandomState(0)
    before = ecg.clone()
    result = augment(ecg, [augmentation], rng, sample_rate=500)
    assert result.dtype == torch.float32
    assert torch.equal(ecg, before)
    # The recordings have ten decimals.
    np.testing.assert_allclose(result[0, :3], start, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result[5, 50], sample, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.double().sum(), total, rtol=0, atol=1e-9)
    np.testing.assert_allclose(rng.rand(), following, rtol=0, atol=1e-10)


def test_leads_that_survive_masking():
    draws = RandomLeadsMask().draw(np.random.RandomState(0), 12, 100)
    assert "".join("FT"[int(kept)] for kept in draws.keep) == "TTTFTFTTFTTT"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_not_applied_when_the_probability_says_no(ecg, name):
    rng = np.random.RandomState(0)
    result = augment(ecg, build_augmentations([name], 0.5), rng, sample_rate=500)
    assert torch.equal(result, ecg)
    np.testing.assert_allclose(rng.rand(), 0.7151893664, rtol=0, atol=1e-10)


class FirstUniform:
    """Random state whose first uniform number is given."""

    def __init__(self, first):
        self.first, self.rng = first, np.random.RandomState(0)

    def uniform(self, *args, **kwargs):
        if self.first is None:
            return self.rng.uniform(*args, **kwargs)
        first, self.first = self.first, None
        return first

    def __getattr__(self, name):
        return getattr(self.rng, name)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_only_lead_masking_applies_at_a_draw_equal_to_the_probability(name):
    (augmentation,) = build_augmentations([name], 0.25)
    applied = augmentation.draw(FirstUniform(0.25), 12, 100) is not None
    assert applied == (name == "random_leads_masking")


def test_dependency_holds_among_noisy_limb_leads(ecg):
    result = augment(
        ecg, [EMGNoise(dependency=True)], np.random.RandomState(1), sample_rate=500
    ).double()
    one, two = result[0], result[1]
    expected = torch.stack([two - one, -(two + one) / 2, one - two / 2, two - one / 2])
    # Both sides are rounded to float32 at magnitudes of about 1.
    torch.testing.assert_close(result[2:6], expected, rtol=0, atol=5e-7)


def test_dependency_follows_the_leads_wherever_their_rows_are(ecg):
    standard = augment(ecg, [PowerlineNoise()], np.random.RandomState(2), sample_rate=500)
    leads = [7, 5, 1, 3, 0]
    selected = augment(
        ecg[leads], [PowerlineNoise()], np.random.RandomState(2), sample_rate=500, leads=leads
    )
    assert torch.equal(selected, standard[leads])


def test_dependency_has_nothing_to_adjust_without_derived_leads(ecg):
    part = ecg[EIGHT_INDEPENDENT_LEADS]
    results = [
        augment(
            part,
            [EMGNoise(dependency=dependency)],
            np.random.RandomState(0),
            sample_rate=500,
            leads=EIGHT_INDEPENDENT_LEADS,
        )
        for dependency in (True, False)
    ]
    assert torch.equal(*results)


def test_dependency_without_lead_i_is_refused(ecg):
    noise = BaselineWander(dependency=True)
    with pytest.raises(ValueError, match="Load I and II as well, or set dependency=False"):
        check_leads([noise], [1, 2])
    with pytest.raises(ValueError, match="dependency"):
        augment(ecg[[1, 2]], [noise], np.random.RandomState(0), sample_rate=500, leads=[1, 2])
    check_leads([BaselineWander(dependency=False)], [1, 2])


def test_powerline_noise_is_at_its_frequency():
    rate, n_samples = 400, 4000
    noise = PowerlineNoise(dependency=False)
    draws = noise.draw(np.random.RandomState(0), 1, n_samples)
    result = noise.apply(torch.zeros(1, n_samples), draws, sample_rate=rate)
    peak = np.abs(np.fft.rfft(result[0].numpy())).argmax() * rate / n_samples
    assert peak == draws.frequency


def test_baseline_shift_takes_its_amplitude_from_the_sign():
    shift = BaselineShift(max_amplitude=0.3, min_amplitude=0.1)
    rng = np.random.RandomState(3)
    draws = shift.draw(rng, 12, 100)
    result = shift.apply(torch.zeros(12, 100), draws, sample_rate=500)
    ((start, stop),) = draws.intervals
    expected = np.repeat(draws.sign - draws.size, stop - start, axis=1)
    np.testing.assert_allclose(result[:, start:stop], expected.astype(np.float32), rtol=0)
    assert result.count_nonzero() == 12 * (stop - start)
    assert 0.1 <= draws.size <= 0.3


def test_baseline_shift_longer_than_the_recording_covers_it():
    shift = BaselineShift(shift_ratio=3)
    rng = np.random.RandomState(0)
    draws = shift.draw(rng, 1, 100)
    assert draws.intervals[0][0] < 0
    assert (shift.apply(torch.zeros(1, 100), draws, sample_rate=500) != 0).all()


@pytest.mark.parametrize("n_leads", [1, 2, 8, 15])
def test_masking_works_for_any_number_of_leads(n_leads):
    ecg = torch.ones(n_leads, 5)
    mask = RandomLeadsMask()
    draws = mask.draw(np.random.RandomState(0), n_leads, 5)
    result = mask.apply(ecg, draws, sample_rate=500)
    assert draws.keep.shape == (n_leads,)
    assert torch.equal(result, torch.from_numpy(draws.keep)[:, None].expand(n_leads, 5).float())


def test_conditional_masking_counts_limb_and_precordial_leads():
    mask = RandomLeadsMask(mask_leads_selection="conditional", mask_leads_condition=(4, 5))
    rng = np.random.RandomState(0)
    keeps = np.array([mask.draw(rng, 12, 5).keep for _ in range(50)])
    assert (keeps[:, :6].sum(axis=1) == 2).all()
    assert (keeps[:, 6:].sum(axis=1) == 1).all()
    assert (keeps.mean(axis=0) > 0).all()


@pytest.mark.parametrize("leads", [[1], list(range(11)), list(range(11, -1, -1))])
def test_conditional_masking_needs_the_twelve_leads(leads):
    mask = RandomLeadsMask(mask_leads_selection="conditional")
    with pytest.raises(ValueError, match="twelve leads in standard order"):
        check_leads([mask], leads)


def test_build_gives_each_augmentation_its_own_options():
    names = list(AUGMENTATIONS)
    built = build_augmentations(
        names,
        [0.1, 0.2, 0.3, 0.4, 0.5],
        max_amplitude=0.7,
        min_amplitude=0.1,
        dependency=False,
        shift_ratio=0.3,
        num_segment=2,
        max_freq=0.5,
        min_freq=0.05,
        k=4,
        mask_leads_selection="conditional",
        mask_leads_prob=0.6,
        mask_leads_condition=[1, 2],
    )
    noise = {"max_amplitude": 0.7, "min_amplitude": 0.1, "dependency": False}
    assert built == [
        PowerlineNoise(p=0.1, **noise),
        EMGNoise(p=0.2, **noise),
        BaselineShift(p=0.3, **noise, shift_ratio=0.3, num_segment=2),
        BaselineWander(p=0.4, **noise, max_freq=0.5, min_freq=0.05, k=4),
        RandomLeadsMask(
            p=0.5,
            mask_leads_selection="conditional",
            mask_leads_prob=0.6,
            mask_leads_condition=(1, 2),
        ),
    ]


@pytest.mark.parametrize("probabilities", [0.3, [0.3], [0.3, 0.3]])
def test_one_probability_serves_all(probabilities):
    built = build_augmentations(["emg_noise", "baseline_shift"], probabilities)
    assert [augmentation.p for augmentation in built] == [0.3, 0.3]
    # A task's defaults, not those of the classes.
    assert built[1] == BaselineShift(p=0.3, max_amplitude=0.1, dependency=True)


def test_no_names_build_nothing():
    assert build_augmentations(None, [1.0]) == []


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["3kg"], {}, "unknown augmentation '3kg'.*powerline_noise, emg_noise, baseline_shift"),
        ("emg_noise", {}, r"give a list of names, as in \[emg_noise\]"),
        (["emg_noise"] * 3, {"probabilities": [1.0, 1.0]}, "2 probabilities .* for 3"),
        (["emg_noise"], {"probabilities": 1.5}, "p=1.5 is not a probability"),
        (["random_leads_masking"], {"mask_leads_selection": "some"}, "'random' or 'conditional'"),
        (["random_leads_masking"], {"mask_leads_condition": (7, 0)}, "two numbers from 0 to 6"),
    ],
)
def test_bad_settings_are_refused(names, options, message):
    with pytest.raises(ValueError, match=message):
        build_augmentations(names, **options)


def test_augmentations_follow_one_another(ecg):
    first, second = build_augmentations(["baseline_wander", "random_leads_masking"])
    rng = np.random.RandomState(5)
    expected = augment(ecg, [first], rng, sample_rate=500)
    expected = augment(expected, [second], rng, sample_rate=500)
    together = augment(ecg, [first, second], np.random.RandomState(5), sample_rate=500)
    assert torch.equal(together, expected)


def test_augmentations_pickle():
    built = build_augmentations(list(AUGMENTATIONS))
    assert pickle.loads(pickle.dumps(built)) == built
