"""``ecg_transformer_classifier``: diagnosis on a pre-trained encoder."""

import logging
from dataclasses import dataclass, field
from typing import Any

from fairseq.models import BaseFairseqModel
from omegaconf import MISSING

from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.ecg_transformer import ECGTransformerModel
from fairseq_ecg.models.finetuning import ECGTransformerFinetuningConfig, load_encoder
from fairseq_ecg.modules import ECGTransformer, ECGTransformerClassifier
from fairseq_ecg.modules.architecture import network_options

logger = logging.getLogger(__name__)


@dataclass
class ECGTransformerClassificationConfig(ECGTransformerFinetuningConfig):
    """The encoder and its labels."""

    num_labels: int = field(default=MISSING, metadata={"help": "labels to predict"})


@register_model("ecg_transformer_classifier", dataclass=ECGTransformerClassificationConfig)
class ECGTransformerClassificationModel(ECGTransformerClassifier, BaseFairseqModel):
    """:class:`fairseq_ecg.modules.ECGTransformerClassifier` as a fairseq model.

    Args:
        encoder: the encoder.
        cfg: configuration of the classifier.
        architecture: what the encoder's checkpoint says about it, value by name.
    """

    def __init__(
        self,
        encoder: ECGTransformer,
        cfg: ECGTransformerClassificationConfig,
        architecture: dict[str, Any],
    ):
        super().__init__(encoder, **network_options(ECGTransformerClassifier, cfg))
        self.architecture = architecture

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Load weights as fairseq's models do.

        Raises:
            CheckpointError: the weights are those of another number of labels.
        """
        stored, expected = state_dict.get("proj.bias"), self.proj.out_features
        if stored is not None and len(stored) != expected:
            raise CheckpointError(
                f"the checkpoint predicts {len(stored)} labels, but model.num_labels={expected}"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)

    @classmethod
    def build_model(
        cls, cfg: ECGTransformerClassificationConfig, task=None
    ) -> "ECGTransformerClassificationModel":
        """Build the classifier, on the encoder at ``cfg.model_path`` if there is one.

        Raises:
            CheckpointError: the checkpoint does not hold such an encoder.
        """
        if cfg.model_path and not cfg.no_pretrained_weights:
            encoder, architecture = load_encoder(cfg)
        else:
            encoder, architecture = ECGTransformerModel.build_model(cfg), {}
        for name, value in architecture.items():
            if cfg[name] != value:
                logger.info("model.%s is %s, as in %s", name, value, cfg.model_path)
        return cls(encoder, cfg, architecture)
