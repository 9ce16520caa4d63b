"""``wav2vec2`` and ``wav2vec2_cmsc``: the pre-training networks."""

# ruff: noqa: UP006, UP035 (fairseq reads the types of options by their names in typing)

from dataclasses import dataclass, field
from typing import Tuple

from fairseq.models import BaseFairseqModel

from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.ecg_transformer import ECGTransformerConfig, EncoderModel
from fairseq_ecg.modules import Wav2Vec2


@dataclass
class Wav2Vec2Config(ECGTransformerConfig):
    """The encoder, its quantizer and the contrastive task."""

    logit_temp: float = field(
        default=0.1, metadata={"help": "what cosine similarities are divided by"}
    )
    quantize_targets: bool = field(
        default=False, metadata={"help": "contrast against quantized latents"}
    )
    quantize_input: bool = field(
        default=False, metadata={"help": "feed the transformer quantized latents"}
    )
    same_quantizer: bool = field(
        default=False, metadata={"help": "one quantizer for inputs and targets"}
    )
    target_glu: bool = field(
        default=False, metadata={"help": "pass targets through a gated linear unit"}
    )
    latent_vars: int = field(default=320, metadata={"help": "code words in a group"})
    latent_groups: int = field(default=2, metadata={"help": "groups of code words"})
    latent_dim: int = field(
        default=0, metadata={"help": "channels of a quantized latent; 0: final_dim"}
    )
    final_dim: int = field(
        default=0, metadata={"help": "channels of predictions and targets; 0: encoder_embed_dim"}
    )
    num_negatives: int = field(default=100, metadata={"help": "negatives from the same recording"})
    negatives_from_everywhere: bool = field(
        default=False, metadata={"help": "draw negatives from all frames, not only masked ones"}
    )
    cross_sample_negatives: int = field(
        default=0, metadata={"help": "negatives from the whole batch"}
    )
    codebook_negatives: int = field(default=0, metadata={"help": "negatives from the codebook"})
    latent_temp: Tuple[float, float, float] = field(
        default=(2, 0.5, 0.999995),
        metadata={"help": "Gumbel temperature: start, end, factor per update"},
    )


@dataclass
class Wav2Vec2CMSCConfig(Wav2Vec2Config):
    """As :class:`Wav2Vec2Config`."""


@register_model("wav2vec2", dataclass=Wav2Vec2Config)
class Wav2Vec2Model(EncoderModel, Wav2Vec2, BaseFairseqModel):
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
