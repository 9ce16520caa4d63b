"""``ecg_identification``: learning to identify patients by their ECGs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from fairseq.tasks import register_task
from omegaconf import II
from omegaconf.errors import InterpolationResolutionError
from torch import Tensor, nn

from fairseq_ecg.charts import draw_similarity, draw_verification
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.criterions.meters import VERIFICATION, log_verification
from fairseq_ecg.data import DataError
from fairseq_ecg.data.targets import PatientTarget, Target
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.tasks.methods import METHODS
from fairseq_ecg.tasks.task import ECGTask, ECGTaskConfig

logger = logging.getLogger(__name__)


@configuration()
class ECGIdentificationConfig(ECGTaskConfig):
    """What is read, and how validation finds the patient of a recording.

    Args:
        visualize: after each validation, write the similarities of probes and gallery and the ROC
            of the verification as pictures into imgs/ of the working directory.
        matching: what probes and gallery are compared by: their embeddings, or, as the newest
            fairseq_signals does, the cosines of these to the patients of the training set.
        max_tokens_valid: most samples in a batch of the gallery.
        batch_size_valid: most recordings in a batch of the gallery.
        skip_invalid_size_inputs_valid_test: of older configs; not used.
        required_batch_size_multiple: batches of the gallery are smaller than this or a multiple
            of it.
        distributed_world_size: of older configs; not used.
        num_workers: processes that load the gallery.
        data_buffer_size: batches of the gallery to read ahead.
        fp16: of older configs; the gallery is embedded in the type of the network.
    """

    visualize: bool = False
    matching: Literal["embeddings", "classes"] = "embeddings"
    max_tokens_valid: int | None = II("dataset.max_tokens_valid")
    batch_size_valid: int | None = II("dataset.batch_size_valid")
    skip_invalid_size_inputs_valid_test: bool | None = II(
        "dataset.skip_invalid_size_inputs_valid_test"
    )
    required_batch_size_multiple: int | None = II("dataset.required_batch_size_multiple")
    distributed_world_size: int | None = II("distributed_training.distributed_world_size")
    num_workers: int | None = II("dataset.num_workers")
    data_buffer_size: int | None = II("dataset.data_buffer_size")
    fp16: bool | None = II("common.fp16")


class Gallery(NamedTuple):
    """Recordings of known patients.

    Attributes:
        vectors: ``(G, D)`` float32, what probes are compared with.
        patients: ``(G,)`` int32.
    """

    vectors: Tensor
    patients: Tensor


@register_task("ecg_identification", dataclass=ECGIdentificationConfig)
class ECGIdentificationTask(ECGTask):
    """Training on the classes of patients, and validation on patients who are in no class.

    A probe is taken for the patient of the recording of the gallery whose embedding is most similar
    to its own. ``accuracy`` is the share of probes whose patient is found (rank 1). How well
    similarities separate pairs of one patient from those of two is measured by ``eer``, the equal
    error rate, ``eer_threshold``, the similarity at which it is, and ``verification_auroc``.

    As in fairseq_signals the options of augmentation and ``leads_bucket`` are accepted and have no
    effect.

    Args:
        cfg: the configuration.
    """

    fixed_options: ClassVar[dict[str, Any]] = {"leads_bucket": None}

    cfg: ECGIdentificationConfig
    num_labels: int | None = None

    def __init__(self, cfg: ECGIdentificationConfig):
        super().__init__(cfg)
        self._galleries: dict[str, Gallery] = {}
        self._compared: list[list[np.ndarray]] = []
        self._subset = ""
        self._images = Path("imgs").absolute()
        if cfg.visualize:
            self._images.mkdir(exist_ok=True)

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model.

        Raises:
            DataError: it does not identify patients.
        """
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "cosine"):
            raise DataError(
                f"model._name={cfg._name} does not identify patients: choose arcface, or another "
                "encoder with the head arcface"
            )
        self.num_labels = cfg.num_labels
        return model

    def build_criterion(self, cfg, from_checkpoint: bool = False):
        """Build the criterion.

        Raises:
            DataError: it is one of this package that learns no classes of patients.
        """
        if cfg._name in METHODS and cfg._name != "arcface":
            raise DataError(
                f"criterion._name={cfg._name} learns no classes of patients: choose arcface"
            )
        return super().build_criterion(cfg, from_checkpoint)

    def load_dataset(self, split: str, *args, **kwargs) -> None:
        """Read ``<split>.tsv``, or probes and gallery of a split that is not for training.

        These are ``<split>_probe.tsv``, the data set of the split's name, and
        ``<split>_gallery.tsv``, the data set ``<split>_gallery``.

        Raises:
            DataError: as :meth:`ECGTask.load_dataset`, or the model has no centre for a class, or
                there is one class alone.
        """
        super().load_dataset(split, *args, **kwargs)
        classes = self.datasets[split].recordings.source.classes
        if "train" not in split or classes is None or self.num_labels is None:
            return
        if classes.max() == 0:
            raise DataError(
                f"{split} lists one patient alone, of whom there is none to tell apart: list "
                "recordings of several"
            )
        if classes.max() >= self.num_labels:
            raise DataError(
                f"{split} lists classes of patients up to {classes.max()}, but "
                f"model.num_labels={self.num_labels}: set it to {classes.max() + 1}"
            )

    def parts_of(self, split: str) -> dict[str, str]:
        """See :meth:`ECGTask.parts_of`."""
        if "train" in split:
            return {split: split}
        if "gallery" in split or "probe" in split:
            logger.warning(
                "the subset %s is read from %s_probe and %s_gallery: name it without 'probe' or "
                "'gallery'",
                *(split, split, split),
            )
        return {split: f"{split}_probe", f"{split}_gallery": f"{split}_gallery"}

    def target(self, label: bool) -> Target | None:
        """See :meth:`ECGTask.target`."""
        return PatientTarget() if label else None

    def begin_valid_epoch(self, epoch, model) -> None:
        """See :meth:`ECGTask.begin_valid_epoch`; galleries are embedded anew."""
        super().begin_valid_epoch(epoch, model)
        self._galleries.clear()

    def valid_step(self, sample, model, criterion, subset: str | None = None):
        """Find the patients of a batch of probes; the criterion is not asked.

        The gallery is embedded with the first batch of a validation, by all processes.

        Args:
            sample: the batch.
            model: the model.
            criterion: has no meaning here.
            subset: that the probes are of; None: the one that the batch names.

        Returns:
            0, the number of probes, and what to log.

        Raises:
            DataError: an embedding is NaN or infinite; the recordings are named.
        """
        model.eval()
        self._subset = subset or sample["split"]
        ids, patients = sample["id"], sample["patient_id"]
        with torch.no_grad():
            if self._subset not in self._galleries:
                self._galleries[self._subset] = self._embedded_gallery(model, len(ids))
            gallery = self._galleries[self._subset]
            similarity = self._vectors(model, sample) @ gallery.vectors.T
        correct = (gallery.patients[similarity.argmax(dim=1)] == patients).sum().item()
        arrays = (ids, patients, similarity, gallery.patients)
        self._compared += _of_all_ranks([array.cpu().numpy() for array in arrays])
        size = len(ids)
        log = {"loss": 0, "nsignals": size, "sample_size": size, "correct": correct, "count": size}
        return 0, size, log

    def reduce_metrics(self, logging_outputs: Sequence[dict[str, Any]], criterion) -> None:
        """See :meth:`ECGTask.reduce_metrics`; of a validation, verification too."""
        super().reduce_metrics(logging_outputs, criterion)
        compared, self._compared = self._compared, []
        log_verification(compared)

    def post_validate(self, model: nn.Module, stats: dict[str, Any], meters: Any) -> None:
        """Draw what was asked for, and forget the gallery of the subset.

        Args:
            model: has no meaning here.
            stats: of the validation.
            meters: that they were taken from.
        """
        self._galleries.pop(self._subset, None)
        is_first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        if self.cfg.visualize and is_first and VERIFICATION in meters:
            name = f"{self._subset}_{stats.get('num_updates', 0)}"
            compared = meters[VERIFICATION]
            draw_similarity(self._images / f"{name}.png", compared.similarity)
            draw_verification(self._images / f"{name}_roc.png", compared.verification())

    def _embedded_gallery(self, model: nn.Module, batch_size: int) -> Gallery:
        """Embed the gallery of the subset, in batches of the size of those of probes if need be."""
        name = f"{self._subset}_gallery"
        sizes = self._option("max_tokens_valid"), self._option("batch_size_valid")
        batches = self.get_batch_iterator(
            self.datasets[name],
            max_tokens=sizes[0],
            max_sentences=batch_size if sizes == (None, None) else sizes[1],
            required_batch_size_multiple=self._option("required_batch_size_multiple") or 1,
            seed=self.cfg.seed,
            num_workers=self._option("num_workers") or 0,
            data_buffer_size=self._option("data_buffer_size") or 0,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)
        vectors, patients = [], []
        parameter = next(model.parameters())
        for batch in progress_bar(batches, name, "batch", leave=False):
            source = batch["net_input"]["source"].to(parameter)
            inputs = {key: x.to(parameter.device) for key, x in batch["net_input"].items()}
            vectors.append(self._vectors(model, batch | {"net_input": inputs | {"source": source}}))
            patients.append(batch["patient_id"].to(parameter.device))
        return Gallery(torch.cat(vectors), torch.cat(patients))

    def _vectors(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """What recordings are compared by, ``(B, D)`` float32."""
        net_output = model(**batch["net_input"])
        by_classes = str(self.cfg.matching) == "classes"
        vectors = net_output["cosine"] if by_classes else model.get_logits(net_output)
        is_finite = vectors.isfinite().all(dim=1)
        if not is_finite.all():
            ids = batch["id"][~is_finite].tolist()
            names = self.datasets[batch["split"]].recordings.names(ids)
            raise DataError(
                f"{', '.join(names)}: the embedding is NaN or infinite. Look at the recordings, "
                "or train with a smaller learning rate"
            )
        return vectors.float()

    def _option(self, name: str) -> Any:
        """Return an option that is one of a training; None where there is no training."""
        try:
            return getattr(self.cfg, name)
        except InterpolationResolutionError:
            return None


def _of_all_ranks(arrays: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Gather the arrays of all processes, in the order of ranks."""
    if not torch.distributed.is_initialized():
        return [arrays]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, arrays)
    return gathered
