"""Stores of segments whose every sample has a label: packed, added to, damaged and unpacked."""

import json
import os
import shutil

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
import scipy.io

from fairseq_ecg.data import DataError, ECGDataset
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.data.store import Store
from fairseq_ecg.data.store.layout import decode_labels
from fairseq_ecg.data.targets import SegmentationTarget
from fairseq_ecg.data.views import WholeRecordingView
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import describe, unpack, verify
from tests.data.store.test_store_source import assert_same
from tests.interruptions import interrupt, replace_until
from tests.prepare.test_hostile_stores import assert_named, redescribe, reindex
from tests.segment_files import write_segment_files

N_SAMPLES = 40
SHARD = 3 * 12 * N_SAMPLES * 4


def labels(seed):
    rng = np.random.default_rng(seed)
    return {
        "segment_label": rng.integers(0, 4, N_SAMPLES),
        "segment_mask": rng.integers(0, 2, N_SAMPLES).astype(np.uint8),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Ten segments with labels of their own; one lacks a mask."""
    folder = tmp_path_factory.mktemp("files")
    write_segment_files(folder, {"train": [2, 1, 3], "valid": [4]})
    for number, path in enumerate(sorted((folder / "segmented").iterdir())):
        mat = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        own = labels(number)
        if number == 2:
            del own["segment_mask"]
        scipy.io.savemat(path, mat | own, do_compression=number == 3)
    return folder


@pytest.fixture(scope="module")
def packed(files, tmp_path_factory):
    store = tmp_path_factory.mktemp("packed") / "store"
    pack(files, store, shard_bytes=SHARD, dtype="float64")
    return store


@pytest.fixture
def store(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "a" / "b" / "store")


def dataset(path, **options) -> ECGDataset:
    target = SegmentationTarget()
    return ECGDataset(path, WholeRecordingView(), target, source=source_of(path, **options))


def batch(path, **options):
    one = dataset(path, **options)
    return one.collate(one.__getitems__(range(len(one))))


def test_labels_are_bytes_beside_the_samples(packed):
    shards = Store(packed).description.shards
    for shard in shards:
        values = np.load(packed / shard.labels, mmap_mode="r")
        assert (values.dtype, values.shape) == (np.uint8, (shard.n_labels,))
    assert sum(shard.n_labels for shard in shards) == 10 * N_SAMPLES
    expected = labels(0)
    found = decode_labels(np.load(packed / shards[0].labels)[:N_SAMPLES])
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert "labels of samples" in describe(packed)


def test_batches_are_those_of_the_files(files, packed):
    for split in ("train", "valid"):
        assert_same(batch(packed / split), batch(files / f"{split}.tsv"))


def test_labels_come_through_a_network(packed):
    fsspec.filesystem("memory").put(str(packed), "/labels-of-samples", recursive=True)
    assert_same(batch("memory://labels-of-samples/train"), batch(packed / "train"))


def test_files_come_back_byte_by_byte(files, packed, tmp_path):
    unpacked = unpack(packed, tmp_path)
    assert (unpacked.files, unpacked.identical) == (10, 10)
    for path in (files / "segmented").iterdir():
        assert (tmp_path / "segmented" / path.name).read_bytes() == path.read_bytes()


def test_files_of_level_4_come_back_with_their_labels(tmp_path):
    write_segment_files(tmp_path / "in", {"train": [2]}, **labels(0))
    for path in (tmp_path / "in" / "segmented").iterdir():
        mat = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        scipy.io.savemat(path, mat, format="4")
    pack(tmp_path / "in", tmp_path / "store")
    unpack(tmp_path / "store", tmp_path / "out")
    found = scipy.io.loadmat(tmp_path / "out" / "segmented" / "rec0_1.mat")
    for name, expected in labels(0).items():
        np.testing.assert_array_equal(found[name], expected[None])


def test_stores_without_labels_say_nothing_of_them(tmp_path):
    write_segment_files(tmp_path, {"train": [2]})
    pack(tmp_path, tmp_path / "store")
    description = json.loads((tmp_path / "store" / "store.json").read_text())
    fields = {"name", "n_values", "start", "variables", "variables_crc32"}
    assert description["version"] == 2
    assert [set(shard) for shard in description["shards"]] == [fields]
    table = pyarrow.parquet.read_table(tmp_path / "store" / description["index"])
    assert not [name for name in table.column_names if name.startswith("labels")]
    assert not list((tmp_path / "store").glob("*.labels.npy"))


def test_recordings_with_labels_are_added_to_some_without(files, tmp_path):
    write_segment_files(tmp_path / "plain", {"train": [2]}, first_idx=70)
    for name in ("plain", "both"):
        pack(tmp_path / "plain", tmp_path / name / "store")
    pack(files, tmp_path / "both" / "store", shard_bytes=SHARD)
    both = dataset(tmp_path / "both" / "store" / "train")
    with pytest.raises(DataError, match=r"rec70_0\.mat .*has no 'segment_label'"):
        both.__getitems__([0, 2])
    expected = dataset(files / "train.tsv")
    joined = both.collate(both.__getitems__(range(2, 8)))
    for key, values in expected.collate(expected.__getitems__(range(6))).items():
        if key != "id":
            assert_same(joined[key], values)
    assert verify(tmp_path / "both" / "store") == []


@pytest.mark.parametrize("n_files", range(0, 27, 3))
def test_a_killed_run_is_continued(files, packed, tmp_path, monkeypatch, n_files):
    """Five shards of five files each, then index and description."""
    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_until(n_files, interrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(files, store, shard_bytes=SHARD, dtype="float64")
    pack(files, store, shard_bytes=SHARD, dtype="float64")
    contents = [{path.name: path.read_bytes() for path in at.iterdir()} for at in (store, packed)]
    assert contents[0] == contents[1]


def test_labels_that_an_interrupted_run_lost_are_missed(files, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    store = tmp_path / "store"
    monkeypatch.setattr("fairseq_ecg.prepare.pack._Run.publish", die)
    with pytest.raises(KeyboardInterrupt):
        pack(files, store, shard_bytes=SHARD)
    (store / "shard-000000.labels.npy").unlink()
    with pytest.raises(DataError, match=r"shard-000000\.npy is not as it says\. Remove"):
        pack(files, store, shard_bytes=SHARD)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_found_and_named(store):
    flip_a_bit(store / "shard-000000.labels.npy")
    message = r"shard-000000\.labels\.npy: the checksum of the labels of rec0_1\.mat is wrong"
    (fault,) = verify(store)
    assert "shard-000000.labels.npy: the checksum of the labels of rec0_1.mat is wrong" in fault
    batch(store / "train")
    with pytest.raises(DataError, match=message):
        batch(store / "train", verify=True)
    fsspec.filesystem("memory").put(str(store), "/flipped-label", recursive=True)
    with pytest.raises(DataError, match=message):
        batch("memory://flipped-label/train")


def test_missing_short_and_long_labels_are_named(store):
    path = store / "shard-000001.labels.npy"
    whole = path.read_bytes()
    for content, message in ((whole[:-3], "3 too few"), (whole + b"x", "1 bytes too many")):
        path.write_bytes(content)
        assert message in " ".join(verify(store))
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match=r"shard-000001\.labels\.npy: has .* 3 too few"):
        batch(store / "train")
    path.unlink()
    assert "shard-000001.labels.npy: no such shard" in " ".join(verify(store))


@pytest.mark.parametrize("value", [-2, 10**9, 2 * N_SAMPLES + 1, 2**63 - 1])
def test_labels_that_are_not_there_are_named(store, value):
    reindex(store, "labels_offset", 0, value)
    assert_named(store, "has labels of samples elsewhere", index_is_at_fault=True)


def test_labels_of_no_file_are_named(store):
    def forget(content):
        for key in ("labels", "n_labels", "labels_start"):
            del content["shards"][0][key]

    redescribe(store, forget)
    assert_named(store, "has labels of samples elsewhere", index_is_at_fault=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "../x.npy"}, "It must be the plain name of a file in a folder"),
        ({"labels": None}, "It must be the plain name of a file in a folder"),
        ({"labels": "shard-000001.npy"}, "names a file twice"),
        ({"n_labels": -1}, "is damaged"),
        ({"n_labels": 10**15}, "more than the most that is plausible"),
        ({"labels_start": 1.5}, "is damaged"),
    ],
)
def test_damaged_descriptions_are_named(store, change, message):
    redescribe(store, lambda content: content["shards"][0].update(change))
    assert_named(store, message)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"segment_label": np.arange(N_SAMPLES) + 100}, "must be classes 0 to 127, found 100 to"),
        ({"segment_label": np.arange(N_SAMPLES) - 1}, "must be classes 0 to 127"),
        ({"segment_label": np.arange(N_SAMPLES) / 2}, "must be classes 0 to 127"),
        ({"segment_label": np.zeros(39)}, r"'segment_label' must be numbers of shape \(1, 40\)"),
        (labels(0) | {"segment_mask": [1]}, r"'segment_mask' must be numbers of shape \(1, 40\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, variables, message):
    write_segment_files(tmp_path, {"train": [2]}, **variables)
    with pytest.raises(DataError, match=rf"rec0_0\.mat .*{message}"):
        pack(tmp_path, tmp_path / "store")


def test_files_named_by_a_number_alone_are_packed(tmp_path):
    ecg = {"feats": np.zeros((12, N_SAMPLES)), "curr_sample_rate": 500}
    for name in ("1.mat", "_2.mat"):
        scipy.io.savemat(tmp_path / name, ecg | labels(0))
    lines = "".join(f"{name}\t{N_SAMPLES}\n" for name in ("1.mat", "_2.mat"))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{lines}")
    pack(tmp_path, tmp_path / "store")
    assert_same(batch(tmp_path / "store" / "train"), batch(tmp_path / "train.tsv"))
