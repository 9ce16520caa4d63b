"""What networks that answer questions have in common."""

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import nn

from fairseq_ecg.modules.text.network import TextNetwork
from fairseq_ecg.options import Range

OneOrTwo = Annotated[int, Range(1, 2)]
"""How many ECGs a question is about at most."""


class AnsweringNetwork(TextNetwork):
    """Base of networks that give a logit of each answer.

    Attributes:
        output: name of the logits among what :meth:`forward` returns.
    """

    output = "out"

    def get_logits(self, net_output: Mapping, normalize: bool = False, **_) -> torch.Tensor:
        """Logits ``(B, C)``, or their log softmax over answers in float32."""
        logits = net_output[self.output]
        return logits.float().log_softmax(dim=-1) if normalize else logits

    def get_targets(self, sample: Mapping, net_output: Mapping, **_) -> torch.Tensor:
        """Answers of a batch: ``(B, C)`` float, 1 where an answer is right."""
        return sample["answer"].float()

    def check_second(self, ecg_2: torch.Tensor | None) -> None:
        """Refuse a second ECG where there is to be one at most.

        Raises:
            ValueError: there is one.
        """
        if ecg_2 is not None and self.num_ecgs < 2:
            raise ValueError(
                "a question is about two ECGs, but the network reads one: model.num_ecgs=2"
            )


def last_layer(channels: int, answers: int) -> nn.Linear:
    """Make the layer of logits, Xavier's weights and no bias to begin with."""
    proj = nn.Linear(channels, answers)
    nn.init.xavier_uniform_(proj.weight)
    nn.init.zeros_(proj.bias)
    return proj
