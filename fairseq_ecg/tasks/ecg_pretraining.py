"""``ecg_pretraining``: learning from ECGs without labels."""

# ruff: noqa: UP006, UP035, UP045 (fairseq reads the types of options by their names in typing)

import dataclasses
import os
import sys
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import numpy as np
import torch
from fairseq import models
from fairseq.data.data_utils import numpy_seed
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, open_dict

from fairseq_ecg.compat.checkpoint import NOTES
from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.training import leave_out_untrained
from fairseq_ecg.criterions import NonFiniteLossError
from fairseq_ecg.data import CMSCECGDataset, ECGDataset, FileECGDataset
from fairseq_ecg.data.store import is_store, stored_form
from fairseq_ecg.ops import backends
from fairseq_ecg.ops.augment import build_augmentations
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.tasks._dataset import BatchedECGDataset
from fairseq_ecg.tasks._iteration import EpochBatches
from fairseq_ecg.tasks._notes import notes_of
from fairseq_ecg.tasks._step import StepSeeds

NAN_POLICIES = ChoiceEnum(["error", "zero", "keep"])
BUCKET_SELECTIONS = ChoiceEnum(["uniform"])
LEAD_MASKS = ChoiceEnum(["random", "conditional"])


@dataclass
class ECGPretrainingConfig(FairseqDataclass):
    """What recordings are read and how they are changed before the model sees them."""

    data: str = field(default=MISSING, metadata={"help": "folder of the manifests, or a store"})
    verify_store: bool = field(
        default=False,
        metadata={
            "help": "compare checksums of all segments read from a store on this machine; those "
            "that come over a network are always checked"
        },
    )
    leads_to_load: Any = field(
        default=None,
        metadata={
            "help": "list of lead names or indices, in the order wanted, or text of such a list; "
            "null: all 12"
        },
    )
    leads_bucket: Any = field(
        default=None, metadata={"help": "leads of which one at random is loaded per item"}
    )
    bucket_selection: BUCKET_SELECTIONS = field(
        default="uniform", metadata={"help": "how that lead is chosen"}
    )
    sample_rate: Optional[int] = field(
        default=None, metadata={"help": "Hz that every recording must have; null: any"}
    )
    filter: bool = field(
        default=False, metadata={"help": "clean every lead with neurokit2 at 500 Hz"}
    )
    normalize: bool = field(
        default=False, metadata={"help": "subtract mean_path's and divide by std_path's values"}
    )
    mean_path: Optional[str] = field(
        default=None, metadata={"help": "text file, mean of each of the 12 leads, one a line"}
    )
    std_path: Optional[str] = field(
        default=None, metadata={"help": "text file, standard deviation of each lead"}
    )
    enable_padding: bool = field(
        default=False, metadata={"help": "pad to the longest of a batch, do not crop"}
    )
    enable_padding_leads: bool = field(
        default=False, metadata={"help": "put loaded leads in their place among 12, others zero"}
    )
    max_sample_size: Optional[int] = field(
        default=None, metadata={"help": "crop longer recordings to so many samples"}
    )
    min_sample_size: Optional[int] = field(
        default=None, metadata={"help": "leave out recordings with fewer samples"}
    )
    num_batch_buckets: int = field(
        default=0, metadata={"help": "pad to so many sizes only; 0: to any"}
    )
    precompute_mask_indices: bool = field(
        default=False, metadata={"help": "not supported: batches carry their masks without it"}
    )
    masked_frames: Optional[int] = field(
        default=None,
        metadata={
            "help": "masked frames of every recording, as CUDA graphs need them; null: of each "
            "batch as many as its recording with the fewest, as in fairseq_signals"
        },
    )
    nan_policy: NAN_POLICIES = field(
        default="error",
        metadata={
            "help": "what to do with NaN or infinite samples: stop and name the file, "
            "set them to zero, or keep them as fairseq_signals does"
        },
    )
    perturbation_mode: Optional[List[str]] = field(
        default=None, metadata={"help": "augmentations of training recordings, in this order"}
    )
    p: List[float] = field(
        default_factory=lambda: [1.0],
        metadata={"help": "probability of each augmentation; one number serves all"},
    )
    max_amplitude: float = field(default=0.1, metadata={"help": "most noise, signal's units"})
    min_amplitude: float = field(default=0.0, metadata={"help": "least noise, signal's units"})
    dependency: bool = field(
        default=True,
        metadata={"help": "recompute III, aVR, aVL and aVF from noisy I and II"},
    )
    shift_ratio: float = field(
        default=0.2, metadata={"help": "mean share of the recording that a shift covers"}
    )
    num_segment: int = field(default=1, metadata={"help": "shifts in a recording"})
    max_freq: float = field(default=0.2, metadata={"help": "highest baseline wander, Hz"})
    min_freq: float = field(default=0.01, metadata={"help": "lowest baseline wander, Hz"})
    k: int = field(default=3, metadata={"help": "sinusoids of the baseline wander"})
    mask_leads_selection: LEAD_MASKS = field(
        default="random", metadata={"help": "how random_leads_masking chooses leads"}
    )
    mask_leads_prob: float = field(
        default=0.5, metadata={"help": "random: probability of masking each lead"}
    )
    mask_leads_condition: Tuple[int, int] = field(
        default=(4, 5),
        metadata={"help": "conditional: masked leads among the limb and among the chest leads"},
    )
    backend: Optional[str] = field(
        default=None,
        metadata={
            "help": "which kernels run: reference (fairseq_signals' formulas in PyTorch), torch, "
            "cpu, cuda or triton; null: the fastest at hand. The environment variable "
            "FAIRSEQ_ECG_BACKEND comes first"
        },
    )
    compile: Optional[str] = field(
        default=None,
        metadata={
            "help": "compile the model by torch.compile in this mode: default, or with CUDA "
            "graphs reduce-overhead (which wants task.masked_frames); null: not at all"
        },
    )
    inferred_w2v_config: Any = field(default=None, metadata={"help": "of older configs; not used"})
    inferred_3kg_config: Any = field(
        default=None, metadata={"help": "of configs for 3KG; not used"}
    )
    criterion_name: Optional[str] = II("criterion._name")
    seed: int = II("common.seed")


@register_task("ecg_pretraining", dataclass=ECGPretrainingConfig)
class ECGPretrainingTask(FairseqTask):
    """Contrastive pre-training on single recordings or on pairs of segments.

    Args:
        cfg: the configuration.
    """

    cfg: ECGPretrainingConfig

    def __init__(self, cfg: ECGPretrainingConfig):
        super().__init__(cfg)
        self._masking: BatchMasking | None = None
        self._step_seeds: StepSeeds | None = None
        self._samples_of_update = 0.0
        self._may_skip_updates = False
        self._notes: dict | None = None

    @classmethod
    def setup_task(cls, cfg: ECGPretrainingConfig, **kwargs) -> "ECGPretrainingTask":
        """Build the task; nothing is read yet."""
        backends.ask_for(cfg.backend)
        return cls(cfg)

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model; its configuration becomes what a checkpoint is to say of it.

        That is the architecture it really has, without options that say nothing of it.
        """
        model = models.build_model(cfg, self, from_checkpoint)
        if not from_checkpoint:
            leave_out_untrained(model)
        masking = getattr(model, "masking", None)
        if masking is not None:
            self._masking = dataclasses.replace(masking, number=self.cfg.masked_frames)
        if self.cfg.compile is not None:
            model.compile(mode=self.cfg.compile)
        architecture = getattr(model, "architecture", {})
        with open_dict(cfg):
            cfg.update(architecture)
        if hasattr(model, "leave_out_implied"):
            model.leave_out_implied(cfg)
        return model

    def build_criterion(self, cfg, from_checkpoint: bool = False):
        """Build the criterion, and keep out of checkpoints what fairseq_signals does not know."""
        criterion = super().build_criterion(cfg, from_checkpoint)
        with open_dict(cfg):
            cfg.pop("nonfinite_loss", None)
        return criterion

    def load_dataset(
        self,
        split: str,
        combine: bool = False,
        task_cfg: ECGPretrainingConfig | None = None,
        shuffle: bool = True,
        **kwargs,
    ) -> None:
        """Read the manifest ``<data>/<split>.tsv``, or the split of the store ``<data>``.

        Args:
            split: name of the split; recordings of one with ``train`` in its name are augmented.
            combine: has no meaning here.
            task_cfg: where evaluation takes the options of reading from; the own ones if None.
            shuffle: whether items of equal size are shuffled.
            kwargs: further arguments of fairseq's trainer, without meaning here.

        Raises:
            DataError: the manifest is missing or wrong.
        """
        self._load(
            self._dataset_class(), split, task_cfg, shuffle, augmentations=self._augmentations()
        )

    def _dataset_class(self) -> type[ECGDataset]:
        criterion = self.cfg.criterion_name or ""
        if criterion in {"simclr", "3kg"}:
            raise ValueError(f"criterion {criterion!r} is not available yet")
        pairs = "cmsc" in criterion or criterion == "clocs"
        return CMSCECGDataset if pairs else FileECGDataset

    def _load(
        self,
        dataset: type[ECGDataset],
        split: str,
        task_cfg: ECGPretrainingConfig | None,
        shuffle: bool,
        **options,
    ) -> None:
        reading = task_cfg or self.cfg
        data = from_launch_dir(self.cfg.data)
        if is_store(data):
            dataset, path = stored_form(dataset), f"{data.rstrip('/')}/{split}"
            options["verify"] = self.cfg.verify_store
        else:
            path = os.path.join(data, f"{split}.tsv")
        recordings = dataset(
            path,
            sample_rate=reading.sample_rate,
            leads_to_load=reading.leads_to_load,
            leads_bucket=self.cfg.leads_bucket,
            pad=reading.enable_padding,
            pad_leads=reading.enable_padding_leads,
            filter=reading.filter,
            normalize=reading.normalize,
            mean_path=from_launch_dir(reading.mean_path),
            std_path=from_launch_dir(reading.std_path),
            max_sample_size=self.cfg.max_sample_size,
            min_sample_size=self.cfg.min_sample_size,
            num_batch_buckets=self.cfg.num_batch_buckets,
            precompute_mask_indices=self.cfg.precompute_mask_indices,
            nan_policy=str(self.cfg.nan_policy),
            training="train" in split,
            masking=self._masking,
            shuffle=shuffle,
            seed=self.cfg.seed,
            **options,
        )
        self.datasets[split] = BatchedECGDataset(recordings, split)

    def _augmentations(self) -> list:
        names = list(self.cfg.perturbation_mode or [])
        return build_augmentations(
            names,
            list(self.cfg.p),
            max_amplitude=self.cfg.max_amplitude,
            min_amplitude=self.cfg.min_amplitude,
            dependency=self.cfg.dependency,
            shift_ratio=self.cfg.shift_ratio,
            num_segment=self.cfg.num_segment,
            max_freq=self.cfg.max_freq,
            min_freq=self.cfg.min_freq,
            k=self.cfg.k,
            mask_leads_selection=str(self.cfg.mask_leads_selection),
            mask_leads_prob=self.cfg.mask_leads_prob,
            mask_leads_condition=tuple(self.cfg.mask_leads_condition),
        )

    def get_batch_iterator(
        self,
        dataset: BatchedECGDataset,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        max_positions=None,
        ignore_invalid_inputs: bool = False,
        required_batch_size_multiple: int = 1,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        disable_iterator_cache: bool = False,
        skip_remainder_batch: bool = False,
        grouped_shuffling: bool = False,
        update_epoch_batch_itr: bool = False,
    ) -> EpochBatches:
        """Iterate over batches in the order of fairseq_signals.

        Batches are made once, from an order that depends on the seed and not on the epoch, and no
        record is left out; each epoch shuffles the batches by seed plus epoch.

        Args:
            dataset: what :meth:`load_dataset` made.
            max_tokens: most samples in a batch.
            max_sentences: most items in a batch.
            max_positions: has no meaning here.
            ignore_invalid_inputs: has no meaning here.
            required_batch_size_multiple: batches are smaller than this or a multiple of it.
            seed: of the order.
            num_shards: ranks.
            shard_id: this rank.
            num_workers: processes that read recordings.
            epoch: the first epoch.
            data_buffer_size: batches to read ahead.
            disable_iterator_cache: make a new iterator although there is one.
            skip_remainder_batch: leave out the last batch of an epoch.
            grouped_shuffling: shuffle groups of one batch per rank.
            update_epoch_batch_itr: make a new iterator although there is one.
        """
        if (
            dataset in self.dataset_to_epoch_iter
            and not disable_iterator_cache
            and not update_epoch_batch_itr
        ):
            return self.dataset_to_epoch_iter[dataset]
        dataset.set_epoch(epoch)
        with numpy_seed(seed):
            indices = dataset.ordered_indices()
        batches = dataset.batch_by_size(
            indices, max_tokens, max_sentences, required_batch_size_multiple
        )
        iterator = EpochBatches(
            dataset=dataset,
            collate_fn=dataset.collater,
            batch_sampler=batches,
            seed=seed,
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=data_buffer_size,
            skip_remainder_batch=skip_remainder_batch,
            grouped_shuffling=grouped_shuffling,
        )
        if not disable_iterator_cache and not update_epoch_batch_itr:
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
        self._seeds().seed_training(update_num)
        if self._seeds().batch == 0:
            self._samples_of_update = 0.0
        sample = self._augmented(sample)
        device = sample["net_input"]["source"].device.type
        try:
            with torch.autocast(device, enabled=isinstance(optimizer, AMPOptimizer)):
                loss, sample_size, log = criterion(model, sample)
        except NonFiniteLossError as error:
            raise self._with_names(error) from error
        if ignore_grad:
            loss = loss * 0
        optimizer.backward(loss)
        self._may_skip_updates = criterion.skips_nonfinite
        if self._may_skip_updates and not ignore_grad:
            self._samples_of_update += float(sample_size)
        return loss, sample_size, log

    def _augmented(self, sample: dict) -> dict:
        """A batch with its recordings augmented; the batch itself is left as it is."""
        source = self.datasets[sample["split"]].recordings.augment(sample)
        return sample | {"net_input": sample["net_input"] | {"source": source}}

    def check_losses(self, criterion, gradient_norm: torch.Tensor) -> None:
        """Look at the losses of an update before its step, where fairseq waits for the device.

        Raises:
            NonFiniteLossError: one is NaN or infinite; the recordings are named.
        """
        try:
            criterion.check_losses(gradient_norm)
        except NonFiniteLossError as error:
            raise self._with_names(error) from error

    def valid_step(self, sample, model, criterion):
        """Run one batch forward in evaluation mode; returns as :meth:`train_step`."""
        model.eval()
        ids = sample["id"]
        self._seeds().seed_validation(int(ids[0]))
        with torch.no_grad():
            try:
                return criterion(model, sample)
            except NonFiniteLossError as error:
                raise self._with_names(error) from error

    def optimizer_step(self, optimizer, model, update_num) -> None:
        """Update the weights, unless every batch of the update was skipped."""
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
        """Forget the scores of the validation before."""
        metrics.reset_meters("valid")

    def reduce_metrics(self, logging_outputs, criterion) -> None:
        """Reduce what a criterion logged, without fairseq's counts of words and sentences."""
        criterion.__class__.reduce_metrics(logging_outputs)

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

    def _with_names(self, error: NonFiniteLossError) -> NonFiniteLossError:
        names = self.datasets[error.split].recordings.names(error.ids)
        return NonFiniteLossError(error.criterion, error.parts, error.ids, names, error.split)

    def _seeds(self) -> StepSeeds:
        if self._step_seeds is None:
            self._step_seeds = StepSeeds(self.cfg.seed)
        return self._step_seeds
