"""Counter-based random numbers: the same on every backend, for any batch, worker or rank.

What a number is depends on where it is wanted and on nothing that was drawn before: on the seed
and the epoch of the run, the record, its segment, the purpose (a :class:`Stream`), the lane
within it (a lead, say) and the position in the lane. The package's README states the contract.
"""

from enum import IntEnum

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.philox import reference

__all__ = [
    "COMMON_LANE",
    "Stream",
    "origin",
    "origins",
    "random_numbers",
    "random_words",
    "reference",
]

COMMON_LANE = 255
"""The lane of what a segment has but once."""


class Stream(IntEnum):
    """What random numbers are for; the second byte of a counter's last word.

    The augmentation at position ``k`` of a recipe has the stream ``AUGMENTATION + k``.
    """

    NEGATIVES = 1
    CROSS_SAMPLE_NEGATIVES = 2
    CODEBOOK_NEGATIVES = 3
    REMOVED_FRAMES = 4
    MASKED_TOKENS = 5
    AUGMENTATION = 16


def origin(seed: int, epoch: int, record: int, segment: int = 0) -> Tensor:
    """Say where the random numbers of one segment start.

    Args:
        seed: of the run, 64 bits.
        epoch: of training, from 1; 0 where numbers are to be the same in every epoch.
        record: index of the record in its data set, 32 bits.
        segment: position of the segment in its record, 16 bits.

    Returns:
        ``(4,)`` int64: seed, epoch, record, segment. A batch has ``(B, 4)`` of them.
    """
    return torch.tensor([seed, epoch, record, segment])


def origins(seed: int, epoch: int, records: Tensor, segments: Tensor) -> Tensor:
    """Say where the random numbers of the segments of a batch start.

    Args:
        seed: as of :func:`origin`.
        epoch: likewise.
        records: ``(B,)`` int64.
        segments: ``(B,)`` int64.

    Returns:
        ``(B, 4)`` int64, in each row what :func:`origin` returns.
    """
    of_run = origin(seed, epoch, 0)[:2].expand(len(records), 2)
    return torch.cat([of_run, records.unsqueeze(1), segments.unsqueeze(1)], dim=1)


def random_words(origins: Tensor, stream: int, lanes: Tensor | int, count: int) -> Tensor:
    """Give the first words of some lanes of a stream, by the definition.

    Args:
        origins: ``(B, 4)`` int64 as :func:`origin` makes them.
        stream: a :class:`Stream`, or ``Stream.AUGMENTATION`` plus a position in the recipe.
        lanes: ``(K,)`` int64, each from 0 to 255, or one lane.
        count: words of each lane.

    Returns:
        ``(B, K, count)`` int64, 32 bits each, or ``(B, count)`` for one lane.
    """
    lanes = torch.as_tensor(lanes, device=origins.device)
    shape = (len(origins), lanes.numel(), -(-count // 4))
    seed, epoch, record, segment = origins.view(-1, 4, 1, 1).unbind(1)
    counters = torch.stack(
        [
            torch.arange(shape[2], device=origins.device).expand(shape),
            record.expand(shape),
            epoch.expand(shape),
            (segment << 16 | stream << 8 | lanes.view(-1, 1)).expand(shape),
        ],
        dim=-1,
    )
    # A slice is contiguous for some counts alone, and torch.compile would compile for both kinds.
    first = torch.arange(count, device=origins.device)
    drawn = reference.words(counters, seed).flatten(2).index_select(2, first)
    return drawn if lanes.dim() else drawn.squeeze(1)


def random_numbers(
    counters: Tensor, seeds: Tensor, kind: str, backend: str | None = None
) -> Tensor:
    """Turn counters into random numbers, four each; every backend gives the same bits.

    Args:
        counters: ``(R, 4)`` int64, 32 bits each: position // 4, record, epoch, and segment, stream
            and lane.
        seeds: ``(R,)`` int64, on the same device.
        kind: "words" of 32 bits; "uniforms" in [0, 1), multiples of 2**-24; standard "normals".
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        ``(R, 4)`` int64 for words, else float32.

    Raises:
        ValueError: shapes or types do not match, or there is no such kind.
        BackendError: the backend asked for is not there.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; Box and Muller,
    "A note on the generation of random normal deviates", 1958.
    """
    if counters.dim() != 2 or counters.shape[1] != 4 or seeds.shape != counters.shape[:1]:
        raise ValueError(
            "counters must be (R, 4) and seeds (R,), not "
            f"{tuple(counters.shape)} and {tuple(seeds.shape)}"
        )
    for name, numbers in {"counters": counters, "seeds": seeds}.items():
        if numbers.dtype != torch.long:
            raise ValueError(f"{name} must be int64, not {numbers.dtype}")
    if kind not in reference.KINDS:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(reference.KINDS)}")
    chosen = backends.choose("philox", counters.device.type, backend)
    return _random_numbers(counters, seeds, reference.KINDS.index(kind), chosen)


@backends.operator("random_numbers")
def _random_numbers(counters: Tensor, seeds: Tensor, kind: int, backend: str) -> Tensor:
    run = backends.implementation("philox", backend).random_numbers
    return run(*backends.contiguous(counters, seeds), kind)


@torch.library.register_fake(_random_numbers)
def _(counters, seeds, kind, backend):
    dtype = torch.long if kind == 0 else torch.float32
    return counters.new_empty(counters.shape, dtype=dtype)
