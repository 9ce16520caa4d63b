import errno
import os
import pickle
import pickletools
import resource
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairseq_ecg.data import DataError
from fairseq_ecg.formats.stores import (
    FILE_FORMATS,
    MemmapBatchWriter,
    MemmapReader,
    RowStore,
    memmap_batch_process,
    read_header,
)


@pytest.fixture
def values():
    return np.arange(15, dtype=np.float32).reshape(5, 3)


def test_written_by_batches_and_read_back(values, tmp_path):
    file = tmp_path / "outputs_test.npy"
    writer = MemmapBatchWriter(str(file), (5, 3), transform=lambda x: x.numpy() * 2)
    assert (writer.n, writer.total_n) == (0, 5)
    assert (tmp_path / "outputs_test_header.pkl").exists()
    for start in (0, 2, 4):
        writer(torch.from_numpy(values[start : start + 2]))
    writer.close()
    assert file.read_bytes() == (values * 2).tobytes()
    reader = MemmapReader.from_header(str(file))
    assert len(reader) == 5
    np.testing.assert_array_equal(reader[1:3], values[1:3] * 2)
    np.testing.assert_array_equal(np.asarray(reader), values * 2)
    assert pickle.loads((tmp_path / "outputs_test_header.pkl").read_bytes()) == {
        "shape": (5, 3),
        "dtype": "float32",
    }


def test_a_writer_refuses_what_does_not_fit(values, tmp_path):
    writer = MemmapBatchWriter(str(tmp_path / "x.npy"), (5, 3))
    writer(values[:3])
    message = (
        "Can only write 5 samples. Already wrote 3 samples, where the batch size being written is 3"
    )
    with pytest.raises(ValueError, match=message):
        writer(values[:3])
    writer(values[3:])
    writer.close()
    with pytest.raises(ValueError, match="MemmapBatchWriter is closed"):
        writer(values[:0])
    assert writer.is_closed()


def test_a_writer_from_a_header_empties_the_file(values, tmp_path):
    file = str(tmp_path / "x.npy")
    MemmapBatchWriter(file, (5, 3))(values)
    again = MemmapBatchWriter.from_header(file)
    assert (again.n, again.total_n) == (0, 5)
    assert not MemmapReader.from_header(file)[:].any()


def test_messages_of_fairseq_signals(values, tmp_path):
    with pytest.raises(ValueError, match=r"File x\.npz must have extension '\.npy'\."):
        MemmapReader("x.npz", (1,))
    with pytest.raises(ValueError, match=r"Could not find header file .*x_header\.pkl\."):
        MemmapReader.from_header(str(tmp_path / "x.npy"))
    with pytest.raises(ValueError, match="Cannot pass mode when initializing MemmapReader"):
        MemmapReader(str(tmp_path / "x.npy"), (1,), mode="r+")


def test_a_truncated_file_is_named(values, tmp_path):
    file = tmp_path / "x.npy"
    MemmapBatchWriter(file, (5, 3))(values)
    os.truncate(file, 40)
    with pytest.raises(DataError, match=r"x\.npy: holds fewer numbers than its header says"):
        MemmapReader.from_header(file)


def test_a_dtype_of_numpy_and_an_offset_are_read(values, tmp_path):
    """As linear.py writes headers."""
    file, header = tmp_path / "x.npy", tmp_path / "elsewhere.pkl"
    file.write_bytes(b"12345678" + values.tobytes())
    pickled = pickle.dumps({"shape": (5, 3), "dtype": values.dtype, "offset": 8})
    header.write_bytes(pickled)
    np.testing.assert_array_equal(MemmapReader.from_header(file, header)[:], values)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"shape": (1,), "dtype": x}])
def test_headers_run_no_code(wrap, tmp_path):
    header, made = tmp_path / "x_header.pkl", tmp_path / "made"
    header.write_bytes(pickle.dumps(wrap(Malicious(made))))
    with pytest.raises(DataError, match=r"x_header\.pkl is refused: it asks for .*mkdir"):
        read_header(header)
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"shape": (1,)}),
        pickle.dumps({"shape": "many", "dtype": "float32"}),
        pickle.dumps({"shape": (-1,), "dtype": "float32"}),
        pickle.dumps({"shape": (1,), "dtype": "float32", "mode": "w+"}),
    ],
)
def test_what_is_no_header_is_named(content, tmp_path):
    header = tmp_path / "x_header.pkl"
    header.write_bytes(content)
    with pytest.raises(DataError, match=r"x_header\.pkl.* Extract it again"):
        read_header(header)


def test_objects_are_never_read(tmp_path):
    (tmp_path / "x.npy").write_bytes(bytes(8))
    with pytest.raises(DataError, match="Python objects are not read"):
        MemmapReader(tmp_path / "x.npy", (1,), dtype="O")


@pytest.mark.parametrize("progress", [False, True])
def test_batches_are_processed_in_order(progress, values, capsys):
    seen = []

    def scaled(rows, factor):
        seen.append(len(rows))
        return rows * factor

    result = memmap_batch_process(values, scaled, 2, progress=progress, factor=3)
    np.testing.assert_array_equal(result, values * 3)
    assert seen == [2, 2, 1]
    assert ("3/3" in capsys.readouterr().err) == progress


@settings(max_examples=25, deadline=None)
@given(
    values=arrays.arrays(
        st.sampled_from(["float32", "float16"]),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements={"allow_nan": False},
    ),
    file_format=st.sampled_from(FILE_FORMATS),
    data=st.data(),
)
def test_rows_in_any_order_by_several_writers(values, file_format, data, tmp_path_factory):
    file = tmp_path_factory.mktemp("stores") / "x.npy"
    writers = [
        RowStore(file, values.shape, values.dtype.name, file_format, "one") for _ in range(2)
    ]
    writers[0].allocate()
    positions = data.draw(st.permutations(range(len(values))))
    middle = data.draw(st.integers(0, len(values)))
    for writer, chosen in zip(writers, (positions[:middle], positions[middle:]), strict=True):
        writer.write(chosen, values[chosen])
    assert not file.exists()
    writers[0].publish()
    np.testing.assert_array_equal(MemmapReader.from_header(file)[:], values)
    if file_format == "npy":
        np.testing.assert_array_equal(np.load(file), values)
    else:
        assert file.read_bytes() == values.tobytes()
    assert len(list(file.parent.iterdir())) == 2


def test_rows_of_another_shape_are_refused(values, tmp_path):
    store = RowStore(tmp_path / "x.npy", (5, 4), "float32")
    store.allocate()
    with pytest.raises(ValueError, match="rows of"):
        store.write([0, 1], values[:2])
    store.discard()
    assert list(tmp_path.iterdir()) == []


SHARED = b"\x80\x04)" + b"q\x00h\x00h\x00\x86" * 30
DICT = b"\x80\x04}(\x8c\x05shapeK\x01\x85\x8c\x05dtype\x8c\x07float32"

HOSTILE = {
    "a memo of 4 GB": b"\x80\x04}r\xff\xff\xff\x1f.",
    "a memo of 4 GB, by text": b"}p" + str(2**29).encode() + b"\n.",
    "nesting": b"\x80\x04" + b"]" * 100_000 + b".",
    "nesting of few": b"(" * 4000 + b"t" * 4000 + b".",
    "shared tuples": SHARED + b".",
    "shared tuples in a shape": b"\x80\x04}(\x8c\x05shape" + SHARED[2:] + b"u.",
    "shared tuples as a key": b"\x80\x04}" + SHARED[2:] + b"K\x01s.",
    "copies": b"\x80\x04)" + b"2\x86" * 60 + b".",
    "bytes that are not there": b"\x80\x05\x96" + struct.pack("<Q", 2**32) + b".",
    "text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "a frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".",
    "a long number": b"\x80\x04\x8b" + struct.pack("<I", 2**30) + b".",
    "a number of many digits": b"I" + b"9" * 4000 + b"\n.",
    "a dtype of many": b"\x80\x04}(\x8c\x05shapeK\x01\x85\x8c\x05dtypecnumpy\ndtype\n"
    b"\x8c\x0f(99999,99999)f8\x85Ru.",
    "another dtype": DICT.replace(b"\x07float32", b"\x07floaty7") + b"u.",
    "a dtype of fields": DICT.replace(b"\x07float32", b"\x07f8,f8,i") + b"u.",
    "an offset of text": DICT + b"\x8c\x06offset\x8c\x01xu.",
    "an offset before the file": DICT + b"\x8c\x06offsetJ\xff\xff\xff\xffu.",
    "an order of text": DICT + b"\x8c\x05order\x8c\x01xu.",
    "a shape of booleans": DICT.replace(b"K\x01\x85", b"\x88\x85") + b"u.",
    "a shape of petabytes": DICT.replace(b"K\x01\x85", b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85")
    + b"u.",
    "a shape of many axes": b"\x80\x04}(\x8c\x05shape("
    + b"K\x01" * 70
    + b"t\x8c\x05dtype\x8c\x02f4u.",
    "keys of other kinds": DICT + b"K\x01K\x02u.",
    "a state that is none": b"\x80\x04}(\x8c\x05shapeK\x01\x85\x8c\x05dtypecnumpy\ndtype\n"
    b"\x8c\x02f8\x85RK\x01bu.",
    "megabytes": DICT + b"\x8c\x01x" * 10**6 + b"u.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_named_at_once(content, tmp_path):
    header = tmp_path / "x_header.pkl"
    header.write_bytes(content)
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"x_header\.pkl"):
        read_header(header)
    assert time.monotonic() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**5  # KiB


def test_a_header_that_never_comes_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x_header.pkl")
    with pytest.raises(DataError, match=r"x_header\.pkl: no such file"):
        read_header(tmp_path / "x_header.pkl")
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy: is no file"):
        MemmapReader(tmp_path / "x.npy", (1,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float32", np.dtype("float16"), np.dtype(">f8"), "<i4"])
def test_headers_of_every_protocol_are_read(protocol, dtype, tmp_path):
    header = {"shape": (7, 3), "dtype": dtype, "offset": 128, "order": "C"}
    content = pickle.dumps(header, protocol=protocol)
    for written in (content, pickletools.optimize(content)):
        (tmp_path / "x_header.pkl").write_bytes(written)
        found = read_header(tmp_path / "x_header.pkl")
        assert found == header
        assert type(found["dtype"]) is type(dtype)


def full(*_):
    raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize(
    "write",
    [
        lambda file: MemmapBatchWriter(file, (1000, 1000)),
        lambda file: RowStore(file, (1000, 1000), "float32").allocate(),
        lambda file: RowStore(file, (1000, 1000), "float32", "npy").allocate(),
    ],
)
def test_a_full_disk_is_an_error_before_anything_is_written(write, tmp_path, monkeypatch):
    """A map without space behind it would end the process."""
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*x\.npy"):
        write(tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


def test_what_is_mapped_has_its_room(tmp_path):
    writers = (
        lambda file: MemmapBatchWriter(file, (1000, 500), offset=8),
        lambda file: RowStore(file, (1000, 500), "float32").allocate(),
    )
    for number, write in enumerate(writers):
        write(tmp_path / f"{number}.npy")
    sizes = [path.stat() for path in tmp_path.glob("*.npy")]
    assert all(size.st_size <= size.st_blocks * 512 for size in sizes)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_link_to_a_larger_disk_is_kept(values, tmp_path):
    (tmp_path / "x.npy").symlink_to(tmp_path / "elsewhere.npy")
    MemmapBatchWriter(tmp_path / "x.npy", (5, 3))(values)
    assert (tmp_path / "elsewhere.npy").read_bytes() == values.tobytes()
