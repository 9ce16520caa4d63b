"""Checkpoints of tiny networks, as training writes them."""

import torch

from fairseq_ecg.modules.registry import build_network
from tests.conftest import TINY_CMSC_MODEL

CLASSIFIER = TINY_CMSC_MODEL | {
    "_name": "ecg_transformer_classifier",
    "apply_mask": False,
    "num_labels": 2,
}


def made(model: dict) -> dict:
    """Make the state that a checkpoint of a network holds.

    Args:
        model: its configuration.
    """
    torch.manual_seed(0)
    return {
        "args": None,
        "cfg": {
            "model": dict(model),
            "task": {"_name": "ecg_classification", "data": "d", "normalize": False},
            "criterion": {"_name": "binary_cross_entropy_with_logits"},
        },
        "model": dict(build_network(model).state_dict()),
        "optimizer_history": [
            {
                "criterion_name": "BinaryCrossEntropyWithLogitsCriterion",
                "optimizer_name": "Adam",
                "lr_scheduler_state": {"lr": 0.001},
                "num_updates": 20,
            }
        ],
        "task_state": {"fairseq_ecg": {"labels": ["AF", "ST"], "sample_rate": 100.0}},
        "extra_state": {"train_iterator": {"version": 2, "epoch": 2, "iterations_in_epoch": 0}},
        "last_optimizer_state": {"state": {}, "param_groups": []},
    }
