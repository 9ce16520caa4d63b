"""``ecg_pretraining``: learning from ECGs without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from fairseq.tasks import register_task

from fairseq_ecg.ops.augment import AUGMENTATIONS, Augmentation, build_augmentations
from fairseq_ecg.options import values_of
from fairseq_ecg.tasks.task import ECGTask, ECGTaskConfig


@dataclass
class ECGPretrainingConfig(ECGTaskConfig):
    """What recordings are read and how they are changed before the model sees them."""


@register_task("ecg_pretraining", dataclass=ECGPretrainingConfig)
class ECGPretrainingTask(ECGTask):
    """Pre-training on views of recordings, see ``tasks.methods``; they are augmented."""

    cfg: ECGPretrainingConfig

    def augmentations(self) -> Sequence[Augmentation]:
        """See :meth:`ECGTask.augmentations`."""
        options = values_of(self.cfg, *AUGMENTATIONS.values())
        return build_augmentations(
            list(self.cfg.perturbation_mode or []), list(self.cfg.p), **options
        )
