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


class Classes(Echo):
    """Returns its input as logits of classes, without those that a batch masks."""

    def get_logits(self, net_output, sample=None):
        return net_output["out"][~sample["mask"]] if "mask" in sample else net_output["out"]

    def get_targets(self, sample, net_output):
        return sample["classes"][~sample["mask"]] if "mask" in sample else sample["classes"]


class Two(nn.Module):
    """Logits of classes of samples, and of labels: its input, and the mean over samples of it."""

    def forward(self, source):
        return {"samples": source, "labels": source.mean(dim=1)}

    def get_logits(self, net_output, sample=None):
        return [
            Classes.get_logits(self, {"out": net_output["samples"]}, sample),
            net_output["labels"],
        ]

    def get_targets(self, sample, net_output):
        return [Classes.get_targets(self, sample, net_output), sample["label"].float()]


def batch(logits=LOGITS, label=LABELS, **more) -> dict:
    return {
        "id": torch.arange(len(logits)),
        "net_input": {"source": logits},
        "label": label,
        **more,
    }
