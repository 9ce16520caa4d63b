"""Use of trained networks: predictions, embeddings, saliency, evaluation and pictures."""

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.ecg.verification import Verification, verification
from fairseq_ecg.inference.aggregation import ECG_FM_LABELS
from fairseq_ecg.inference.answers import Answers
from fairseq_ecg.inference.delineation import Delineation
from fairseq_ecg.inference.identification import Gallery, Identification
from fairseq_ecg.inference.model import ECGModel, load_model
from fairseq_ecg.inference.results import Embeddings, Prediction, Saliency
from fairseq_ecg.inference.retrieval import Similarity
from fairseq_ecg.inference.text_model import ECGTextModel

__all__ = [
    "ECG_FM_LABELS",
    "Answers",
    "Delineation",
    "ECGModel",
    "ECGTextModel",
    "Embeddings",
    "Gallery",
    "Identification",
    "Prediction",
    "Preprocessing",
    "Saliency",
    "Similarity",
    "Verification",
    "load_model",
    "verification",
]
