import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from tests.criterions.echo import Echo, batch

MEAN, STD = [50.0, 0.0], [10.0, 2.0]


@pytest.fixture
def recordings():
    generator = np.random.default_rng(0)
    estimates = generator.normal(size=(20, 2))
    targets = np.array(MEAN) + np.array(STD) * (estimates + generator.normal(size=(20, 2)) / 2)
    targets[3, 0] = targets[7, 1] = np.nan
    return torch.tensor(estimates, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)


def known(estimates, targets, column):
    rows = ~np.isnan(targets[:, column].numpy())
    units = estimates.double().numpy() * np.array(STD) + np.array(MEAN)
    return units[rows, column], targets.double().numpy()[rows, column]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_loss_of_standardised_targets(build, recordings, loss):
    estimates, targets = recordings
    criterion = build("regression", loss=loss, target_mean=MEAN, target_std=STD)
    value, sample_size, _ = criterion(Echo(), batch(estimates, targets))
    error = ((targets - torch.tensor(MEAN)) / torch.tensor(STD) - estimates).numpy()
    error = np.abs(error[~np.isnan(error)])
    expected = {
        "mse": error**2,
        "mae": error,
        "huber": np.where(error < 1, error**2 / 2, error - 0.5),
    }[loss]
    assert sample_size == 38
    assert value.item() == pytest.approx(expected.sum(), rel=1e-5)


def test_missing_targets_get_no_gradient(build, recordings):
    estimates, targets = recordings
    estimates = estimates.clone()
    estimates[3, 0] = float("inf")
    estimates.requires_grad_()
    build("regression")(Echo(), batch(estimates, targets))[0].backward()
    assert estimates.grad.isfinite().all()
    assert torch.equal(estimates.grad == 0, targets.isnan())


def test_measures_are_exact_over_batches(build, validated, recordings):
    estimates, targets = recordings
    criterion = build("regression", target_mean=MEAN, target_std=STD)
    logs = [
        [criterion(Echo(), batch(estimates[rows], targets[rows]))[2]]
        for rows in (slice(0, 7), slice(7, 8), slice(8, 20))
    ]
    stats = validated(criterion, logs)
    columns = [known(estimates, targets, column) for column in (0, 1)]
    expected = {
        "mae": [np.abs(y - p).mean() for p, y in columns],
        "rmse": [np.sqrt(((y - p) ** 2).mean()) for p, y in columns],
        "r2": [r2_score(y, p) for p, y in columns],
        "pearson": [np.corrcoef(y, p)[0, 1] for p, y in columns],
    }
    for name, values in expected.items():
        assert stats[name] == pytest.approx(np.mean(values), rel=1e-5), name


def test_targets_that_do_not_differ(build, validated):
    criterion = build("regression")
    estimates, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [3.0]])
    stats = validated(criterion, [[criterion(Echo(), batch(estimates, targets))[2]]])
    assert stats["mae"] == 1.5
    assert np.isnan(stats["r2"])
    assert np.isnan(stats["pearson"])


def test_training_gathers_no_arrays(build, recordings):
    log = build("regression").train()(Echo(), batch(*recordings))[2]
    assert not [key for key, value in log.items() if isinstance(value, np.ndarray)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_std": [1.0, 0.0]}, "give positive numbers"),
        ({"target_mean": [1.0]}, "criterion.target_mean has 1 values"),
    ],
)
def test_options_without_meaning(build, recordings, options, message):
    with pytest.raises(ValueError, match=message):
        build("regression", **options)(Echo(), batch(*recordings))
