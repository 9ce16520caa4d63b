import gzip
import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fairseq_ecg.data.mat_structure import byte_order, check_structure
from fairseq_ecg.data.recording import read_mat
from fairseq_ecg.errors import DataError

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
    for offset in rng.choice(np.arange(128, len(content)), 200, replace=False):
        damaged = bytearray(content)
        damaged[offset] ^= int(rng.integers(1, 256))
        try:
            read_mat(io.BytesIO(damaged), "a.mat", required=("idx",), optional=None)
        except DataError as error:
            assert "a.mat" in str(error)  # noqa: PT017 (most bytes do no harm)


def test_no_header_that_is_wrong_crashes_the_reader():
    """SciPy takes files with other versions for level 5, and those with a 0 in front for 4."""
    level_4 = io.BytesIO()
    scipy.io.savemat(level_4, {"val": np.zeros((2, 3)), "name": "abc"}, format="4")
    contents = [mat_file(), mat_file(do_compression=True), level_4.getvalue()]
    rng = np.random.default_rng(0)
    for content in contents * 60:
        damaged = bytearray(content)
        for offset in rng.integers(0, 140, 4) % len(content):
            damaged[offset] = rng.choice([0, 1, 2, 73, 77, 255, int(rng.integers(256))])
        try:
            read_mat(io.BytesIO(damaged), "a.mat", required=(), optional=None)
        except DataError as error:
            assert "a.mat" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("version", "order"),
    [
        (b"\0\1IM", "<"), (b"\1\0MI", ">"), (b"\7\1IM", "<"), (b"\0\1IX", ">"),
        (b"\0\2IM", None), (b"\0\0IM", None),
    ],
)  # fmt: skip
def test_the_byte_order_is_that_which_scipy_takes(version, order):
    assert byte_order(b" " * 124 + version) == order
    assert byte_order(b"\0" * 124 + version) is None
    assert byte_order(b" " * 10) is None


@pytest.mark.parametrize("field", ["rows", "starts"])
def test_elements_outside_a_sparse_matrix_are_found(field):
    matrix = scipy.sparse.csc_array(([1.0, 2.0], ([0, 3], [5, 7])), shape=(11, 9))
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"sparse": matrix})
    check_structure(buffer.getvalue())
    old, new = ((0, 3), (0, 11)) if field == "rows" else ((1, 1, 2, 2), (1, 1, 7, 2))
    written = struct.pack(f"<{len(old)}i", *old)
    assert buffer.getvalue().count(written) == 1
    damaged = buffer.getvalue().replace(written, struct.pack(f"<{len(new)}i", *new))
    with pytest.raises(ValueError, match="elements outside it"):
        check_structure(damaged)


def compressed(matrix: bytes, said: int | None = None) -> bytes:
    head = struct.pack("<II", 14, len(matrix) if said is None else said)
    packed = zlib.compress(head + matrix)
    return b" " * 124 + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed


def test_what_comes_out_of_a_compressed_matrix_is_checked(monkeypatch):
    content = mat_file()[128:]
    matrix = content[8 : 8 + struct.unpack_from("<I", content, 4)[0]]
    check_structure(compressed(matrix))
    with pytest.raises(ValueError, match="of over 16 bytes"):
        check_structure(compressed(matrix, said=16))
    wrong = matrix.replace(struct.pack("<II", 9, 192), struct.pack("<II", 43273, 192))
    assert wrong != matrix
    with pytest.raises(ValueError, match="of type 43273"):
        check_structure(compressed(wrong))
    bomb = compressed(bytes(10), said=2**31)
    with pytest.raises(DataError, match="times its packed size"):
        check_structure(bomb)


def test_cells_in_cells_are_followed_as_deep_as_is_plausible():
    def nested(depth):
        value = np.array([[1.0]])
        for _ in range(depth):
            cell = np.empty((1, 1), object)
            cell[0, 0] = value
            value = cell
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"a": value})
        return buffer.getvalue()

    check_structure(nested(40))
    with pytest.raises(DataError, match="levels of nesting"):
        check_structure(nested(60))


def test_level_4_that_is_cut_off_is_found():
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"val": np.zeros((2, 3))}, format="4")
    with pytest.raises(ValueError, match="2 x 3 elements that is cut off"):
        check_structure(buffer.getvalue()[:-1])
    huge = struct.pack("<5i", 0, 2**31 - 1, 2**31 - 1, 0, 4) + b"val\0"
    with pytest.raises(ValueError, match="cut off"):
        check_structure(huge)
