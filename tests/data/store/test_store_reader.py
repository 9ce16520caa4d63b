import functools
import json
import multiprocessing
import os
import resource
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from fairseq_ecg.data import DataError
from fairseq_ecg.data.store import Store, is_store
from fairseq_ecg.prepare.pack import pack
from tests.ecg_datasets import pairs_of


def everything(store: Store, split=None) -> torch.Tensor:
    segments = store.segments(split)
    return store.read(segments, np.arange(len(segments)))


@pytest.fixture
def copy(store, tmp_path):
    return shutil.copytree(store, tmp_path / "copy")


@pytest.fixture
def memory(store):
    """The store in fsspec's file system in memory."""
    files = fsspec.filesystem("memory")
    files.put(str(store), "/packed", recursive=True)
    yield "memory://packed"
    files.rm("/packed", recursive=True)


def test_a_store_is_distinguished_from_manifests(store, manifests):
    assert is_store(store)
    assert is_store("s3://bucket/store")
    assert not is_store(manifests)
    assert not is_store(manifests / "nothing")


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_come_in_the_order_asked_for(store, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        opened = Store(store)
        segments = opened.segments("train")
        whole = opened.read(segments, np.arange(13))
        rows = np.array([7, 0, 7, 12, 3])
        assert torch.equal(opened.read(segments, rows), whole[rows])
    finally:
        torch.set_num_threads(before)


def test_more_shards_than_files_may_be_open(manifests, tmp_path):
    pack(manifests, tmp_path / "store", shard_bytes=1)
    opened = Store(tmp_path / "store")
    segments = opened.segments()
    assert len(opened.description.shards) == 19
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The process may have files open beyond these, and gaps below them.
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, limits[1]))
    for number in free:
        os.close(number)
    try:
        opened.read(segments, np.arange(19))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_server_without_ranges_is_read_by_copies(store, caplog):
    """`python -m http.server` sends a file whole, whichever part is asked for."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(store))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *_: None  # of clients that hang up
        threading.Thread(target=server.serve_forever, daemon=True).start()
        by_http = Store(f"http://127.0.0.1:{server.server_port}")
        try:
            assert torch.equal(everything(by_http), everything(Store(store)))
            assert torch.equal(everything(by_http, "valid"), everything(Store(store), "valid"))
        finally:
            server.shutdown()
    assert caplog.text.count("was sent whole where one byte was asked for") == 1


def test_urls_give_the_same(store, memory, tmp_path):
    expected = everything(Store(store))
    assert torch.equal(everything(Store(memory)), expected)
    by_file = Store(f"file://{store}")
    assert not by_file.is_remote
    assert torch.equal(everything(by_file), expected)


@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_caches_of_fsspec(store, cache):
    opened = Store(f"{cache}::file://{store}")
    assert opened.is_remote
    assert torch.equal(everything(opened), everything(Store(store)))


def test_a_batch_is_read_by_one_request(memory, monkeypatch):
    dataset = pairs_of(f"{memory}/train")
    calls = []
    original = MemoryFileSystem.cat_ranges

    def counted(self, paths, *arguments, **options):
        calls.append(len(paths))
        return original(self, paths, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", counted)
    dataset.collate(dataset.__getitems__([0, 1, 2]))
    assert calls == [6]


def _sum_in_fork(store, segments, queue):
    queue.put(float(store.read(segments, np.arange(len(segments))).sum()))


def test_a_fork_reads_for_itself(memory):
    opened = Store(memory)
    segments = opened.segments("valid")
    expected = float(opened.read(segments, np.arange(len(segments))).sum())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_sum_in_fork, args=(opened, segments, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join()


def flip_a_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_is_found_and_named(copy):
    flip_a_bit(copy / "shard-000001.npy", -20)
    unchecked = Store(copy)
    everything(unchecked)
    message = r"copy/shard-000001\.npy: the checksum of rec3_3\.mat is wrong"
    with pytest.raises(DataError, match=message):
        everything(Store(copy, verify=True))
    segments = unchecked.segments()
    (fault,) = unchecked.faults(segments, np.arange(len(segments)))
    assert "rec3_3.mat" in fault


def test_what_comes_over_a_network_is_always_checked(memory):
    files = fsspec.filesystem("memory")
    content = bytearray(files.cat_file("/packed/shard-000000.npy"))
    content[-1] ^= 1
    files.pipe_file("/packed/shard-000000.npy", bytes(content))
    with pytest.raises(DataError, match=r"shard-000000\.npy: the checksum of .* is wrong"):
        everything(Store(memory))


def test_missing_and_short_shards_are_named(copy, memory):
    files = fsspec.filesystem("memory")
    files.rm("/packed/shard-000001.npy")
    with pytest.raises(DataError, match=r"shard-000001\.npy: no such shard. Restore it"):
        everything(Store(memory))
    shard = copy / "shard-000002.npy"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"shard-000002\.npy: has \d+ bytes, 4 too few"):
        everything(Store(copy))
    files.pipe_file("/packed/shard-000001.npy", shard.read_bytes()[:-400])
    with pytest.raises(
        DataError, match=r"shard-000001\.npy: (\d+ bytes were asked for|cannot be read)"
    ):
        everything(Store(memory))
    shard.unlink()
    with pytest.raises(DataError, match=r"shard-000002\.npy: no such shard. Restore it"):
        everything(Store(copy))


def test_damaged_descriptions_are_named(copy, tmp_path):
    description = copy / "store.json"
    content = json.loads(description.read_text())
    for damage, message in (
        ({"version": 1}, "is of version 1, and this program reads version 2"),
        ({"format": "zarr"}, "is no description of a store"),
        ({"dtype": "int8"}, "is damaged"),
        ({"index": "index-000009.parquet"}, r"index-000009\.parquet: no such file"),
        ({"index_crc32": 1}, r"index-000000\.parquet: its checksum is wrong"),
    ):
        description.write_text(json.dumps(content | damage))
        with pytest.raises(DataError, match=message):
            everything(Store(copy))
    description.write_text("{")
    with pytest.raises(DataError, match=r"copy/store\.json: is no description of a store"):
        Store(copy)
    with pytest.raises(DataError, match=r"store\.json: no such file. Give the folder or URL"):
        Store(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"store\.json: no such file. Give the folder or URL"):
        Store("memory://nothing")
    with pytest.raises(DataError, match="fsspec cannot open it"):
        Store("nosuchprotocol://bucket/store")
