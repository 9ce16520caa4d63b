"""The positional convolution as PyTorch's convolution."""

from torch import Tensor
from torch.nn import functional as F


def positional_conv(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Convolve frames; see :func:`fairseq_ecg.ops.positional_conv.positional_conv`."""
    kernel = weight.shape[-1]
    y = F.conv1d(x.transpose(1, 2), weight, bias, padding=kernel // 2, groups=groups)
    # Symmetric padding gives an even kernel a frame too many.
    return y[..., : x.shape[1]].transpose(1, 2)
