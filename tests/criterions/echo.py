import torch
from torch import nn

LOGITS = torch.tensor([[0.2, -1, 3], [1, 0.5, -0.3]])
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0]])


class Echo(nn.Module):
    """Returns its input as logits."""

    def forward(self, source):
        return {"out": source}

    def get_logits(self, net_output):
        return net_output["out"]

    def get_targets(self, sample, net_output):
        label = sample["label"]
        return label.float() if torch.is_tensor(label) else label


def batch(logits=LOGITS, label=LABELS, **more) -> dict:
    return {
        "id": torch.arange(len(logits)),
        "net_input": {"source": logits},
        "label": label,
        **more,
    }
