"""Learnt product quantizer of latents."""

import torch
from torch import nn

from fairseq_ecg.ops.philox.reference import below
from fairseq_ecg.ops.quantize import Quantized, quantize


class GumbelVectorQuantizer(nn.Module):
    """Quantize frames with one codeword out of each of several codebooks.

    Args:
        dim: E, channels of the input.
        num_vars: V, codewords in a group.
        temperature: start, end and decay per update of the Gumbel softmax's temperature.
        groups: G, codebooks.
        vq_dim: channels of the output; each group gives ``vq_dim / groups`` of them.

    Raises:
        ValueError: the groups do not divide ``vq_dim``.
    """

    def __init__(
        self,
        dim: int,
        num_vars: int,
        temperature: tuple[float, float, float],
        groups: int,
        vq_dim: int,
    ):
        super().__init__()
        if vq_dim % groups:
            raise ValueError(f"latent_groups={groups} does not divide latent_dim={vq_dim}")
        self.groups = groups
        self.num_vars = num_vars
        self.start, self.end, self.decay = temperature
        self.temperature = self.start
        # The same for kernels; no buffer, which half precision would round.
        self._temperature = torch.tensor(float(self.start))
        self.vars = nn.Parameter(torch.empty(1, groups * num_vars, vq_dim // groups))
        nn.init.uniform_(self.vars)
        self.weight_proj = nn.Linear(dim, groups * num_vars)
        nn.init.normal_(self.weight_proj.weight, mean=0, std=1)
        nn.init.zeros_(self.weight_proj.bias)

    def set_num_updates(self, num_updates: int) -> None:
        """Cool the temperature to what it is after so many updates."""
        self.temperature = max(self.start * self.decay**num_updates, self.end)
        self._temperature.fill_(self.temperature)

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        self._temperature = self._temperature.to(self.vars.device)
        return self

    @property
    def codebook(self) -> torch.Tensor:
        """``(G, V, vq_dim / G)`` codewords."""
        return self.vars.view(self.groups, self.num_vars, -1)

    def forward(self, x: torch.Tensor) -> Quantized:
        """Quantize ``(B, M, E)`` frames; ``codes`` comes back as ``(B, M, vq_dim)``."""
        rows, frames, _ = x.shape
        logits = self.weight_proj(x).view(rows * frames, self.groups, self.num_vars)
        quantized = quantize(logits, self.codebook, self._temperature, self.training)
        return quantized._replace(codes=quantized.codes.view(rows, frames, -1))

    def sample_codes(
        self, frames: int, number: int, words: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw codewords uniformly, as negatives.

        Args:
            frames: N, frames to draw for.
            number: codewords per frame.
            words: ``(N * number,)`` int64, random numbers of 32 bits to draw by; None: torch's.

        Returns:
            ``(N, number, vq_dim)``.
        """
        # One draw among all V ** G combinations, the first group varying slowest.
        combinations = self.num_vars**self.groups
        if words is None:
            combination = torch.randint(combinations, (frames * number,)).to(self.vars.device)
        else:
            combination = below(words, combinations)
        group = torch.arange(self.groups, device=self.vars.device)
        factor = self.num_vars ** group.flip(0)
        codes = self.codebook[group, combination.unsqueeze(1) // factor % self.num_vars]
        return codes.view(frames, number, -1)
