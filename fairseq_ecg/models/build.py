"""Building a model as a checkpoint describes it."""

import os
from collections.abc import Mapping
from typing import Any

from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from omegaconf import OmegaConf

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_trained,
)
from fairseq_ecg.compat.stored_config import (
    NO_OTHER_FILE,
    check_network,
    decided_by_weights,
    has_network,
    literal,
    model_config,
)
from fairseq_ecg.errors import CheckpointError, shortened


def build_model_from_checkpoint(
    path: str | os.PathLike,
    pretrained: bool = True,
    allow_damaged: bool | None = None,
    model_overrides: Mapping[str, Any] | None = None,
) -> BaseFairseqModel:
    """Build the model of a checkpoint with its weights, ready for inference.

    Checkpoints of fairseq_signals and of this package are alike. The architecture is the one the
    checkpoint records; a fine-tuned model does not need the pre-trained file it came from.

    Args:
        path: the ``.pt`` file.
        pretrained: whether to load the weights; if not, they are drawn anew.
        allow_damaged: see :func:`fairseq_ecg.compat.checkpoint.load_checkpoint`.
        model_overrides: values in place of those of the checkpoint's configuration, by name: such
            as ``{"bert_config": {"num_attention_heads": 4}}``, which fairseq_signals does not
            store.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file would run code.
        CheckpointError: the file cannot be read, or its model is unknown or does not fit; keys
            are named.
    """
    state = load_checkpoint(path, allow_damaged=allow_damaged)
    stored = model_config(state, path)
    name = stored.get("_name")
    if not isinstance(name, str) or name not in MODEL_DATACLASS_REGISTRY:
        raise CheckpointError(
            f"{path} holds a model named {shortened(name)}, which is not known here"
        )
    stored = stored | dict(model_overrides or {}) | {"_name": name}
    stored = decided_by_weights(stored, state["model"], path)
    if has_network(name):
        check_network(stored, state["model"], path)
    stored |= {option: value for option, value in NO_OTHER_FILE.items() if option in stored}
    model = untrained_model(stored, path)
    if pretrained:
        load_trained(model, state, path)
    return model.eval()


def untrained_model(stored: Mapping[str, Any], path: str | os.PathLike) -> BaseFairseqModel:
    """Build the model of a configuration that a checkpoint holds, its weights drawn at random.

    Args:
        stored: configuration of the model; its ``_name`` is registered with fairseq.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: no such model can be built.
        DataError: the configuration is larger than `fairseq_ecg.limits` allow.
    """
    name = stored["_name"]
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        cfg = merge_with_parent(
            MODEL_DATACLASS_REGISTRY[name](),
            OmegaConf.create(literal(stored, path)),
            remove_missing=True,
        )
        return MODEL_REGISTRY[name].build_model(cfg, None)
