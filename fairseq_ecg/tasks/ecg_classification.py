"""``ecg_classification``: learning diagnoses from labelled ECGs."""

from typing import Literal

from fairseq.tasks import register_task

from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.data import DataError
from fairseq_ecg.data.targets import HeadsTarget, Labels, Target, labels_of
from fairseq_ecg.tasks.task import ECGTask, ECGTaskConfig


@configuration()
class ECGDiagnosisConfig(ECGTaskConfig):
    """What is read, and where the labels are.

    Args:
        path_dataset: files of the manifest name WFDB records, leads and targets.
        label_file: .npy, one row of labels per idx; null: labels are in the files.
        missing_labels: what a NaN in label_file is: an error, or a label to ignore, which
            criterion=regression does.
        load_specific_lead: of older configs; a file's own leads are always used.
    """

    path_dataset: bool = False
    label_file: str | None = None
    missing_labels: Literal["error", "ignore"] = "error"
    load_specific_lead: bool = False


@register_task("ecg_classification", dataclass=ECGDiagnosisConfig)
class ECGDiagnosisTask(ECGTask):
    """Supervised training on diagnoses.

    As in fairseq_signals the options of augmentation are accepted and have no effect.
    """

    cfg: ECGDiagnosisConfig
    num_labels: int | None = None
    labels_option = "num_labels"

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and note how many labels it predicts."""
        model = super().build_model(cfg, from_checkpoint)
        self.labels_option = getattr(model, "labels_option", self.labels_option)
        self.num_labels = getattr(cfg, self.labels_option, None)
        return model

    def load_dataset(self, split: str, *args, **kwargs) -> None:
        """See :meth:`ECGTask.load_dataset`.

        Raises:
            DataError: as there, or the labels are not as many as the model predicts.
        """
        super().load_dataset(split, *args, **kwargs)
        target = self.datasets[split].recordings.target
        if target.n_labels is not None and self.num_labels not in (None, target.n_labels):
            raise DataError(
                f"{target.path} holds {target.n_labels} labels per recording, but "
                f"model.{self.labels_option}={self.num_labels}: set it to {target.n_labels}"
            )

    @property
    def reads_records(self) -> bool:
        """See :attr:`ECGTask.reads_records`."""
        return self.cfg.path_dataset

    def labels(self) -> Labels:
        """See :meth:`ECGTask.labels`."""
        return labels_of(from_launch_dir(self.cfg.label_file), str(self.cfg.missing_labels))

    def target(self, label: bool) -> Target | None:
        """See :meth:`ECGTask.target`; files that name records may say of themselves which heads."""
        target = super().target(label)
        if self.cfg.path_dataset and not isinstance(target, HeadsTarget):
            return HeadsTarget(target)
        return target
