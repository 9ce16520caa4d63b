"""Stores of segments with texts: packed, added to, damaged and unpacked."""

import resource
import shutil

import numpy as np
import pyarrow as pa
import pytest
import scipy.io

from fairseq_ecg.data import DataError
from fairseq_ecg.data.sources import Variables, source_of
from fairseq_ecg.data.store import Store
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import describe, unpack, verify
from tests.ecg_texts import write_corpus
from tests.prepare.test_hostile_stores import assert_named, reindex, write_index
from tests.segment_files import write_segment_files

WANTED = Variables(optional=("text", "diagnoses"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_corpus(folder, {"train": 6, "valid": 3}, n_samples=40, texts={2: "", 4: "Größe: 5 µV"})
    return folder


@pytest.fixture(scope="module")
def packed(files, tmp_path_factory):
    store = tmp_path_factory.mktemp("packed") / "store"
    pack(files, store, dtype="float64", shard_bytes=3 * 12 * 40 * 8)
    return store


@pytest.fixture
def store(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "a" / "b" / "store")


def texts(path) -> dict[str, list]:
    """Texts and diagnoses of all segments of a split."""
    source = source_of(path)(path, False, None)
    segments = source.read(range(len(source.sizes)), WANTED, 1)
    list(segments.recordings())
    return {name: segments.texts(name) for name in WANTED.optional}


def test_texts_are_those_of_the_files(files, packed):
    for split in ("train", "valid"):
        found = texts(packed / split)
        assert found == texts(files / f"{split}.tsv")
        assert all(len(codes) > 1 for codes in found["diagnoses"])
    train = texts(packed / "train")["text"]
    assert (train[2], train[4]) == ([], ["Größe: 5 µV"])
    assert "with texts" in describe(packed)
    assert verify(packed) == []


def test_files_come_back_byte_by_byte(files, packed, tmp_path):
    unpacked = unpack(packed, tmp_path)
    assert (unpacked.files, unpacked.identical) == (9, 9)
    for path in (files / "files").iterdir():
        assert (tmp_path / "segmented" / path.name).read_bytes() == path.read_bytes()


def test_files_of_level_4_come_back_with_their_texts(tmp_path):
    own = {"text": "sinus rhythm", "diagnoses": ["SR", "LVOLT"]}
    write_segment_files(tmp_path / "in", {"train": [2]}, **own)
    for path in (tmp_path / "in" / "segmented").iterdir():
        mat = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        scipy.io.savemat(path, mat, format="4")
    pack(tmp_path / "in", tmp_path / "store")
    unpack(tmp_path / "store", tmp_path / "out")
    found = texts(tmp_path / "out" / "manifests" / "train.tsv")
    assert found == {"text": [["sinus rhythm"]] * 2, "diagnoses": [["SR", "LVOLT"]] * 2}


def test_files_without_texts_are_added_to_those_that_have_them(packed, tmp_path):
    store = shutil.copytree(packed, tmp_path / "store")
    write_segment_files(tmp_path / "more", {"train": [2]})
    pack(tmp_path / "more", store)
    found = texts(store / "train")
    assert found["text"][6:] == [None, None]
    assert found["text"][:6] == texts(packed / "train")["text"]


def test_stores_without_texts_have_no_such_columns(tmp_path):
    write_segment_files(tmp_path, {"train": [2]})
    pack(tmp_path, tmp_path / "store")
    assert not {"text", "diagnoses"} & set(Store(tmp_path / "store").table().column_names)
    assert texts(tmp_path / "store" / "train") == {"text": [None] * 2, "diagnoses": [None] * 2}
    assert "with texts" not in describe(tmp_path / "store")


def test_what_is_no_text_is_refused(tmp_path):
    write_segment_files(tmp_path, {"train": [1]}, text=np.arange(3))
    with pytest.raises(DataError, match=r"rec0_0\.mat \(.*, line 2\): 'text' must be text, found"):
        pack(tmp_path, tmp_path / "store")


def test_texts_of_another_kind_are_named(store):
    table = Store(store).table()
    index = table.column_names.index("text")
    write_index(store, table.set_column(index, "text", pa.array([1] * len(table))))
    assert_named(store, "'text' is of int64, not lists of texts")


def test_texts_that_lack_values_are_named(store):
    reindex(store, "diagnoses", 1, ["SR", None])
    assert_named(store, "'diagnoses' lacks values")


def test_a_small_index_of_terabytes_of_texts_is_not_unpacked(store):
    """A long text that all rows refer to."""
    table, n_rows = Store(store).table(), 10**5
    columns = {
        name: pa.array([table[name][0].as_py()], table[name].type).take(pa.array([0] * n_rows))
        for name in table.column_names
    }
    long = pa.DictionaryArray.from_arrays(np.zeros(n_rows, np.int32), ["x" * 10**6])
    lists = pa.ListArray.from_arrays(np.arange(n_rows + 1, dtype=np.int32), long)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("text", "diagnoses"):
        write_index(store, pa.table(columns | {name: lists}))
        assert (store / "index-000000.parquet").stat().st_size < 3 * 10**6
        with pytest.raises(DataError, match=r"bytes when unpacked, more than the most"):
            Store(store).segments()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # KiB
