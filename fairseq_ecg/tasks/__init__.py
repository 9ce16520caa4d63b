"""Tasks; importing them registers everything that this package adds to fairseq."""

import fairseq_ecg.models  # noqa: F401
from fairseq_ecg.compat import adam, training  # noqa: F401
from fairseq_ecg.criterions import install_meters
from fairseq_ecg.tasks.ecg_classification import ECGDiagnosisTask
from fairseq_ecg.tasks.ecg_identification import ECGIdentificationTask
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingTask
from fairseq_ecg.tasks.ecg_question_answering import ECGQuestionAnsweringTask
from fairseq_ecg.tasks.ecg_segmentation import ECGSegmentationTask
from fairseq_ecg.tasks.ecg_text_pretraining import ECGTextPretrainingTask

__all__ = [
    "ECGDiagnosisTask",
    "ECGIdentificationTask",
    "ECGPretrainingTask",
    "ECGQuestionAnsweringTask",
    "ECGSegmentationTask",
    "ECGTextPretrainingTask",
]

training.patch_fairseq()
install_meters()
