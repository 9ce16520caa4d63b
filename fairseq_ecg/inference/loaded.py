"""What every loaded network has: where and how it computes, and what its input is made of."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError


class LoadedNetwork:
    """A network in evaluation mode, with what it needs to know of its input.

    Args:
        network: the ``nn.Module`` itself.
        n_rows: leads that it reads; None if it reads none.
        cfg: configuration of which the same network is made but for its weights.
        preprocessing: what is done to recordings before.

    Raises:
        DataError: the preprocessing makes other rows than the network reads.

    Attributes:
        labels: names of the numbers that it gives for a recording.
        aggregation: ``max`` or ``mean`` over segments by label.
    """

    network: Any
    labels: tuple[str, ...]
    aggregation: Mapping[str, str]

    def __init__(
        self, network: nn.Module, n_rows: int | None, cfg: Mapping, preprocessing: Preprocessing
    ):
        if n_rows not in (None, preprocessing.n_rows):
            raise DataError(
                f"the network reads {n_rows} leads, its preprocessing makes "
                f"{preprocessing.n_rows}: {', '.join(preprocessing.leads)}"
            )
        self.network = network.eval()
        self.cfg = dict(cfg)
        self.preprocessing = preprocessing

    def __repr__(self) -> str:
        leads, rate = len(self.preprocessing.leads), self.preprocessing.sample_rate
        return (
            f"<{type(self).__name__} of {type(self.network).__name__}: {self._outputs_in_words()}"
            f"{leads} leads at {rate:g} Hz, segments of "
            f"{self.preprocessing.segment_seconds:g} s, {self.device}, {self.dtype}>"
        )

    def _outputs_in_words(self) -> str:
        return f"{len(self.labels)} labels, " if self.labels else ""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type that the network computes in."""
        return next(self.network.parameters()).dtype

    def facts(self) -> tuple:
        """Return what results depend on beside weights, plain values."""
        return (
            sorted((key, repr(value)) for key, value in self.cfg.items()),
            self.preprocessing.to_json(),
            self.labels,
            self.aggregation,
            str(self.dtype),
            self.device.type,
        )

    def frame_count(self, n_samples: int) -> int:
        """Return T', frames that the network makes of samples."""
        raise NotImplementedError

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Move the network to a device, or to another floating-point type such as bfloat16.

        Raises:
            DataError: there is no such device.
        """
        if device is not None:
            try:
                torch.empty(0, device=device)
            except (RuntimeError, AssertionError) as error:
                raise DataError(f"device {device}: {error}") from error
        self.network.to(device=device, dtype=dtype)
        return self
