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
        ctx.shape, ctx.ranks = x.shape, ranks
        return torch.cat([part[:rows] for part, (rows, _) in zip(gathered, shapes, strict=True)])

    @staticmethod
    def backward(ctx, grad):
        rows, frames, _ = ctx.shape
        return grad[ctx.first : ctx.first + rows, :frames] * ctx.ranks


def gather_rows(x: torch.Tensor) -> torch.Tensor:
    """Join the batches of all ranks.

    What follows has to be computed alike on every rank, as the loss of the whole batch is. Then the
    gradient of the sum of losses over ranks is that of the own rows multiplied by the number of
    ranks, and several processes train as one does with the batch of all. fairseq_signals leaves
    out the factor: its gradient is smaller by the number of ranks.

    Args:
        x: ``(B, T, D)``, B and T of any size on each rank.

    Returns:
        The rows of all ranks in their order, ``(sum of B, largest T, D)``, zeros behind shorter
        ones; ``x`` itself where there is one rank.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return x
    return _GatherRows.apply(x)
