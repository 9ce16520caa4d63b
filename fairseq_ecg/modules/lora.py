"""Low-rank adaptation of linear layers (LoRA, https://arxiv.org/abs/2106.09685)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

DOWN, UP = "lora_down", "lora_up"


@dataclass(frozen=True)
class LoRA:
    """How layers are adapted.

    Args:
        rank: r, of the change of a weight.
        alpha: the change is scaled by alpha / r.
        dropout: probability on the input of the change, in training.
        targets: names of the linear layers that are adapted, such as ``q_proj``.
    """

    rank: int
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    @property
    def scale(self) -> float:
        """Factor on the product of the two low-rank matrices."""
        return self.alpha / self.rank


class LoRALinear(nn.Linear):
    """A linear layer ``W`` that computes ``x W^T + b + scale * drop(x) A^T B^T``.

    ``W`` and ``b`` are the given layer's own and get no gradient. ``A`` ``(r, in)`` starts
    Kaiming-uniform and ``B`` ``(out, r)`` at zero, so that an adapted network starts as what it
    was. Weight and bias keep their names in a state dict.

    Args:
        linear: the layer to adapt.
        lora: how.
    """

    def __init__(self, linear: nn.Linear, lora: LoRA):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = lora.scale
        self.dropout = nn.Dropout(lora.dropout)
        self.lora_down = nn.Parameter(self.weight.new_empty(lora.rank, self.in_features))
        self.lora_up = nn.Parameter(self.weight.new_zeros(self.out_features, lora.rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        change = F.linear(F.linear(self.dropout(x), self.lora_down), self.lora_up)
        return super().forward(x) + self.scale * change


def add_lora(network: nn.Module, lora: LoRA) -> None:
    """Adapt layers of a network in place; every other parameter of it stops training.

    Args:
        network: its linear layers whose last name is in ``lora.targets`` are replaced.
        lora: how.

    Raises:
        ValueError: a rank below 1, or a target that no linear layer of the network is named.
    """
    if lora.rank < 1:
        raise ValueError(f"lora_rank={lora.rank}: give a positive number")
    found = list(_named_linears(network, lora.targets))
    missing = set(lora.targets) - {name for _, name, _ in found}
    if missing:
        names = sorted({name for _, name, _ in _named_linears(network)})
        raise ValueError(
            f"lora_targets names {', '.join(sorted(missing))}, which no linear layer of the "
            f"encoder is called; there are {', '.join(names)}"
        )
    network.requires_grad_(False)
    for parent, name, linear in found:
        setattr(parent, name, LoRALinear(linear, lora))


def merge_lora(weights: Mapping[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """Fold the changes into the weights they change, which makes a plain state dict.

    Args:
        weights: state dict of a network with or without adapted layers.
        scale: see :attr:`LoRA.scale`.

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
