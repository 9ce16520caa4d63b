"""Product quantization with Gumbel code selection."""

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.quantize import cpp_kernel, gather, reference

__all__ = ["Quantized", "quantize"]


class Quantized(NamedTuple):
    """What quantization gives.

    Attributes:
        codes: ``(N, G * d)``, the chosen code words of all groups side by side.
        code_perplexity: float32 scalar, perplexity of the largest logits' words summed over
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
    """Choose one code word per group.

    In training the choice is a straight-through Gumbel softmax at ``temperature``
    (https://arxiv.org/abs/1611.01144), otherwise the arg max, which passes no gradient to the
    logits (wav2vec 2.0, https://arxiv.org/abs/2006.11477, section 2). Of equal logits the first
    counts. In training the codes of a frame and group are NaN where its softmax is.

    The noise is drawn from torch's generator for the device of the logits, as
    :func:`torch.nn.functional.gumbel_softmax` draws it for ``(N * G, V)`` logits.

    Arithmetic is in float32, also under autocast; inputs of another type are converted. There is
    no second derivative but by the reference.

    Args:
        logits: ``(N, G, V)`` floating point, scores of V code words in each of G groups.
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
    chosen = _choose(logits.device.type, backend)
    scores, words = logits.float(), codebook.float()
    if chosen == "reference":
        with torch.autocast(logits.device.type, enabled=False):
            codes, *perplexities = reference.quantize(scores, words, temperature, training)
    else:
        draws = scores.new_empty(scores.shape).exponential_() if training else None
        codes, _, code_perplexity, prob_perplexity, _ = _quantize(
            scores, words, draws, temperature, chosen
        )
        perplexities = code_perplexity, prob_perplexity
    return Quantized(codes.flatten(1).to(codebook.dtype), *perplexities)


@torch.compiler.assume_constant_result
def _choose(device_type: str, backend: str | None) -> str:
    return backends.choose("quantize", torch.device(device_type), backend, has_torch=True)


def _form(backend: str) -> ModuleType:
    if backend == "torch":
        return gather
    if backend == "triton":
        from fairseq_ecg.ops.quantize import triton_kernel

        return triton_kernel
    return cpp_kernel


@torch.library.custom_op("fairseq_ecg::quantize", mutates_args=())
def _quantize(
    logits: Tensor,
    codebook: Tensor,
    draws: Tensor | None,
    temperature: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return codes, choices, code perplexity, prob perplexity and its slopes."""
    with torch.autocast(logits.device.type, enabled=False):
        codes, choices, perplexities, slopes = _form(backend).quantize(
            logits.contiguous(),
            codebook.contiguous(),
            None if draws is None else draws.contiguous(),
            temperature,
        )
        return codes, choices, perplexities[0].clone(), perplexities[1].clone(), slopes


@_quantize.register_fake
def _(logits, codebook, draws, temperature, backend):
    codes = logits.new_empty(*logits.shape[:2], codebook.shape[2])
    choices = logits.new_empty(logits.shape[:2], dtype=torch.int32)
    return (
        codes,
        choices,
        logits.new_empty(()),
        logits.new_empty(()),
        logits.new_empty(logits.shape[1:]),
    )


@torch.library.custom_op("fairseq_ecg::quantize_by_logits", mutates_args=())
def _by_logits(
    logits: Tensor,
    codebook: Tensor,
    draws: Tensor | None,
    by_codes: Tensor | None,
    slopes: Tensor,
    by_perplexity: Tensor | None,
    temperature: Tensor,
    backend: str,
) -> Tensor:
    """Return the gradient by logits; with draws and by_codes the choice's is part of it."""
    with torch.autocast(logits.device.type, enabled=False):
        by_choices = None
        if draws is not None and by_codes is not None:
            draws = draws.contiguous()
            by_choices = torch.bmm(by_codes.transpose(0, 1), codebook.mT).contiguous()
        return _form(backend).by_logits(
            logits.contiguous(),
            None if by_choices is None else draws,
            by_choices,
            slopes.contiguous(),
            by_perplexity,
            temperature,
        )


@_by_logits.register_fake
def _(logits, codebook, draws, by_codes, slopes, by_perplexity, temperature, backend):
    return logits.new_empty(logits.shape)


@torch.library.custom_op("fairseq_ecg::quantize_by_codebook", mutates_args=())
def _by_codebook(choices: Tensor, by_codes: Tensor, words: int, backend: str) -> Tensor:
    """Return the gradient by the codebook."""
    return _form(backend).by_codebook(choices.contiguous(), by_codes.contiguous(), words)


@_by_codebook.register_fake
def _(choices, by_codes, words, backend):
    return by_codes.new_empty(by_codes.shape[1], words, by_codes.shape[2])


def _keep_for_backward(ctx, inputs, output):
    logits, codebook, draws, temperature, ctx.backend = inputs
    _, choices, code_perplexity, _, slopes = output
    ctx.mark_non_differentiable(choices, code_perplexity, slopes)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, codebook, draws, temperature, choices, slopes)


@once_differentiable
def _differentiate(ctx, by_codes, _choices, _code_perplexity, by_perplexity, _slopes):
    logits, codebook, draws, temperature, choices, slopes = ctx.saved_tensors
    by_logits = by_codebook = None
    has_choice = draws is not None and by_codes is not None
    if ctx.needs_input_grad[0] and (has_choice or by_perplexity is not None):
        by_logits = _by_logits(
            logits,
            codebook,
            draws,
            by_codes,
            slopes,
            by_perplexity,
            temperature,
            ctx.backend,
        )
    if ctx.needs_input_grad[1] and by_codes is not None:
        by_codebook = _by_codebook(choices, by_codes, codebook.shape[1], ctx.backend)
    return by_logits, by_codebook, None, None, None


_quantize.register_autograd(_differentiate, setup_context=_keep_for_backward)
