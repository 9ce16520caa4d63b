"""Building a model as a checkpoint describes it."""

import os

from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_trained,
)
from fairseq_ecg.compat.options import merge_known
from fairseq_ecg.compat.stored_config import check_network, literal, model_config
from fairseq_ecg.errors import CheckpointError, shortened
from fairseq_ecg.modules.registry import networks


def build_model_from_checkpoint(
    path: str | os.PathLike, pretrained: bool = True, allow_damaged: bool | None = None
) -> BaseFairseqModel:
    """Build the model of a checkpoint with its weights, ready for inference.

    Checkpoints of fairseq_signals and of this package are alike. The architecture is the one the
    checkpoint records; a fine-tuned model does not need the pre-trained file it came from.

    Args:
        path: the ``.pt`` file.
        pretrained: whether to load the weights; if not, they are drawn anew.
        allow_damaged: see :func:`fairseq_ecg.compat.checkpoint.load_checkpoint`.

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
    name = stored.pop("_name", None)
    if not isinstance(name, str) or name not in MODEL_DATACLASS_REGISTRY:
        raise CheckpointError(
            f"{path} holds a model named {shortened(name)}, which is not known here"
        )
    if name in networks():
        check_network(stored | {"_name": name}, state["model"], path)
    for option, value in (("model_path", None), ("no_pretrained_weights", True)):
        if option in stored:
            stored[option] = value
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        cfg = merge_known(MODEL_DATACLASS_REGISTRY[name](), literal(stored, path))
        model = MODEL_REGISTRY[name].build_model(cfg, None)
    if pretrained:
        load_trained(model, state, path)
    return model.eval()
