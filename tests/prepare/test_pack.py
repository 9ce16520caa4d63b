import os
import shutil

import numpy as np
import pytest
import scipy.io

from fairseq_ecg.data import DataError
from fairseq_ecg.data.store import Store
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.prepare import pack as packing
from fairseq_ecg.prepare.pack import PENDING, pack
from tests.ecg_datasets import dataset_of, pairs_of
from tests.interruptions import interrupt, replace_until
from tests.segment_files import write_segment_files

SHARD = 5 * 12 * 40 * 4
COUNTS = {"train": [2, 1, 3, 5, 2], "valid": [2, 4]}


def contents(store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def samples(dataset) -> list:
    batch = dataset.collate(dataset.__getitems__(range(len(dataset))))
    return batch["net_input"]["source"].tolist()


@pytest.fixture
def manifests(tmp_path):
    write_segment_files(tmp_path / "one", COUNTS)
    return tmp_path / "one"


def test_what_was_packed_is_reported(manifests, tmp_path):
    packed = pack(manifests, tmp_path / "store", shard_bytes=SHARD)
    assert packed.added == {"train": 13, "valid": 6}
    assert (packed.present, packed.shards) == (0, 4)
    again = pack(manifests, tmp_path / "store", shard_bytes=SHARD)
    assert again.added == {"train": 0, "valid": 0}
    assert (again.present, again.shards) == (19, 0)


def test_the_same_files_give_the_same_bytes(manifests, tmp_path):
    for name in ("a", "b"):
        pack(manifests, tmp_path / name, shard_bytes=SHARD)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_shards_are_arrays_of_numpy(manifests, tmp_path):
    for dtype in ("float32", "float16", "int16", "float64"):
        pack(manifests, tmp_path / dtype, dtype=dtype)
        (shard,) = Store(tmp_path / dtype).description.shards
        values = np.load(tmp_path / dtype / shard.name, mmap_mode="r")
        assert (values.dtype, values.shape) == (np.dtype(dtype), (19 * 12 * 40,))


def test_adding_keeps_what_is_there(manifests, tmp_path):
    store = tmp_path / "store"
    pack(manifests, store, shard_bytes=SHARD)
    before = {split: samples(dataset_of(store / split)) for split in COUNTS}
    pairs = samples(pairs_of(store / "train"))
    shards = {name: data for name, data in contents(store).items() if name.startswith("shard")}
    write_segment_files(tmp_path / "other", {"train": [4], "test": [2]}, first_idx=50)
    packed = pack(tmp_path / "other", store)
    assert packed.added == {"test": 2, "train": 4}
    assert contents(store).items() >= shards.items()
    after = samples(dataset_of(store / "train"))
    assert after[:13] == before["train"]
    assert len(after) == 17
    assert samples(dataset_of(store / "valid")) == before["valid"]
    assert samples(pairs_of(store / "train"))[: len(pairs)] == pairs
    assert len(pairs_of(store / "test")) == 1


def test_files_of_several_splits_are_stored_once(manifests, tmp_path):
    shutil.copy(manifests / "train.tsv", manifests / "all.tsv")
    pack(manifests, tmp_path / "store")
    opened = Store(tmp_path / "store")
    assert opened.description.shards[0].n_values == 19 * 12 * 40
    twin = samples(dataset_of(tmp_path / "store" / "all"))
    assert twin == samples(dataset_of(tmp_path / "store" / "train"))


def test_cmsc_manifests_are_packed_as_they_pair(manifests, tmp_path):
    path = manifests / "cmsc" / "train.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[:1:-1], lines[2]]) + "\n")
    pack(manifests / "cmsc", tmp_path / "store")
    pack(manifests, tmp_path / "plain")
    found = samples(pairs_of(tmp_path / "store" / "train"))
    expected = np.reshape(samples(pairs_of(tmp_path / "plain" / "train")), (-1, 2, 480))
    expected = np.concatenate([expected[::-1], expected[:1]])
    np.testing.assert_array_equal(np.reshape(found, (-1, 2, 480)), expected)


@pytest.mark.parametrize("n_files", range(14))
def test_a_killed_run_is_continued_and_leaves_the_old_store_alone(
    manifests, tmp_path, monkeypatch, n_files
):
    """Four shards of four files each time, then index and description."""
    write_segment_files(tmp_path / "old", {"train": [2]}, first_idx=70)
    for name in ("store", "whole"):
        pack(tmp_path / "old", tmp_path / name)
    pack(manifests, tmp_path / "whole", shard_bytes=SHARD)
    store = tmp_path / "store"
    before = samples(dataset_of(store / "train"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_until(n_files, interrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(manifests, store, shard_bytes=SHARD)
    assert samples(dataset_of(store / "train")) == before
    read = []
    original = packing._NewShard.add
    monkeypatch.setattr(
        packing._NewShard, "add", lambda part, *rest: read.append(rest) or original(part, *rest)
    )
    pack(manifests, store, shard_bytes=SHARD)
    assert len(read) == 19 - 5 * min(n_files // 4, 3) - (4 if n_files == 16 else 0)
    assert contents(store) == contents(tmp_path / "whole")


def test_what_another_run_left_is_put_aside(manifests, tmp_path, monkeypatch):
    write_segment_files(tmp_path / "other", {"train": [4]}, first_idx=50)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_until(9, interrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(manifests, tmp_path / "store", shard_bytes=SHARD)
    pack(tmp_path / "other", tmp_path / "store")
    pack(tmp_path / "other", tmp_path / "whole")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    assert not (tmp_path / "store" / PENDING).exists()


def test_two_runs_at_once_are_refused(manifests, tmp_path):
    store = tmp_path / "store"
    with (
        locked(store, file=store / ".lock"),
        pytest.raises(DataError, match="store: another run is writing there"),
    ):
        pack(manifests, store)
    assert pack(manifests, store).added["train"] == 13


def test_another_type_is_refused(manifests, tmp_path):
    pack(manifests, tmp_path / "store", dtype="int16")
    with pytest.raises(DataError, match=r"store: holds int16, not float32"):
        pack(manifests, tmp_path / "store", dtype="float32")
    assert pack(manifests, tmp_path / "store").present == 19
    with pytest.raises(DataError, match="'int8': choose one of float32"):
        pack(manifests, tmp_path / "other", dtype="int8")


def test_bad_files_are_named(manifests, tmp_path):
    root = manifests / "segmented"
    cases = (
        (
            {"feats": np.ones((12, 39)), "curr_sample_rate": 500},
            "the ECG has 39 samples",
        ),
        ({"feats": np.ones((12, 40))}, "has no 'curr_sample_rate'"),
        ({"feats": np.ones((12, 40)), "curr_sample_rate": 500, "idx": 0.5}, "'idx' must be one"),
        (
            {"feats": np.ones((12, 40)), "curr_sample_rate": 500, "label": "LBBB"},
            "'label' must be numbers",
        ),
    )
    for mat, message in cases:
        scipy.io.savemat(root / "rec0_1.mat", mat)
        where = rf"rec0_1\.mat \({manifests}/train\.tsv, line 3\): {message}"
        with pytest.raises(DataError, match=where):
            pack(manifests, tmp_path / "store")
    (root / "rec0_1.mat").write_bytes(b"no mat")
    with pytest.raises(DataError, match=r"rec0_1\.mat .*is no \.mat file, or damaged"):
        pack(manifests, tmp_path / "store")
    (root / "rec0_1.mat").unlink()
    with pytest.raises(DataError, match=r"rec0_1\.mat .*no such file"):
        pack(manifests, tmp_path / "store")
    with pytest.raises(DataError, match="nothing: holds no manifests"):
        pack(tmp_path / "nothing", tmp_path / "store")
    assert not (tmp_path / "store" / "store.json").exists()
