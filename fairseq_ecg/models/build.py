"""Building a model as a checkpoint describes it."""

import os

from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from omegaconf import OmegaConf

from fairseq_ecg.compat.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_trained,
    model_config,
)


def build_model_from_checkpoint(
    path: str | os.PathLike, pretrained: bool = True
) -> BaseFairseqModel:
    """Build the model of a checkpoint with its weights, ready for inference.

    Checkpoints of fairseq_signals and of this package are alike. The architecture is the one the
    checkpoint records; a fine-tuned model does not need the pre-trained file it came from.

    Args:
        path: the ``.pt`` file.
        pretrained: whether to load the weights; if not, they are drawn anew.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file would run code.
        CheckpointError: the file cannot be read, or its model is unknown or does not fit; keys
            are named.
    """
    state = load_checkpoint(path)
    stored = model_config(state, path)
    name = stored.pop("_name", None)
    if name not in MODEL_DATACLASS_REGISTRY:
        raise CheckpointError(f"{path} holds a model named {name!r}, which is not known here")
    for option, value in (("model_path", None), ("no_pretrained_weights", True)):
        if option in stored:
            stored[option] = value
    cfg = merge_with_parent(
        MODEL_DATACLASS_REGISTRY[name](), OmegaConf.create(stored), remove_missing=True
    )
    model = MODEL_REGISTRY[name].build_model(cfg, None)
    if pretrained:
        load_trained(model, state, path)
    return model.eval()
