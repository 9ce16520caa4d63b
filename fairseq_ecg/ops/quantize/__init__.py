"""Product quantization with Gumbel code selection."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.quantize import reference

__all__ = ["Quantized", "quantize"]


class Quantized(NamedTuple):
    """What quantization gives.

    Attributes:
        codes: ``(N, G * d)``, the chosen codewords of all groups side by side.
        code_perplexity: float32 scalar, perplexity of the largest logits' codewords summed over
            groups; no gradient.
        prob_perplexity: float32 scalar, the same of the mean softmax; has a gradient.
    """

    codes: Tensor
    code_perplexity: Tensor
    prob_perplexity: Tensor


def quantize(
    logits: Tensor,
    codebook: Tensor,
    temperature: float | Tensor,
    training: bool,
    backend: str | None = None,
) -> Quantized:
    """Choose one codeword per group.

    In training the choice is a straight-through Gumbel softmax at ``temperature``
    (https://arxiv.org/abs/1611.01144), otherwise the arg max, which passes no gradient to the
    logits (wav2vec 2.0, https://arxiv.org/abs/2006.11477, section 2). Of equal logits the first
    counts. In training the codes of a frame and group are NaN where its softmax is.

    The noise is drawn from torch's generator for the device of the logits, as
    :func:`torch.nn.functional.gumbel_softmax` draws it for ``(N * G, V)`` logits.

    Arithmetic is in float32, also under autocast; inputs of another type are converted. There is
    no second derivative but by the reference.

    Args:
        logits: ``(N, G, V)`` floating point, scores of V codewords in each of G groups.
        codebook: ``(G, V, d)`` floating point, on the same device.
        temperature: of the Gumbel softmax, positive; a float32 scalar on the device of the logits
            where it changes from call to call, so that nothing is compiled or captured anew.
        training: whether to sample.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        The chosen codes, in the type of the codebook, and both perplexities.

    Raises:
        ValueError: shapes do not match, or the temperature is not positive.
        BackendError: the backend asked for is not there.
    """
    if logits.dim() != 3 or codebook.dim() != 3 or logits.shape[1:] != codebook.shape[:2]:
        raise ValueError(
            "logits must be (N, G, V) and the codebook (G, V, d), not "
            f"{tuple(logits.shape)} and {tuple(codebook.shape)}"
        )
    if not torch.is_tensor(temperature):
        if temperature <= 0:
            raise ValueError(f"the temperature must be positive, not {temperature}")
        temperature = torch.full((), temperature, dtype=torch.float32, device=logits.device)
    chosen = backends.choose("quantize", logits.device.type, backend)
    scores, codewords = logits.float(), codebook.float()
    if chosen == "reference":
        with torch.autocast(logits.device.type, enabled=False):
            codes, *perplexities = reference.quantize(scores, codewords, temperature, training)
    else:
        noise = scores.new_empty(scores.shape).exponential_() if training else None
        codes, _, code_perplexity, prob_perplexity, _ = _quantize(
            scores, codewords, noise, temperature, chosen
        )
        perplexities = [code_perplexity, prob_perplexity]
    return Quantized(codes.flatten(1).to(codebook.dtype), *perplexities)


@backends.operator("quantize")
def _quantize(
    logits: Tensor, codebook: Tensor, noise: Tensor | None, temperature: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return codes, choices, both perplexities, and the second's gradient of any softmax."""
    with torch.autocast(logits.device.type, enabled=False):
        run = backends.implementation("quantize", backend).quantize
        tensors = backends.contiguous(logits, codebook, noise)
        codes, choices, perplexities, grad_probs = run(*tensors, temperature)
        return codes, choices, perplexities[0].clone(), perplexities[1].clone(), grad_probs


@torch.library.register_fake(_quantize)
def _(logits, codebook, noise, temperature, backend):
    codes = logits.new_empty(*logits.shape[:2], codebook.shape[2])
    choices = logits.new_empty(logits.shape[:2], dtype=torch.int32)
    return (
        codes,
        choices,
        logits.new_empty(()),
        logits.new_empty(()),
        logits.new_empty(logits.shape[1:]),
    )


@backends.operator("quantize_grad_logits")
def _quantize_grad_logits(
    logits: Tensor,
    codebook: Tensor,
    noise: Tensor | None,
    grad_codes: Tensor | None,
    grad_probs: Tensor,
    grad_perplexity: Tensor | None,
    temperature: Tensor,
    backend: str,
) -> Tensor:
    """Return dlogits; with noise and grad_codes the choice's is part of it."""
    with torch.autocast(logits.device.type, enabled=False):
        if noise is None or grad_codes is None:
            noise = grad_choices = None
        else:
            grad_choices = torch.bmm(grad_codes.transpose(0, 1), codebook.mT)
        run = backends.implementation("quantize", backend).quantize_grad_logits
        tensors = backends.contiguous(logits, noise, grad_choices, grad_probs)
        return run(*tensors, grad_perplexity, temperature)


@torch.library.register_fake(_quantize_grad_logits)
def _(logits, codebook, noise, grad_codes, grad_probs, grad_perplexity, temperature, backend):
    return logits.new_empty(logits.shape)


@backends.operator("quantize_grad_codebook")
def _quantize_grad_codebook(
    choices: Tensor, grad_codes: Tensor, codewords: int, backend: str
) -> Tensor:
    """Return the gradient with respect to the codebook."""
    run = backends.implementation("quantize", backend).quantize_grad_codebook
    return run(*backends.contiguous(choices, grad_codes), codewords)


@torch.library.register_fake(_quantize_grad_codebook)
def _(choices, grad_codes, codewords, backend):
    return grad_codes.new_empty(grad_codes.shape[1], codewords, grad_codes.shape[2])


def _keep_for_backward(ctx, inputs, output):
    logits, codebook, noise, temperature, ctx.backend = inputs
    _, choices, code_perplexity, _, grad_probs = output
    ctx.mark_non_differentiable(choices, code_perplexity, grad_probs)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, codebook, noise, temperature, choices, grad_probs)


@once_differentiable
def _differentiate(ctx, grad_codes, _choices, _code_perplexity, grad_perplexity, _grad_probs):
    logits, codebook, noise, temperature, choices, grad_probs = ctx.saved_tensors
    grad_logits = grad_codebook = None
    has_choice = noise is not None and grad_codes is not None
    if ctx.needs_input_grad[0] and (has_choice or grad_perplexity is not None):
        grad_logits = _quantize_grad_logits(
            logits,
            codebook,
            noise,
            grad_codes,
            grad_probs,
            grad_perplexity,
            temperature,
            ctx.backend,
        )
    if ctx.needs_input_grad[1] and grad_codes is not None:
        grad_codebook = _quantize_grad_codebook(choices, grad_codes, codebook.shape[1], ctx.backend)
    return grad_logits, grad_codebook, None, None, None


torch.library.register_autograd(_quantize, _differentiate, setup_context=_keep_for_backward)
