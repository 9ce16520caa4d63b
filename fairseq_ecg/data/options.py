"""Options of reading a data set, as users set them of a task.

``metadata`` of an option has its ``help``; its ``choices``, if it has any; and ``task_name``, what
it is called there, if it has another name.
"""

from dataclasses import dataclass, field
from typing import Any

from fairseq_ecg.data.conditioning import NAN_POLICIES


@dataclass(frozen=True)
class ReadingOptions:
    """How recordings are conditioned: what a network is evaluated with as it was trained."""

    leads_to_load: Any = field(
        default=None,
        metadata={
            "help": "list of lead names or indices, in the order wanted, or text of such a list; "
            "null: all 12"
        },
    )
    sample_rate: int | None = field(
        default=None, metadata={"help": "Hz that every recording must have; null: any"}
    )
    filter: bool = field(
        default=False, metadata={"help": "clean every lead with neurokit2 at 500 Hz"}
    )
    normalize: bool = field(
        default=False, metadata={"help": "subtract mean_path's and divide by std_path's values"}
    )
    mean_path: str | None = field(
        default=None, metadata={"help": "text file, mean of each of the 12 leads, one a line"}
    )
    std_path: str | None = field(
        default=None, metadata={"help": "text file, standard deviation of each lead"}
    )
    pad: bool = field(
        default=False,
        metadata={
            "help": "pad to the longest of a batch, do not crop",
            "task_name": "enable_padding",
        },
    )
    pad_leads: bool = field(
        default=False,
        metadata={
            "help": "put loaded leads in their place among 12, others zero",
            "task_name": "enable_padding_leads",
        },
    )


@dataclass(frozen=True)
class BatchOptions:
    """Which recordings there are, and how long they are in batches."""

    leads_bucket: Any = field(
        default=None, metadata={"help": "leads of which one at random is loaded per item"}
    )
    max_sample_size: int | None = field(
        default=None, metadata={"help": "crop longer recordings to so many samples"}
    )
    min_sample_size: int | None = field(
        default=None, metadata={"help": "leave out recordings with fewer samples"}
    )
    num_batch_buckets: int = field(
        default=0, metadata={"help": "pad to so many sizes only; 0: to any"}
    )
    precompute_mask_indices: bool = field(
        default=False, metadata={"help": "not supported: batches carry their masks without it"}
    )
    nan_policy: str = field(
        default="error",
        metadata={
            "help": "what to do with NaN or infinite samples: stop and name the file, "
            "set them to zero, or keep them as fairseq_signals does",
            "choices": NAN_POLICIES,
        },
    )


@dataclass(frozen=True)
class DatasetOptions(BatchOptions, ReadingOptions):
    """All of them.

    Raises:
        ValueError: options that contradict each other.
    """

    def __post_init__(self) -> None:
        if self.precompute_mask_indices:
            raise ValueError(
                "precompute_mask_indices=true is not supported (it never worked in "
                "fairseq_signals): set it to false, batches carry their masks without it"
            )
        if self.max_sample_size is not None and self.max_sample_size < 1:
            raise ValueError(
                f"max_sample_size={self.max_sample_size}: give a positive number or null"
            )
        if self.num_batch_buckets > 0 and not self.pad:
            raise ValueError("num_batch_buckets needs enable_padding=true")
        if self.normalize and (self.mean_path is None or self.std_path is None):
            raise ValueError("normalize=true needs mean_path and std_path")
