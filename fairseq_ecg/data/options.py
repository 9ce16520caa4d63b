"""Options of reading a data set, as users set them of a task."""

from dataclasses import dataclass
from typing import Any

from fairseq_ecg.ecg.conditioning import NAN_POLICIES
from fairseq_ecg.ops.options import option


@dataclass(frozen=True)
class ReadingOptions:
    """How recordings are conditioned: a network is evaluated as it was trained."""

    leads_to_load: Any = option(
        None,
        "list of lead names or indices, in the order wanted, or text of such a list; null: all 12",
    )
    sample_rate: int | None = option(None, "Hz that every recording must have; null: any")
    filter: bool = option(False, "clean every lead with neurokit2 at 500 Hz")
    normalize: bool = option(False, "subtract mean_path's and divide by std_path's values")
    mean_path: str | None = option(None, "text file, mean of each of the 12 leads, one a line")
    std_path: str | None = option(None, "text file, standard deviation of each lead")
    pad: bool = option(
        False, "pad to the longest of a batch, do not crop", task_name="enable_padding"
    )
    pad_leads: bool = option(
        False,
        "put loaded leads in their place among 12, others zero",
        task_name="enable_padding_leads",
    )


@dataclass(frozen=True)
class BatchOptions:
    """Which recordings there are, and how long they are in batches."""

    leads_bucket: Any = option(None, "leads of which one at random is loaded per item")
    max_sample_size: int | None = option(None, "crop longer recordings to so many samples")
    min_sample_size: int | None = option(None, "leave out recordings with fewer samples")
    num_batch_buckets: int = option(0, "pad to so many sizes only; 0: to any")
    precompute_mask_indices: bool = option(
        False, "not supported: batches carry their masks without it"
    )
    nan_policy: str = option(
        "error",
        "what to do with NaN or infinite samples: stop and name the file, set them to zero, or "
        "keep them as fairseq_signals does",
        choices=NAN_POLICIES,
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
        longest = self.max_sample_size
        if longest is not None and longest < 1:
            raise ValueError(f"max_sample_size={longest}: give a positive number or null")
        if self.num_batch_buckets > 0 and not self.pad:
            raise ValueError("num_batch_buckets needs enable_padding=true")
        if self.normalize and (self.mean_path is None or self.std_path is None):
            raise ValueError("normalize=true needs mean_path and std_path")
