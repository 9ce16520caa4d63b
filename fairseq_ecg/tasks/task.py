"""What every task shares: loading, iterating, steps, seeds, and the guard of losses."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from fairseq import models
from fairseq.data.data_utils import numpy_seed
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.tasks import FairseqTask
from omegaconf import II, MISSING, open_dict

from fairseq_ecg.compat.checkpoint import NOTES
from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.compat.training import GAP, leave_out_untrained
from fairseq_ecg.criterions import NonFiniteLossError
from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.options import BatchOptions, ReadingOptions
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.data.store import is_store
from fairseq_ecg.data.targets import Labels, Target
from fairseq_ecg.ops import backends
from fairseq_ecg.ops.augment import AUGMENTATIONS, TASK_DEFAULTS, Augmentation
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.options import values_of
from fairseq_ecg.tasks._dataset import BatchedECGDataset
from fairseq_ecg.tasks._iteration import EpochBatches
from fairseq_ecg.tasks._notes import notes_of
from fairseq_ecg.tasks._step import StepSeeds
from fairseq_ecg.tasks.methods import Method, method_of


@configuration(ReadingOptions, BatchOptions, *AUGMENTATIONS.values(), **TASK_DEFAULTS)
class ECGTaskConfig(FairseqDataclass):
    """What recordings are read and how they are changed before the model sees them.

    Args:
        data: folder of the manifests, or a store.
        verify_store: compare checksums of all segments read from a store on this machine; those
            that come over a network are always checked.
        bucket_selection: how that lead is chosen.
        masked_frames: masked frames of every recording, as CUDA graphs need them; null: of each
            batch as many as its recording with the fewest, as in fairseq_signals.
        perturbation_mode: augmentations of training recordings, in this order.
        p: probability of each augmentation; one number serves all.
        backend: which kernels run: reference (fairseq_signals' formulas in PyTorch), torch, cpu,
            cuda or triton; null: the fastest at hand. The environment variable FAIRSEQ_ECG_BACKEND
            comes first.
        compile: compile the model by torch.compile in this mode: default, or with CUDA graphs
            reduce-overhead (which wants task.masked_frames); null: not at all.
        inferred_w2v_config: of older configs; not used.
        inferred_3kg_config: views of criterion 3kg: angle (45 degrees), scale (1.5) and mask_ratio
            (0.5), the largest ones and the share of zeros; null: these numbers.
    """

    data: str = MISSING
    verify_store: bool = False
    bucket_selection: Literal["uniform"] = "uniform"
    masked_frames: int | None = None
    perturbation_mode: Sequence[str] | None = None
    p: Sequence[float] = (1.0,)
    backend: str | None = None
    compile: str | None = None
    inferred_w2v_config: Any = None
    inferred_3kg_config: Any = None
    criterion_name: str | None = II("criterion._name")
    seed: int = II("common.seed")


class ECGTask(FairseqTask):
    """Training on ECGs, of any method.

    Args:
        cfg: the configuration.
    """

    fixed_options: ClassVar[dict[str, Any]] = {}
    """Options of data sets that have one value in a task, whatever they are set to."""

    reads_questions: ClassVar[bool] = False
    """Whether items are questions about ECGs."""

    cfg: ECGTaskConfig

    def __init__(self, cfg: ECGTaskConfig):
        super().__init__(cfg)
        self._masking: BatchMasking | None = None
        self._samples_of_update = 0.0
        self._may_skip_updates = False
        self._notes: dict | None = None

    @classmethod
    def setup_task(cls, cfg: ECGTaskConfig, **kwargs) -> "ECGTask":
        """Build the task; nothing is read yet."""
        backends.ask_for(cfg.backend)
        return cls(cfg)

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model; its configuration becomes what a checkpoint is to say of it."""
        model = models.build_model(cfg, self, from_checkpoint)
        if not from_checkpoint:
            leave_out_untrained(model)
        masking = getattr(model, "masking", None)
        if masking is not None:
            self._masking = dataclasses.replace(masking, number=self.cfg.masked_frames)
        if self.cfg.compile is not None:
            model.compile(mode=self.cfg.compile)
        if hasattr(model, "revise_config"):
            model.revise_config(cfg)
        return model

    def build_criterion(self, cfg, from_checkpoint: bool = False):
        """Build the criterion, and keep out of checkpoints what fairseq_signals does not know."""
        criterion = super().build_criterion(cfg, from_checkpoint)
        with open_dict(cfg):
            for option in ("nonfinite_loss", "multi_class_multi_label"):
                cfg.pop(option, None)
        return criterion

    def load_dataset(
        self,
        split: str,
        combine: bool = False,
        task_cfg: ECGTaskConfig | None = None,
        shuffle: bool = True,
        label: bool = True,
        **kwargs,
    ) -> None:
        """Read the manifest ``<data>/<split>.tsv``, or the split of the store ``<data>``.

        Args:
            split: name of the split; recordings of one with ``train`` in its name are augmented.
            combine: has no meaning here.
            task_cfg: where evaluation takes the options of reading from; the own ones if None.
            shuffle: whether items of equal size are shuffled.
            label: whether labels are read, if the task has any.
            kwargs: further arguments of fairseq's trainer, without meaning here.

        Raises:
            DataError: the manifest or the labels are missing or wrong.
        """
        for name, listed in self.parts_of(split).items():
            recordings = self._recordings(listed, task_cfg or self.cfg, shuffle, label)
            self.datasets[name] = BatchedECGDataset(recordings, name)

    def parts_of(self, split: str) -> dict[str, str]:
        """Return the names of the data sets of a split, and of the manifests that list them."""
        return {split: split}

    def _recordings(self, split: str, cfg: ECGTaskConfig, shuffle: bool, label: bool) -> ECGDataset:
        """Read a manifest or a split of a store; see :meth:`load_dataset`."""
        data = from_launch_dir(self.cfg.data)
        in_store = is_store(data)
        path = f"{data.rstrip('/')}/{split}" if in_store else os.path.join(data, f"{split}.tsv")
        reading = values_of(cfg, ReadingOptions)
        files = {name: from_launch_dir(reading[name]) for name in ("mean_path", "std_path")}
        return ECGDataset(
            path,
            self.method.view_of(self.cfg),
            self.target(label),
            source=source_of(
                path,
                of_records=self.reads_records,
                of_questions=self.reads_questions,
                verify=self.cfg.verify_store,
            ),
            augmentations=self.augmentations(),
            training="train" in split,
            masking=self._masking,
            shuffle=shuffle,
            seed=self.cfg.seed,
            **(values_of(self.cfg, BatchOptions) | reading | files | self.fixed_options),
        )

    @property
    def method(self) -> Method:
        """The row of the table of methods."""
        return method_of(self.cfg)

    @property
    def leaves_out(self) -> bool:
        """Whether recordings, and so whole batches, may be left out while batches are made."""
        return any(data.recordings.target.leaves_out for data in self.datasets.values())

    @property
    def reads_records(self) -> bool:
        """Whether files of the manifests name WFDB records."""
        return False

    def labels(self) -> Labels | None:
        """Say where labels come from, if the task has any."""
        return None

    def target(self, label: bool) -> Target | None:
        """Say what items carry to be compared with.

        Args:
            label: whether labels are read.
        """
        return self.method.target(self.labels() if label else None)

    def augmentations(self) -> Sequence[Augmentation]:
        """Build what training recordings are augmented by."""
        return ()

    def get_batch_iterator(
        self,
        dataset: BatchedECGDataset,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        max_positions=None,
        ignore_invalid_inputs: bool = False,
        required_batch_size_multiple: int = 1,
        seed: int = 1,
        epoch: int = 1,
        data_buffer_size: int = 0,
        disable_iterator_cache: bool = False,
        update_epoch_batch_itr: bool = False,
        **options,
    ) -> EpochBatches:
        """Iterate over batches in the order of fairseq_signals.

        Batches are made once, from an order that depends on the seed and not on the epoch, and no
        record is left out; each epoch shuffles the batches by seed plus epoch.

        Args:
            dataset: what :meth:`load_dataset` made.
            max_tokens: most samples in a batch.
            max_sentences: most items in a batch.
            max_positions: has no meaning here, nor has ``ignore_invalid_inputs``.
            ignore_invalid_inputs: see there.
            required_batch_size_multiple: batches are smaller than this or a multiple of it.
            seed: of the order.
            epoch: the first epoch.
            data_buffer_size: batches to read ahead.
            disable_iterator_cache: make a new iterator although there is one, as does
                ``update_epoch_batch_itr``.
            update_epoch_batch_itr: see there.
            options: further ones of fairseq's iterator: ranks, workers, a last batch left out.
        """
        caches = not disable_iterator_cache and not update_epoch_batch_itr
        if caches and dataset in self.dataset_to_epoch_iter:
            return self.dataset_to_epoch_iter[dataset]
        dataset.set_epoch(epoch)
        with numpy_seed(seed):
            indices = dataset.ordered_indices()
        iterator = EpochBatches(
            dataset=dataset,
            collate_fn=dataset.collater,
            batch_sampler=dataset.batch_by_size(
                indices, max_tokens, max_sentences, required_batch_size_multiple
            ),
            seed=seed,
            epoch=epoch,
            buffer_size=data_buffer_size,
            **options,
        )
        if caches:
            self.dataset_to_epoch_iter[dataset] = iterator
        return iterator

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """Run one batch forward and backward.

        Args:
            sample: the batch.
            model: the model.
            criterion: the criterion.
            optimizer: the optimizer.
            update_num: updates done so far.
            ignore_grad: whether the batch only fills a gap of this rank.

        Returns:
            Loss, sample size and what to log.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite; the recordings are named.
        """
        model.train()
        model.set_num_updates(update_num)
        self._seeds.seed_training(update_num)
        if self._seeds.batch == 0:
            self._samples_of_update = 0.0
        sample = self._augmented(sample)
        device = sample["id"].device.type
        with self._named(), torch.autocast(device, enabled=isinstance(optimizer, AMPOptimizer)):
            loss, sample_size, log = criterion(model, sample)
        is_gap = _fills_gap(sample, criterion)
        if ignore_grad or is_gap:
            loss = loss * 0
        optimizer.backward(loss)
        self._may_skip_updates = criterion.skips_nonfinite or self.leaves_out
        if is_gap:
            return loss, 0, {}
        if self._may_skip_updates and not ignore_grad:
            self._samples_of_update += float(sample_size)
        return loss, sample_size, log

    def _augmented(self, sample: dict) -> dict:
        """A batch with its recordings augmented; the batch itself is left as it is."""
        recordings = self.datasets[sample["split"]].recordings
        augmented = {recordings.target.ecg_key: recordings.augment(sample)}
        return sample | {"net_input": sample["net_input"] | augmented}

    def check_losses(self, criterion, gradient_norm: torch.Tensor) -> None:
        """Look at the losses of an update before its step, where fairseq waits for the device.

        Raises:
            NonFiniteLossError: one is NaN or infinite; the recordings are named.
        """
        with self._named():
            criterion.check_losses(gradient_norm)

    def valid_step(self, sample, model, criterion):
        """Run one batch forward in evaluation mode; returns as :meth:`train_step`."""
        model.eval()
        self._seeds.seed_validation(int(sample["id"][0]))
        sample = self._augmented(sample)
        with torch.no_grad(), self._named():
            loss, sample_size, log = self.method.evaluate(criterion, model, sample)
        return (loss * 0, 0, {}) if _fills_gap(sample, criterion) else (loss, sample_size, log)

    def optimizer_step(self, optimizer, model, update_num) -> None:
        """Update the weights, unless every batch of the update was skipped or empty."""
        if self._may_skip_updates and not isinstance(optimizer, AMPOptimizer):
            samples = torch.tensor(self._samples_of_update)
            if torch.distributed.is_initialized():
                samples = samples.to(next(model.parameters()).device)
                torch.distributed.all_reduce(samples)
            if samples.item() == 0:
                # A step with zero gradients would still decay weights and move by momentum.
                return
        optimizer.step()

    def begin_valid_epoch(self, epoch, model) -> None:
        """Forget the scores of the validation before, and give all processes one network.

        Statistics of batches, which each process has of its own, are those of the first: they go
        into the checkpoint.
        """
        metrics.reset_meters("valid")
        if torch.distributed.is_initialized():
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def reduce_metrics(self, logging_outputs, criterion) -> None:
        """Reduce what a criterion logged, without fairseq's counts of words and sentences.

        Nothing was logged of a batch that nothing is left of.
        """
        criterion.__class__.reduce_metrics([log for log in logging_outputs if log])

    def max_positions(self) -> tuple[int, int]:
        """No recording is too long."""
        return sys.maxsize, sys.maxsize

    def filter_indices_by_size(
        self, indices: np.ndarray, dataset, max_positions=None, ignore_invalid_inputs=False
    ) -> np.ndarray:
        """Keep every item."""
        return indices

    def state_dict(self) -> dict:
        """Note for users of the network what its data were, see ``compat.checkpoint.NOTES``."""
        if self._notes is None:
            training = (data for split, data in self.datasets.items() if "train" in split)
            self._notes = next((notes_of(data.recordings) for data in training), None)
        return {NOTES: self._notes} if self._notes else {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing: what is noted are the data at hand."""

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the recordings where a loss is not finite."""
        try:
            yield
        except NonFiniteLossError as error:
            names = self.datasets[error.split].recordings.names(error.ids)
            raise NonFiniteLossError(
                error.criterion, error.terms, error.ids, names, error.split
            ) from error

    @cached_property
    def _seeds(self) -> StepSeeds:
        return StepSeeds(self.cfg.seed)


def _fills_gap(sample: dict, criterion) -> bool:
    """Whether a batch counts nowhere."""
    return sample.get(GAP, False) and not getattr(criterion, "counts_gaps", False)
