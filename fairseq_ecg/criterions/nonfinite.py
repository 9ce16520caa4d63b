"""What becomes of a batch whose loss is NaN or infinite."""

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """The loss of a batch is NaN or infinite.

    Not a ``FloatingPointError``: fairseq would take that for an overflow of the gradients.

    Attributes:
        criterion: Class name of the criterion.
        terms: The loss and those of its terms that are not finite, by their logging key.
        ids: Data set indices of the records concerned.
        split: Split of the data set, if the batch says it.
    """

    def __init__(
        self,
        criterion: str,
        terms: dict[str, float],
        ids: list[int],
        names: list[str] | None = None,
        split: str | None = None,
    ):
        self.criterion = criterion
        self.terms = terms
        self.ids = ids
        self.split = split
        records = ", ".join(names) if names else f"with data set indices {ids}"
        super().__init__(
            f"{criterion}: the loss is not finite ({_listed(terms)}) on the recordings {records}. "
            "Look for NaN or infinite samples and labels in them, or lower the learning rate; "
            "criterion.nonfinite_loss=skip leaves such batches out."
        )


def skip_message(criterion: str, terms: dict[str, float], ids: list[int]) -> str:
    """Word the warning about a batch that is left out."""
    return (
        f"{criterion}: skipped a batch, its loss is not finite ({_listed(terms)}); "
        f"data set indices {ids}"
    )


def suspects(sample: dict) -> list[int]:
    """Name the records a non-finite loss can come from.

    Args:
        sample: Batch with ``id`` ``(B,)`` and, in ``net_input``, ``source`` ``(B, L, T)``, or
            ``ecg`` where a network reads texts too.

    Returns:
        Ids of the records whose input is not finite; of the whole batch where all inputs are.
    """
    ids = sample["id"]
    source = sample["net_input"].get("source", sample["net_input"].get("ecg"))
    if source is not None and len(source) == len(ids):
        broken = ~torch.isfinite(source).flatten(1).all(dim=1)
        if broken.any():
            ids = ids[broken.to(ids.device)]
    return sorted(set(ids.tolist()))


def zero_loss(loss: Tensor) -> Tensor:
    """Make a loss of 0 whose gradient is exactly 0 for every parameter ``loss`` depends on.

    Multiplying ``loss`` by 0 would not do: 0 * NaN is NaN in its gradient. The zero reaches the
    parameters directly, past the graph that holds the NaN, and only those in that graph, since
    ``DistributedDataParallel`` waits for exactly their gradients.

    Args:
        loss: Scalar, not finite.

    Returns:
        Scalar 0 of the same dtype and device.
    """
    zero = torch.zeros_like(loss.detach())
    parameters = _leaves(loss)
    return _Zero.apply(zero, *parameters) if parameters else zero


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx, zero: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return zero.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(torch.zeros_like(p) for p in ctx.saved_tensors)


def _leaves(loss: Tensor) -> list[Tensor]:
    found, seen, waiting = [], set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return found


def _listed(terms: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in terms.items())
