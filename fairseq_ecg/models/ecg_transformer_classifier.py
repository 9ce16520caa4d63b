"""``ecg_transformer_classifier``: diagnosis, or regression, on a pre-trained encoder."""

import torch

from fairseq_ecg.compat.options import configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.models.finetuning import ECGTransformerFinetuningConfig, HeadModel
from fairseq_ecg.modules import ECGTransformerClassifier, adapt


@configuration(ECGTransformerClassifier, adapt)
class ECGTransformerClassificationConfig(ECGTransformerFinetuningConfig):
    """The encoder, its labels, and how much of it trains."""


@register_model("ecg_transformer_classifier", dataclass=ECGTransformerClassificationConfig)
class ECGTransformerClassificationModel(ECGTransformerClassifier, HeadModel):
    """:class:`fairseq_ecg.modules.ECGTransformerClassifier` as a fairseq model.

    Args:
        cfg: configuration of the classifier.
        encoder: the encoder.
    """

    head_class = ECGTransformerClassifier
    __init__ = HeadModel.__init__

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Load weights as fairseq's models do.

        Raises:
            CheckpointError: the weights are those of another number of labels.
        """
        # A user who tunes further may have replaced the head by any module.
        stored, own = state_dict.get("proj.bias"), getattr(self.proj, "bias", None)
        if torch.is_tensor(stored) and torch.is_tensor(own) and stored.shape != own.shape:
            raise CheckpointError(
                f"the checkpoint predicts {stored.numel()} labels, but "
                f"model.num_labels={own.numel()}"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)
