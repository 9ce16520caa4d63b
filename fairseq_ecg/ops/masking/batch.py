"""The masks of a batch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.frames import frame_count, frame_ends
from fairseq_ecg.ops.masking import cpp_kernel
from fairseq_ecg.ops.masking.reference import SpanMasking, check_number, draw_masked
from fairseq_ecg.ops.masking.streams import Streams


@dataclass(frozen=True)
class BatchMasking:
    """What a model has masked in each batch, for the code that makes batches.

    Args:
        strides: kernel and stride of each convolution between samples and frames.
        frames: how frames are masked. None: not at all.
        channels: how channels are masked. None: not at all.
        n_channels: channels of a frame.
        number: masked frames of every row of every batch, for CUDA graphs, which need equal
            shapes. None: as many as the row with the fewest.
    """

    strides: tuple[tuple[int, int], ...]
    frames: SpanMasking | None = None
    channels: SpanMasking | None = None
    n_channels: int = 0
    number: int | None = None

    def draw(
        self, width: int, samples: Sequence[int], rngs: Streams | Sequence[np.random.RandomState]
    ) -> dict[str, torch.Tensor]:
        """Draw the masks of one batch.

        Args:
            width: samples of the batch, padding included.
            samples: valid samples of each row.
            rngs: one stream for each row; `Streams` are drawn from by a kernel where there is one
                for the kind of masks, with the same result.

        Returns:
            ``masked_frames`` ``(B, M)`` and ``masked_channels`` ``(B, K)`` int64, as far as they
            are masked.

        Raises:
            ValueError: a row has fewer frames than are to be masked.
        """
        axes: dict[str, tuple[list[int], SpanMasking, int | None]] = {}
        if self.frames is not None:
            frames = frame_count(width, self.strides)
            ends = frame_ends(torch.tensor(samples), self.strides, frames, empty_rows=False)
            axes["masked_frames"] = ends.tolist(), self.frames, self.number
        if self.channels is not None:
            axes["masked_channels"] = [self.n_channels] * len(samples), self.channels, None
        if not axes:
            return {}
        valid, maskings, numbers = zip(*axes.values(), strict=True)
        for positions, number in zip(valid, numbers, strict=True):
            check_number(positions, number)
        if (
            isinstance(rngs, Streams)
            and (rngs.keys >= 0).all()  # NumPy says what is wrong with others
            and backends.missing("cpu") is None
            and all(map(cpp_kernel.serves, maskings))
        ):
            drawn = cpp_kernel.draw_masked(valid, maskings, rngs, numbers)
        else:
            each = itertools.repeat(list(rngs))  # they go on from one axis to the next
            drawn = list(map(draw_masked, valid, maskings, each, numbers))
        return dict(zip(axes, drawn, strict=True))
