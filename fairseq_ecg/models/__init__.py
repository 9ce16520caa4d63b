"""Networks under fairseq's names, with their configurations."""

import fairseq_ecg.compat.quiet_import  # noqa: F401
from fairseq_ecg.models.build import build_model_from_checkpoint
from fairseq_ecg.models.ecg_transformer import ECGTransformerConfig, ECGTransformerModel
from fairseq_ecg.models.ecg_transformer_classifier import (
    ECGTransformerClassificationConfig,
    ECGTransformerClassificationModel,
)
from fairseq_ecg.models.finetuning import (
    ECGTransformerFinetuningConfig,
    ECGTransformerFinetuningModel,
)
from fairseq_ecg.models.tables import register_networks
from fairseq_ecg.models.text import register_text_networks
from fairseq_ecg.models.wav2vec2 import (
    Wav2Vec2CMSCConfig,
    Wav2Vec2CMSCModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

__all__ = [
    "ECGTransformerClassificationConfig",
    "ECGTransformerClassificationModel",
    "ECGTransformerConfig",
    "ECGTransformerFinetuningConfig",
    "ECGTransformerFinetuningModel",
    "ECGTransformerModel",
    "Wav2Vec2CMSCConfig",
    "Wav2Vec2CMSCModel",
    "Wav2Vec2Config",
    "Wav2Vec2Model",
    "build_model_from_checkpoint",
]

register_networks()
register_text_networks()
