"""What is done to a pre-trained encoder before it is tuned: freezing, low-rank adaptation.

LoRA: https://arxiv.org/abs/2106.09685.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated

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
        freeze_layers: lowest transformer layers that never train, and with them all that lies
            below; -1: the whole encoder (linear probing).
        lora_rank: rank of adapters, beside which nothing of the encoder trains; 0: none.
        lora_alpha: adapters count alpha / rank times.
        lora_dropout: on the input of adapters.
        lora_targets: linear layers to adapt: q_proj, k_proj, v_proj, out_proj, fc1, fc2.

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


class LoRALinear(nn.Linear):
    """A linear layer ``W`` that computes ``x W^T + b + scale * drop(x) A^T B^T``.

    ``W`` and ``b`` are the given layer's own and get no gradient. ``A`` ``(r, in)`` starts
    Kaiming-uniform and ``B`` ``(out, r)`` at zero, so that an adapted network starts as what it
    was. Weight and bias keep their names in a state dict.

    Args:
        linear: the layer to adapt.
        rank: r.
        scale: on the product of the two low-rank matrices.
        dropout: probability on the input of that product, in training.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float = 0.0):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.lora_down = nn.Parameter(self.weight.new_empty(rank, self.in_features))
        self.lora_up = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        change = F.linear(F.linear(self.dropout(x), self.lora_down), self.lora_up)
        return super().forward(x) + self.scale * change


def _add_lora(
    encoder: Encoder, rank: int, scale: float, dropout: float, targets: Sequence[str]
) -> None:
    """Replace layers in place; every other parameter of the encoder stops training."""
    if rank < 1:
        raise ValueError(f"lora_rank={rank}: give a positive number")
    found = list(_named_linears(encoder, targets))
    missing = set(targets) - {name for _, name, _ in found}
    if missing:
        names = sorted({name for _, name, _ in _named_linears(encoder)})
        raise ValueError(
            f"lora_targets names {', '.join(sorted(missing))}, which no linear layer of the "
            f"encoder is called; there are {', '.join(names)}"
        )
    encoder.requires_grad_(False)
    for parent, name, linear in found:
        setattr(parent, name, LoRALinear(linear, rank, scale, dropout))


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
            merged[changed] = merged[changed] + scale * weights[f"{layer}.{UP}"] @ down
    return merged


def _named_linears(
    network: nn.Module, names: Collection[str] | None = None
) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Parent, last name and layer of each linear layer, of those called ``names`` if given."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and (names is None or name in names):
                yield parent, name, child
