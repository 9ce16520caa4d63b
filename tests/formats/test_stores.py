import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairseq_ecg.data import DataError
from fairseq_ecg.formats.stores import (
    FORMS,
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
    form=st.sampled_from(FORMS),
    data=st.data(),
)
def test_rows_in_any_order_by_several_writers(values, form, data, tmp_path_factory):
    file = tmp_path_factory.mktemp("stores") / "x.npy"
    writers = [RowStore(file, values.shape, values.dtype.name, form, "one") for _ in range(2)]
    writers[0].allocate()
    places = data.draw(st.permutations(range(len(values))))
    middle = data.draw(st.integers(0, len(values)))
    for writer, chosen in zip(writers, (places[:middle], places[middle:]), strict=True):
        writer.write(chosen, values[chosen])
    assert not file.exists()
    writers[0].publish()
    np.testing.assert_array_equal(MemmapReader.from_header(file)[:], values)
    if form == "npy":
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
