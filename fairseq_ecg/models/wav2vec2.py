"""``wav2vec2`` and ``wav2vec2_cmsc``: the pre-training networks."""

from dataclasses import dataclass

from fairseq.models import BaseFairseqModel

from fairseq_ecg.compat.options import configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.ecg_transformer import ECGTransformerConfig, ECGTransformerEncoderModel
from fairseq_ecg.modules import Wav2Vec2


@configuration(Wav2Vec2)
class Wav2Vec2Config(ECGTransformerConfig):
    """The encoder, its quantizer and the contrastive task."""


@dataclass
class Wav2Vec2CMSCConfig(Wav2Vec2Config):
    """As :class:`Wav2Vec2Config`."""


@register_model("wav2vec2", dataclass=Wav2Vec2Config)
class Wav2Vec2Model(ECGTransformerEncoderModel, Wav2Vec2, BaseFairseqModel):
    """:class:`fairseq_ecg.modules.Wav2Vec2` as a fairseq model.

    Args:
        cfg: its configuration.
    """


@register_model("wav2vec2_cmsc", dataclass=Wav2Vec2CMSCConfig)
class Wav2Vec2CMSCModel(Wav2Vec2Model):
    """``wav2vec2`` that also returns the encoder output, for contrast between segments."""

    def forward(self, source, padding_mask=None, **options):
        """As :meth:`fairseq_ecg.modules.Wav2Vec2.forward`, with ``return_features``."""
        return super().forward(source, padding_mask, **{"return_features": True, **options})
