"""Tasks; importing them registers everything that this package adds to fairseq."""

import fairseq_ecg.compat.adam
import fairseq_ecg.models  # noqa: F401
from fairseq_ecg.compat import training
from fairseq_ecg.criterions import install_meters

training.mend()
install_meters()
