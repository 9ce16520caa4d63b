"""Adam under fairseq_signals' name, in one pass over memory."""

import math
from collections import defaultdict

import torch
from fairseq.optim.adam import Adam as AdamWithDecoupledDecay
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch.optim.adamw import adamw

from fairseq_ecg.compat.registration import register_optimizer
from fairseq_ecg.ops import backends


@register_optimizer("adam", dataclass=FairseqAdamConfig)
class Adam(FairseqAdam):
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101), in float32.

    Checkpoints record the class name of the optimizer, and resuming demands the same: the one of
    fairseq_signals is ``Adam``. Unlike stock fairseq it does not turn into apex's FusedAdam where
    apex is installed.
    """

    def __init__(self, cfg, params):
        super(FairseqAdam, self).__init__(cfg)
        self._optimizer = FusedAdam(params, **self.optimizer_config)


class FusedAdam(AdamWithDecoupledDecay):
    """fairseq's Adam, its state and numbers, by PyTorch's fused kernel.

    fairseq walks over the parameters and changes each in ten passes. The kernel makes one pass
    over all of them, and differs in where it adds ``eps``: to the root of the *corrected* second
    moment. Its ``eps`` is therefore divided by the root of the correction, which gives fairseq's
    formula, up to rounding:

        sqrt(v) + eps = sqrt(c) * (sqrt(v / c) + eps / sqrt(c)),  c = 1 - beta2 ** step

    The backend ``reference`` is fairseq's own loop, which also serves parameters that are not
    float32.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """Change the parameters by their gradients; ``closure`` may compute the loss anew."""
        parameters = [
            parameter
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not _are_fused(parameters):
            return super().step(closure)
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for step, of_step in self._by_step(group["params"]).items():
                self._step(group, step, of_step)
        return loss

    def _by_step(self, parameters: list[torch.Tensor]) -> dict[int, list[torch.Tensor]]:
        """Group parameters with gradients by the steps they have made, and count this one."""
        by_step = defaultdict(list)
        for parameter in parameters:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            by_step[state["step"]].append(parameter)
            state["step"] += 1
        return by_step

    def _step(self, group: dict, step: int, parameters: list[torch.Tensor]) -> None:
        beta1, beta2 = group["betas"]
        states = [self.state[parameter] for parameter in parameters]
        devices = {parameter.device for parameter in parameters}
        steps = {
            device: torch.full((len(parameters),), float(step), device=device).unbind()
            for device in devices
        }
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [steps[parameter.device][i] for i, parameter in enumerate(parameters)],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"] / math.sqrt(1 - beta2 ** (step + 1)),
            maximize=False,
        )


def _are_fused(parameters: list[torch.Tensor]) -> bool:
    if backends.asked_for() == "reference":
        return False
    return all(
        parameter.device.type in ("cpu", "cuda")
        and parameter.dtype == parameter.grad.dtype == torch.float32
        and not parameter.grad.is_sparse
        for parameter in parameters
    )
