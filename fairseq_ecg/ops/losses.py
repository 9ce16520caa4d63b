"""Operators that compute a loss and its gradients together."""

import torch
from torch._ops import OpOverload
from torch.autograd.function import once_differentiable


def register_gradients(operator: OpOverload, number: int) -> None:
    """Let autograd take the gradients that an operator computed with its loss.

    There is no second derivative.

    Args:
        operator: its first output is the loss, a scalar; its last ones are the loss's gradients by
            its first inputs, where they were asked for.
        number: of these inputs.
    """

    def keep(ctx, inputs, output) -> None:
        ctx.n_others = len(inputs) - number
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[-number:])

    @once_differentiable
    def scale(ctx, grad_loss, *_):
        return *(grad_loss * gradient for gradient in ctx.saved_tensors), *[None] * ctx.n_others

    torch.library.register_autograd(operator, scale, setup_context=keep)
