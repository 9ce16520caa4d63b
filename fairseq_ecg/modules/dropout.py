"""Dropout as a module."""

import torch
from torch import nn

from fairseq_ecg.ops.dropout import dropout


class Dropout(nn.Dropout):
    """``nn.Dropout`` by :func:`fairseq_ecg.ops.dropout.dropout`, whose masks cost less.

    Args:
        p: probability of a zero.
    """

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Set numbers of ``x``, of any shape, to zero at random while training; add a residual."""
        return dropout(x, self.p, self.training, residual)
