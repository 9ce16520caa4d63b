"""What is done to a pre-trained encoder before it is tuned: freezing, low-rank adaptation.

LoRA: https://arxiv.org/abs/2106.09685.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.options import OptionalWidth, Probability, Range

DOWN, UP = "lora_down", "lora_up"


def adapt(
    encoder: Encoder,
    *,
    freeze_layers: Annotated[int, Range(-(2**31))] = 0,
    lora_rank: OptionalWidth = 0,
    lora_alpha: float = 16.0,
    lora_dropout: Probability = 0.0,
    lora_targets: Sequence[str] = ("q_proj", "v_proj"),
) -> None:
    """Prepare an encoder for tuning, in place.

    Args:
        encoder: with its head on top already, so that a seed gives the same head whatever is done
            here.
        freeze_layers: lowest layers that never train, and with them all that lies
            below; -1: the whole encoder (linear probing).
        lora_rank: rank of adapters, beside which nothing of the encoder trains; 0: none.
        lora_alpha: adapters count alpha / rank times.
        lora_dropout: on the input of adapters.
        lora_targets: layers to adapt: q_proj, k_proj, v_proj, out_proj, fc1, fc2 of a transformer,
            conv1, conv2 of a ResNet.

    Raises:
        ValueError: the encoder has fewer layers than are to be frozen, LoRA's targets are not in
            it, or its adapters would be frozen, all of them.
    """
    if lora_rank:
        scale = lora_alpha / lora_rank
        _add_lora(encoder, lora_rank, scale, lora_dropout, lora_targets)
    freeze(encoder, freeze_layers)
    if lora_rank and not any(p.requires_grad for p in encoder.parameters()):
        raise ValueError(
            f"freeze_layers={freeze_layers} freezes every adapter of lora_rank={lora_rank}: "
            "drop one of the two"
        )


def freeze(encoder: Encoder, layers: int) -> None:
    """Stop the lowest layers of an encoder from training, and with them all that lies below.

    Args:
        encoder: changed in place.
        layers: of :meth:`Encoder.parts`. 0: nothing is frozen; -1: the whole encoder is.

    Raises:
        ValueError: there are fewer layers.
    """
    stem, *above = encoder.parts().values()
    if not -1 <= layers <= len(above):
        raise ValueError(
            f"freeze_layers={layers}: the encoder has {len(above)} layers; give "
            "0 to freeze none, -1 to freeze the whole encoder"
        )
    if layers == -1:
        encoder.requires_grad_(False)
    elif layers > 0:
        for part in (*stem, *(module for layer in above[:layers] for module in layer)):
            part.requires_grad_(False)


class _LoRA(nn.Module):
    """Base of a layer with a change of low rank beside its own weight.

    Weight and bias are the given layer's own and get no gradient. The change is that of a narrow
    layer ``A`` of r channels, which starts Kaiming-uniform, and of ``B`` ``(out, r)``, which starts
    at zero, so that an adapted network starts as what it was. Weight and bias keep their names in a
    state dict.

    Args:
        layer: the layer to adapt, of the class that comes behind this one.
        rank: r.
        scale: on the change.
        dropout: probability on the input of the change, in training.
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        layer: nn.Linear | nn.Conv1d | nn.Conv2d,
        rank: int,
        scale: float,
        dropout: float = 0.0,
    ):
        nn.Module.__init__(self)
        # All that the layer says of itself, its shapes, stride and padding for instance.
        own = ("training", *vars(self))
        vars(self).update({name: x for name, x in vars(layer).items() if name not in own})
        self.weight, self.bias = layer.weight, layer.bias
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.lora_down = nn.Parameter(self.weight.new_empty(rank, *self.weight.shape[1:]))
        self.lora_up = nn.Parameter(self.weight.new_zeros(self.weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(False)


class LoRALinear(_LoRA, nn.Linear):
    """A linear layer ``W`` that computes ``x W^T + b + scale * drop(x) A^T B^T``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        change = F.linear(F.linear(self.dropout(x), self.lora_down), self.lora_up)
        return super().forward(x) + self.scale * change


class _LoRAConvolution(_LoRA):
    """A convolution ``W`` that computes ``x * W + b + scale * B (drop(x) * A)``.

    ``A`` has the kernel, stride and padding of ``W``.
    """

    _conv_forward: Any

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in, ...)`` to ``(B, out, ...)``."""
        narrow = self._conv_forward(self.dropout(x), self.lora_down, None)
        change = F.linear(narrow.movedim(1, -1), self.lora_up).movedim(-1, 1)
        return super().forward(x) + self.scale * change


class LoRAConv1d(_LoRAConvolution, nn.Conv1d):
    """See the base class; over ``(B, C, T)``."""


class LoRAConv2d(_LoRAConvolution, nn.Conv2d):
    """See the base class; over ``(B, C, L, T)``."""


ADAPTED: dict[type[nn.Module], type[_LoRA]] = {
    nn.Linear: LoRALinear,
    nn.Conv1d: LoRAConv1d,
    nn.Conv2d: LoRAConv2d,
}
"""What a layer with a change is, by its class."""


def _add_lora(
    encoder: Encoder, rank: int, scale: float, dropout: float, targets: Sequence[str]
) -> None:
    """Replace layers in place; every other parameter of the encoder stops training."""
    if rank < 1:
        raise ValueError(f"lora_rank={rank}: give a positive number")
    found = list(_adaptable(encoder, targets))
    missing = set(targets) - {name for _, name, _ in found}
    if missing:
        there = {name for _, name, _ in _adaptable(encoder)}
        names = sorted(there, key=lambda name: (name.isdigit(), name))
        raise ValueError(
            f"lora_targets names {', '.join(sorted(missing))}, which no linear layer or "
            f"convolution of the encoder is called; there are {', '.join(names)}"
        )
    encoder.requires_grad_(False)
    for parent, name, layer in found:
        setattr(parent, name, ADAPTED[type(layer)](layer, rank, scale, dropout))


def merge_lora(weights: Mapping[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """Fold the changes into the weights they change, which makes a plain state dict.

    Args:
        weights: state dict of a network with or without adapted layers.
        scale: alpha / rank of the adapters.

    Returns:
        The state dict of the same network without adapters.
    """
    merged = {
        key: value for key, value in weights.items() if key.rpartition(".")[2] not in (DOWN, UP)
    }
    for key, down in weights.items():
        layer, _, name = key.rpartition(".")
        if name == DOWN:
            changed = f"{layer}.weight"
            change = (scale * weights[f"{layer}.{UP}"]) @ down.flatten(1)
            merged[changed] = merged[changed] + change.view_as(merged[changed])
    return merged


def _adaptable(
    network: nn.Module, names: Collection[str] | None = None
) -> Iterator[tuple[nn.Module, str, Any]]:
    """Parent, last name and module of each layer with a class in :data:`ADAPTED`.

    Args:
        network: where they are.
        names: of those that are meant, if not all.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            fits = type(child) in ADAPTED and getattr(child, "groups", 1) == 1
            if fits and (names is None or name in names):
                yield parent, name, child
