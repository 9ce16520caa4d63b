"""Every implementation of pooling against its definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.pooling import mean_of_frames, mean_of_nonzero, zero_padding
from tests.ops import kernels
from tests.tolerances import TOLERANCES

BACKENDS = OPERATIONS["pooling"]


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def batch(rows=3, frames=7, channels=5):
    """Frames some of whose entries are zero, and padding that holds what must not count."""
    generator = torch.Generator().manual_seed(frames)
    x = torch.randn(rows, frames, channels, generator=generator)
    x[torch.rand(x.shape, generator=generator) < 0.2] = 0
    x[:, 0] = 1.5  # no channel is zero throughout
    ends = torch.randint(1, frames + 1, (rows, 1), generator=generator)
    frame_mask = torch.arange(frames) >= ends
    x[frame_mask] = torch.nan
    return x, frame_mask


def gradient(function, x, *arguments):
    """The function's result and the gradient of its weighted sum."""
    x = x.detach().clone().requires_grad_()
    means = function(x, *arguments)
    (means * torch.arange(1.0, means.numel() + 1, device=x.device).view_as(means)).sum().backward()
    return means.detach(), x.grad


def run(backend, x, frame_mask):
    """Run a backend on its device from memory full of NaN; the results come back to the CPU."""
    device = kernels.device_of(backend)
    frame_mask = None if frame_mask is None else frame_mask.to(device)
    with kernels.nan_in_new_memory():
        means, grad_x = gradient(mean_of_nonzero, x.to(device), frame_mask, backend)
    return means.cpu(), grad_x.cpu()


def check(backend, x, frame_mask):
    means, grad_x = run(backend, x, frame_mask)
    expected = torch.empty_like(means, dtype=torch.float64)
    expected_by_x = torch.zeros_like(x, dtype=torch.float64)
    for row, of_row in enumerate(x.double()):
        present = of_row if frame_mask is None else of_row[~frame_mask[row]]
        count = (present != 0).sum(0)
        expected[row] = present.sum(0) / count
        weights = torch.arange(1.0, x.shape[2] + 1) + row * x.shape[2]
        expected_by_x[row, : len(present)] = weights / count
    for quantity, one, other in (("mean", means, expected), ("gradient", grad_x, expected_by_x)):
        rtol, atol, _ = TOLERANCES["pooling", backend, quantity]
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("rows", "frames", "channels"),
    [(1, 1, 1), (3, 7, 5), (2, 32, 64), (2, 33, 65), (1, 70, 33), (5, 2, 100)],
)
def test_means_and_gradients(backend, rows, frames, channels):
    x, frame_mask = batch(rows, frames, channels)
    check(backend, x, frame_mask)
    check(backend, x.nan_to_num(nan=0.25), None)


def test_channels_that_are_zero_throughout_are_nan(backend):
    x, frame_mask = batch()
    x[1, :, 2] = 0
    x[2, frame_mask[2], 3] = 1.0
    x[2, ~frame_mask[2], 3] = 0
    means, _ = run(backend, x, frame_mask)
    expected = torch.zeros(3, 5, dtype=torch.bool)
    expected[1, 2] = expected[2, 3] = True
    assert torch.equal(means.isnan(), expected)


def test_row_of_padding_alone(backend):
    x, frame_mask = batch()
    frame_mask[1] = True
    means, grad_x = run(backend, x, frame_mask)
    assert means[1].isnan().all()
    assert not grad_x[1].any()


def test_nan_stays_visible(backend):
    x, _ = batch()
    x = x.nan_to_num(nan=1.0)
    x[0, 3, 2] = torch.nan
    means, _ = run(backend, x, None)
    assert means.isnan().nonzero().tolist() == [[0, 2]]


def test_any_layout_of_memory(backend):
    x, frame_mask = batch()
    check(backend, x.transpose(0, 2).contiguous().transpose(0, 2), frame_mask.T.contiguous().T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(backend, dtype):
    x, frame_mask = batch()
    x = x.to(dtype)
    means, grad_x = run(backend, x, frame_mask)
    expected, expected_by_x = run(backend, x.float(), frame_mask)
    torch.testing.assert_close(means, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(grad_x, expected_by_x.to(dtype), rtol=1e-2, atol=0)


def test_double_precision_is_kept_unless_a_backend_is_named():
    x, frame_mask = batch()
    x = x.double() * (1 + 1e-12)
    torch.testing.assert_close(
        mean_of_nonzero(x, frame_mask),
        torch.stack(
            [r[~m].sum(0) / (r[~m] != 0).sum(0) for r, m in zip(x, frame_mask, strict=True)]
        ),
        rtol=1e-14,
        atol=0,
    )


def test_autocast_changes_nothing(backend):
    device = kernels.device_of(backend)
    x, frame_mask = (tensor.to(device) for tensor in batch())
    expected = gradient(mean_of_nonzero, x, frame_mask, backend)
    with torch.autocast(device, dtype=torch.bfloat16):
        under_autocast = gradient(mean_of_nonzero, x, frame_mask, backend)
    torch.testing.assert_close(under_autocast, expected, rtol=0, atol=0)


def test_threads_change_nothing():
    kernels.skip_if_missing("cpu")
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", *batch(5, 40, 30)))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_second_derivative_is_refused():
    kernels.skip_if_missing("cpu")
    x = batch()[0].nan_to_num(nan=1.0).requires_grad_()
    weight = torch.ones((), requires_grad=True)
    total = (weight * mean_of_nonzero(x, backend="cpu")).sum()
    (grad_x,) = torch.autograd.grad(total, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_x.sum().backward()


@pytest.mark.parametrize("masked", [True, False])
def test_operator_is_registered_soundly(masked):
    kernels.skip_if_missing("cpu")
    x, frame_mask = batch()
    x = x.nan_to_num(nan=1.0).requires_grad_()
    operator = torch.ops.fairseq_ecg.mean_of_nonzero.default
    torch.library.opcheck(operator, (x, frame_mask if masked else None, "cpu"))


@pytest.mark.parametrize("chosen", ["reference", "cpu"])
def test_compiles_as_one_graph_for_any_number_of_frames(chosen):
    kernels.skip_if_missing(chosen)
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(mean_of_nonzero, backend=count_graphs, fullgraph=True, dynamic=True)
    for frames in (7, 9, 4):
        arguments = *batch(frames=frames), chosen
        expected = gradient(mean_of_nonzero, *arguments)
        torch.testing.assert_close(gradient(compiled, *arguments), expected)
    assert len(graphs) == 1


def test_zero_padding():
    x, frame_mask = batch()
    zeroed = zero_padding(x, frame_mask)
    assert not zeroed[frame_mask].any()
    assert torch.equal(zeroed[~frame_mask], x[~frame_mask])
    assert zero_padding(x, None) is x


def test_wrong_arguments_are_named():
    x, frame_mask = batch()
    with pytest.raises(ValueError, match=r"x must be \(B, T, D\), not \(3, 7\)"):
        mean_of_nonzero(x[..., 0])
    with pytest.raises(ValueError, match=r"\(3, 7, 5\), not \(3, 6\)"):
        mean_of_nonzero(x, frame_mask[:, 1:])
    with pytest.raises(ValueError, match=r"bool, not torch\.float32"):
        mean_of_nonzero(x, frame_mask.float())


def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


@pytest.mark.parametrize("masked", [True, False])
def test_triton_kernels_compile_for_a_gpu(masked):
    pytest.importorskip("triton")
    from fairseq_ecg.ops.pooling.triton_kernel import _pool

    arguments = {"x": "*fp32", "padded": "*i1" if masked else "*fp32", "means": "*fp32"}
    arguments |= {"counts": "*fp32", "frames": "i32", "channels": "i32"}
    kernels.compile_triton(_pool, arguments, may_fuse=True, MASKED=masked, FRAMES=32, CHANNELS=64)


def test_mean_of_frames_counts_zeros():
    x, frame_mask = batch()
    x[:, :, 1] = 0  # also where padded
    expected = torch.stack([x[i, ~frame_mask[i]].mean(dim=0) for i in range(len(x))])
    torch.testing.assert_close(mean_of_frames(x, frame_mask), expected)
    assert not mean_of_frames(x, frame_mask)[:, 1].any()
    assert torch.equal(mean_of_frames(x[:, :1]), x[:, 0])
