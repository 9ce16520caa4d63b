"""Gathering of frames over ranks."""

import torch
from torch import distributed
from torch.nn import functional as F


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ranks, rank = distributed.get_world_size(), distributed.get_rank()
        own = torch.tensor(x.shape[:2], device=x.device)
        shapes = [torch.empty_like(own) for _ in range(ranks)]
        distributed.all_gather(shapes, own)
        shapes = torch.stack(shapes).tolist()
        rows, frames = (max(sizes) for sizes in zip(*shapes, strict=True))
        padded = F.pad(x, (0, 0, 0, frames - x.shape[1], 0, rows - x.shape[0])).contiguous()
        gathered = [torch.empty_like(padded) for _ in range(ranks)]
        distributed.all_gather(gathered, padded)
        ctx.first = sum(rows for rows, _ in shapes[:rank])
        ctx.shape = x.shape
        return torch.cat([part[:rows] for part, (rows, _) in zip(gathered, shapes, strict=True)])

    @staticmethod
    def backward(ctx, grad):
        rows, frames, _ = ctx.shape
        return grad[ctx.first : ctx.first + rows, :frames]


def gather_rows(x: torch.Tensor) -> torch.Tensor:
    """Join the batches of all ranks.

    The gradient of a rank's own rows comes back alone, not summed over ranks, as in
    fairseq_signals.

    Args:
        x: ``(B, T, D)``, B and T of any size on each rank.

    Returns:
        The rows of all ranks in their order, ``(sum of B, largest T, D)``, zeros behind shorter
        ones; ``x`` itself where there is one rank.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return x
    return _GatherRows.apply(x)
