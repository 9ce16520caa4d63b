"""The networks of ECGs and texts as fairseq models."""

import sys
from typing import Any, ClassVar

from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from omegaconf import II, OmegaConf

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_strictly,
)
from fairseq_ecg.compat.options import make_configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.compat.stored_config import literal, model_config
from fairseq_ecg.errors import CheckpointError, shortened
from fairseq_ecg.models.ecg_transformer import PretrainingConfig
from fairseq_ecg.modules.masking import MaskedEncoder
from fairseq_ecg.modules.text import TEXT_NETWORKS, TextNetwork
from fairseq_ecg.modules.transformer import TransformerNetwork
from fairseq_ecg.options import chosen, options_of

OF_TASK = ("pad_token", "sep_token", "max_text_size")
"""Options that networks take over from their task."""


class TextModel:
    """A network of ECGs and texts that is built of a configuration; the network comes after it.

    Args:
        cfg: configuration of the model.
    """

    network: ClassVar[type[TextNetwork]]

    def __init__(self, cfg: Any):
        super().__init__(**chosen(self.network, cfg))
        self.cfg = cfg

    @classmethod
    def build_model(cls, cfg: Any, task=None):
        """Build the network that a configuration describes."""
        return cls(cfg)


def stored_text_network(path: str, **options: Any) -> tuple[TextNetwork, dict[str, Any]]:
    """Build the network of ECGs and texts of a checkpoint, with its weights.

    Nothing is fetched: sizes of tables are those of the weights.

    Args:
        path: the ``.pt`` file.
        options: in place of those that it was trained with, where the network has them.

    Returns:
        The network without the modules that only pre-training uses, and its configuration.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it does not hold such a network, or other weights; keys are named.
    """
    state = load_checkpoint(path)
    stored, weights = model_config(state, path), state["model"]
    name = stored.get("_name")
    if name not in TEXT_NETWORKS:
        raise CheckpointError(
            f"{path} holds a {shortened(name)}, which reads no texts; known are "
            f"{', '.join(TEXT_NETWORKS)}"
        )
    with damage_as_checkpoint_error(path, WRITTEN_IN_TRAINING):
        stored |= TEXT_NETWORKS[name].stored_options(weights)
        stored |= {key: value for key, value in options.items() if key in stored}
        cfg = merge_with_parent(
            MODEL_DATACLASS_REGISTRY[name](),
            OmegaConf.create(literal(stored, path)),
            remove_missing=True,
        )
        network = MODEL_REGISTRY[name].build_model(cfg)
    network.remove_pretraining_modules()
    load_strictly(network, weights, path, ignored=network.pretraining_modules)
    return network, stored


def register_text_networks() -> None:
    """Register every network of the table under its name; its options are its constructor's."""
    for name, network in TEXT_NETWORKS.items():
        registered = MODEL_REGISTRY.get(name)
        if registered is None or not registered.__module__.startswith(__package__):
            _register(name, network)


def _register(name: str, network: type[TextNetwork]) -> None:
    title = f"{network.__name__}Model"
    about = {"__module__": __name__, "__doc__": f"``{name}``.", "network": network}
    model = type(title, (TextModel, network, BaseFairseqModel), about)
    setattr(sys.modules[__name__], title, model)  # to be pickled
    options = options_of(network)
    defaults = dict(network.defaults) | {
        option: II(f"task.{option}") for option in OF_TASK if option in options
    }
    pieces = (network, MaskedEncoder) if issubclass(network, TransformerNetwork) else (network,)
    config = make_configuration(
        f"{network.__name__}Config", __name__, *pieces, bases=(PretrainingConfig,), **defaults
    )
    register_model(name, dataclass=config)(model)
