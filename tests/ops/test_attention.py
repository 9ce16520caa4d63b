"""Self-attention against its definition in float64, with and without dropout."""

import math

import pytest
import torch

from fairseq_ecg.ops.attention import attention
from fairseq_ecg.ops.backends import OPERATIONS
from tests.ops import kernels
from tests.tolerances import TOLERANCES

SHAPES = [
    (1, 1, 1, 1),
    (2, 7, 3, 5),
    (3, 16, 2, 8),
    (1, 33, 2, 64),
    (2, 97, 1, 17),
    (1, 200, 2, 20),
]


@pytest.fixture(params=OPERATIONS["attention"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def batch(rows=2, frames=11, heads=2, channels=6):
    """Queries, keys, values and a gradient of the output, and a mask of padding at the ends."""
    generator = torch.Generator().manual_seed(frames)
    tensors = [torch.randn(rows, frames, heads * channels, generator=generator) for _ in range(4)]
    ends = torch.randint(1, frames + 1, (rows, 1), generator=generator)
    return tensors, torch.arange(frames) >= ends


def by_the_definition(q, k, v, heads, padding_mask=None, factors=None):
    """Attention in the type of its inputs; factors of weights are what dropout makes of ones."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if padding_mask is not None:
        scores = scores.masked_fill(padding_mask[:, None, None, :], -torch.inf)
    weights = scores.softmax(dim=-1)
    if factors is not None:
        weights = weights * factors
    return (weights @ v).transpose(1, 2).flatten(2)


def gradients(function, q, k, v, gradient, *arguments, **options):
    """The function's output and its gradients with respect to queries, keys and values."""
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    output = function(*inputs, *arguments, **options)
    return output.detach(), *torch.autograd.grad(output, inputs, gradient)


def run(backend, tensors, heads, padding_mask=None, dropout_p=0.0, seed=0):
    """Run a backend in memory full of NaN; the mask of dropout follows the seed."""
    torch.manual_seed(seed)
    with kernels.nan_in_new_memory():
        return gradients(
            attention, *tensors, heads, padding_mask, dropout_p, training=True, backend=backend
        )


def assert_close(actual, expected, backend):
    for quantity, one, other in zip(("output", *["gradient"] * 3), actual, expected, strict=True):
        rtol, atol, _ = TOLERANCES["attention", backend, quantity]
        # Nothing is summed up to zero exactly: a single frame's scores have a gradient of zero.
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol * scale)


def expected_of(tensors, heads, padding_mask=None, factors=None):
    doubles = [x.double() for x in tensors]
    return gradients(by_the_definition, *doubles, heads, padding_mask, factors)


def drawn_factors(rows, frames, heads, dropout_p, seed):
    """Find what dropout multiplies weights by: equal weights come back where values are one."""
    channels = frames
    queries = torch.zeros(rows, frames, heads * channels)
    values = torch.eye(frames).repeat(rows, 1, heads)
    torch.manual_seed(seed)
    output = attention(queries, queries, values, heads, None, dropout_p, True, backend="cpu")
    return output.unflatten(-1, (heads, channels)).transpose(1, 2) * frames


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("rows", "frames", "heads", "channels"), SHAPES)
def test_output_and_gradients(backend, rows, frames, heads, channels, padded):
    tensors, padding_mask = batch(rows, frames, heads, channels)
    padding_mask = padding_mask if padded else None
    actual = run(backend, tensors, heads, padding_mask)
    assert_close(actual, expected_of(tensors, heads, padding_mask), backend)


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_any_layout_of_memory(backend, dropout_p):
    tensors, padding_mask = batch()
    strided = [
        tensors[0].repeat(1, 1, 2)[..., 5 : 5 + tensors[0].shape[2]],
        tensors[1].mT.contiguous().mT,
        tensors[2].transpose(0, 1).contiguous().transpose(0, 1),
        tensors[3][:1, :1, :1].expand(tensors[3].shape),
    ]
    expected = run(backend, [x.contiguous() for x in strided], 2, padding_mask, dropout_p)
    actual = run(backend, strided, 2, padding_mask.T.contiguous().T, dropout_p)
    if backend == "cpu":
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    else:
        assert_close(actual, [x.double() for x in expected], backend)


def test_without_gradients(backend):
    tensors, padding_mask = batch()
    expected, *_ = run(backend, tensors, 2, padding_mask, 0.3)
    torch.manual_seed(0)
    with torch.no_grad():
        output = attention(*tensors[:3], 2, padding_mask, 0.3, True, backend=backend)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)


def test_nothing_is_dropped_in_evaluation(backend):
    tensors, padding_mask = batch()
    expected = attention(*tensors[:3], 2, padding_mask, backend="reference")
    output = attention(*tensors[:3], 2, padding_mask, 0.9, training=False, backend=backend)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)


def test_large_scores(backend):
    tensors, padding_mask = batch()
    tensors = [30 * tensors[0], *tensors[1:]]
    assert_close(
        run(backend, tensors, 2, padding_mask), expected_of(tensors, 2, padding_mask), backend
    )


def test_nothing_comes_from_a_row_of_padding_alone(backend):
    tensors, padding_mask = batch()
    padding_mask[1] = True
    found = run(backend, tensors, 2, padding_mask)
    alone = run(backend, [x[:1] for x in tensors], 2, padding_mask[:1])
    for whole, first in zip(found, alone, strict=True):
        assert not whole[1].any()
        torch.testing.assert_close(whole[:1], first)


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("frames", [1, 2, 3, 11, 16, 31, 78, 156])
def test_infinity_and_nan_stay_visible(backend, frames, value, with_gradient):
    tensors, _ = batch(frames=frames)
    frame = min(3, frames - 1)
    for index in range(3):
        inputs = [x.clone() for x in tensors]
        inputs[index][0, frame, 2] = value
        if with_gradient:
            output, *_ = run(backend, inputs, 2)
        else:
            output = attention(*inputs[:3], 2, backend=backend)
        # A query is its own frame's, a key every frame's, a value one channel's of every frame.
        reached = (output[0, frame, :6], output[0, :, :6], output[0, :, 2])[index]
        if index == 1 and backend == "cpu" and with_gradient and value != torch.nan:
            # Scores of minus infinity are weights of 0 beside others.
            reached = reached[inputs[0][0, :, 2] * value > 0]
        assert not reached.isfinite().any()
        assert output[0, :, 6:].isfinite().all()
        assert output[1].isfinite().all()


@pytest.mark.parametrize("index", [0, 1])
def test_infinity_and_nan_stay_visible_when_compiled(index):
    compiled = torch.compile(lambda q, k, v: attention(q, k, v, 2, backend="reference"))
    tensors, _ = batch(frames=3)
    for value in (torch.nan, torch.inf, -torch.inf):
        inputs = [x.clone() for x in tensors[:3]]
        inputs[index][0, 1, 2] = value
        assert not compiled(*inputs)[0, 1, :6].isfinite().any()


def test_wrong_arguments_are_named():
    (q, k, v, _), padding_mask = batch()
    with pytest.raises(ValueError, match=r"all be \(B, T, D\), not \(2, 11, 12\), \(2, 11, 11\)"):
        attention(q, k[..., 1:], v, 2)
    with pytest.raises(ValueError, match="5 heads do not divide 12 channels"):
        attention(q, k, v, 5)
    with pytest.raises(ValueError, match=r"\(2, 11, 12\), not \(2, 10\)"):
        attention(q, k, v, 2, padding_mask[:, 1:])
    with pytest.raises(ValueError, match=r"bool, not torch\.float32"):
        attention(q, k, v, 2, padding_mask.float())
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        attention(q, k, v, 2, None, 1.5)


def test_all_weights_can_be_dropped(backend):
    (q, k, v, _), _ = batch()
    assert not attention(q, k, v, 2, None, 1.0, True, backend=backend).any()


@pytest.mark.parametrize("other", ["torch", "triton"])
def test_other_backends_are_the_reference(other):
    kernels.skip_if_missing(other)
    (q, k, v, _), _ = batch()
    expected = attention(q, k, v, 2, backend="reference")
    assert torch.equal(attention(q, k, v, 2, backend=other), expected)


class TestCPUKernel:
    @pytest.fixture(autouse=True)
    def kernel(self):
        kernels.skip_if_missing("cpu")

    @pytest.mark.parametrize("padded", [False, True])
    @pytest.mark.parametrize(("rows", "frames", "heads", "channels"), SHAPES)
    def test_dropped_weights(self, rows, frames, heads, channels, padded):
        tensors, padding_mask = batch(rows, frames, heads, channels)
        padding_mask = padding_mask if padded else None
        drawn = drawn_factors(rows, frames, heads, 0.25, seed=frames)
        factors = (drawn > 0).double() / 0.75
        torch.testing.assert_close(drawn.double(), factors, rtol=1e-6, atol=0)
        actual = run("cpu", tensors, heads, padding_mask, 0.25, seed=frames)
        assert_close(actual, expected_of(tensors, heads, padding_mask, factors), "cpu")

    def test_masks_are_random(self):
        factors = drawn_factors(2, 300, 3, 0.1, seed=1)
        kept = (factors > 0).float()
        # Five standard errors of a share of 540,000.
        assert kept.mean().item() == pytest.approx(0.9, abs=0.002)
        for one, other in (
            (kept[..., 1:], kept[..., :-1]),
            (kept[..., 1:, :], kept[..., :-1, :]),
            (kept[:, 1:], kept[:, :-1]),
            (kept[1:], kept[:-1]),
        ):
            assert (one * other).mean().item() == pytest.approx(0.81, abs=0.004)
        assert not torch.equal(factors, drawn_factors(2, 300, 3, 0.1, seed=2))

    def test_threads_change_nothing(self):
        tensors, padding_mask = batch(3, 120, 3, 9)
        threads = torch.get_num_threads()
        try:
            results = []
            for number in (1, 2):
                torch.set_num_threads(number)
                results.append(run("cpu", tensors, 3, padding_mask, 0.1))
        finally:
            torch.set_num_threads(threads)
        torch.testing.assert_close(*results, rtol=0, atol=0)

    def test_probabilities_close_to_one(self):
        output, *by_inputs = run("cpu", batch()[0], 2, dropout_p=1 - 1e-9)
        assert all(tensor.isfinite().all() for tensor in (output, *by_inputs))

    @pytest.mark.parametrize("dropout_p", [0.0, 0.3])
    def test_bfloat16_is_computed_in_float32(self, dropout_p):
        tensors, padding_mask = batch(2, 50, 3, 20)
        halves = [x.bfloat16() for x in tensors]
        actual = run("cpu", halves, 3, padding_mask, dropout_p)
        expected = run("cpu", [x.float() for x in halves], 3, padding_mask, dropout_p)
        expected = [x.bfloat16() for x in expected]
        torch.testing.assert_close(list(actual), expected, rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_other_types_are_pytorchs_affair(self, dtype):
        (q, k, v, _), _ = batch()
        inputs = [x.to(dtype) for x in (q, k, v)]
        expected = attention(*inputs, 2, backend="reference")
        assert torch.equal(attention(*inputs, 2, backend="cpu"), expected)

    def test_second_derivative_is_refused(self):
        (q, k, v, _), _ = batch()
        q.requires_grad_()
        (by_q,) = torch.autograd.grad(
            attention(q, k, v, 2, backend="cpu").square().sum(), q, create_graph=True
        )
        with pytest.raises(RuntimeError, match="once_differentiable"):
            by_q.sum().backward()

    @pytest.mark.parametrize("dropout_p", [0.0, 0.5])
    def test_operators_are_registered_soundly(self, dropout_p):
        (q, k, v, gradient), padding_mask = batch()
        inputs = [x.requires_grad_() for x in (q, k, v)]
        seed = torch.tensor(5) if dropout_p else None
        forward = torch.ops.fairseq_ecg.attention.default
        backward = torch.ops.fairseq_ecg.attention_backward.default
        torch.library.opcheck(forward, (*inputs, padding_mask, seed, 2, dropout_p, True))
        inputs = [x.detach() for x in inputs]
        torch.library.opcheck(forward, (*inputs, None, seed, 2, dropout_p, False))
        _, *weights = forward(*inputs, padding_mask, seed, 2, dropout_p, True)
        arguments = (gradient, *inputs, padding_mask, *weights, 2, dropout_p)
        torch.library.opcheck(backward, arguments)

    def test_compiles_as_one_graph_for_any_number_of_frames(self):
        graphs = []

        def count_graphs(graph, example_inputs):
            graphs.append(graph)
            return graph.forward

        compiled = torch.compile(attention, backend=count_graphs, fullgraph=True, dynamic=True)
        for frames in (7, 9, 4):
            tensors, padding_mask = batch(frames=frames)
            options = {"training": True, "backend": "cpu"}
            results = []
            for function in (attention, compiled):
                torch.manual_seed(3)
                results.append(gradients(function, *tensors, 2, padding_mask, 0.2, **options))
            torch.testing.assert_close(*results, rtol=0, atol=0)
        assert len(graphs) == 1
