"""The encoders and heads of the tables that have no class of their own here, as fairseq models."""

from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel

from fairseq_ecg.compat.options import with_options
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.ecg_transformer import (
    ECGTransformerEncoderModel,
    EncoderModel,
    PretrainingConfig,
)
from fairseq_ecg.models.finetuning import FinetuningConfig, HeadModel, unregularised
from fairseq_ecg.modules import ENCODERS, HEADS, ECGTransformer, adapt
from fairseq_ecg.modules.registry import networks


def register_networks() -> None:
    """Register every network of the tables that is not registered yet, under its name.

    Its configuration has the options that its constructors declare.
    """
    for name, (encoder, head) in networks().items():
        registered = MODEL_REGISTRY.get(name)
        if registered is None or not registered.__module__.startswith(__package__):
            _register(name, encoder, head)


def _register(name: str, encoder: str, head: str | None) -> None:
    title = "".join(part.title() for part in name.split("_"))
    network = ENCODERS[encoder]
    if head is None:
        parent, options, defaults = PretrainingConfig, (network,), {}
        of_transformer = issubclass(network, ECGTransformer)
        face = ECGTransformerEncoderModel if of_transformer else EncoderModel
        bases, members = (face, network, BaseFairseqModel), {}
    else:
        network, parent = HEADS[head], FinetuningConfig
        options, defaults = (ENCODERS[encoder], network, adapt), unregularised(ENCODERS[encoder])
        bases = (network, HeadModel)
        members = {
            "head_class": network,
            "encoder_name": encoder,
            "__init__": HeadModel.__init__,
        }
    about = {"__module__": __name__, "__doc__": f"``{name}``, see :class:`{network.__name__}`."}
    parents = (parent,) if head is None else (parent, MODEL_DATACLASS_REGISTRY[encoder])
    config = type(f"{title}Config", parents, dict(about))
    config = with_options(*options, **defaults)(config)
    model = register_model(name, dataclass=config)(type(f"{title}Model", bases, about | members))
    globals().update({config.__name__: config, model.__name__: model})  # to be pickled
