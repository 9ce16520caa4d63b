"""``fairseq-ecg store pack``."""

import math
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import whole_number

Megabytes = Annotated[int, whole_number(1, math.inf, "a positive number"), Parameter(metavar="MB")]


def _folder(_: type, tokens: list) -> Path:
    store = tokens[-1].value
    if "://" in store:
        raise ValueError(f"{store}: write the store to a folder, and copy it there")
    return Path(store)


def pack(
    manifests: Path,
    store: Annotated[Path, Parameter(converter=_folder)],
    /,
    *,
    dtype: Literal["float32", "float16", "int16", "float64"] | None = None,
    shard_mb: Megabytes = 128,
) -> int:
    """Pack the segments of manifests, or add them to a store.

    The segments of all manifests of a folder are packed. What the store holds already keeps its
    position; a run that was killed goes on where it was.

    Args:
        manifests: train.tsv, valid.tsv
        store: folder, created where absent
        dtype: of the samples: float32 gives the batches of the files bit by bit; float16 and int16
            (with a scale for each lead) take half the space; from float64 the files come back as
            they were (default: the store's, float32 for a new one)
        shard_mb: samples in one file, and memory needed
    """
    from fairseq_ecg.prepare.pack import pack

    packed = pack(manifests, store, dtype=dtype, shard_bytes=shard_mb * 2**20)
    for split, count in packed.added.items():
        asked = packed.questions.get(split)
        print(f"{split}: {count} segments added" + (f", {asked} questions" if asked else ""))
    if packed.present:
        print(f"{packed.present} segments were there already")
    return 0
