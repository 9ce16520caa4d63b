"""Encoders of convolutions and their classifiers, called as fairseq_signals' are.

Those put channels before frames, and some return what others return by another name. Here all
return what their networks do, and beside it, or in its place where names collide, that.
"""

import dataclasses

import torch
from omegaconf import DictConfig, open_dict

from fairseq_ecg.models.ecg_transformer import EncoderModel, PretrainingConfig
from fairseq_ecg.modules import FinetunedEncoder
from fairseq_ecg.modules.convolutional import ConvolutionalEncoder, LeadwiseEncoder
from fairseq_ecg.modules.nejedly2021resnet import present_leads
from fairseq_ecg.ops.pooling import zero_padding
from fairseq_ecg.options import options_of


class ConvolutionalEncoderModel(EncoderModel):
    """An encoder of convolutions alone; its frames ``(B, T', D)`` are ``frames`` as well."""

    def forward(self, source, padding_mask=None, **_):
        """As the network's, whatever else is given."""
        encoded = self.extract_features(source, padding_mask)
        return encoded | {"frames": encoded["x"]} | self.published(encoded["x"], source)

    def published(self, x: torch.Tensor, source: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what fairseq_signals returns of frames ``(B, T', D)`` of the samples."""
        return {}

    def get_logits(self, net_output, normalize=False, aggregate=False, **_):
        """Return frames ``(B, T', D)`` as logits of contrastive criterions, or their mean.

        Args:
            net_output: what :meth:`forward` returned.
            normalize: return log probabilities over the last dimension in float32.
            aggregate: pool the frames to ``(B, D)``.
        """
        x, frame_mask = net_output["frames"], net_output["padding_mask"]
        logits = self.mean(x, frame_mask) if aggregate else zero_padding(x, frame_mask)
        return logits.float().log_softmax(dim=-1) if normalize else logits


class LeadwiseEncoderModel(ConvolutionalEncoderModel):
    """One that returns ``x`` ``(B, D, T')``, leadwise ``(B, L, D / L, T')``."""

    def published(self, x, source):
        """See the base class."""
        return {"x": channels_first(self, x)}


class Nejedly2021ResNetEncoderModel(LeadwiseEncoderModel):
    """One that returns as ``l`` ``(B, L)`` which leads are there."""

    def published(self, x, source):
        """See the base class."""
        return super().published(x, source) | {"l": present_leads(source)}


class ResNetEncoderModel(ConvolutionalEncoderModel):
    """One that returns ``x`` ``(B, D)``, the mean over frames."""

    def forward(self, source, padding_mask=None, normalize=False, **_):
        """As the network's; ``normalize``: give each mean the length 1."""
        net_output = super().forward(source, padding_mask)
        if normalize:
            net_output["x"] = torch.nn.functional.normalize(net_output["x"], dim=1)
        return net_output

    def published(self, x, source):
        """See the base class."""
        return {"x": self.mean(x)}


class LeadwiseHeadModel:
    """A classifier that returns ``encoder_out`` as its encoder returns ``x``.

    Attributes:
        frames_axis: dimension of it that are frames.
    """

    frames_axis = -1

    def forward(self, source, padding_mask=None, **_):
        """As the network's, whatever else is given."""
        net_output = super().forward(source, padding_mask)
        return net_output | {"encoder_out": channels_first(self.encoder, net_output["encoder_out"])}


class ConvNetModel:
    """A classifier that returns its logits as ``x``."""

    def forward(self, source, padding_mask=None, **_):
        """As the network's, whatever else is given."""
        net_output = super().forward(source, padding_mask)
        return net_output | {"x": net_output["out"]}

    def revise_config(self, cfg: DictConfig) -> None:
        """As the base class does; fairseq_signals' has fewer options."""
        super().revise_config(cfg)
        unknown = ["model_path", "no_pretrained_weights", *options_of(ConvolutionalEncoder)]
        unknown += [field.name for field in dataclasses.fields(PretrainingConfig)]
        unknown += [name for name in options_of(FinetunedEncoder) if not cfg.get(name)]
        with open_dict(cfg):
            for name in {*unknown} - {"_name"}:
                cfg.pop(name, None)


def channels_first(encoder: LeadwiseEncoder, x: torch.Tensor) -> torch.Tensor:
    """Turn frames ``(B, T', D)`` into ``(B, D, T')``, leadwise ``(B, L, D / L, T')``."""
    x = x.transpose(1, 2)
    return x.unflatten(1, (encoder.n_leads, -1)) if encoder.leadwise else x
