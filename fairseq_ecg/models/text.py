"""The networks of ECGs and texts as fairseq models."""

import sys
from typing import Any, ClassVar

from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel

from fairseq_ecg.compat.checkpoint import (
    WRITTEN_IN_TRAINING,
    damage_as_checkpoint_error,
    load_checkpoint,
    load_strictly,
)
from fairseq_ecg.compat.options import make_configuration, merge_known
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.compat.stored_config import literal, model_config
from fairseq_ecg.errors import CheckpointError, shortened
from fairseq_ecg.models.ecg_text_clip import EncoderFromCheckpoint, EncoderFromCheckpointConfig
from fairseq_ecg.models.ecg_transformer import PretrainingConfig
from fairseq_ecg.modules.text import TEXT_NETWORKS, TextNetwork
from fairseq_ecg.modules.text.ecg_text_clip import ECGTextCLIP
from fairseq_ecg.options import chosen


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


MODEL_BASES: dict[type[TextNetwork], tuple[type, type]] = {
    ECGTextCLIP: (EncoderFromCheckpoint, EncoderFromCheckpointConfig),
}
"""What comes before a network as a base of its model, and the base of its configuration, where
these are others than of most."""


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
        cfg = merge_known(MODEL_DATACLASS_REGISTRY[name](), literal(stored, path))
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
    own, parent = MODEL_BASES.get(network, (None, PretrainingConfig))
    bases = (TextModel, network, BaseFairseqModel)
    model = type(title, bases if own is None else (own, *bases), about)
    setattr(sys.modules[__name__], title, model)  # to be pickled
    config = make_configuration(f"{network.__name__}Config", __name__, network, bases=(parent,))
    register_model(name, dataclass=config)(model)
