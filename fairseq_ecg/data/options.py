"""Options of reading a data set, as users set them of a task."""

from dataclasses import dataclass
from typing import Any

from fairseq_ecg.ecg.conditioning import NaNPolicy


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How recordings are conditioned: a network is evaluated as it was trained.

    Args:
        leads_to_load: list of lead names or indices, in the order wanted, or text of such a list;
            null: all 12.
        sample_rate: Hz that every recording must have; null: any.
        filter: clean every lead with neurokit2 at 500 Hz.
        normalize: subtract mean_path's and divide by std_path's values.
        mean_path: text file, mean of each of the 12 leads, one a line.
        std_path: text file, standard deviation of each lead.
        enable_padding: pad to the longest of a batch, do not crop.
        enable_padding_leads: put loaded leads in their place among 12, others zero.
    """

    leads_to_load: Any = None
    sample_rate: int | None = None
    filter: bool = False
    normalize: bool = False
    mean_path: str | None = None
    std_path: str | None = None
    enable_padding: bool = False
    enable_padding_leads: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Which recordings there are, and how long they are in batches.

    Args:
        leads_bucket: leads of which one at random is loaded per item.
        max_sample_size: crop longer recordings to so many samples.
        min_sample_size: leave out recordings with fewer samples.
        num_batch_buckets: pad to so many sizes only; 0: to any.
        precompute_mask_indices: not supported: batches carry their masks without it.
        nan_policy: what to do with NaN or infinite samples: stop and name the file, set them to
            zero, or keep them as fairseq_signals does.
    """

    leads_bucket: Any = None
    max_sample_size: int | None = None
    min_sample_size: int | None = None
    num_batch_buckets: int = 0
    precompute_mask_indices: bool = False
    nan_policy: NaNPolicy = "error"


@dataclass(frozen=True, kw_only=True)
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
        if self.num_batch_buckets > 0 and not self.enable_padding:
            raise ValueError("num_batch_buckets needs enable_padding=true")
