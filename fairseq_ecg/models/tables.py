"""The encoders and heads of the tables that have no class of their own here, as fairseq models."""

import sys

from fairseq.dataclass import FairseqDataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from omegaconf import II

from fairseq_ecg.compat.options import configuration, make_configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.convolutional import (
    ConvNetModel,
    ConvolutionalEncoderModel,
    LeadwiseEncoderModel,
    LeadwiseHeadModel,
    Nejedly2021ResNetEncoderModel,
    ResNetEncoderModel,
)
from fairseq_ecg.models.ecg_transformer import (
    ECGTransformerEncoderModel,
    EncoderModel,
    PretrainingConfig,
)
from fairseq_ecg.models.finetuning import FinetuningConfig, HeadModel, unregularised
from fairseq_ecg.modules import ENCODERS, ECGTransformer, Encoder, adapt
from fairseq_ecg.modules.convnet import ConvNet
from fairseq_ecg.modules.convolutional import ConvolutionalEncoder, LeadwiseEncoder
from fairseq_ecg.modules.nejedly2021resnet import (
    Nejedly2021ResNet,
    Nejedly2021ResNetClassifier,
)
from fairseq_ecg.modules.registry import head_class, networks
from fairseq_ecg.modules.resnet import ResNet
from fairseq_ecg.modules.se_wrn import SEWRNClassifier

MODEL_BASES: dict[type, type] = {
    Encoder: EncoderModel,
    ECGTransformer: ECGTransformerEncoderModel,
    ConvolutionalEncoder: ConvolutionalEncoderModel,
    LeadwiseEncoder: LeadwiseEncoderModel,
    Nejedly2021ResNet: Nejedly2021ResNetEncoderModel,
    ResNet: ResNetEncoderModel,
    Nejedly2021ResNetClassifier: LeadwiseHeadModel,
    SEWRNClassifier: LeadwiseHeadModel,
    ConvNet: ConvNetModel,
}
"""What makes a fairseq model of a network, by the network's class or a base of it."""


@configuration()
class SegmentationConfig(FairseqDataclass):
    """What a network for segmentation takes over from its task.

    Args:
        sample_rate: of recordings, in Hz; the network does without.
    """

    sample_rate: int | None = II("task.sample_rate")


SEGMENTORS = ("unet_segmentor", "unet_cgm_segmentor")
"""Networks that fairseq_signals trains from scratch, so that nothing of them is fine-tuned: they
keep the regularisation of their encoder."""


def register_networks() -> None:
    """Register every network of the tables that is not registered yet, under its name.

    Its configuration has the options that its constructors declare.
    """
    for name, (encoder, head) in networks().items():
        registered = MODEL_REGISTRY.get(name)
        if registered is None or not registered.__module__.startswith(__package__):
            _register(name, encoder, head)


def _register(name: str, encoder: str, head: str | None) -> None:
    network = ENCODERS[encoder] if head is None else head_class(ENCODERS[encoder], head)
    about = {"__module__": __name__, "__doc__": f"``{name}``, see :class:`{network.__name__}`."}
    model_bases = [MODEL_BASES[base] for base in network.__mro__ if base in MODEL_BASES]
    if head is None:
        bases: tuple[type, ...] = (model_bases[0], network, BaseFairseqModel)
        pieces, parents, defaults = (network,), (PretrainingConfig,), {}
    else:
        bases = (*model_bases, network, HeadModel)
        about |= {
            "head_class": network,
            "encoder_name": encoder,
            "__init__": HeadModel.__init__,
        }
        pieces, defaults = (ENCODERS[encoder], network, adapt), unregularised(ENCODERS[encoder])
        parents = (FinetuningConfig, MODEL_DATACLASS_REGISTRY[encoder])
        if name in SEGMENTORS:
            about["unknown_options"] = ("final_dropout",)
            parents, defaults = (SegmentationConfig, *parents), {}
    title = "".join(part.title() for part in name.split("_"))
    model = type(f"{title}Model", bases, about)
    setattr(sys.modules[__name__], model.__name__, model)  # to be pickled
    config = make_configuration(f"{title}Config", __name__, *pieces, bases=parents, **defaults)
    register_model(name, dataclass=config)(model)
