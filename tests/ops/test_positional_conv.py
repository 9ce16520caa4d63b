import pytest
import torch

from fairseq_ecg.ops import positional_conv as package
from fairseq_ecg.ops.positional_conv import positional_conv, reference, torch_kernel
from tests.tolerances import TOLERANCES


def inputs(rows, frames, channels, groups, kernel, dtype=torch.float32):
    generator = torch.Generator().manual_seed(kernel)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    weight = random(channels, channels // groups, kernel) / (channels * kernel / groups) ** 0.5
    return random(rows, frames, channels), weight, random(channels)


def gradients(function, *tensors, groups):
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*tensors, groups)
    generator = torch.Generator().manual_seed(1)
    grad_y = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    return y.detach(), *torch.autograd.grad(y, tensors, grad_y)


def test_one_channel_by_hand():
    x = torch.tensor([[[1.0], [10.0], [100.0]]])
    weight = torch.tensor([[[2.0, 3.0, 5.0, 7.0]]])
    bias = torch.tensor([0.5])
    # Frame t: 2 x[t - 2] + 3 x[t - 1] + 5 x[t] + 7 x[t + 1].
    expected = [5 + 70 + 0.5, 3 + 50 + 700 + 0.5, 2 + 30 + 500 + 0.5]
    for module in (reference, torch_kernel):
        y = module.positional_conv(x, weight, bias, 1)
        assert y.flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "frames", "channels", "groups", "kernel"),
    [
        (2, 156, 32, 4, 128),
        (1, 157, 6, 1, 33),
        (3, 40, 8, 8, 95),
        (2, 3, 4, 2, 64),
        (1, 1, 2, 1, 32),
        (2, 312, 12, 3, 100),
    ],
)
def test_spectra_give_the_numbers_and_gradients_of_the_convolution(
    rows, frames, channels, groups, kernel
):
    given = inputs(rows, frames, channels, groups, kernel)
    found = gradients(torch_kernel.positional_conv, *given, groups=groups)
    exact = [tensor.double() for tensor in given]
    expected = gradients(reference.positional_conv, *exact, groups=groups)
    rtol, atol, _ = TOLERANCES["positional_conv", "torch", "all"]
    for actual, wanted in zip(found, expected, strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(actual, wanted, rtol=rtol, atol=atol * scale, check_dtype=False)


@pytest.mark.parametrize(("kernel", "is_spectral"), [(16, False), (31, False), (32, True)])
def test_long_kernels_on_the_cpu_take_spectra(monkeypatch, kernel, is_spectral):
    monkeypatch.delenv("FAIRSEQ_ECG_BACKEND", raising=False)
    calls = []
    monkeypatch.setattr(package.torch_kernel, "positional_conv", lambda *a: calls.append(a) or a[0])
    positional_conv(*inputs(1, 20, 4, 2, kernel), 2)
    positional_conv(*inputs(1, 20, 4, 2, kernel), 2, backend="reference")
    assert len(calls) == is_spectral


def test_half_precision_is_computed_in_float32():
    given = inputs(2, 50, 8, 2, 64, torch.bfloat16)
    exact = torch_kernel.positional_conv(*(tensor.float() for tensor in given), 2)
    with torch.autocast("cpu", torch.bfloat16):
        y = positional_conv(*given, 2, backend="torch")
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, exact.bfloat16())


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize(
    ("channels", "groups", "kernel"), [(32, 4, 8), (32, 4, 7), (32, 4, 32), (64, 8, 16), (16, 1, 4)]
)
def test_short_kernels_in_half_precision(channels, groups, kernel, is_autocast):
    given = inputs(2, 50, channels, groups, kernel, torch.bfloat16)
    exact = reference.positional_conv(*(tensor.double() for tensor in given), groups)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        y = positional_conv(*given, groups)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=1e-2)


def test_compiles_as_one_graph():
    compiled = torch.compile(positional_conv, backend="aot_eager", fullgraph=True)
    given = inputs(2, 50, 8, 2, 64)
    y = compiled(*given, 2, backend="torch")
    torch.testing.assert_close(y, positional_conv(*given, 2, backend="torch"))
