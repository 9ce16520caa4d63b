"""ResNets over time: those of torchvision with convolutions of one dimension.

He et al., "Deep residual learning for image recognition", CVPR 2016; the bottleneck has its stride
on the wide convolution ("ResNet V1.5").
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.convolutional import PaddedEncoder
from fairseq_ecg.options import Width

Configuration = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

WIDTHS = (64, 128, 256, 512)


class ResNet(PaddedEncoder):
    """A ResNet without its last layer, and frames where it has their mean.

    Args:
        configuration: how deep it is.
        in_d: leads.
        options: of :class:`fairseq_ecg.modules.convolutional.ConvolutionalEncoder`.
    """

    architecture_options = ("configuration", "in_d")

    def __init__(self, *, configuration: Configuration = "resnet50", in_d: Width = 12, **options):
        super().__init__(**options)
        block, depths = CONFIGURATIONS[configuration]
        self.n_leads = in_d
        self.encoder_dim = WIDTHS[-1] * block.expansion
        self.attention_heads = 8
        self.strides = [(7, 2), *[(3, 2)] * len(WIDTHS)]
        # The name is that of published weights.
        self.featuare_extractor = _Convolutions(in_d, block, depths)
        for module in self.featuare_extractor.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.featuare_extractor(source).transpose(1, 2)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`; a layer is one of four groups of blocks."""
        network = self.featuare_extractor
        parts: dict[str, list[nn.Module | nn.Parameter]] = {"stem": [network.conv1, network.bn1]}
        return parts | {f"layer {number}": [group] for number, group in enumerate(network.groups())}


class _Convolutions(nn.Module):
    def __init__(self, leads: int, block: "type[_Basic | _Bottleneck]", depths: tuple[int, ...]):
        super().__init__()
        self.conv1 = nn.Conv1d(leads, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(WIDTHS[0])
        channels = WIDTHS[0]
        for number, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
            stride = 1 if number == 1 else 2
            blocks = [block(channels, width, stride)]
            channels = width * block.expansion
            blocks += [block(channels, width) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def groups(self) -> list[nn.Module]:
        return [self.get_submodule(f"layer{number + 1}") for number in range(len(WIDTHS))]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, L, T)`` to ``(B, D, T')``."""
        x = F.relu(self.bn1(self.conv1(x)))
        # Over one row: torch.export takes a length for fixed that max_pool1d has seen.
        x = F.max_pool2d(x.unsqueeze(2), (1, 3), (1, 2), (0, 1)).squeeze(2)
        for group in self.groups():
            x = group(x)
        return x


def _shortcut(channels: int, width: int, stride: int) -> nn.Sequential | None:
    """Bring the input of a block to the shape of its output, if that is another one."""
    if stride == 1 and channels == width:
        return None
    return nn.Sequential(nn.Conv1d(channels, width, 1, stride, bias=False), nn.BatchNorm1d(width))


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        shortcut = _shortcut(channels, width, stride)
        self.conv1 = nn.Conv1d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.downsample = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = F.relu(self.bn1(self.conv1(x)))
        change = self.bn2(self.conv2(change))
        return F.relu(change + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        shortcut = _shortcut(channels, width * self.expansion, stride)
        self.conv1 = nn.Conv1d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.conv3 = nn.Conv1d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(width * self.expansion)
        self.downsample = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = F.relu(self.bn1(self.conv1(x)))
        change = F.relu(self.bn2(self.conv2(change)))
        change = self.bn3(self.conv3(change))
        return F.relu(change + (x if self.downsample is None else self.downsample(x)))


CONFIGURATIONS: dict[str, tuple[type[_Basic | _Bottleneck], tuple[int, ...]]] = {
    "resnet18": (_Basic, (2, 2, 2, 2)),
    "resnet34": (_Basic, (3, 4, 6, 3)),
    "resnet50": (_Bottleneck, (3, 4, 6, 3)),
    "resnet101": (_Bottleneck, (3, 4, 23, 3)),
    "resnet152": (_Bottleneck, (3, 8, 36, 3)),
}
"""Block, and number of blocks in each group, by name."""
