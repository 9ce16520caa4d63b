"""Stores that somebody else wrote, or that are damaged: named, quickly, and nothing elsewhere."""

import json
import os
import resource
import shutil
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.data import DataError
from fairseq_ecg.data.store import Store
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.prepare import pack as packing
from fairseq_ecg.prepare.pack import PENDING, pack
from fairseq_ecg.prepare.unpack import describe, unpack, verify
from tests.ecg_datasets import dataset_of, pairs_of
from tests.segment_files import write_segment_files

SHARD = 4 * 12 * 40 * 4


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_segment_files(folder, {"train": [2, 1, 3], "valid": [4]})
    return folder


@pytest.fixture(scope="module")
def packed(manifests, tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("packed") / "store"
    pack(manifests, store, dtype="int16", shard_bytes=SHARD // 2)
    return store


@pytest.fixture
def store(packed, tmp_path) -> Path:
    """Three shards in ``a/b/store``."""
    return shutil.copytree(packed, tmp_path / "a" / "b" / "store")


def redescribe(store: Path, change) -> None:
    """Change ``store.json``."""
    content = json.loads((store / "store.json").read_text())
    change(content)
    (store / "store.json").write_text(json.dumps(content))


def write_index(store: Path, table: pa.Table) -> None:
    """Write an index, and the checksum that it has."""
    name = json.loads((store / "store.json").read_text())["index"]
    pyarrow.parquet.write_table(table, store / name, store_schema=False)
    crc32 = zlib.crc32((store / name).read_bytes())
    redescribe(store, lambda content: content.update(index_crc32=crc32))


def reindex(store: Path, column: str, row: int, value) -> None:
    """Change a value of the index."""
    name = json.loads((store / "store.json").read_text())["index"]
    table = pyarrow.parquet.read_table(store / name)
    values = table[column].to_pylist()
    values[row] = value
    index = table.column_names.index(column)
    write_index(store, table.set_column(index, column, pa.array(values, table[column].type)))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_named(store: Path, message: str, index_is_at_fault: bool = False) -> None:
    """Every way to read a store says what is wrong, and none writes anything."""
    before = files_in(store.parents[2])
    if index_is_at_fault:
        assert message in " ".join(verify(store))
        assert main(["store", "verify", str(store)]) == 1
    else:
        with pytest.raises(DataError) as error:
            verify(store)
        assert message in str(error.value)
    for use in (
        lambda: unpack(store, store.parent / "out"),
        lambda: describe(store),
        lambda: dataset_of(store / "train"),
        lambda: pairs_of(store / "train"),
        lambda: Store(store).segments(),
    ):
        with pytest.raises(DataError) as error:
            use()
        assert message in str(error.value)
    assert files_in(store.parents[2]) == before


NAMES = ["../shard-000000.npy", "/etc/passwd", "..", "", "a/b", "C:x", "x\0", 3, None, ["x"]]


@pytest.mark.parametrize("field", ["index", "name", "variables"])
@pytest.mark.parametrize("name", NAMES)
def test_files_of_a_store_lie_in_its_folder(store, field, name):
    for at in ("shard-000000.npy", "shard-000000.parquet", "index-000000.parquet"):
        shutil.copy(store / at, store.parent / at)

    def change(content):
        (content if field == "index" else content["shards"][1])[field] = name

    redescribe(store, change)
    assert_named(store, "It must be the plain name of a file in a folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["shards"].append(3), "is damaged"),
        (lambda c: c.update(shards=None), "is damaged"),
        (lambda c: c.update(shards={}), "is damaged"),
        (lambda c: c.update(dtype=["float32"]), "is damaged"),
        (lambda c: c.update(index_crc32="1"), "is damaged"),
        (lambda c: c.update(version=[]), "is damaged"),
        (lambda c: c["shards"][0].pop("start"), "is damaged"),
        (lambda c: c["shards"][0].update(more=1), "is damaged"),
        (lambda c: c["shards"][0].update(start=-8), "is damaged"),
        (lambda c: c["shards"][0].update(start=1.5), "is damaged"),
        (lambda c: c["shards"][0].update(n_values=10**30), "is damaged"),
        (lambda c: c["shards"][0].update(n_values=True), "is damaged"),
        (lambda c: c["shards"][0].update(n_values=10**15), "more than the most that is plausible"),
        (lambda c: c["shards"][0].update(name="shard-000001.npy"), "names a file twice"),
        (lambda c: c["shards"][0].update(name="store.json"), "names a file twice"),
        (lambda c: c["shards"].clear(), "no shard of the 0 there are"),
    ],
)
def test_damaged_descriptions_are_named(store, change, message):
    redescribe(store, change)
    assert_named(store, message, index_is_at_fault="no shard" in message)


@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b"\xff", b"", b"3", b"null", b'{"format": "fairseq-ecg store"}']
)
def test_what_is_no_description_is_named(store, content):
    (store / "store.json").write_bytes(content)
    assert_named(store, "store.json: is ")


def test_a_description_of_gigabytes_is_not_read(store):
    os.truncate(store / "store.json", 2**40)
    with pytest.raises(DataError, match="more than the most that is plausible"):
        Store(store)


def test_a_pipe_is_not_waited_for(store):
    for name in ("shard-000001.npy", "shard-000001.parquet"):
        shutil.move(store / name, store.parent)
        os.mkfifo(store / name)
        (fault,) = verify(store)
        assert f"{name}: is no file" in fault
        os.remove(store / name)
        shutil.move(store.parent / name, store)
    os.remove(store / "index-000000.parquet")
    os.mkfifo(store / "index-000000.parquet")
    with pytest.raises(DataError, match=r"index-000000\.parquet: is no file"):
        Store(store).segments()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("shard", 3, "is in no shard of the 3 there are"),
        ("shard", -1, "is in no shard"),
        ("shard", 99, "is in no shard"),
        ("shard", None, "'shard' lacks values"),
        ("offset", -480, "is not within its shard"),
        ("offset", 4 * 480, "is not within its shard"),
        ("offset", 3 * 480 + 1, "is not within its shard"),
        ("offset", 2**63 - 1, "is not within its shard"),
        ("offset", None, "'offset' lacks values"),
        ("n_leads", 0, "has no leads or no samples"),
        ("n_leads", -12, "has no leads or no samples"),
        ("n_leads", 32767, "more than the most that is plausible"),
        ("n_samples", -40, "has no leads or no samples"),
        ("n_samples", 2**31 - 1, "is not within its shard"),
        ("sample_rate", float("nan"), "cannot be"),
        ("sample_rate", float("inf"), "plausible"),
        ("sample_rate", 0.0, "cannot be"),
        ("crc32", None, "'crc32' lacks values"),
        ("path", None, "'path' lacks values"),
        ("split", None, "'split' lacks values"),
        ("finite", None, "'finite' lacks values"),
        ("item", -5, "has no place in its split"),
        ("pair", 77, "is in a pair that is not of two"),
        ("position", 1, "is in a pair that is not of two"),
        ("position", 5, "is in a pair that is not of two"),
    ],
)
def test_segments_that_are_not_there_are_named(store, column, value, message):
    reindex(store, column, 0, value)
    in_rows = (
        "lacks values" not in message and "plausible" not in message and column != "sample_rate"
    )
    assert_named(store, message, index_is_at_fault=in_rows)


def test_all_shards_out_of_range_are_counted(store):
    for row in range(10):
        reindex(store, "shard", row, 7 + row)
    assert verify(store) == [
        f"{store}/index-000000.parquet: the segment rec0_0.mat is in no shard of the 3 there are "
        "(and 9 more)"
    ]


def test_steps_belong_to_int16(store, manifests):
    table = Store(store).table()
    for value in (None, [1.0] * 11, []):
        reindex(store, "steps", 2, value)
        assert_named(store, "has not one step for each lead", index_is_at_fault=True)
    reindex(store, "steps", 2, [None] * 12)
    assert_named(store, "'steps' lacks values")
    write_index(store, table.drop_columns("steps"))
    assert_named(store, "steps of int16 are there or missing", index_is_at_fault=True)
    shutil.rmtree(store)
    pack(manifests, store)
    steps = pa.array([[1.0] * 12] * len(table))
    write_index(store, Store(store).table().append_column("steps", steps))
    assert_named(store, "steps of int16 are there or missing", index_is_at_fault=True)


def test_columns_of_another_kind_are_named(store):
    table = Store(store).table()
    for name in ("shard", "path", "sample_rate", "finite", "idx"):
        index = table.column_names.index(name)
        write_index(store, table.drop_columns(name))
        assert_named(store, f"has no column {name!r}")
        for values in (["x"] * 10, [[1]] * 10, [b"x"] * 10, [{"a": 1}] * 10):
            changed = table.set_column(index, name, pa.array(values))
            if changed[name].type != table[name].type:
                write_index(store, changed)
                assert_named(store, f"{name!r} is of ")
    index = table.column_names.index("label")
    for values in ([1] * 10, [["x"]] * 10, [[[1]]] * 10):
        write_index(store, table.set_column(index, "label", pa.array(values)))
        assert_named(store, "not lists of numbers")
    write_index(store, table.set_column(index, "label", pa.array([[1.0, None]] * 10)))
    assert_named(store, "'label' lacks values")
    write_index(store, table.slice(0, 0))
    assert_named(store, "lists no segments", index_is_at_fault=True)


def test_texts_that_are_none_are_named(store):
    table = Store(store).table()
    name = pa.array([b"\xff\xfe"] * 10).view(pa.string())
    write_index(store, table.set_column(table.column_names.index("path"), "path", name))
    assert_named(store, "is no Parquet table, or damaged")


def test_damage_behind_a_right_checksum_is_named(store):
    content = (store / "index-000000.parquet").read_bytes()
    for damaged in (b"", b"PAR1", content[:-40], content[:200] + bytes(100) + content[300:]):
        (store / "index-000000.parquet").write_bytes(damaged)
        crc32 = zlib.crc32(damaged)
        redescribe(store, lambda description, crc32=crc32: description.update(index_crc32=crc32))
        assert_named(store, "is no Parquet table, or damaged")


def test_a_small_index_of_terabytes_is_not_unpacked(store):
    """A long text that all rows refer to."""
    table = Store(store).table()
    n_rows = 10**5
    columns = {}
    for name in table.column_names:
        column = table[name].slice(0, 1).combine_chunks()
        columns[name] = pa.array([column[0].as_py()], column.type).take(pa.array([0] * n_rows))
    text = pa.DictionaryArray.from_arrays(np.zeros(n_rows, np.int32), ["x" * 10**6])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("path", "split", "root"):
        write_index(store, pa.table(columns | {name: text}))
        assert (store / "index-000000.parquet").stat().st_size < 3 * 10**6
        with pytest.raises(DataError, match=r"bytes when unpacked, more than the most"):
            Store(store).segments()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # KiB


SPLITS = ["../../evil", "/tmp/evil", "a/b", "..", "", "x\ny", "x" * 300, "cmsc/../../evil"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_the_name_of_its_manifest(store, split):
    for row in range(6):
        reindex(store, "split", row, split)
    before = files_in(store.parents[2])
    if split not in ("", ".."):
        with pytest.raises(DataError, match="the manifest of a split is "):
            unpack(store, store.parent / "out")
        assert files_in(store.parents[2]) == before
    else:  # strange, but a file of its folder
        unpack(store, store.parent / "out")
        assert (store.parent / "out" / "manifests" / f"{split}.tsv").is_file()


PATHS = ["../x_0.mat", "/tmp/x_0.mat", "a/../../x_0.mat", "", "x\n/etc/passwd\t3", "x\t5", "C:\\x"]


@pytest.mark.parametrize("path", PATHS)
def test_segments_are_unpacked_below_the_folder(store, path):
    reindex(store, "path", 3, path)
    before = files_in(store.parents[2])
    with pytest.raises(DataError, match="is not below the folder that is unpacked to"):
        unpack(store, store.parent / "out")
    assert files_in(store.parents[2]) == before


@pytest.mark.parametrize("path", ["rec0_1.mat", "./rec0_1.mat", ".//rec0_1.mat"])
def test_no_two_segments_are_unpacked_to_one_file(store, path):
    reindex(store, "path", 0, path)
    with pytest.raises(DataError, match=r"its segments share files \(rec0_1\.mat\)"):
        unpack(store, store.parent / "out")


def test_rows_that_say_different_things_of_one_position_are_compared(store):
    reindex(store, "offset", 1, 0)
    assert len(verify(store)) == 1
    reindex(store, "crc32", 1, Store(store).table()["crc32"][0].as_py())
    with pytest.raises(DataError, match="its segments share files"):
        unpack(store, store.parent / "out")


def rewrite_variables(store: Path, change) -> None:
    table = pyarrow.parquet.read_table(store / "shard-000001.parquet").to_pylist()
    change(table)
    pyarrow.parquet.write_table(pa.Table.from_pylist(table), store / "shard-000001.parquet")
    crc32 = zlib.crc32((store / "shard-000001.parquet").read_bytes())
    redescribe(store, lambda content: content["shards"][1].update(variables_crc32=crc32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(1), "lacks what rec2_2.mat held besides"),
        (lambda rows: rows[0].update(dtype="O"), "lacks what rec2_1.mat held"),
        (lambda rows: rows[0].update(dtype="(100000,100000)f8"), "lacks what"),
        (lambda rows: rows[0].update(dtype="f8,f8"), "lacks what"),
        (lambda rows: rows[0].update(place=-1), "lacks what"),
        (lambda rows: rows[0].update(place=10**6), "lacks what"),
        (lambda rows: rows[0].update(place=None), "lacks what"),
        (lambda rows: rows[0].update(is_compressed=None), "lacks what"),
        (lambda rows: rows[0].update(dtype=None), "'dtype' lacks values"),
        (lambda rows: [row.pop("dtype") for row in rows], "has no column 'dtype'"),
        (lambda rows: [row.update(content="x") for row in rows], "'content' is of"),
        (lambda rows: rows.clear(), "has no column"),
    ],
)
def test_what_is_kept_of_files_is_checked(store, change, message):
    rewrite_variables(store, change)
    (fault,) = verify(store)
    assert message in fault
    assert "shard-000001.parquet" in fault
    with pytest.raises(DataError, match="shard-000001"):
        unpack(store, store.parent / "out")


def test_verify_looks_at_the_size_of_every_shard(store):
    with open(store / "shard-000000.npy", "ab") as file:
        file.write(b"12345")
    (fault,) = verify(store)
    assert "shard-000000.npy: has 5 bytes too many" in fault
    (fault,) = verify(f"blockcache::file://{store}")
    assert "shard-000000.npy: has 5 bytes too many" in fault
    for row in range(4):
        reindex(store, "shard", row, 1)
    os.remove(store / "shard-000000.npy")
    assert any("shard-000000.npy: no such shard" in fault for fault in verify(store))


def interrupted(manifests: Path, store: Path, monkeypatch) -> dict:
    """Pack until two shards are there; return what is noted of them."""
    write = packing._Run._write

    def dying(run, part):
        if len(run.shards) == 2:
            raise KeyboardInterrupt
        write(run, part)

    with monkeypatch.context() as patch:
        patch.setattr(packing._Run, "_write", dying)
        with pytest.raises(KeyboardInterrupt):
            pack(manifests, store, shard_bytes=SHARD)
    return json.loads((store / PENDING).read_text())


def change_of(*path, value):
    def change(pending):
        for key in path[:-1]:
            pending = pending[key]
        pending[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        change_of("shards", value=None),
        change_of("parts", value="ab"),
        change_of("parts", value=[]),
        change_of("parts", 0, value="../pending-000000.parquet"),
        change_of("parts", 0, value="/etc/passwd"),
        change_of("parts", 0, value="pending-000007.parquet"),
        change_of("parts", 0, value="shard-000001.parquet"),
        change_of("shards", 0, value={}),
        change_of("shards", 0, "name", value="../shard-000000.npy"),
        change_of("shards", 0, "name", value="shard-000001.npy"),
        change_of("shards", 0, "name", value="shard-000007.npy"),
        change_of("shards", 0, "n_values", value=3),
        change_of("shards", 0, "variables_crc32", value=3),
    ],
)
def test_a_damaged_note_of_an_interrupted_run_is_named(manifests, tmp_path, monkeypatch, change):
    store = tmp_path / "store"
    pending = interrupted(manifests, store, monkeypatch)
    shutil.copy(store / "pending-000000.parquet", tmp_path)
    shutil.copy(store / "shard-000000.npy", tmp_path)
    change(pending)
    (store / PENDING).write_text(json.dumps(pending))
    before = files_in(store)
    with pytest.raises(DataError, match=rf"Remove {store}/{PENDING}") as error:
        pack(manifests, store, shard_bytes=SHARD)
    assert str(error.value).startswith(str(store))
    assert files_in(store) == before
    os.remove(store / PENDING)
    assert sum(pack(manifests, store, shard_bytes=SHARD).added.values()) == 10
    assert verify(store) == []


@pytest.mark.parametrize("content", [b"", b"[" * 10**6, b"3", b"{}", b"\xff"])
def test_what_is_no_note_is_named_or_of_another_run(manifests, tmp_path, content):
    store = tmp_path / "store"
    store.mkdir()
    (store / PENDING).write_bytes(content)
    if content in (b"3", b"{}"):
        pack(manifests, store, shard_bytes=SHARD)
    else:
        with pytest.raises(DataError, match=rf"is no note .* Remove {store}/{PENDING}"):
            pack(manifests, store, shard_bytes=SHARD)


def test_shards_that_an_interrupted_run_lost_are_missed(manifests, tmp_path, monkeypatch):
    store = tmp_path / "store"
    interrupted(manifests, store, monkeypatch)
    os.truncate(store / "shard-000001.npy", 200)
    with pytest.raises(DataError, match=rf"shard-000001\.npy is not as it says. Remove {store}"):
        pack(manifests, store, shard_bytes=SHARD)


def test_adding_overwrites_no_file_of_a_store(store, tmp_path):
    """Somebody may have called them as the next ones would be."""
    os.rename(store / "shard-000002.npy", store / "shard-000003.npy")
    redescribe(store, lambda content: content["shards"][2].update(name="shard-000003.npy"))
    os.rename(store / "index-000000.parquet", store / "mine")
    redescribe(store, lambda content: content.update(index="mine"))
    write_segment_files(tmp_path / "more", {"train": [2]}, first_idx=90)
    pack(tmp_path / "more", store)
    assert verify(store) == []
    assert len(Store(store).segments()) == 12


@pytest.mark.parametrize("lock", [".lock", ".other.lock"])
def test_a_lock_that_leads_elsewhere_empties_nothing(manifests, tmp_path, lock):
    precious, store = tmp_path / "precious", tmp_path / "store"
    store.mkdir()
    precious.write_text("precious")
    (store / lock).symlink_to(precious)
    with pytest.raises(DataError, match=rf"{lock}: is a symbolic link, and no lock. Remove it"):  # noqa: SIM117
        with locked(store / "other", file=store / ".lock" if lock == ".lock" else None):
            pass
    if lock == ".lock":
        with pytest.raises(DataError, match="is a symbolic link"):
            pack(manifests, store)
        os.remove(store / lock)
        os.link(precious, store / lock)
        pack(manifests, store)
    assert precious.read_text() == "precious"
