"""Every implementation of the contrastive loss over a pool against its definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.infonce_over_pool import infonce_over_pool
from tests.ops.kernels import (
    device_of,
    nan_in_new_memory,
    run_triton_tests,
    skip_if_missing,
)
from tests.ops.test_infonce_over_pool import batch, by_the_definition, gradients
from tests.tolerances import TOLERANCES


@pytest.fixture(params=OPERATIONS["infonce_over_pool"])
def backend(request) -> str:
    skip_if_missing(request.param)
    return request.param


def run(backend, *inputs, temperature=0.1):
    """Run a backend on its device from memory full of NaN; the results come back to the CPU."""
    inputs = [tensor.to(device_of(backend)) for tensor in inputs]
    with nan_in_new_memory():
        result, *by_lines = gradients(infonce_over_pool, *inputs, temperature, backend)
    return result.loss.detach().cpu(), result.correct.item(), *(g.cpu() for g in by_lines)


def check(backend, *inputs, temperature=0.1):
    loss, correct, *by_lines = run(backend, *inputs, temperature=temperature)
    expected, *expected_gradients = gradients(
        by_the_definition, *(tensor.double() for tensor in inputs[:3]), inputs[3], temperature
    )
    assert correct == expected.correct
    rtol, atol, _ = TOLERANCES["infonce_over_pool", backend, "loss"]
    torch.testing.assert_close(loss.double(), expected.loss.detach(), rtol=rtol, atol=atol)
    for actual, gradient in zip(by_lines, expected_gradients, strict=True):
        rtol, atol, _ = TOLERANCES["infonce_over_pool", backend, "gradient"]
        scale = gradient.abs().max().item()
        torch.testing.assert_close(actual.double(), gradient, rtol=rtol, atol=atol * scale)


@pytest.mark.parametrize(
    ("rows", "frames", "channels", "draws", "vectors"),
    [
        (1, 1, 2, 1, 1),
        (2, 3, 4, 1, 5),
        (3, 7, 5, 9, 23),
        (2, 8, 16, 3, 200),
        (1, 11, 33, 40, 11),
        (2, 5, 64, 8, 10),
        (1, 9, 44, 17, 30),
    ],
)
def test_loss_correct_and_gradients(backend, rows, frames, channels, draws, vectors):
    check(backend, *batch(rows, frames, channels, draws, vectors))


def test_without_gradients(backend):
    for seed in range(5):
        inputs = [tensor.to(device_of(backend)) for tensor in batch(2, 5, 20, 4, 31, seed)]
        with_gradient, *_ = gradients(infonce_over_pool, *inputs, 0.1, backend)
        with torch.no_grad():
            without = infonce_over_pool(*inputs, 0.1, backend)
        torch.testing.assert_close(without.loss, with_gradient.loss.detach(), rtol=0, atol=0)
        assert without.correct == with_gradient.correct


@pytest.mark.parametrize("temperature", [0.002, 1.0, 25.0])
def test_temperatures(backend, temperature):
    check(backend, *batch(frames=5, draws=2), temperature=temperature)


def test_any_layout_of_memory(backend):
    *lines, negatives = batch(channels=8)
    check(backend, *(tensor.mT.contiguous().mT for tensor in lines), negatives.T.contiguous().T)


def test_hit_is_the_largest_logit_but_not_the_smallest_too(backend):
    # Unit vectors times powers of two: their cosines, 0 and 1, are exact.
    e = torch.eye(4)
    pool = torch.stack([e[0], 2 * e[0], e[1], 4 * e[1]])
    rules = [
        (e[0], e[0], [1, 1, 1], False),  # all logits are one
        (e[0], e[0], [0, 1, 2], True),  # as large as another, larger than the last
        (0 * e[0], e[0], [0, 0, 1], True),  # all are zero, but the equal ones' minus infinity
        (e[0], e[0], [1, 2, 2], True),  # larger than the last
        (e[1], e[0], [1, 2, 2], False),  # smaller than two others
        (0 * e[0], e[0], [1, 2, 3], False),  # all logits are zero
        (e[2], e[0], [0, 0, 0], True),  # no negative is left
    ]
    for prediction, target, drawn, is_hit in rules:
        inputs = prediction.view(1, 1, 4), target.view(1, 1, 4), pool, torch.tensor([drawn])
        _, correct, *_ = run(backend, *inputs)
        assert correct == is_hit, drawn


def test_without_unequal_negatives_there_is_no_loss(backend):
    x, y, z, negatives = batch()
    y[:] = z[:1]
    z[:] = z[:1].clone()
    for drawn in (negatives, negatives[:, :0]):
        loss, correct, *by_lines = run(backend, x, y, z, drawn)
        assert (loss, correct) == (0, 21 if drawn.numel() else 0)
        assert not any(gradient.any() for gradient in by_lines)


def test_targets_that_differ_in_one_channel_are_unequal(backend):
    x, y, z, negatives = batch(channels=40)
    y[0, 0, 3] = 0
    z[:] = y[0, 0]
    z[3, -1] += 1
    z[5, 20] -= 1
    z[7, 3] = -0.0  # equals zero
    check(backend, x, y, z, negatives)


def test_short_and_empty_vectors(backend):
    x, y, z, negatives = batch(channels=6)
    x[:, 1] *= 1e-10
    y[:, 2] *= 1e-10
    z[3] *= 1e-10
    x[:, 4], y[:, 5], z[4] = 0, 0, 0
    z[6] = -z[4]
    check(backend, x, y, z, negatives)


def test_nan_stays_visible(backend):
    x, y, z, negatives = batch()
    hits_of_others = by_the_definition(x[1:], y[1:], z, negatives[1:], 0.1).correct
    x[0] = torch.nan
    loss, correct, *_ = run(backend, x, y, z, negatives)
    assert loss.isnan()
    assert correct == hits_of_others


@pytest.mark.parametrize("index", [-1, 23])
def test_negatives_that_are_not_in_the_pool(backend, index):
    x, y, z, negatives = batch()
    negatives[0, 30] = index
    if backend in ("cuda", "triton"):
        loss, *_ = run(backend, x, y, z, negatives)
        assert loss.isnan()
    elif backend == "reference":
        pytest.skip("reference: PyTorch's indexing, which counts from the end too")
    else:
        with pytest.raises(ValueError, match="not in the pool"):
            run(backend, x, y, z, negatives)


def test_threads_change_nothing():
    skip_if_missing("cpu")
    inputs = batch(rows=5, frames=20, channels=16, vectors=150)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", *inputs))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.slow
def test_triton_kernels_without_a_gpu():
    run_triton_tests(__file__)
