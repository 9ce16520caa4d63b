"""The convolutions of wav2vec 2.0 as a network of their own."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from fairseq_ecg.modules.conv_extractor import ConvFeatureExtractor, ConvLayers, parse_conv_layers
from fairseq_ecg.modules.convolutional import ConvolutionalEncoder
from fairseq_ecg.modules.convolutional_classifier import ConvolutionalClassifier
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.options import Probability, Width


class ConvNetEncoder(ConvolutionalEncoder):
    """The convolutions of an ECG transformer, without a transformer.

    Args:
        extractor_mode: default: group norm in the first block; layer_norm: in every block.
        dropout: after each convolution.
        conv_feature_layers: (channels, kernel, stride) of each convolution.
        conv_bias: give convolutions a bias.
        input_dim: leads.
        options: of :class:`ConvolutionalEncoder`.
    """

    architecture_options = ("extractor_mode", "conv_feature_layers", "conv_bias", "input_dim")
    regularisation_options = ("dropout",)
    leads_option = "input_dim"

    def __init__(
        self,
        *,
        extractor_mode: str = "default",
        dropout: Probability = 0.0,
        conv_feature_layers: ConvLayers = "[(256, 2, 2)] * 4",
        conv_bias: bool = True,
        input_dim: Width = 12,
        **options,
    ):
        super().__init__(**options)
        layers = parse_conv_layers(conv_feature_layers)
        self.encoder_dim, self.n_leads = layers[-1][0], input_dim
        self.attention_heads = math.gcd(self.encoder_dim, 8)
        self.strides = [(kernel, stride) for _, kernel, stride in layers]
        self.feature_extractor = ConvFeatureExtractor(
            layers, input_dim, dropout, extractor_mode, conv_bias
        )

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.feature_extractor(source).transpose(1, 2)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`; the first convolution is the stem."""
        first, *others = self.feature_extractor.conv_layers
        parts: dict[str, list[nn.Module | nn.Parameter]] = {"stem": [first]}
        return parts | {f"layer {number}": [block] for number, block in enumerate(others)}


class ConvNet(ConvolutionalClassifier):
    """One logit per label from the mean over all frames.

    Its encoder is no module of its own: so published checkpoints name its weights.

    Args:
        encoder: whose frames are classified.
        output_dim: labels to predict, or targets to estimate.
        options: of :class:`FinetunedEncoder`.
    """

    labels_option = "output_dim"

    def __init__(self, encoder: ConvNetEncoder, *, output_dim: Width, **options):
        FinetunedEncoder.__init__(self, encoder, **options)
        del self.encoder
        object.__setattr__(self, "encoder", encoder)
        self.feature_extractor = encoder.feature_extractor
        self.final_proj = nn.Linear(encoder.encoder_dim, output_dim)

    @property
    def num_outputs(self) -> int:
        """C, labels or targets."""
        return self.final_proj.out_features

    def classify(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.final_proj(self.final_dropout(x).mean(dim=1))

    def init_head(self, module: nn.Module) -> None:
        """See the base class; the weights are torch's."""

    @staticmethod
    def encoder_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See the base class."""
        return {key: x for key, x in weights.items() if key.startswith("feature_extractor.")}
