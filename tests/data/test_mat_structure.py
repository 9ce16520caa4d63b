import gzip
import io
import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.mat_structure import check_structure
from fairseq_ecg.data.recording import read_mat

CONTENT = {
    "feats": np.arange(24.0).reshape(12, 2),
    "idx": 7,
    "empty": np.zeros((0, 0)),
    "text": "abc",
    "complex": np.array([1 + 2j, 3]),
    "leads": np.array(["I", "II", np.array([1, 2], np.int8)], dtype=object),
    "nested": {"a": {"b": [1.5, "x"]}},
    "sparse": scipy.sparse.csc_array(([1.0], ([0], [5])), shape=(10_000, 10_000)),
}


def mat_file(**options) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, CONTENT, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"do_compression": True}])
def test_what_scipy_writes_is_right(options):
    check_structure(mat_file(**options))


def test_files_of_level_4_are_left_to_scipy():
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"val": np.zeros((2, 3))}, format="4")
    check_structure(buffer.getvalue())


@pytest.mark.parametrize("order", ["<", ">"])
def test_types_that_do_not_exist_are_found_in_both_byte_orders(order):
    def file(kind):
        matrix = struct.pack(f"{order}IIII", 6, 8, 6, 0) + struct.pack(f"{order}IIii", 5, 8, 1, 1)
        matrix += struct.pack(f"{order}HH4s", 1, 1, b"a\0\0\0")
        matrix += struct.pack(f"{order}IId", kind, 8, 1.5)
        mark = {"<": b"\0\1IM", ">": b"\1\0MI"}[order]
        return b" " * 124 + mark + struct.pack(f"{order}II", 14, len(matrix)) + matrix

    check_structure(file(9))
    with pytest.raises(ValueError, match="an element of type 43273 in a matrix"):
        check_structure(file(0xA909))


def test_packed_files_are_looked_at_unpacked(tmp_path):
    (tmp_path / "a.mat").write_bytes(mat_file())
    damaged = bytearray(mat_file())
    damaged[129] = 77
    with gzip.open(tmp_path / "a.mat.gz", "wb") as file:
        file.write(damaged)
    assert read_mat(str(tmp_path / "a.mat"), "a.mat", required=("idx",))["idx"].item() == 7
    with (
        gzip.open(tmp_path / "a.mat.gz") as file,
        pytest.raises(DataError, match="of type 19726 at byte 128"),
    ):
        read_mat(file, "a.mat.gz", required=("idx",))
    (tmp_path / "empty.mat").touch()
    with pytest.raises(DataError, match=r"is no \.mat file"):
        read_mat(str(tmp_path / "empty.mat"), "empty.mat", required=("idx",))


@pytest.mark.parametrize("compress", [False, True])
def test_no_byte_that_is_wrong_crashes_the_reader(compress):
    """SciPy looks the type of numbers up without looking whether there is one."""
    content = mat_file(do_compression=compress)
    rng = np.random.default_rng(0)
    for place in rng.choice(np.arange(128, len(content)), 200, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        try:
            read_mat(io.BytesIO(damaged), "a.mat", required=("idx",), optional=None)
        except DataError as error:
            assert "a.mat" in str(error)  # noqa: PT017 (most bytes do no harm)
