"""Recordings of files that may be called anything, and of what a run that was ended left."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.recordings import Description, recordings_in

STRANGE = {
    b"caf\xe9.mat": r"caf\xe9.mat",
    b"\x1b]0;title\x07.mat": r"\x1b]0;title\x07.mat",
    b"two\nlines.mat": r"two\x0alines.mat",
    "\u202egpj.mat".encode(): r"\u202egpj.mat",
    b"=1+cmd|' -C calc'!A0.mat": "=1+cmd|' -C calc'!A0.mat",
    b"<script>alert(1)<!--.mat": "<script>alert(1)<!--.mat",
    "ä 日本.mat".encode(): "ä 日本.mat",
}


@pytest.fixture
def folder(shared, tmp_path, monkeypatch):
    """A real recording under many names, and a broken one, in the working directory."""
    source = min((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    for name in STRANGE:
        shutil.copy(source, os.fsencode(tmp_path) + b"/" + name)
    with open(os.fsencode(tmp_path) + b"/broken\xff\x1b[2J.edf", "wb") as file:
        file.write(b"0       ")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_plain(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    text.encode()


def rows_of(path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8")
    assert_plain(text)
    return list(csv.reader(text.splitlines()))


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_tables_name_what_is_called_anything(command, folder, network, capfd):
    names = sorted(os.fsdecode(name) for name in STRANGE)
    network = network if command == "predict" else network[:1]
    arguments = [command, *network, *names, os.fsdecode(b"broken\xff\x1b[2J.edf")]
    assert main([*arguments, "--out=t.csv", "--segments=s.tsv"]) == 3
    shown = capfd.readouterr()
    assert_plain(shown.out + shown.err.replace("\r", ""))
    assert r"broken\xff\x1b[2J.edf" in shown.out
    rows = rows_of(folder / "t.csv")
    expected = [STRANGE[os.fsencode(name)] for name in names]
    assert [row[0].removeprefix("'") for row in rows[1:]] == expected
    assert "'=1+cmd|' -C calc'!A0.mat" in [row[0] for row in rows]
    assert len({tuple(row[1:]) for row in rows[1:]}) == 1
    assert float(rows[1][1]) == 400
    ((_, reason),) = rows_of(folder / "t.quarantine.csv")[1:]
    assert r"broken\xff\x1b[2J.edf" in reason
    assert main([*arguments, "--out=t.parquet"]) == 3
    assert pd.read_parquet(folder / "t.parquet")["recording"].tolist() == expected


def test_pictures_and_pages_name_what_is_called_anything(folder, network, capfd):
    names = sorted(os.fsdecode(name) for name in STRANGE)
    broken = os.fsdecode(b"broken\xff\x1b[2J.edf")
    assert main(["plot", *names, broken, "--out=pictures", "--suffix=.svg"]) == 3
    error = capfd.readouterr().err
    assert_plain(re.sub("\r|\x1b\\[A", "", error))
    assert r"broken\xff\x1b[2J.edf" in error
    found = sorted(path.name for path in (folder / "pictures").iterdir())
    assert found == sorted(name.replace(".mat", ".svg") for name in STRANGE.values())
    assert r">caf\xe9<" in (folder / "pictures" / r"caf\xe9.svg").read_text()
    model = [f"--checkpoint={network[0]}", *network[1:]]
    assert main(["report", *model, *names[:3], broken, "--out=page.html"]) == 3
    assert_plain(re.sub("\r|\x1b\\[A", "", capfd.readouterr().err))
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\ud800" not in page
    for name in names[:3]:
        assert json.dumps(STRANGE[os.fsencode(name)]).replace("<", "\\u003c") in page
    assert_plain(page.replace("\t", ""))


def test_names_of_options_and_folders_are_shown_plainly(folder, capfd):
    os.mkdir(b"d\xe9\x1b[1m")
    assert main(["plot", os.fsdecode(b"d\xe9\x1b[1m"), "--out=x"]) == 2
    assert main(["store", "info", os.fsdecode(b"d\xe9\x1b[1m")]) == 2
    error = capfd.readouterr().err
    assert_plain(error)
    assert error.count(r"d\xe9\x1b[1m") == 2


def test_what_an_ended_run_left_is_no_recording(folder, network, caplog):
    shutil.copy(os.fsencode("ä 日本.mat"), "good.mat")
    for name in os.listdir(b"."):
        if name != b"good.mat":
            os.remove(name)
    shutil.copy("good.mat", ".unfinished-123-good.mat")
    os.mkdir("below")
    shutil.copy("good.mat", "below/.unfinished-7-x.mat")
    shutil.copy("good.mat", "below/.unfinished-7-x.csv")
    found = recordings_in(".", Description())
    assert [recording.name for recording in found] == ["good.mat"]
    assert ".: 3 files are left out that a run which was ended left there" in caplog.text
    assert main(["predict", *network, ".", "--out=t.csv"]) == 0
    assert [row[0] for row in rows_of(folder / "t.csv")[1:]] == ["good.mat"]


URLS = ["http://127.0.0.1:9/a", "file:///etc/hosts", "memory://a", "simplecache::memory://a"]


@pytest.mark.parametrize("url", URLS)
def test_urls_that_a_file_names_are_not_fetched(url, tmp_path, monkeypatch, network, capsys):
    def fetched(*_, **__):
        raise AssertionError("fetched")

    monkeypatch.setattr("fsspec.open", fetched)
    monkeypatch.setattr("fsspec.core.url_to_fs", fetched)
    scipy.io.savemat(tmp_path / "x.mat", {"ecg_path": url})
    assert main(["predict", *network, str(tmp_path / "x.mat"), f"--out={tmp_path / 't.csv'}"]) == 2
    assert f"'ecg_path' is the URL {url!r}, which is not fetched" in capsys.readouterr().err
    (tmp_path / "table.csv").write_text(f"path\n{url}\n")
    (named,) = recordings_in(tmp_path / "table.csv", Description())
    with pytest.raises(DataError, match=r"row 1: .* is a URL, which is not fetched for a table"):
        named.read()
    assert len(recordings_in(pd.DataFrame({"path": [url]}), Description())) == 1
    table = tmp_path / "labelled.csv"
    labels = ["is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg"]
    named = pd.DataFrame({"path": ["x.mat", f"x.mat::{url}"], "split": "train"})
    named.assign(**dict.fromkeys(labels, 1)).to_csv(table, index=False)
    for command, options in (("evaluate", network), ("probe", network[:1])):
        assert main([command, *options, f"--table={table}", f"--out={tmp_path / 'o'}"]) == 2
        error = capsys.readouterr().err
        assert f"line 3: x.mat::{url} is a URL, which is not fetched for a table" in error


def test_tables_with_labels_name_what_is_called_anything(folder, network, capfd):
    names = [os.fsdecode(name) for name in STRANGE if b"\xe9" not in name]
    table = pd.DataFrame({"path": names, "AF": [0, 1] * 3, "split": ["train", "valid", "test"] * 2})
    table.loc[len(names)] = [STRANGE[b"caf\xe9.mat"], 0, "train"]  # no such file
    table.to_csv("labelled.csv", index=False)
    options = [network[0], "--table=labelled.csv", "--label-columns=AF", "--out=p", "--skip-errors"]
    main(["probe", *options])
    shown = capfd.readouterr()
    assert_plain(re.sub("\r|\x1b\\[A", "", shown.out + shown.err))
    assert "is not one recording" not in shown.err
    parts = [np.load(path) for path in (folder / "p" / "embeddings").rglob("*.npz")]
    assert sorted(len(set(part["owner"])) for part in parts) == [2, 2, 2]


def test_a_record_that_a_file_names_is_read(record, tmp_path):
    record("r", np.random.default_rng(0).normal(size=(12, 5000)))
    scipy.io.savemat(tmp_path / "x.mat", {"ecg_path": str(tmp_path / "r")})
    (found,) = recordings_in(tmp_path / "x.mat", Description())
    assert found.read().sample_rate == 500
