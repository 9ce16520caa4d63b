"""Models on a pre-trained encoder."""

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from omegaconf import DictConfig, open_dict

from fairseq_ecg.compat.options import configuration
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models.ecg_transformer import ECGTransformerConfig, TransformerConfig
from fairseq_ecg.models.pretrained import load_encoder, own_config, untrained_encoder
from fairseq_ecg.modules import ENCODERS, ECGTransformer, Encoder, FinetunedEncoder, adapt
from fairseq_ecg.modules.registry import options_of_head
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding
from fairseq_ecg.options import chosen, options_of

logger = logging.getLogger(__name__)


@configuration(FinetunedEncoder)
class FinetuningConfig(FairseqDataclass):
    """Where the encoder comes from.

    Args:
        model_path: checkpoint of the pre-trained encoder.
        no_pretrained_weights: start from random weights in spite of model_path.
        checkpoint_architecture: with no_pretrained_weights: the architecture of model_path, not of
            this configuration.
    """

    model_path: str | None = None
    no_pretrained_weights: bool = False
    checkpoint_architecture: bool = False


def unregularised(encoder: type[Encoder]) -> dict[str, float]:
    """Defaults of fine-tuning for the options of an encoder."""
    return dict.fromkeys(encoder.regularisation_options, 0.0)


@configuration(ECGTransformer, **unregularised(ECGTransformer))
class TransformerFinetuningConfig(FinetuningConfig, TransformerConfig):
    """A pre-trained transformer: no dropout, and convolutions stay as they are unless asked for."""


@dataclass
class ECGTransformerFinetuningConfig(TransformerFinetuningConfig, ECGTransformerConfig):
    """As :class:`TransformerFinetuningConfig`, by the name that fairseq_signals' models have."""


class ECGTransformerFinetuningModel(FinetunedEncoder, BaseFairseqModel):
    """What all models on a pre-trained encoder have in common.

    Args:
        cfg: configuration of the model.
        encoder: the encoder.
    """

    encoder_name: ClassVar[str] = "ecg_transformer"

    def __init__(self, cfg: ECGTransformerFinetuningConfig, encoder: Encoder):
        super().__init__(encoder, **chosen(FinetunedEncoder, cfg))
        self.cfg = cfg

    @property
    def architecture(self) -> dict[str, Any]:
        """What the encoder's checkpoint says about it, see `Encoder.architecture_options`."""
        return getattr(self.encoder, "architecture", {})

    @classmethod
    def build_model(cls, cfg: ECGTransformerFinetuningConfig, task=None):
        """Build the model, on the encoder at ``cfg.model_path`` if there is one.

        Args:
            cfg: its configuration, a plain dataclass or one of omegaconf's. What it takes over
                from a task and cannot, as it was made without one, is off.
            task: has no meaning here.

        Raises:
            CheckpointError: the checkpoint does not hold such an encoder.
        """
        cfg = own_config(cfg)
        if cfg.model_path and not cfg.no_pretrained_weights:
            encoder = load_encoder(cfg)
            if not isinstance(encoder, ENCODERS[cls.encoder_name]):
                raise CheckpointError(
                    f"{cfg.model_path} holds a {type(encoder).__name__}, but this model is one on "
                    f"{cls.encoder_name}"
                )
        else:
            encoder = untrained_encoder(cls.encoder_name, cfg)
        for name, value in encoder.architecture.items():
            if cfg[name] != value:
                logger.info("model.%s is %s, as in %s", name, value, cfg.model_path)
                cfg[name] = value
        return cls(cfg, encoder)

    def revise_config(self, cfg: DictConfig) -> None:
        """Make a configuration what a checkpoint says of this network: its real architecture.

        Args:
            cfg: configuration of this model, changed in place.
        """
        with open_dict(cfg):
            cfg.update(self.architecture)

    def forward(self, source, padding_mask=None, **_):
        """Return what the encoder gives for each frame, before any pooling.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            See :meth:`fairseq_ecg.modules.Encoder.extract_features`.
        """
        return self.encode(source, padding_mask)

    def get_logits(self, net_output, normalize=False, aggregate=False, **_):
        """Encoder output as logits: frames ``(B, T', D)``, or their mean ``(B, D)`` (aggregate).

        Args:
            net_output: of a model on an encoder, with ``encoder_out``, or of :meth:`forward`.
            normalize: return log probabilities over the last dimension in float32.
            aggregate: pool the frames.
        """
        frames = net_output["encoder_out" if "encoder_out" in net_output else "x"]
        pool = mean_of_nonzero if aggregate else zero_padding
        logits = pool(frames, net_output["padding_mask"])
        return logits.float().log_softmax(dim=-1) if normalize else logits


class HeadModel(ECGTransformerFinetuningModel):
    """A head of :data:`fairseq_ecg.modules.HEADS` on an encoder; the head comes before as a base.

    Args:
        cfg: configuration of encoder, head and adapters.
        encoder: the encoder.

    Attributes:
        unknown_options: options of the network that fairseq_signals' one does not have, and does
            without where they are 0.
    """

    head_class: ClassVar[type[FinetunedEncoder]]
    unknown_options: ClassVar[tuple[str, ...]] = ()

    get_logits = FinetunedEncoder.get_logits  # of the head, not frames as without one

    def __init__(self, cfg: Any, encoder: Encoder):
        self.head_class.__init__(self, encoder, **options_of_head(self.head_class, cfg))
        adapt(encoder, **chosen(adapt, cfg))
        self.cfg = cfg
        frozen = {id(parameter) for parameter in self.without_gradient()}
        training = sum(
            p.numel() for p in self.parameters() if p.requires_grad and id(p) not in frozen
        )
        total = sum(p.numel() for p in self.parameters())
        logger.info("%d of %d parameters train", training, total)

    def forward(self, source, padding_mask=None, **_):
        """As :meth:`fairseq_ecg.modules.FinetunedEncoder.forward`, whatever else is given.

        That is the rest of a batch, for instance: fairseq_signals' classifiers pass it over.
        """
        return FinetunedEncoder.forward(self, source, padding_mask)

    def revise_config(self, cfg: DictConfig) -> None:
        """Make a configuration what a checkpoint says of this network.

        That is without options which the saved network does without: fairseq_signals refuses a
        checkpoint with options that it does not have. Those stay that make a network which it
        could not build anyway.

        Args:
            cfg: configuration of this model, changed in place.
        """
        super().revise_config(cfg)
        implied = ["freeze_layers", "checkpoint_architecture"]  # of training, not of the network
        implied += [name for name in self.unknown_options if not cfg.get(name)]
        if str(cfg.get("pooling")) == "mean":
            implied.append("pooling")
        if not cfg.get("lora_rank"):
            implied += options_of(adapt)
        with open_dict(cfg):
            for name in implied:
                cfg.pop(name, None)
