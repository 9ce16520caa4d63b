import pytest
import torch
from torch.nn import functional as F

from fairseq_ecg.ops.infonce import InfoNCE
from fairseq_ecg.ops.infonce_over_pool import infonce_over_pool, torch_kernel

PLAIN = ["reference", "torch"]


def batch(rows=3, frames=7, channels=5, draws=9, vectors=23, seed=0):
    """Predictions near their targets; a pool with some targets in it, vectors drawn repeatedly."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(rows, frames, channels, generator=generator)
    pool = torch.randn(vectors, channels, generator=generator)
    taken = torch.randint(rows * frames, (vectors // 3,), generator=generator)
    pool[::3][: len(taken)] = targets.flatten(0, 1)[taken]
    noise = torch.randn(targets.shape, generator=generator)
    negatives = torch.randint(vectors, (rows, frames * draws), generator=generator)
    return targets + 2 * noise, targets, pool, negatives


def by_the_definition(predictions, targets, pool, negatives, temperature) -> InfoNCE:
    """In float64, one masked frame after the other."""
    x, y, z = predictions.double().flatten(0, 1), targets.double().flatten(0, 1), pool.double()
    loss, correct = 0.0, 0
    for i, drawn in enumerate(negatives.reshape(len(x), -1)):
        logits = F.cosine_similarity(x[i], torch.cat([y[i : i + 1], z[drawn]]), dim=-1)
        equal = torch.tensor([False] + [torch.equal(z[p], y[i]) for p in drawn])
        logits = (logits / temperature).masked_fill(equal, -torch.inf)
        loss = loss + logits.logsumexp(0) - logits[0]
        values = logits.tolist()
        correct += values.index(max(values)) == 0 and values.index(min(values)) != 0
    return InfoNCE(loss, torch.tensor(correct), len(x))


def gradients(function, *inputs):
    """The function's loss and correct, and the gradients of predictions, targets and pool."""
    x, y, z = (tensor.detach().clone().requires_grad_() for tensor in inputs[:3])
    result = function(x, y, z, *inputs[3:])
    result.loss.backward()
    return result, x.grad, y.grad, z.grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("backend", PLAIN)
def test_other_types_are_computed_in_float32(backend, dtype):
    *lines, negatives = batch()
    lines = [tensor.to(dtype) for tensor in lines]
    result, *by_lines = gradients(infonce_over_pool, *lines, negatives, 0.1, backend)
    in_float32, *expected = gradients(
        infonce_over_pool, *(tensor.float() for tensor in lines), negatives, 0.1, backend
    )
    torch.testing.assert_close(tuple(result), tuple(in_float32), rtol=0, atol=0)
    for actual, gradient in zip(by_lines, expected, strict=True):
        torch.testing.assert_close(actual, gradient.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("backend", PLAIN)
def test_autocast_changes_nothing(backend):
    inputs = batch(channels=64)
    expected = gradients(infonce_over_pool, *inputs, 0.1, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = gradients(infonce_over_pool, *inputs, 0.1, backend)
    torch.testing.assert_close(under_autocast, expected, rtol=0, atol=0)


def test_chunks_change_nothing(monkeypatch):
    inputs = batch()
    expected = gradients(infonce_over_pool, *inputs, 0.1, "torch")
    for gathered in (1, 2 * 9 * 5, 4 * 9 * 5):
        monkeypatch.setattr(torch_kernel, "_GATHERED", gathered)
        torch.testing.assert_close(gradients(infonce_over_pool, *inputs, 0.1, "torch"), expected)


def test_without_gradient_nothing_is_kept():
    x, y, z, negatives = batch()
    result = infonce_over_pool(x, y, z, negatives, 0.1, "torch")
    assert result.loss.grad_fn is None
    with torch.no_grad():
        quiet = infonce_over_pool(x, y, z.requires_grad_(), negatives, 0.1, "torch")
    torch.testing.assert_close(tuple(quiet), tuple(result), rtol=0, atol=0)


@pytest.mark.parametrize("wanted", range(3))
def test_one_gradient_alone(wanted):
    *lines, negatives = batch()
    expected = gradients(infonce_over_pool, *lines, negatives, 0.1, "torch")[1 + wanted]
    lines[wanted].requires_grad_()
    (0.5 * infonce_over_pool(*lines, negatives, 0.1, "torch").loss).backward()
    torch.testing.assert_close(lines[wanted].grad, 0.5 * expected)


def test_second_derivative_is_refused():
    x, y, z, negatives = batch()
    factor = torch.ones((), requires_grad=True)
    loss = factor * infonce_over_pool(x.requires_grad_(), y, z, negatives, 0.1, "torch").loss
    (grad_x,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_x.sum().backward()


@pytest.mark.parametrize("gradient", [True, False])
def test_operator_is_registered_soundly(gradient):
    *lines, negatives = batch()
    lines = [tensor.requires_grad_(gradient) for tensor in lines]
    operator = torch.ops.fairseq_ecg.infonce_over_pool.default
    torch.library.opcheck(operator, (*lines, negatives, 0.1, gradient, "torch"))


@pytest.mark.parametrize("backend", PLAIN)
def test_compiles_as_one_graph_for_any_number_of_frames(backend):
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(infonce_over_pool, backend=count_graphs, fullgraph=True, dynamic=True)
    for frames in (7, 11, 8):
        inputs = (*batch(frames=frames, vectors=3 * frames), 0.1, backend)
        torch.testing.assert_close(
            gradients(compiled, *inputs), gradients(infonce_over_pool, *inputs)
        )
    assert len(graphs) == 1


def test_wrong_arguments_are_named():
    x, y, z, negatives = batch()
    with pytest.raises(ValueError, match=r"\(3, 7, 5\) and \(3, 6, 5\)"):
        infonce_over_pool(x, y[:, :6], z, negatives, 0.1)
    with pytest.raises(ValueError, match=r"3 rows of 7 frames.*\(3, 62\)"):
        infonce_over_pool(x, y, z, negatives[:, 1:], 0.1)
    with pytest.raises(ValueError, match=r"\(P, 5\), not \(23, 4\)"):
        infonce_over_pool(x, y, z[:, :4], negatives, 0.1)
    with pytest.raises(ValueError, match=r"int64, not torch\.int32"):
        infonce_over_pool(x, y, z, negatives.int(), 0.1)
    with pytest.raises(ValueError, match="temperature must be positive"):
        infonce_over_pool(x, y, z, negatives, 0.0)
