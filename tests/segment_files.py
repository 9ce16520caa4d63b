"""Segment files and their manifests, for tests of stores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io


def write_segment_files(
    folder: Path,
    splits: Mapping[str, Sequence[int]],
    n_samples: Callable[[int], int] = lambda segment: 40,
    first_idx: int = 0,
    **variables,
) -> None:
    """Write recordings of so many segments each, plain manifests and those in ``cmsc/``.

    Args:
        folder: where to.
        splits: number of segments of each recording, by split.
        n_samples: length of a segment by its number.
        first_idx: ``idx`` of the first recording.
        variables: what else the files hold, or in place of it; None leaves a variable out.
    """
    root = folder / "segmented"
    root.mkdir(parents=True)
    (folder / "cmsc").mkdir()
    rng = np.random.default_rng(first_idx)
    idx = first_idx
    for split, counts in splits.items():
        plain, pairs = [f"\t{root}/"], [f"{root}/", "mat"]
        for count in counts:
            name = f"rec{idx}"
            for segment in range(count):
                contents = {
                    "feats": rng.normal(size=(12, n_samples(segment))),
                    "curr_sample_rate": 500,
                    "idx": idx,
                    "label": [[idx, segment, 1.5]],
                    **variables,
                }
                kept = {key: value for key, value in contents.items() if value is not None}
                scipy.io.savemat(root / f"{name}_{segment}.mat", kept)
                plain.append(f"{name}_{segment}.mat\t{n_samples(segment)}")
            for first in range(0, count - 1, 2):
                pairs.append(f"{name}\t{n_samples(count - 1)}\t0\t{first},{first + 1}")
            idx += 1
        (folder / f"{split}.tsv").write_text("\n".join(plain) + "\n")
        (folder / "cmsc" / f"{split}.tsv").write_text("\n".join(pairs) + "\n")
