from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io


@pytest.fixture
def write_ecg(tmp_path) -> Callable[..., Path]:
    """Write a ``.mat`` file of an ECG; a variable given as None is left out."""

    def write(name: str = "a.mat", n_samples: int = 20, n_leads: int = 12, **variables) -> Path:
        # Lead l, sample t holds 100 l + t, so that every value says where it came from.
        feats = 100.0 * np.arange(n_leads)[:, None] + np.arange(n_samples)
        contents = {"feats": feats, "curr_sample_rate": 500, "idx": 0, **variables}
        path = tmp_path / name
        kept = {key: value for key, value in contents.items() if value is not None}
        scipy.io.savemat(path, kept)
        return path

    return write


@pytest.fixture
def write_manifest(tmp_path) -> Callable[..., Path]:
    """Write a plain manifest of ``(name, n_samples)`` rows beside the files."""

    def write(*rows: tuple[str, int], name: str = "train.tsv") -> Path:
        path = tmp_path / name
        lines = [f"\t{tmp_path}/", *("\t".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def write_cmsc_manifest(tmp_path) -> Callable[..., Path]:
    """Write a CMSC manifest of ``(prefix, n_samples, segments)`` rows beside the files."""

    def write(*rows: tuple[str, int, str], name: str = "train.tsv") -> Path:
        path = tmp_path / name
        lines = [str(tmp_path), "mat", *(f"{p}\t{n}\t0\t{segments}" for p, n, segments in rows)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
