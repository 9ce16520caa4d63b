import pickle

import pytest

from fairseq_ecg.data import DataError, Entry, read_cmsc_manifest, read_manifest


@pytest.fixture
def manifest(tmp_path):
    def write(text: str):
        path = tmp_path / "train.tsv"
        path.write_text(text.replace("ROOT", str(tmp_path)))
        return path

    return write


@pytest.mark.parametrize("header", ["\tROOT/", "ROOT"])
def test_both_headers_are_read(tmp_path, manifest, header):
    entries = read_manifest(manifest(f"{header}\na/ü_0.mat\t2500\nb.mat\t2000\n"))
    assert entries.root.rstrip("/") == str(tmp_path)
    assert list(entries) == [Entry("a/ü_0.mat", 2500, line=2), Entry("b.mat", 2000, line=3)]
    assert entries.sizes.tolist() == [2500, 2000]


def test_lines_of_windows_and_blank_lines_at_the_end_are_read(manifest):
    entries = read_manifest(manifest("\ufeffROOT\r\na.mat\t2500\r\n\r\n"))
    assert list(entries) == [Entry("a.mat", 2500, line=2)]


def test_short_rows_are_dropped_with_one_line_of_log(manifest, caplog):
    caplog.set_level("INFO")
    entries = read_manifest(manifest("ROOT\na\t10\nb\t20\nc\t9\n"), min_samples=10)
    assert [entry.path for entry in entries] == ["a", "b"]
    assert [entry.line for entry in entries] == [2, 3]
    (record,) = caplog.records
    assert "2 recordings; 1 shorter than 10 samples dropped" in record.getMessage()


def test_cmsc_rows_are_paired(tmp_path, manifest, caplog):
    caplog.set_level("INFO")
    rows = ["a\t2500\t0\t0,1", "b\t2500\t0\t3", "c\t2500\t0\t4,7,9", "d\t100\t0\t0,1"]
    path = manifest("\n".join(["ROOT", "mat", *rows, ""]))
    entries = read_cmsc_manifest(path, min_samples=200)
    assert list(entries) == [Entry("a", 2500, 3, (0, 1)), Entry("c", 2500, 5, (4, 7))]
    assert (entries.root, entries.extension) == (str(tmp_path), "mat")
    (record,) = caplog.records
    assert "1 shorter than 200 samples dropped, 1 of a single segment" in record.getMessage()


def test_manifests_pickle(manifest):
    entries = read_manifest(manifest("ROOT\na\t10\n"))
    assert list(pickle.loads(pickle.dumps(entries))) == list(entries)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.tsv: the manifest is empty"),
        ("\t\na\t10\n", "train.tsv: the manifest is empty or lacks its root"),
        ("ROOT\n", "train.tsv: the manifest lists no recordings"),
        ("/no/such\na\t10\n", "line 1: the root directory '/no/such' does not exist. Correct"),
        ("a.mat\t10\n", "line 1: the root directory .* does not exist"),
        ("ROOT\na\t10\nb\n", "line 3: expected 2 tab-separated columns .* found 1: 'b'"),
        ("ROOT\na\t10\t\n", "line 2: expected 2 .* found 3"),
        ("ROOT\na\t10\n\nb\t10\n", "line 3: expected 2 .* found 1"),
        ("ROOT\nmat\na\t10\t0\t0,1\n", "Plain and CMSC manifests differ: check"),
        ("ROOT\na\t10.0\n", "line 2: n_samples must be a positive integer, found '10.0'"),
        ("ROOT\na\t0\n", "line 2: n_samples must be a positive integer, found '0'"),
        ("ROOT\na\t10\n", r"no recording remains \(1 shorter than 100 samples dropped\)"),
    ],
)
def test_a_bad_plain_manifest_is_refused(manifest, text, message):
    with pytest.raises(DataError, match=message):
        read_manifest(manifest(text), min_samples=100 if text.endswith("\na\t10\n") else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ROOT\n", "line 2: expected the extension of the files"),
        ("ROOT\na\t10\n", "line 2: expected the extension .* folder 'cmsc'"),
        ("ROOT\nmat\n", "lists no recordings"),
        ("ROOT\nmat\na\t10\n", "line 3: expected 4 tab-separated columns"),
        ("ROOT\nmat\na\tten\t0\t0,1\n", "line 3: n_samples must be a positive integer"),
        ("ROOT\nmat\na\t10\t0\t0,b\n", "line 3: expected segment numbers .* found '0,b'"),
        ("ROOT\nmat\na\t10\t0\t0\n", r"no recording remains \(1 of a single segment dropped\)"),
    ],
)
def test_a_bad_cmsc_manifest_is_refused(manifest, text, message):
    with pytest.raises(DataError, match=message):
        read_cmsc_manifest(manifest(text))


def test_a_missing_or_unreadable_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no-such.tsv: no such manifest. Check task.data"):
        read_manifest(tmp_path / "no-such.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary.tsv: cannot be read as a manifest"):
        read_manifest(tmp_path / "binary.tsv")


ELSEWHERE = [
    "/etc/passwd",
    "../x.mat",
    "a/../../x.mat",
    "a\0.mat",
    "C:\\x.mat",
    "http://host/x.mat",
]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_files_of_a_manifest_lie_below_its_root(tmp_path, name):
    path = tmp_path / "train.tsv"
    path.write_text(f"{tmp_path}\na/./b.mat\t3\n{name}\t3\n")
    with pytest.raises(DataError, match=r"line 3: a file is .* not below the root directory of"):
        read_manifest(path)
    path.write_text(f"{tmp_path}\nmat\na//b\t3\t0\t0,1\n{name}\t3\t0\t0,1\n")
    with pytest.raises(DataError, match=r"line 4: a file is .* not below the root directory of"):
        read_cmsc_manifest(path)
    path.write_text(f"{tmp_path}\nmat/../x\na\t3\t0\t0,1\n")
    with pytest.raises(DataError, match=r"line 2: a file is .* names another folder"):
        read_cmsc_manifest(path)


def test_the_remedy_for_files_of_several_folders(tmp_path):
    path = tmp_path / "train.tsv"
    below = str(tmp_path).lstrip("/")
    path.write_text(f"/\n{below}/one/x.mat\t3\n{below}/other/x.mat\t3\n")
    assert [read_manifest(path)[i].path for i in range(2)] == [
        f"{below}/one/x.mat",
        f"{below}/other/x.mat",
    ]
