import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.writing import check_file_format, write_table

WHOLE = pd.DataFrame(
    {"recording": ["a, b", 'c"', "d"], "0": np.float32([0.1, np.nan, 3]), "1": [1.0, 2.0, 1 / 3]}
)


def parts():
    yield WHOLE.iloc[:2]
    yield WHOLE.iloc[2:]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_parts_become_one_table(suffix, tmp_path):
    path = tmp_path / f"t.{suffix}"
    assert write_table(path, parts, 1) == [path]
    if suffix == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(path), WHOLE)
    else:
        found = pd.read_csv(
            path, sep="\t" if suffix == "tsv" else ",", float_precision="round_trip"
        )
        pd.testing.assert_frame_equal(found.astype({"0": "float32"}), WHOLE)


def test_arrays_have_the_keys_beside_them(tmp_path):
    assert write_table(tmp_path / "e.npy", parts, 1) == [
        tmp_path / "e.npy",
        tmp_path / "e.rows.csv",
    ]
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), WHOLE.iloc[:, 1:].to_numpy("f4"))
    assert pd.read_csv(tmp_path / "e.rows.csv")["recording"].tolist() == ["a, b", 'c"', "d"]


def test_a_failure_leaves_the_old_file(tmp_path):
    def failing():
        yield WHOLE
        raise OSError("disk full")

    for name in ("t.csv", "t.parquet", "t.npy"):
        (tmp_path / name).write_text("old")
        with pytest.raises(OSError, match="disk full"):
            write_table(tmp_path / name, failing, 1)
        assert (tmp_path / name).read_text() == "old"
        assert [path.name for path in tmp_path.glob(".*")] == []


VALUES = st.floats(width=64) | st.sampled_from([1e16, 1e-5, -0.0, np.nan, 1 / 3])


@given(
    st.lists(
        st.tuples(st.text(max_size=4), st.integers(-(2**40), 2**40), VALUES, st.floats(width=32)),
        min_size=1,
    ),
    st.sampled_from([".csv", ".tsv"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_columns_are_written_as_the_data_frame_of_them(tmp_path, rows, suffix):
    texts, integers, doubles, singles = zip(*rows, strict=True)
    columns = {
        "recording": list(texts),
        "=samples": list(integers),
        "AF": np.array(doubles),
        "0": np.array(singles, np.float32),
        "AF holds": np.array(doubles) >= 0.5,
    }
    a, b = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_table(a, lambda: iter([columns]), 1)
    write_table(b, lambda: iter([pd.DataFrame(columns)]), 1)
    assert a.read_bytes() == b.read_bytes()


def test_file_formats():
    check_file_format(Path("a.PARQUET"), arrays=False)
    check_file_format(Path("a.npy"), arrays=True)
    with pytest.raises(DataError, match=r"a.npy: of no known format. Let its name end with .csv"):
        check_file_format(Path("a.npy"), arrays=False)


ON_A_DISK_OF_ITS_OWN = """
import ctypes, os, sys
import numpy as np, pandas as pd
from pathlib import Path
from fairseq_ecg.inference.writing import write_table

libc = ctypes.CDLL(None, use_errno=True)
new_namespace, recursively_private = 0x00020000, 0x44000
if (
    libc.unshare(new_namespace)
    or libc.mount(b"none", b"/", None, recursively_private, None)
    or libc.mount(b"tmpfs", os.fsencode(sys.argv[1]), b"tmpfs", 0, b"size=64k")
):
    sys.exit(77)
table = pd.DataFrame(np.random.default_rng(0).normal(size=(1000, 100))).rename(columns=str)
table.insert(0, "recording", "a")
for suffix in ("csv", "parquet", "npy"):
    try:
        write_table(Path(sys.argv[1], f"t.{suffix}"), lambda: iter([table]), 1)
    except OSError as error:
        print(error, os.listdir(sys.argv[1]))
"""


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    """In a process of its own, which a map without space behind it would end."""
    program = [sys.executable, "-c", ON_A_DISK_OF_ITS_OWN, tmp_path]
    found = subprocess.run(program, capture_output=True, text=True, check=False)
    if found.returncode == 77:
        pytest.skip("a file system of its own needs root")
    assert found.returncode == 0, found
    lines = found.stdout.splitlines()
    for line, suffix in zip(lines, ("csv", "parquet", "npy"), strict=True):
        assert "No space left on device" in line
        assert f": '{tmp_path}/t.{suffix}' [" in line
    assert [line.endswith("[]") for line in lines] == [True, True, False]
    assert lines[2].endswith("['t.rows.csv']")


def test_json_is_a_list_of_rows(tmp_path):
    parts = [{"name": ["é", 3], "x": np.array([1.5, np.nan])}, {"name": ["b"], "x": [np.inf]}]
    write_table(tmp_path / "a.json", lambda: iter(parts), 1)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [
        {"name": "é", "x": 1.5},
        {"name": 3, "x": None},
        {"name": "b", "x": None},
    ]
    write_table(tmp_path / "b.json", lambda: iter([{"name": []}]), 1)
    assert json.loads((tmp_path / "b.json").read_text()) == []
