import pytest
import torch
from torch.nn import functional as F

from fairseq_ecg.ops.backends import VARIABLE
from fairseq_ecg.ops.infonce import InfoNCE, infonce
from fairseq_ecg.ops.negatives import DrawnNegatives, sample_negatives
from fairseq_ecg.ops.philox import origin

PLAIN = ["reference", "torch"]


def batch(rows=3, frames=7, channels=5, draws=9, seed=0):
    """Predictions near their targets, some targets twice in a row, negatives some of them twice."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(rows, frames, channels, generator=generator)
    targets[:, frames // 2 :: 3] = targets[:, :1]
    noise = torch.randn(targets.shape, generator=generator)
    torch.manual_seed(seed)
    return targets + 2 * noise, targets, sample_negatives(rows, frames, draws)


def undrawn(rows=3, draws=9) -> DrawnNegatives:
    """Negatives from origins that use all 64 bits of the seed and all 32 of the record."""
    origins = [origin(0x89ABCDEF01234567 - 2**64, 2, 2**32 - 1 - row, row) for row in range(rows)]
    return DrawnNegatives(torch.stack(origins), draws)


def by_the_definition(predictions, targets, negatives, temperature) -> InfoNCE:
    """In float64, one masked frame after the other."""
    x, y = predictions.double().flatten(0, 1), targets.double().flatten(0, 1)
    loss, correct = 0.0, 0
    for i, drawn in enumerate(negatives.reshape(len(x), -1)):
        logits = F.cosine_similarity(x[i], torch.cat([y[i : i + 1], y[drawn]]), dim=-1)
        equal = torch.tensor([False] + [torch.equal(y[j], y[i]) for j in drawn])
        logits = (logits / temperature).masked_fill(equal, -torch.inf)
        loss = loss + logits.logsumexp(0) - logits[0]
        values = logits.tolist()
        correct += values.index(max(values)) == 0 and values.index(min(values)) != 0
    return InfoNCE(loss, torch.tensor(correct), len(x))


def gradients(function, *inputs):
    """The function's loss, its correct, and the gradients of predictions and targets."""
    x, y = (tensor.detach().clone().requires_grad_() for tensor in inputs[:2])
    result = function(x, y, *inputs[2:])
    result.loss.backward()
    return result, x.grad, y.grad


@pytest.mark.parametrize("backend", PLAIN)
def test_one_frame_by_hand(backend):
    # Cosines of frame 0 to targets 0, 1, 2: 1, 0, -1; target 1 is drawn twice.
    targets = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]]])
    predictions = torch.tensor([[[5.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    negatives = torch.tensor([[1, 1, 2, 0, 0, 0, 0, 0, 0]])
    result = infonce(predictions, targets, negatives, 0.5, backend)
    e = torch.tensor(2.0).exp()
    losses = [
        torch.log1p((2 + 1 / e) / e),
        torch.log1p(3 / e),
        (1 / e + 3 * e).log() + 2,
    ]
    assert result.loss.item() == pytest.approx(sum(losses).item(), rel=1e-6)
    assert (result.correct.item(), result.count) == (2, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("backend", PLAIN)
def test_other_types_are_computed_in_float32(backend, dtype):
    x, y, negatives = batch()
    x, y = x.to(dtype), y.to(dtype)
    result, grad_x, grad_y = gradients(infonce, x, y, negatives, 0.1, backend)
    in_float32, float_by_x, float_by_y = gradients(
        infonce, x.float(), y.float(), negatives, 0.1, backend
    )
    assert result.loss.dtype == torch.float32
    torch.testing.assert_close(tuple(result), tuple(in_float32), rtol=0, atol=0)
    torch.testing.assert_close(grad_x, float_by_x.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(grad_y, float_by_y.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("backend", PLAIN)
def test_autocast_changes_nothing(backend):
    inputs = batch(channels=64)
    expected = gradients(infonce, *inputs, 0.1, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = gradients(infonce, *inputs, 0.1, backend)
    torch.testing.assert_close(under_autocast, expected, rtol=0, atol=0)


def test_without_gradient_nothing_is_kept():
    x, y, negatives = batch()
    result = infonce(x, y, negatives, 0.1, "torch")
    assert result.loss.grad_fn is None
    with torch.no_grad():
        quiet = infonce(x.requires_grad_(), y, negatives, 0.1, "torch")
    torch.testing.assert_close(tuple(quiet), tuple(result), rtol=0, atol=0)


def test_gradient_follows_what_the_loss_is_multiplied_by():
    def scaled(*arguments):
        result = infonce(*arguments)
        return result._replace(loss=-0.25 * result.loss)

    inputs = (*batch(), 0.1, "torch")
    _, grad_x, grad_y = gradients(infonce, *inputs)
    _, scaled_by_x, scaled_by_y = gradients(scaled, *inputs)
    torch.testing.assert_close(scaled_by_x, -0.25 * grad_x)
    torch.testing.assert_close(scaled_by_y, -0.25 * grad_y)


def test_second_derivative_is_refused():
    x, y, negatives = batch()
    factor = torch.ones((), requires_grad=True)
    loss = factor * infonce(x.requires_grad_(), y, negatives, 0.1, "torch").loss
    (grad_x,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_x.sum().backward()


@pytest.mark.parametrize("gradient", [True, False])
def test_operator_is_registered_soundly(gradient):
    x, y, negatives = batch()
    x, y = x.requires_grad_(gradient), y.requires_grad_(gradient)
    operator = torch.ops.fairseq_ecg.infonce.default
    torch.library.opcheck(operator, (x, y, negatives, None, 9, 0.1, gradient, "torch"))
    torch.library.opcheck(operator, (x, y, None, undrawn().origins, 9, 0.1, gradient, "torch"))


@pytest.mark.parametrize("is_drawn", [False, True], ids=["given", "drawn"])
@pytest.mark.parametrize("backend", PLAIN)
def test_compiles_as_one_graph_for_any_number_of_frames(backend, is_drawn):
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(infonce, backend=count_graphs, fullgraph=True, dynamic=True)
    for frames in (7, 11, 8):
        x, y, negatives = batch(frames=frames)
        inputs = (x, y, undrawn() if is_drawn else negatives, 0.1, backend)
        torch.testing.assert_close(gradients(compiled, *inputs), gradients(infonce, *inputs))
    assert len(graphs) == 1


def test_environment_names_the_backend(monkeypatch):
    inputs = batch()
    monkeypatch.setenv(VARIABLE, "reference")
    assert (
        infonce(inputs[0].requires_grad_(), *inputs[1:], 0.1).loss.grad_fn.name().startswith("Nll")
    )


def test_wrong_arguments_are_named():
    x, y, negatives = batch()
    with pytest.raises(ValueError, match=r"\(3, 7, 5\) and \(3, 6, 5\)"):
        infonce(x, y[:, :6], negatives, 0.1)
    with pytest.raises(ValueError, match=r"3 rows of 7 frames.*\(3, 62\)"):
        infonce(x, y, negatives[:, 1:], 0.1)
    with pytest.raises(ValueError, match="no frames"):
        infonce(x[:, :0], y[:, :0], negatives[:, :0], 0.1)
    with pytest.raises(ValueError, match="at least 1"):
        infonce(x, y, negatives[:, :0], 0.1)
    with pytest.raises(ValueError, match=r"int64, not torch\.int32"):
        infonce(x, y, negatives.int(), 0.1)
    with pytest.raises(ValueError, match="temperature must be positive"):
        infonce(x, y, negatives, 0.0)
    drawn = undrawn()
    with pytest.raises(ValueError, match=r"\(3, 4\) int64, not \(2, 4\)"):
        infonce(x, y, drawn._replace(origins=drawn.origins[:2]), 0.1)
    with pytest.raises(ValueError, match="at least 1 negative"):
        infonce(x, y, drawn._replace(number=0), 0.1)
    with pytest.raises(ValueError, match=r"1 masked frame.*mask_prob"):
        infonce(x[:, :1], y[:, :1], drawn, 0.1)
