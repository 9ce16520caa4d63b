import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import scipy.io

from fairseq_ecg.data import DataError
from fairseq_ecg.data.store import Store
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import describe, unpack, verify
from tests.ecg_datasets import dataset_of
from tests.segment_files import write_segment_files

COUNTS = {"train": [2, 1, 3], "valid": [4]}


@pytest.fixture
def manifests(tmp_path):
    write_segment_files(tmp_path / "in", COUNTS, mean=np.ones((12, 1)), name="text")
    return tmp_path / "in"


def rows(path) -> list[str]:
    return path.read_text().splitlines()[1:]


def test_float64_comes_back_byte_by_byte(manifests, tmp_path):
    pack(manifests, tmp_path / "store", dtype="float64", shard_bytes=4 * 12 * 40 * 8)
    unpacked = unpack(tmp_path / "store", tmp_path / "out")
    assert (unpacked.files, unpacked.identical) == (10, 10)
    assert unpacked.segments == {"train": 6, "valid": 4}
    for path in (manifests / "segmented").iterdir():
        assert (tmp_path / "out" / "segmented" / path.name).read_bytes() == path.read_bytes()
    for split in COUNTS:
        manifest = tmp_path / "out" / "manifests" / f"{split}.tsv"
        assert manifest.read_text().splitlines()[0] == f"\t{tmp_path}/out/segmented/"
        assert rows(manifest) == rows(manifests / f"{split}.tsv")
        pairs = tmp_path / "out" / "manifests" / "cmsc" / f"{split}.tsv"
        assert rows(pairs) == rows(manifests / "cmsc" / f"{split}.tsv")


def test_files_of_float32_come_back_from_float32(tmp_path):
    feats = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
    write_segment_files(tmp_path / "in", {"train": [2]}, feats=feats)
    pack(tmp_path / "in", tmp_path / "store")
    assert unpack(tmp_path / "store", tmp_path / "out").identical == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16"])
def test_what_comes_back_is_packed_again_to_the_same_store(manifests, tmp_path, dtype):
    pack(manifests, tmp_path / "store", dtype=dtype)
    unpacked = unpack(tmp_path / "store", tmp_path / "out")
    assert unpacked.identical == 0
    original = scipy.io.loadmat(manifests / "segmented" / "rec2_1.mat")
    found = scipy.io.loadmat(tmp_path / "out" / "segmented" / "rec2_1.mat")
    assert found.keys() == original.keys()
    assert found["feats"].dtype == original["feats"].dtype
    np.testing.assert_allclose(found["feats"], original["feats"], atol=2e-3)
    pack(tmp_path / "out" / "manifests", tmp_path / "again", dtype=dtype)
    for name in ("store", "again"):
        assert verify(tmp_path / name) == []
    one, other = (dataset_of(tmp_path / name / "train") for name in ("store", "again"))
    for index in range(len(one)):
        assert one[index]["source"].equal(other[index]["source"])


def test_files_of_level_4_come_back_with_what_training_reads(tmp_path):
    write_segment_files(tmp_path / "in", {"train": [2]})
    for path in (tmp_path / "in" / "segmented").iterdir():
        mat = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        scipy.io.savemat(path, mat, format="4")
    pack(tmp_path / "in", tmp_path / "store", dtype="float64")
    unpack(tmp_path / "store", tmp_path / "out")
    original = scipy.io.loadmat(tmp_path / "in" / "segmented" / "rec0_1.mat")
    found = scipy.io.loadmat(tmp_path / "out" / "segmented" / "rec0_1.mat")
    for key in ("feats", "idx", "curr_sample_rate", "label"):
        np.testing.assert_array_equal(found[key], original[key])


def test_roots_with_files_of_one_name_are_kept_apart(tmp_path):
    for name, first_idx in (("a", 0), ("b", 0)):
        write_segment_files(tmp_path / name, {"train": [2]}, first_idx=first_idx)
        pack(tmp_path / name, tmp_path / "store", dtype="float64")
    unpacked = unpack(tmp_path / "store", tmp_path / "out")
    assert (unpacked.files, unpacked.identical) == (4, 4)
    assert [row.split("\t")[0] for row in rows(tmp_path / "out" / "manifests" / "train.tsv")] == [
        "0/rec0_0.mat",
        "0/rec0_1.mat",
        "1/rec0_0.mat",
        "1/rec0_1.mat",
    ]


def test_all_faults_are_found(manifests, tmp_path):
    store = tmp_path / "store"
    pack(manifests, store, shard_bytes=3 * 12 * 40 * 4)
    assert verify(store) == []
    for name, position in (("shard-000000.npy", 200), ("shard-000002.npy", -1)):
        content = bytearray((store / name).read_bytes())
        content[position] ^= 16
        (store / name).write_bytes(content)
    (store / "shard-000001.npy").unlink()
    variables = store / "shard-000002.parquet"
    variables.write_bytes(variables.read_bytes().replace(b"PAR1", b"par1", 1))
    faults = verify(store)
    assert [fault.split(":")[0].rpartition("/")[2] for fault in faults] == [
        "shard-000000.npy",
        "shard-000001.npy",
        "shard-000002.npy",
        "shard-000002.parquet",
    ]
    with pytest.raises(DataError, match=r"shard-000000\.npy: the checksum of rec0_0\.mat"):
        unpack(store, tmp_path / "out")


@pytest.mark.parametrize("path", ["../in/segmented/rec0_0.mat", "/etc/passwd_0.mat"])
def test_nothing_is_unpacked_elsewhere(manifests, tmp_path, monkeypatch, path):
    """The writer of a store decides what its files are called."""
    pack(manifests, tmp_path / "store")
    named = Store.segments

    def elsewhere(store, split=None):
        segments = named(store, split)
        paths = [path, *segments.paths.to_pylist()[1:]]
        return dataclasses.replace(segments, paths=pa.array(paths))

    monkeypatch.setattr(Store, "segments", elsewhere)
    with pytest.raises(DataError, match="is not below the folder that is unpacked to"):
        unpack(tmp_path / "store", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_store_is_described(manifests, tmp_path):
    pack(manifests, tmp_path / "store", dtype="int16", shard_bytes=4 * 12 * 40 * 2)
    assert describe(tmp_path / "store").splitlines() == [
        f"{tmp_path}/store: int16, 3 shards, 0.0 MiB of samples",
        "10 segments of 12 leads, 40 samples, 500 Hz, with labels",
        "train: 6 segments, 2 pairs",
        "valid: 4 segments, 2 pairs",
        f"from {manifests}/segmented/",
    ]
