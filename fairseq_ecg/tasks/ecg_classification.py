"""``ecg_classification``: learning diagnoses from labelled ECGs."""

# ruff: noqa: UP045 (fairseq reads the types of options by their names in typing)

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task

from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.data import DataError, FileECGDataset, PathECGDataset
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingConfig, ECGPretrainingTask

MISSING_LABELS = ChoiceEnum(["error", "ignore"])


@dataclass
class ECGDiagnosisConfig(ECGPretrainingConfig):
    """What is read, and where the labels are."""

    path_dataset: bool = field(
        default=False,
        metadata={"help": "files of the manifest name WFDB records, leads and targets"},
    )
    label_file: Optional[str] = field(
        default=None,
        metadata={"help": ".npy, one row of labels per idx; null: labels are in the files"},
    )
    missing_labels: MISSING_LABELS = field(
        default="error",
        metadata={
            "help": "what a NaN in label_file is: an error, or a label to ignore, which "
            "criterion=regression does"
        },
    )
    load_specific_lead: bool = field(
        default=False, metadata={"help": "of older configs; a file's own leads are always used"}
    )


@register_task("ecg_classification", dataclass=ECGDiagnosisConfig)
class ECGDiagnosisTask(ECGPretrainingTask):
    """Supervised training on diagnoses.

    As in fairseq_signals the options of augmentation are accepted and have no effect.
    """

    cfg: ECGDiagnosisConfig
    num_labels: int | None = None

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and note how many labels it predicts."""
        self.num_labels = cfg.num_labels
        return super().build_model(cfg, from_checkpoint)

    def load_dataset(
        self,
        split: str,
        combine: bool = False,
        task_cfg: ECGDiagnosisConfig | None = None,
        shuffle: bool = True,
        label: bool = True,
        **kwargs,
    ) -> None:
        """Read the manifest ``<data>/<split>.tsv``, or the split of the store ``<data>``.

        Args:
            split: name of the split.
            combine: has no meaning here.
            task_cfg: where evaluation takes the options of reading from; the own ones if None.
            shuffle: whether items of equal size are shuffled.
            label: whether labels are read.
            kwargs: further arguments of fairseq's trainer, without meaning here.

        Raises:
            DataError: the manifest or the labels are missing or wrong, or not as many as the
                model predicts.
        """
        self._load(
            PathECGDataset if self.cfg.path_dataset else FileECGDataset,
            split,
            task_cfg,
            shuffle,
            label=label,
            label_file=from_launch_dir(self.cfg.label_file),
            missing_labels=str(self.cfg.missing_labels),
        )
        labels = self.datasets[split].recordings.label_file
        if labels is not None and self.num_labels not in (None, labels.n_labels):
            raise DataError(
                f"{labels.path} holds {labels.n_labels} labels per recording, but "
                f"model.num_labels={self.num_labels}: set it to {labels.n_labels}"
            )
