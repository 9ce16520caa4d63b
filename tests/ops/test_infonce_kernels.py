"""Every implementation of the contrastive loss against its definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.infonce import infonce
from fairseq_ecg.ops.negatives import DrawnNegatives, drawn_indices
from tests.ops.kernels import (
    device_of,
    nan_in_new_memory,
    run_triton_tests,
    skip_if_missing,
)
from tests.ops.test_infonce import batch, by_the_definition, gradients, undrawn
from tests.tolerances import TOLERANCES


@pytest.fixture(params=OPERATIONS["infonce"])
def backend(request) -> str:
    skip_if_missing(request.param)
    return request.param


def run(backend, predictions, targets, negatives, temperature=0.1):
    """Run a backend on its device from memory full of NaN; the results come back to the CPU."""
    device = device_of(backend)
    x, y = predictions.to(device), targets.to(device)
    if isinstance(negatives, DrawnNegatives):
        negatives = negatives._replace(origins=negatives.origins.to(device))
    else:
        negatives = negatives.to(device)
    with nan_in_new_memory():
        result, grad_x, grad_y = gradients(infonce, x, y, negatives, temperature, backend)
    return result.loss.detach().cpu(), result.correct.item(), grad_x.cpu(), grad_y.cpu()


def assert_close(actual, expected, backend, quantity):
    rtol, atol, _ = TOLERANCES["infonce", backend, quantity]
    scale = expected.abs().max().item() if quantity == "gradient" else 1.0
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=atol * scale, check_dtype=False, equal_nan=True
    )


def check(backend, predictions, targets, negatives, temperature=0.1):
    loss, correct, grad_x, grad_y = run(backend, predictions, targets, negatives, temperature)
    expected, *expected_gradients = gradients(
        by_the_definition, predictions.double(), targets.double(), negatives, temperature
    )
    assert correct == expected.correct
    assert_close(loss, expected.loss.detach(), backend, "loss")
    for actual, gradient in zip((grad_x, grad_y), expected_gradients, strict=True):
        assert_close(actual, gradient, backend, "gradient")


@pytest.mark.parametrize(
    ("rows", "frames", "channels", "draws"),
    [
        (1, 2, 1, 1),
        (2, 3, 4, 1),
        (3, 7, 5, 9),
        (2, 16, 16, 3),
        (1, 17, 33, 40),
        (2, 31, 64, 8),
        (1, 37, 48, 5),
        (1, 70, 20, 10),
    ],
)
def test_loss_correct_and_gradients(backend, rows, frames, channels, draws):
    check(backend, *batch(rows, frames, channels, draws))


@pytest.mark.parametrize(
    ("rows", "frames", "draws"), [(2, 2, 1), (1, 11, 4), (3, 7, 3), (2, 3, 70), (1, 35, 2)]
)
def test_kernels_draw_what_the_definition_draws(backend, rows, frames, draws):
    x, y, _ = batch(rows, frames, 20)
    drawn = undrawn(rows, draws)
    given = drawn_indices(drawn.origins, frames, draws)
    torch.testing.assert_close(run(backend, x, y, drawn), run(backend, x, y, given), rtol=0, atol=0)


def test_more_frames_than_a_kernel_holds_at_once(backend, monkeypatch):
    frames = 130
    if backend == "triton":
        from fairseq_ecg.ops.infonce import triton_kernel

        frames = 20  # the interpreter is slow
        monkeypatch.setattr(triton_kernel, "_FRAMES", 16)
    x, y, given = batch(1, frames, 20, 3)
    check(backend, x, y, given)
    drawn = undrawn(1, 3)
    given = drawn_indices(drawn.origins, frames, 3)
    torch.testing.assert_close(run(backend, x, y, drawn), run(backend, x, y, given), rtol=0, atol=0)


def test_without_gradients(backend):
    rows, frames = (1, 5) if backend == "triton" else (3, 11)  # the interpreter is slow
    for seed in range(20):
        torch.manual_seed(seed)
        inputs = [tensor.to(device_of(backend)) for tensor in batch(rows, frames, 20, 4)]
        with_gradient, _, _ = gradients(infonce, *inputs, 0.1, backend)
        with torch.no_grad():
            without = infonce(*inputs, 0.1, backend)
        torch.testing.assert_close(without.loss, with_gradient.loss.detach(), rtol=0, atol=0)
        assert without.correct == with_gradient.correct


@pytest.mark.parametrize("temperature", [0.002, 1.0, 25.0])
def test_temperatures(backend, temperature):
    check(backend, *batch(frames=20, draws=2), temperature)


def test_any_layout_of_memory(backend):
    x, y, negatives = batch(channels=8)
    strided = [tensor.mT.contiguous().mT for tensor in (x, y)]
    check(backend, *strided, negatives.T.contiguous().T)


def test_hit_is_the_largest_logit_but_not_the_smallest_too(backend):
    # Targets are unit vectors times powers of two: their cosines, 0 and 1, are exact.
    e = torch.eye(4)
    targets = torch.stack([e[0], 2 * e[0], e[0], e[1], 4 * e[1], e[2]]).unsqueeze(0)
    predictions = torch.stack([e[0], e[0], 0 * e[0], e[1], e[2], 0 * e[0]]).unsqueeze(0)
    rules = [
        ([1, 1, 1], False),  # all logits are one
        ([0, 2, 5], True),  # as large as two others, larger than the last
        ([0, 0, 1], True),  # all logits are zero, but those of equal targets minus infinity
        ([0, 5, 5], True),  # larger than the others
        ([3, 5, 5], False),  # smaller than two others
        ([0, 1, 3], False),  # all logits are zero
    ]
    for frame, (drawn, is_hit) in enumerate(rules):
        negatives = torch.arange(6).repeat_interleave(3).view(6, 3)  # own targets: five correct
        negatives[frame] = torch.tensor(drawn)
        _, correct, *_ = run(backend, predictions, targets, negatives.view(1, -1))
        assert correct == 5 + is_hit, frame


def test_without_unequal_negatives_there_is_no_loss(backend):
    x, y, negatives = batch()
    y[:] = y[:, :1]
    loss, correct, grad_x, grad_y = run(backend, x, y, negatives)
    assert (loss, correct) == (0, 21)
    assert not grad_x.any()
    assert not grad_y.any()


def test_negative_zero_equals_zero(backend):
    x, y, negatives = batch(channels=4)
    y[:, 1:3] = torch.tensor([0.0, 1.0, -0.0, 2.0])
    y[:, 2] = torch.tensor([-0.0, 1.0, 0.0, 2.0])
    check(backend, x, y, negatives)


def test_targets_that_differ_in_one_channel_are_unequal(backend):
    x, y, negatives = batch(channels=70)
    y[:] = y[:, :1]
    y[:, 3, -1] += 1
    y[:, 5, 40] -= 1
    check(backend, x, y, negatives)


def test_short_and_empty_frames(backend):
    x, y, negatives = batch(channels=6)
    x[:, 1] *= 1e-10
    y[:, 2] *= 1e-10
    x[:, 4] = 0
    y[:, 5] = 0
    check(backend, x, y, negatives)
    assert not run(backend, 0 * x, 0 * y, negatives)[2].any()


def test_nan_stays_visible(backend):
    x, y, negatives = batch()
    hits_of_others = by_the_definition(x[1:], y[1:], negatives[1:] - 7, 0.1).correct
    x[0] = torch.nan
    loss, correct, *_ = run(backend, x, y, negatives)
    assert loss.isnan()
    assert correct == hits_of_others


@pytest.mark.parametrize("index", [-1, 7, 21])
def test_negatives_of_other_rows(backend, index):
    if backend == "reference":
        pytest.skip("reference: negatives may be of any row")
    x, y, negatives = batch()
    negatives[0, 30] = index
    if backend in ("cuda", "triton"):
        assert run(backend, x, y, negatives)[0].isnan()
    else:
        with pytest.raises(ValueError, match="another row"):
            run(backend, x, y, negatives)


def test_threads_change_nothing():
    skip_if_missing("cpu")
    inputs = batch(rows=5, frames=20, channels=16)
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
