"""``ecg_transformer``: the plain encoder."""

from dataclasses import dataclass, field, fields
from typing import Any

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import BaseFairseqModel
from omegaconf import II

from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.compat.time_first import TimeFirst
from fairseq_ecg.modules import ECGTransformer
from fairseq_ecg.modules.architecture import network_options
from fairseq_ecg.ops.masking import MASK_TYPES

MASK_LENGTHS = ChoiceEnum(list(MASK_TYPES))


@dataclass
class PretrainingConfig(FairseqDataclass):
    """What every model takes over from its task."""

    all_gather: bool = field(
        default=False, metadata={"help": "gather encoder outputs over ranks for the criterion"}
    )
    normalize: bool = II("task.normalize")
    filter: bool = II("task.filter")
    data: str = II("task.data")
    args: Any = None


@dataclass
class TransformerConfig(PretrainingConfig):
    """The transformer and its masking."""

    encoder_layers: int = field(default=12, metadata={"help": "transformer layers"})
    encoder_embed_dim: int = field(default=768, metadata={"help": "channels of a frame"})
    encoder_ffn_embed_dim: int = field(
        default=3072, metadata={"help": "hidden channels of a layer's perceptron"}
    )
    encoder_attention_heads: int = field(default=12, metadata={"help": "attention heads"})
    layer_norm_first: bool = field(
        default=False, metadata={"help": "normalise the input of each part, not the sum"}
    )
    saliency: bool = field(
        default=False, metadata={"help": "return the attention weights of all layers"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout inside the transformer"})
    attention_dropout: float = field(default=0.1, metadata={"help": "on attention weights"})
    activation_dropout: float = field(
        default=0.0, metadata={"help": "after the GELU of a perceptron"}
    )
    encoder_layerdrop: float = field(
        default=0.0, metadata={"help": "probability of leaving out a layer in training"}
    )
    dropout_input: float = field(
        default=0.0, metadata={"help": "on the input of the transformer, after projection"}
    )
    dropout_features: float = field(
        default=0.0, metadata={"help": "on the latents that become contrastive targets"}
    )
    apply_mask: bool = field(default=False, metadata={"help": "own an embedding for masked frames"})
    mask_length: int = field(default=10, metadata={"help": "frames of a masked span"})
    mask_prob: float = field(
        default=0.0, metadata={"help": "share of frames covered if spans did not overlap"}
    )
    mask_selection: MASK_LENGTHS = field(
        default="static", metadata={"help": "distribution of span lengths"}
    )
    mask_other: float = field(default=0, metadata={"help": "second parameter of that distribution"})
    no_mask_overlap: bool = field(default=False, metadata={"help": "keep masked spans apart"})
    mask_min_space: int = field(
        default=1, metadata={"help": "least frames between spans that are kept apart"}
    )
    mask_channel_length: int = field(default=10, metadata={"help": "channels of a masked span"})
    mask_channel_prob: float = field(
        default=0.0, metadata={"help": "share of channels covered if spans did not overlap"}
    )
    mask_channel_selection: MASK_LENGTHS = field(
        default="static", metadata={"help": "distribution of span lengths over channels"}
    )
    mask_channel_other: float = field(
        default=0, metadata={"help": "second parameter of that distribution"}
    )
    no_mask_channel_overlap: bool = field(
        default=False, metadata={"help": "keep masked spans of channels apart"}
    )
    mask_channel_min_space: int = field(
        default=1, metadata={"help": "least channels between spans that are kept apart"}
    )


@dataclass
class ECGTransformerConfig(TransformerConfig):
    """The transformer over frames that convolutions extract."""

    extractor_mode: str = field(
        default="default",
        metadata={"help": "default: group norm in the first block; layer_norm: in every block"},
    )
    conv_feature_layers: str = field(
        default="[(256, 2, 2)] * 4",
        metadata={"help": "(channels, kernel, stride) of each convolution"},
    )
    in_d: int = field(default=12, metadata={"help": "leads"})
    conv_bias: bool = field(default=False, metadata={"help": "give convolutions a bias"})
    feature_grad_mult: float = field(
        default=1.0, metadata={"help": "factor on the convolutions' gradient; 0 freezes them"}
    )
    conv_pos: int = field(
        default=128, metadata={"help": "frames that the positional convolution spans"}
    )
    conv_pos_groups: int = field(
        default=16, metadata={"help": "groups of the positional convolution"}
    )


class EncoderModel(TimeFirst):
    """What all encoders have that are built of a configuration.

    Args:
        cfg: configuration of the model.
    """

    def __init__(self, cfg: ECGTransformerConfig):
        super().__init__(**network_options(type(self), cfg))
        self.cfg = cfg

    @classmethod
    def build_model(cls, cfg: ECGTransformerConfig, task=None):
        """Build the network that a configuration describes."""
        return cls(cfg)

    @property
    def embed_dim(self) -> int:
        """D, channels of a frame."""
        return self.encoder_dim

    @property
    def embed(self) -> int:
        """E, channels of the last convolution, by fairseq_signals' name."""
        return self.conv_dim


@register_model("ecg_transformer", dataclass=ECGTransformerConfig)
class ECGTransformerModel(EncoderModel, ECGTransformer, BaseFairseqModel):
    """:class:`fairseq_ecg.modules.ECGTransformer` as a fairseq model.

    As in fairseq_signals it masks nothing, and yet has what its configuration says of masks
    (``mask_prob`` and so on) among its attributes.

    Args:
        cfg: its configuration.
    """

    def __init__(self, cfg: ECGTransformerConfig):
        super().__init__(cfg)
        for option in fields(TransformerConfig):
            if "mask_" in option.name and option.name != "apply_mask":
                setattr(self, option.name, getattr(cfg, option.name))

    def forward(self, source, padding_mask=None, **_):
        """As :meth:`fairseq_ecg.modules.ECGTransformer.forward`, whatever else is given.

        That is ``mask=False``, for instance, which the networks of pre-training know.
        """
        return super().forward(source, padding_mask)

    def extract_features(self, source, padding_mask=None, **_):
        """Do the same as :meth:`forward`."""
        return self(source, padding_mask)

    @classmethod
    def from_pretrained(cls, model_path, cfg, **_) -> ECGTransformer:
        """Take the encoder out of a checkpoint.

        Args:
            model_path: the ``.pt`` file.
            cfg: configuration of the fine-tuned model, of which dropout is taken.

        Returns:
            The encoder, of the class that the checkpoint says.

        Raises:
            CheckpointError: the checkpoint does not hold such an encoder.
        """
        from fairseq_ecg.models.finetuning import pretrained_encoder

        return pretrained_encoder(model_path, cfg)
