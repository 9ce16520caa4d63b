"""``ecg_transformer``: the plain encoder, and what encoders have in common as fairseq's models."""

from dataclasses import dataclass
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from omegaconf import II

from fairseq_ecg.compat.options import configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.compat.time_first import TimeFirst
from fairseq_ecg.models.pretrained import pretrained_encoder
from fairseq_ecg.modules import ECGTransformer, Encoder, MaskedEncoder
from fairseq_ecg.options import chosen, options_of


@dataclass
class PretrainingConfig(FairseqDataclass):
    """What every model takes over from its task."""

    normalize: bool = II("task.normalize")
    filter: bool = II("task.filter")
    data: str = II("task.data")
    args: Any = None


@configuration(MaskedEncoder, ECGTransformer)
class TransformerConfig(PretrainingConfig):
    """The transformer over frames that convolutions extract, and its masking."""


@dataclass
class ECGTransformerConfig(TransformerConfig):
    """As :class:`TransformerConfig`, by the name that its model has in fairseq_signals."""


class EncoderModel:
    """What all encoders have that are built of a configuration.

    Args:
        cfg: configuration of the model.
    """

    def __init__(self, cfg: PretrainingConfig):
        super().__init__(**chosen(type(self), cfg))
        self.cfg = cfg

    @classmethod
    def build_model(cls, cfg: PretrainingConfig, task=None):
        """Build the network that a configuration describes."""
        return cls(cfg)

    @property
    def embed_dim(self) -> int:
        """D, channels of a frame."""
        return self.encoder_dim


class ECGTransformerEncoderModel(EncoderModel, TimeFirst):
    """An encoder whose transformer is called as fairseq_signals' is."""

    @property
    def embed(self) -> int:
        """E, channels of the last convolution, by fairseq_signals' name."""
        return self.conv_dim


@register_model("ecg_transformer", dataclass=ECGTransformerConfig)
class ECGTransformerModel(ECGTransformerEncoderModel, ECGTransformer, BaseFairseqModel):
    """:class:`fairseq_ecg.modules.ECGTransformer` as a fairseq model.

    As in fairseq_signals it masks nothing, and yet has what its configuration says of masks
    (``mask_prob`` and so on) among its attributes.

    Args:
        cfg: its configuration.
    """

    def __init__(self, cfg: ECGTransformerConfig):
        super().__init__(cfg)
        for option in options_of(MaskedEncoder):
            setattr(self, option, getattr(cfg, option))

    def forward(self, source, padding_mask=None, **_):
        """As :meth:`fairseq_ecg.modules.ECGTransformer.forward`, whatever else is given.

        That is ``mask=False``, for instance, which the networks of pre-training know.
        """
        return super().forward(source, padding_mask)

    def extract_features(self, source, padding_mask=None, **_):
        """Do the same as :meth:`forward`."""
        return self(source, padding_mask)

    @classmethod
    def from_pretrained(cls, model_path, cfg, **_) -> Encoder:
        """Take the encoder out of a checkpoint.

        Args:
            model_path: the ``.pt`` file.
            cfg: configuration of the fine-tuned model, of which dropout is taken.

        Returns:
            The encoder, of the class that the checkpoint says.

        Raises:
            CheckpointError: the checkpoint does not hold such an encoder.
        """
        return pretrained_encoder(model_path, cfg)
