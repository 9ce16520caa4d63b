"""Archives of which files are made as their own programs make them, from folder to manifests."""

import json
import os
import re
import shlex
import signal

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.data.store import Store
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.archive import prepare_signals
from fairseq_ecg.prepare.identification import write_identification_manifests
from fairseq_ecg.prepare.mat import write_mat
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.sources.ecg_id import ECGID
from fairseq_ecg.prepare.stages import Settings
from tests.conftest import ROOT
from tests.interruptions import kill, replace_until
from tests.prepare.sources.archives import (
    make_ecg_id,
    make_ludb,
    write_ecg_id_record,
    write_ludb_record,
)
from tests.prepare.test_archive import in_child, tree

TEXT = 116
"""Bytes of free text at the beginning of a .mat file, into which scipy writes the time of day."""


def run(*arguments) -> int:
    return main(["prepare", *map(str, arguments)])


def prepared(source, raw, out, *options) -> int:
    assert run("records", f"--source={source}", f"--raw-root={raw}",
               f"--processed-root={out}", *options) == 0  # fmt: skip
    return run("signals", f"--processed-root={out}")


def table(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


@pytest.fixture
def recorded(shared):
    """What fairseq_signals made, and of what."""
    return (shared / "golden" / "rest" / "prepare").resolve()


@pytest.mark.parametrize(
    ("options", "folder", "n_files"),
    [((), "ludb_out", 2), (("--separate-leads",), "ludb_out_separate", 4)],
)
def test_ludb_files_are_those_of_fairseq_signals(recorded, tmp_path, options, folder, n_files):
    """To the last byte behind the header."""
    assert prepared("ludb", recorded / "ludb_in", tmp_path, *options) == 0
    files = list((recorded / folder).iterdir())
    assert len(files) == n_files
    for file in files:
        made = tmp_path / "segmented" / file.name
        assert made.read_bytes()[TEXT:] == file.read_bytes()[TEXT:], file.name


def test_ecg_id_files_are_those_of_fairseq_signals(recorded, tmp_path):
    """In the order in which its run found them."""
    order = json.loads((recorded / "order.json").read_text())
    source = ECGID(
        recorded / "ecgid_in",
        segment_seconds=order["ecgiddb_sec"],
        seed=order["ecgiddb_seed"],
    )
    records = source.listed([path.removesuffix(".dat") for path in order["ecgiddb_glob_order"]])
    for record in records.to_dict("records"):
        made = tmp_path / record["save_file"]
        write_mat(made, source.segment(record, source.read(record)))
        file = recorded / "ecgid_out" / made.name
        assert made.read_bytes()[TEXT:] == file.read_bytes()[TEXT:], made.name
    assert len(records) == len(list((recorded / "ecgid_out").iterdir()))


def test_identification_manifests_are_those_of_fairseq_signals(recorded, tmp_path):
    order = json.loads((recorded / "order.json").read_text())
    rows = ["path,sample_size,patient_id"]
    for name in order["identification_glob_order"]:
        file = scipy.io.loadmat(recorded / "ecgid_out" / name)
        n_samples, patient = file["feats"].shape[1], file["patient_id"].item()
        rows.append(f"{recorded / 'ecgid_out' / name},{n_samples},{patient}")
    (tmp_path / "segmented.csv").write_text("\n".join(rows) + "\n")
    write_identification_manifests(
        [tmp_path / "segmented.csv"],
        tmp_path,
        patient_column="patient_id",
        strategy="files",
        valid_fraction=order["identification_valid_percent"],
        seed=order["identification_seed"],
    )
    expected = list((recorded / "manifest" / "identify").iterdir())
    assert len(expected) == 3
    for path in expected:
        made = (tmp_path / "identify" / path.name).read_text()
        text = path.read_text().replace("<root>", str(recorded / "ecgid_out"))
        assert made == text, path.name


@pytest.fixture
def ludb(tmp_path):
    return make_ludb(tmp_path / "raw")


@pytest.fixture
def ecg_id(tmp_path):
    return make_ecg_id(tmp_path / "raw")


def test_tables_of_ludb(ludb, tmp_path):
    write_ludb_record(ludb / "data" / "2", seconds=3)
    out = tmp_path / "out"
    assert prepared("ludb", ludb, out) == 0
    meta = table(out, "meta")
    assert list(meta["save_file"]) == ["1.mat", "2.mat", "10.mat"]
    assert list(meta["patient_id"]) == [1, 2, 10]
    assert list(meta["sample_size"]) == [2000, 1500, 2000]
    assert set(meta["save_path"]) == {str(path) for path in (out / "segmented").iterdir()}
    segmented = table(out, "segmented")
    assert list(segmented) == ["path", "save_file", "sample_size", "patient_id"]
    assert list(segmented["sample_size"]) == [2000, 1500, 2000]
    assert not (out / "org").exists()
    assert not (out / "quarantine.csv").exists()
    assert table(out, "summary")["segments"].tolist() == [3]


def test_leads_of_a_record_are_in_one_split(ludb, tmp_path):
    for name in range(3, 8):
        write_ludb_record(ludb / "data" / str(name))
    out = tmp_path / "out"
    example = ROOT / "examples" / "prepare" / "ludb.yaml"
    changes = [f"raw_root={ludb}", f"processed_root={out}", "signals.jobs=1"]
    assert run("all", example, *changes, "records.separate_leads=true") == 0
    records = {}
    for split in ("train", "valid", "test"):
        _, *rows = (out / "manifests" / f"{split}.tsv").read_text().splitlines()
        records[split] = {row.split("_")[0] for row in rows}
        assert len(rows) == 12 * len(records[split])
        assert {row.split("\t")[1] for row in rows} == {"2000"}
    assert sorted(len(found) for found in records.values()) == [1, 1, 6]
    assert len(set.union(*records.values())) == 8


def test_ecg_id_from_folder_to_manifests(ecg_id, tmp_path):
    out = tmp_path / "out"
    example = ROOT / "examples" / "prepare" / "ecg_id.yaml"
    changes = [f"raw_root={ecg_id}", f"processed_root={out}", "signals.jobs=1"]
    assert run("all", example, *changes, "identification.valid_percent=1") == 0
    folder = out / "manifests" / "identify"
    found = {path.stem: path.read_text().splitlines() for path in folder.iterdir()}
    root = str(out / "segmented")
    assert found == {
        "train": [root],
        "valid_gallery": [root, *(f"{n}_rec_1.mat\t2500\t{i}" for i, n in enumerate((0, 1, 3)))],
        "valid_probe": [root, *(f"{n}_rec_2.mat\t2500\t{i}" for i, n in enumerate((0, 1, 3)))],
    }
    with_recordings = [f"--split-file-paths={out}/segmented.csv", "--patient-col=patient_id"]
    assert run("identification", *with_recordings, f"--dest={out}", "--valid-percent=1") == 0
    train = (out / "identify" / "train.tsv").read_text().splitlines()
    assert train == [root, "2_rec_1.mat\t2500\t0"]


def test_records_that_cannot_be_used_are_set_aside_until_corrected(ludb, tmp_path, capsys):
    out = tmp_path / "out"
    write_ludb_record(ludb / "data" / "2", diagnoses=["Rhythm: Swing."])
    (ludb / "data" / "10.ii").unlink()
    assert prepared("ludb", ludb, out) == 3
    quarantine = table(out, "quarantine").set_index("record")
    assert list(quarantine.index) == [2, 10]
    assert set(quarantine["step"]) == {"segmented"}
    assert "2.hea: 'Rhythm: Swing.' is not one of LUDB's" in quarantine["reason"][2]
    assert "10.ii: no such annotations" in quarantine["reason"][10]
    assert [path.name for path in (out / "segmented").iterdir()] == ["1.mat"]
    assert list(table(out, "segmented")["save_file"]) == ["1.mat"]
    assert run("signals", f"--processed-root={out}", "--strict") == 2
    assert "Rhythm: Swing." in capsys.readouterr().err
    make_ludb(ludb)
    assert run("signals", f"--processed-root={out}") == 0
    assert len(list((out / "segmented").iterdir())) == 3
    assert not (out / "quarantine.csv").exists()


def test_ecg_id_records_that_are_skipped_are_named(ecg_id, tmp_path):
    out = tmp_path / "out"
    write_ecg_id_record(ecg_id / "Person_01" / "rec_1", gap=9)
    write_ecg_id_record(ecg_id / "Person_02" / "rec_2", sample_rate=360)
    assert prepared("ecg_id", ecg_id, out) == 3
    quarantine = table(out, "quarantine")
    assert list(quarantine["record"]) == ["Person_01/rec_1", "Person_02/rec_2"]
    assert "nan value" in quarantine["reason"][0]
    assert "360 Hz" in quarantine["reason"][1]
    assert list(table(out, "meta")["patient_id"]) == [0, 1, 1, 2, 3, 3]
    assert prepared("ecg_id", ecg_id, out, "--resample") == 3
    assert list(table(out, "quarantine")["record"]) == ["Person_01/rec_1"]


@pytest.mark.parametrize("source", ["ludb", "ecg_id"])
def test_a_file_of_a_record_that_was_damaged_since_is_removed(source, tmp_path, request):
    raw, out = request.getfixturevalue(source), tmp_path / "out"
    assert prepared(source, raw, out) == 0
    assert run("signals", f"--processed-root={out}") == 0
    n_files = len(list((out / "segmented").iterdir()))
    name = "data/2" if source == "ludb" else "Person_04/rec_2"
    (raw / f"{name}.dat").write_bytes(b"")
    assert run("signals", f"--processed-root={out}", "--again") == 3
    assert len(list((out / "segmented").iterdir())) == n_files - 1
    assert len(table(out, "segmented")) == n_files - 1


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("ludb", {"sample_rate": 250, "resample": True}),
        ("ecg_id", {"segment_seconds": 2.5}),
        ("ecg_id", {"seed": 3}),
    ],
)
def test_other_options_make_other_files(source, options, tmp_path, request):
    raw, out = request.getfixturevalue(source), tmp_path / "out"

    def files():
        prepare_signals(read_source(out), out, Settings())
        return {path.name: path.read_bytes() for path in (out / "segmented").iterdir()}

    write_records(source, raw, out)
    first = files()
    write_records(source, raw, out, options)
    second = files()
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)
    write_records(source, raw, out)
    assert files() == first


def killed_at(folder, n_replaced):
    """Prepare, until the n-th file is to get its final name."""
    os.replace = replace_until(n_replaced - 1, kill)
    prepare_signals(read_source(folder), folder, Settings())


@pytest.mark.parametrize("source", ["ludb", "ecg_id"])
def test_killed_anywhere_and_started_again_the_files_are_the_same(source, tmp_path, request):
    raw = request.getfixturevalue(source)
    whole = tmp_path / "whole"
    write_records(source, raw, whole)
    prepare_signals(read_source(whole), whole, Settings())
    expected = tree(whole)
    for point in range(1, len(expected) - 1, 2):
        folder = tmp_path / str(point)
        write_records(source, raw, folder)
        assert in_child(killed_at, folder, point) == -signal.SIGKILL
        prepare_signals(read_source(folder), folder, Settings())
        assert tree(folder) == expected, point


def test_a_run_that_is_done_reads_no_record(ludb, tmp_path):
    prepared("ludb", ludb, tmp_path / "out")
    expected = tree(tmp_path / "out")
    for path in (ludb / "data").iterdir():
        if path.suffix != ".hea":
            path.unlink()
    prepare_signals(read_source(tmp_path / "out"), tmp_path / "out", Settings())
    assert tree(tmp_path / "out") == expected


def test_settings_of_other_sources_are_refused(ludb, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepared("ludb", ludb, out) == 0
    assert run("signals", f"--processed-root={out}", "--sample-rate=250", "--leads=I") == 2
    assert (
        "ludb: its files are made by the options of the step 'records'. Leave out sample_rate, "
        "leads" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        run("records", "--source=ludb", f"--raw-root={ludb}", f"--processed-root={out}", "--seed=1")
    assert "--seed needs --source ecg_id" in capsys.readouterr().err
    with pytest.raises(DataError, match="not one of"):
        write_records("ludbs", ludb, out)


@pytest.mark.parametrize("source", ["ludb", "ecg_id"])
def test_several_processes_and_pictures(source, tmp_path, request):
    raw = request.getfixturevalue(source)
    for name, jobs in (("one", 1), ("two", 2)):
        write_records(source, raw, tmp_path / name)
        plots = f"--plots={tmp_path / 'plots'}"
        assert run("signals", f"--processed-root={tmp_path / name}", f"--jobs={jobs}", plots) == 0
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if not name.endswith(".journal"))
    names = {"durations.png", "rates.png", "leads.png"} | (
        {"labels.png"} if source == "ludb" else set()
    )
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names


@pytest.mark.parametrize("source", ["ludb", "ecg_id"])
def test_documented_commands(source, tmp_path, request, monkeypatch):
    """The section on each archive, and what the README of the package says of identification."""
    request.getfixturevalue(source).rename(tmp_path / "RAW")
    prepare = ROOT / "fairseq_ecg" / "prepare"
    text = (prepare / "sources" / "README.md").read_text()
    title = {"ludb": "LUDB", "ecg_id": "ECG-ID"}[source]
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    if source == "ecg_id":
        (identification,) = re.findall(
            r"^    fairseq-ecg prepare identification (?:.*\\\n)*.*\n",
            (prepare / "README.md").read_text(),
            re.MULTILINE,
        )
        section += identification.replace("DATA", "DATA/ecg_id")
    commands = re.findall(r"^    fairseq-ecg ((?:.*\\\n)*.*)", section, re.MULTILINE)
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command.replace("\\\n", " "))) == 0
    listed = {path.stem for path in (tmp_path / "DATA" / source).rglob("*.tsv")}
    assert listed >= ({"train", "valid", "test"} if source == "ludb" else {"valid_gallery"})


@pytest.mark.parametrize("source", ["ludb", "ecg_id"])
def test_stores_keep_the_files(source, tmp_path, request):
    """Patients and labels as variables of their own, and everything else to be unpacked."""
    raw, out = request.getfixturevalue(source), tmp_path / "out"
    prepared(source, raw, out)
    rows = table(out, "segmented").assign(split="train")
    rows.to_csv(out / "segmented_split.csv", index=False)
    split, store = f"--split-file-paths={out}/segmented_split.csv", tmp_path / "store"
    assert run("manifests", split, f"--save-dir={out}/manifests") == 0
    assert main(["store", "pack", str(out / "manifests"), str(store), "--dtype=float64"]) == 0
    segments = Store(store).segments("train")
    if source == "ecg_id":
        assert segments.patient_id.tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    else:
        labels = [scipy.io.loadmat(path)["label"][0] for path in rows["path"]]
        np.testing.assert_array_equal(np.stack(segments.lists["label"].to_pylist()), labels)
    assert main(["store", "unpack", str(store), str(tmp_path / "files")]) == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "files").rglob("*.mat")}
    assert files == {path.name: path.read_bytes() for path in (out / "segmented").iterdir()}
