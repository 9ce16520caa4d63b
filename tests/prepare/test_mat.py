import io

import numpy as np
import pytest
import scipy.io

from fairseq_ecg.ecg import blocks
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.mat import write_mat

HEADER = 116
"""Bytes of free text, into which scipy writes the time of day."""


@pytest.mark.parametrize("shape", [(12, 2500), (12, 1), (1, 1), (1, 3), (3, 7)])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?"])
def test_bytes_are_those_of_scipy(tmp_path, shape, dtype):
    feats = (100 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    variables = {"org_sample_rate": 400, "feats": feats, "idx": 3, "mean": feats[:, :1], "x": -1}
    write_mat(tmp_path / "a.mat", variables)
    expected = io.BytesIO()
    scipy.io.savemat(expected, variables)
    assert (tmp_path / "a.mat").read_bytes()[HEADER:] == expected.getvalue()[HEADER:]


def test_a_fraction_stays_one(tmp_path):
    write_mat(tmp_path / "a.mat", {"curr_sample_rate": 499.5})
    assert scipy.io.loadmat(tmp_path / "a.mat")["curr_sample_rate"].tolist() == [[499.5]]


def test_the_same_content_gives_the_same_bytes_in_blocks(tmp_path, monkeypatch):
    feats = np.random.default_rng(0).normal(size=(3, 50))
    write_mat(tmp_path / "a.mat", {"feats": feats})
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 7)
    write_mat(tmp_path / "b.mat", {"feats": feats})
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    class Day:
        shape, dtype = (12, 600 * 86400), np.dtype(np.float64)

    with pytest.raises(DataError, match=r"more than the 4 GiB .*--discard org,preprocessed"):
        write_mat(tmp_path / "a.mat", {"feats": Day()})
    assert list(tmp_path.iterdir()) == []
