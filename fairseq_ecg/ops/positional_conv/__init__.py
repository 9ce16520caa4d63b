"""Grouped convolution over frames with a kernel about as long as the recording."""

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.positional_conv import reference, torch_kernel

__all__ = ["positional_conv"]

_LONG_KERNEL = 32
"""From this width on the product of spectra is the faster one, by measurement."""


def positional_conv(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, backend: str | None = None
) -> Tensor:
    """Convolve frames so that their number stays the same.

    On the CPU a long kernel is applied as a product of spectra, which takes a fifth of the time of
    PyTorch's convolution and gives the same numbers up to rounding; see the package's README.
    Elsewhere it is PyTorch's convolution unless the backend ``torch`` is asked for. On the CPU
    arithmetic is in float32 whatever the precision around it: oneDNN's bfloat16 convolution of
    groups of 8 channels with an even kernel gives wrong numbers (PyTorch 2.13).

    Args:
        x: ``(B, T, D)`` floating point.
        weight: ``(D, D / groups, K)``, applied as PyTorch's convolutions do, without flipping.
        bias: ``(D,)``.
        groups: of channels, whose frames are convolved apart.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`; all but
            ``reference`` are the product of spectra on the CPU.

    Returns:
        ``(B, T, D)`` in the dtype of ``x``: frame t is ``sum_k weight[k] x[t + k - K // 2]``, with
        zeros beyond the ends.

    Raises:
        BackendError: the backend asked for is not there.
    """
    is_long = weight.shape[-1] >= _LONG_KERNEL
    if is_long and _is_spectral(x.device.type, backend):
        run, dtype = torch_kernel.positional_conv, torch.float32
    elif x.device.type == "cpu":
        run, dtype = reference.positional_conv, torch.promote_types(x.dtype, torch.float32)
    else:
        return reference.positional_conv(x, weight, bias, groups)
    with torch.autocast(x.device.type, enabled=False):
        return run(x.to(dtype), weight.to(dtype), bias.to(dtype), groups).to(x.dtype)


@backends.constant_when_compiled
def _is_spectral(device_type: str, backend: str | None) -> bool:
    if device_type == "cpu":
        return backends.choose("positional_conv", device_type, backend) == "torch"
    return (backend or backends.asked_for()) == "torch"
