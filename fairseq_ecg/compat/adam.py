"""Adam under fairseq_signals' name."""

from fairseq.optim.adam import Adam as AdamWithDecoupledDecay
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

from fairseq_ecg.compat.registration import register_optimizer


@register_optimizer("adam", dataclass=FairseqAdamConfig)
class Adam(FairseqAdam):
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101), in float32.

    Checkpoints record the class name of the optimizer, and resuming demands the same: the one of
    fairseq_signals is ``Adam``. Unlike stock fairseq it does not turn into apex's FusedAdam where
    apex is installed.
    """

    def __init__(self, cfg, params):
        super(FairseqAdam, self).__init__(cfg)
        self._optimizer = AdamWithDecoupledDecay(params, **self.optimizer_config)
