"""Every implementation of quantization against its definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.quantize import Quantized, quantize, torch_kernel
from tests.ops import kernels
from tests.tolerances import TOLERANCES


@pytest.fixture(params=OPERATIONS["quantize"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def inputs(frames=7, groups=2, codewords=5, channels=3, seed=0):
    """Logits, a codebook, and what the sum of codes is weighted by."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(frames, groups, codewords, generator=generator)
    codebook = torch.rand(groups, codewords, channels, generator=generator)
    return logits, codebook, torch.randn(frames, groups * channels, generator=generator)


def by_the_definition(logits, codebook, temperature, noise) -> Quantized:
    """In float64: a straight-through choice, and perplexities from mean choices."""
    codewords = torch.arange(logits.shape[2])
    hard = (logits.argmax(-1, keepdim=True) == codewords).double()
    choice = hard
    if noise is not None:
        soft = ((logits - noise.log()) / temperature).softmax(-1)
        choice = (soft.argmax(-1, keepdim=True) == codewords).double() + soft - soft.detach()
    codes = torch.einsum("ngv,gvd->ngd", choice, codebook).flatten(1)

    def perplexity(mean):
        return (-(mean * (mean + 1e-7).log()).sum(-1)).exp().sum()

    return Quantized(codes, perplexity(hard.mean(0)), perplexity(logits.softmax(-1).mean(0)))


def gradients(function, logits, codebook, weights):
    """The function's results, and the gradients of codes and prob perplexity together."""
    x, y = (tensor.detach().clone().requires_grad_() for tensor in (logits, codebook))
    result = function(x, y)
    (result.codes * weights).sum().add(3 * result.prob_perplexity).backward()
    return (*(tensor.detach().cpu() for tensor in result), x.grad.cpu(), y.grad.cpu())


def run(backend, logits, codebook, weights, temperature=2.0, training=True, seed=0):
    """Run a backend on its device from memory full of NaN; also return what noise was drawn."""
    moved = [tensor.to(kernels.device_of(backend)) for tensor in (logits, codebook, weights)]
    torch.manual_seed(seed)
    noise = torch.empty(moved[0].shape, device=moved[0].device).exponential_().cpu()
    torch.manual_seed(seed)
    with kernels.nan_in_new_memory():
        results = gradients(lambda x, y: quantize(x, y, temperature, training, backend), *moved)
    return results, noise if training else None


def check(backend, logits, codebook, weights, temperature=2.0, training=True):
    actual, noise = run(backend, logits, codebook, weights, temperature, training)
    double = [tensor.double() for tensor in (logits, codebook, weights)]
    noise = None if noise is None else noise.double()
    expected = gradients(lambda x, y: by_the_definition(x, y, temperature, noise), *double)
    quantities = ["codes", "perplexity", "perplexity", "gradient", "gradient"]
    for quantity, one, other in zip(quantities, actual, expected, strict=True):
        rtol, atol, _ = TOLERANCES["quantize", backend, quantity]
        scale = other.abs().max().item() if quantity == "gradient" else 1.0
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol * scale)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("frames", "groups", "codewords", "channels"),
    [(1, 1, 2, 1), (7, 2, 5, 3), (3, 1, 16, 16), (33, 1, 17, 9), (18, 2, 40, 33), (5, 1, 70, 2)],
)
def test_codes_perplexities_and_gradients(backend, frames, groups, codewords, channels, training):
    check(backend, *inputs(frames, groups, codewords, channels), training=training)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 10.0])
def test_temperatures(backend, temperature):
    check(backend, *inputs(frames=9, codewords=30), temperature)


@pytest.mark.parametrize("training", [True, False])
def test_any_layout_of_memory(backend, training):
    logits, codebook, weights = inputs(frames=9, codewords=11)
    strided = [tensor.mT.contiguous().mT for tensor in (logits, codebook, weights)]
    check(backend, *strided, training=training)


@pytest.mark.parametrize("fast", ["torch", "cpu", "cuda"])
def test_the_published_size(fast):
    kernels.skip_if_missing(fast)
    check(fast, *inputs(77, 2, 320, 128))


def test_first_of_equal_logits(backend):
    logits = torch.tensor([[[0.0, 3.0, 3.0], [1.0, 1.0, 1.0]], [[-9.0, -9.0, -9.5], [2.0, 0, 2.0]]])
    codebook = torch.arange(12.0).view(2, 3, 2)
    (codes, *_), _ = run(backend, logits, codebook, torch.ones(2, 4), training=False)
    assert torch.equal(codes, torch.tensor([[2.0, 3, 6, 7], [0, 1, 6, 7]]))


@pytest.mark.parametrize("training", [True, False])
def test_words_that_cannot_be_chosen(backend, training):
    logits, codebook, weights = inputs(frames=13, codewords=20)
    logits[::3, :, 3:9] = -torch.inf
    logits[1::3, 0, :-1] = -torch.inf
    check(backend, logits, codebook, weights, training=training)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_visible(backend, value):
    logits, codebook, weights = inputs(frames=13, codewords=20)
    logits[3, 1, 7] = value
    expected, _ = run("reference", logits, codebook, weights)
    actual, _ = run(backend, logits, codebook, weights)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
    assert actual[0][3, 3:].isnan().all()
    assert actual[0].isnan().sum() == 3
    (codes, *_), _ = run(backend, logits, codebook, weights, training=False)
    assert torch.equal(codes[3, 3:], codebook[1, 7])


def test_nothing_to_choose_from(backend):
    logits, codebook, weights = inputs(frames=3)
    logits[2, 0] = -torch.inf
    expected, _ = run("reference", logits, codebook, weights)
    actual, _ = run(backend, logits, codebook, weights)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
    (codes, *_), _ = run(backend, logits, codebook, weights, training=False)
    assert torch.equal(codes[2, :3], codebook[0, 0])


def test_draws_are_those_of_gumbel_softmax(backend):
    """Noise decides among equal logits: which codewords are chosen shows what was drawn."""
    codebook = torch.arange(2 * 9.0).view(2, 9, 1)
    (codes, *_), noise = run(backend, torch.zeros(15, 2, 9), codebook, torch.ones(15, 2))
    assert torch.equal(codes, noise.argmin(-1) + torch.tensor([0.0, 9.0]))


@pytest.mark.parametrize("what", ["codes", "perplexity"])
@pytest.mark.parametrize("training", [True, False])
def test_gradient_of_one_result_alone(backend, what, training):
    device = kernels.device_of(backend)
    logits, codebook, weights = (tensor.to(device) for tensor in inputs())

    def run_alone(chosen):
        x, y = logits.clone().requires_grad_(), codebook.clone().requires_grad_()
        torch.manual_seed(0)
        result = quantize(x, y, 2.0, training, chosen)
        if what == "codes":
            (result.codes * weights).sum().backward()
        else:
            result.prob_perplexity.backward()
        return x.grad, y.grad

    _, atol, _ = TOLERANCES["quantize", backend, "gradient"]
    for one, other in zip(run_alone(backend), run_alone("reference"), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=2 * atol * other.abs().max().item())


def test_no_device_is_waited_for():
    logits, codebook, _ = inputs()
    noise = torch.empty(logits.shape).exponential_()
    temperature = torch.tensor(2.0)
    with kernels.WaitsForNoDevice():
        codes, choices, perplexities, grad_probs = torch_kernel.quantize(
            logits, codebook, noise, temperature
        )
        grad_choices = torch.zeros(2, 7, 5)
        torch_kernel.quantize_grad_logits(
            logits, noise, grad_choices, grad_probs, perplexities[1], temperature
        )
        torch_kernel.quantize_grad_codebook(choices, codes, 5)


def test_threads_change_nothing():
    kernels.skip_if_missing("cpu")
    arguments = inputs(300, 2, 40, 20)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", *arguments)[0])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


@pytest.mark.parametrize("has_noise", [True, False])
def test_triton_kernels_compile_for_a_gpu(has_noise):
    pytest.importorskip("triton")
    from fairseq_ecg.ops.quantize.triton_kernel import _choose, _differentiate

    sizes = dict.fromkeys(("frames", "groups", "codewords"), "i32") | {"temperature": "*fp32"}
    arguments = {"logits": "*fp32", "noise": "*fp32", "best": "*i32", "choices": "*i32"}
    arguments |= {"sums": "*fp32"} | sizes
    kernels.compile_triton(_choose, arguments, SAMPLES=has_noise, FRAMES=16, WIDTH=512)
    names = "logits", "noise", "grad_choices", "grad_probs", "grad_perplexity", "gradient"
    arguments = dict.fromkeys(names, "*fp32") | sizes
    kernels.compile_triton(
        _differentiate, arguments, HAS_CHOICE=has_noise, HAS_PERPLEXITY=True, WIDTH=512
    )
