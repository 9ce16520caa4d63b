import pytest
import torch

from fairseq_ecg.ops.backends import VARIABLE
from fairseq_ecg.ops.quantize import quantize

PLAIN = ["reference", "torch"]


def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 2, 5, generator=generator, requires_grad=True)
    codebook = torch.randn(2, 5, 3, generator=generator, requires_grad=True)
    return logits, codebook


def test_evaluation_takes_the_best_codeword_of_each_group():
    logits, codebook = inputs()
    codes = quantize(logits, codebook, 2.0, training=False).codes
    best = logits.argmax(-1)
    expected = torch.cat([codebook[0, best[:, 0]], codebook[1, best[:, 1]]], dim=1)
    torch.testing.assert_close(codes, expected, rtol=0, atol=0)
    codes.sum().backward()
    assert logits.grad is None


def test_training_passes_a_gradient_straight_through():
    logits, codebook = inputs()
    torch.manual_seed(0)
    codes = quantize(logits, codebook, 2.0, training=True).codes
    rows = codebook[0].detach()
    nearest = torch.cdist(codes[:, :3].detach(), rows).min(dim=1).values
    torch.testing.assert_close(nearest, torch.zeros(7), atol=1e-5, rtol=0)
    codes.pow(2).sum().backward()
    assert logits.grad.abs().sum() > 0
    assert codebook.grad.abs().sum() > 0


def test_perplexities():
    _, codebook = inputs()
    even = torch.eye(5).repeat(1, 2).view(5, 2, 5) * 50
    result = quantize(even, codebook, 2.0, training=False)
    torch.testing.assert_close(result.code_perplexity, torch.tensor(10.0), rtol=1e-5, atol=0)
    torch.testing.assert_close(result.prob_perplexity, torch.tensor(10.0), rtol=1e-5, atol=0)
    collapsed = torch.zeros(5, 2, 5)
    collapsed[..., 0] = 50
    result = quantize(collapsed, codebook, 2.0, training=False)
    torch.testing.assert_close(result.code_perplexity, torch.tensor(2.0), rtol=1e-5, atol=0)


def results(function, logits, codebook, *arguments):
    """What a function gives, and the gradients with respect to logits and codebook."""
    x, y = (tensor.detach().clone().requires_grad_() for tensor in (logits, codebook))
    torch.manual_seed(0)
    result = function(x, y, 2.0, *arguments)
    (result.codes.float().sin().sum() + result.prob_perplexity).backward()
    return *(tensor.detach() for tensor in result), x.grad, y.grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("backend", PLAIN)
def test_other_types_are_computed_in_float32(backend, dtype, training):
    logits, codebook = (tensor.to(dtype) for tensor in inputs())
    actual = results(quantize, logits, codebook, training, backend)
    expected = results(quantize, logits.float(), codebook.float(), training, backend)
    assert [tensor.dtype for tensor in actual] == [dtype] + [torch.float32] * 2 + [dtype] * 2
    torch.testing.assert_close(actual[1:3], expected[1:3], rtol=0, atol=0)
    # Codes have been rounded before they were differentiated.
    tolerance = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", PLAIN)
def test_autocast_changes_nothing(backend, training):
    expected = results(quantize, *inputs(), training, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = results(quantize, *inputs(), training, backend)
    torch.testing.assert_close(under_autocast, expected, rtol=0, atol=0)


def test_second_derivative_is_refused():
    logits, codebook = inputs()
    codes = quantize(logits, codebook, 2.0, True, "torch").codes
    (grad_codebook,) = torch.autograd.grad(codes.pow(2).sum(), codebook, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_codebook.sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_operators_are_registered_soundly(training):
    logits, codebook = inputs()
    noise = torch.empty(logits.shape).exponential_() if training else None
    operators = torch.ops.fairseq_ecg
    arguments = logits, codebook, noise, torch.tensor(2.0), "torch"
    torch.library.opcheck(operators.quantize.default, arguments)
    codes, choices, _, perplexity, grad_probs = operators.quantize(*arguments)
    logits, codebook, codes = logits.detach(), codebook.detach(), codes.detach()
    arguments = (
        logits,
        codebook,
        noise,
        codes,
        grad_probs,
        perplexity.detach(),
        torch.tensor(2.0),
        "torch",
    )
    torch.library.opcheck(operators.quantize_grad_logits.default, arguments)
    arguments = choices, codes, 5, "torch"
    torch.library.opcheck(operators.quantize_grad_codebook.default, arguments)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", PLAIN)
def test_compiles_as_one_graph_for_any_number_of_frames(backend, training):
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(quantize, backend=count_graphs, fullgraph=True, dynamic=True)
    logits, codebook = inputs()
    for frames in (7, 4, 6):
        arguments = logits[:frames], codebook, training, backend
        torch.testing.assert_close(results(compiled, *arguments), results(quantize, *arguments))
    assert len(graphs) == 1


def test_environment_names_the_backend(monkeypatch):
    monkeypatch.setenv(VARIABLE, "reference")
    codes = quantize(*inputs(), 2.0, training=True).codes
    torch.manual_seed(0)
    expected = quantize(*inputs(), 2.0, training=True).codes
    torch.manual_seed(0)
    assert torch.equal(quantize(*inputs(), 2.0, True, "reference").codes, expected)
    assert codes.grad_fn.next_functions[0][0].name().startswith("Sum")


def test_wrong_arguments_are_named():
    logits, codebook = inputs()
    with pytest.raises(ValueError, match=r"\(7, 2, 5\) and \(2, 4, 3\)"):
        quantize(logits, codebook[:, :4], 2.0, training=True)
    with pytest.raises(ValueError, match="temperature must be positive"):
        quantize(logits, codebook, 0.0, training=True)
