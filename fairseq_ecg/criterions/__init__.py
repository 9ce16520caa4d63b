"""Losses of pre-training and fine-tuning, registered with fairseq, and their metrics."""

import fairseq_ecg.compat.quiet_import  # noqa: F401
from fairseq_ecg.criterions.arcface import ArcFaceCriterion
from fairseq_ecg.criterions.asymmetric_loss import AsymmetricLossCriterion
from fairseq_ecg.criterions.binary_cross_entropy import BinaryCrossEntropyCriterion
from fairseq_ecg.criterions.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsCriterion,
)
from fairseq_ecg.criterions.cmsc import CMSCCriterion
from fairseq_ecg.criterions.composite import CompositeCriterion
from fairseq_ecg.criterions.cross_entropy import CrossEntropyCriterion
from fairseq_ecg.criterions.focal_loss import FocalLossCriterion
from fairseq_ecg.criterions.m3ae import M3AECriterion
from fairseq_ecg.criterions.medvill import MedViLLCriterion
from fairseq_ecg.criterions.meters import AUCMeter, install_meters
from fairseq_ecg.criterions.mse import MSECriterion
from fairseq_ecg.criterions.multi_head_binary_cross_entropy import (
    MultiHeadBinaryCrossEntropyCriterion,
)
from fairseq_ecg.criterions.nonfinite import NonFiniteLossError
from fairseq_ecg.criterions.regression import RegressionCriterion
from fairseq_ecg.criterions.simclr import SimCLRCriterion
from fairseq_ecg.criterions.threekg import ThreeKGCriterion
from fairseq_ecg.criterions.wav2vec2 import Wav2Vec2Criterion
from fairseq_ecg.criterions.wav2vec2_with_cmsc import Wav2Vec2WithCMSCCriterion

__all__ = [
    "AUCMeter",
    "ArcFaceCriterion",
    "AsymmetricLossCriterion",
    "BinaryCrossEntropyCriterion",
    "BinaryCrossEntropyWithLogitsCriterion",
    "CMSCCriterion",
    "CompositeCriterion",
    "CrossEntropyCriterion",
    "FocalLossCriterion",
    "M3AECriterion",
    "MSECriterion",
    "MedViLLCriterion",
    "MultiHeadBinaryCrossEntropyCriterion",
    "NonFiniteLossError",
    "RegressionCriterion",
    "SimCLRCriterion",
    "ThreeKGCriterion",
    "Wav2Vec2Criterion",
    "Wav2Vec2WithCMSCCriterion",
    "install_meters",
]
