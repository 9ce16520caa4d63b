"""``ecg_transformer_classifier``: diagnosis, or regression, on a pre-trained encoder."""

import torch
from omegaconf import DictConfig, open_dict

from fairseq_ecg.compat.checkpoint import CheckpointError
from fairseq_ecg.compat.options import with_options
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.models.finetuning import ECGTransformerFinetuningConfig, HeadModel
from fairseq_ecg.modules import ECGTransformerClassifier, adapt
from fairseq_ecg.modules.options import options_of


@with_options(ECGTransformerClassifier, adapt)
class ECGTransformerClassificationConfig(ECGTransformerFinetuningConfig):
    """The encoder, its labels, and how much of it trains."""


def leave_out_implied(cfg: DictConfig) -> None:
    """Take out of a classifier's configuration options that the saved network does without.

    fairseq_signals refuses a checkpoint with options that it does not have. Those stay that make
    a network which it could not build anyway.

    Args:
        cfg: configuration of the classifier, changed in place.
    """
    implied = ["freeze_layers", "checkpoint_architecture"]  # of training, not of the network
    if str(cfg.get("pooling")) == "mean":
        implied.append("pooling")
    if not cfg.get("lora_rank"):
        implied += options_of(adapt)
    with open_dict(cfg):
        for name in implied:
            cfg.pop(name, None)


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
        # Whoever tunes further may have put any module in the place of the head.
        stored, own = state_dict.get("proj.bias"), getattr(self.proj, "bias", None)
        if torch.is_tensor(stored) and torch.is_tensor(own) and stored.shape != own.shape:
            raise CheckpointError(
                f"the checkpoint predicts {stored.numel()} labels, but "
                f"model.num_labels={own.numel()}"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)
