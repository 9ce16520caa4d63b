import torch

from fairseq_ecg.ops.quantize import quantize


def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 2, 5, generator=generator, requires_grad=True)
    codebook = torch.randn(2, 5, 3, generator=generator, requires_grad=True)
    return logits, codebook


def test_evaluation_takes_the_best_code_word_of_each_group():
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
