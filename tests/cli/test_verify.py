"""What becomes of recordings that there is reason to doubt, in all commands that read any."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main

DOUBT = "the samples do not have the checksum that the header says: I"


@pytest.fixture
def records(record, tmp_path) -> Path:
    """A folder with a right record, ``a``, and one of which a bit of lead I was changed, ``b``."""
    time = np.arange(5000) / 500
    beats = np.exp(-(((time % 0.8 - 0.4) / 0.02) ** 2))
    signal = np.stack([(0.5 + 0.1 * i) * beats + 0.05 * np.sin(time + i) for i in range(12)])
    folder = tmp_path / "records"
    folder.mkdir()
    for name in ("a", "b"):
        record(name, signal)
        for suffix in (".hea", ".dat"):
            shutil.move(tmp_path / f"{name}{suffix}", folder)
    data = bytearray((folder / "b.dat").read_bytes())
    data[24 * 100] ^= 4
    (folder / "b.dat").write_bytes(data)
    return folder


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_doubts_have_a_column_and_are_errors_where_asked(
    command, records, network, tmp_path, capsys
):
    options = network if command == "predict" else network[:1]
    out = tmp_path / "t.csv"
    assert main([command, *options, str(records), f"--out={out}"]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert [Path(name).name for name in table["recording"]] == ["a.hea", "b.hea"]
    assert table["doubts"].tolist() == ["", DOUBT]
    assert main([command, *options, str(records), "--verify", f"--out={out}"]) == 3
    table = pd.read_csv(out, keep_default_na=False)
    assert table["doubts"].tolist() == [""]
    quarantine = pd.read_csv(tmp_path / "t.quarantine.csv")
    assert Path(quarantine["recording"].item()).name == "b.hea"
    assert DOUBT in quarantine["reason"].item()


def test_rows_of_an_array_have_doubts(records, network, tmp_path):
    assert main(["embed", network[0], str(records), f"--out={tmp_path / 'e.npy'}"]) == 0
    assert np.load(tmp_path / "e.npy").dtype == np.float32
    rows = pd.read_csv(tmp_path / "e.rows.csv", keep_default_na=False)
    assert rows["doubts"].tolist() == ["", DOUBT]


def test_saliency_plot_and_report_leave_out_what_is_doubtful(records, network, tmp_path, capsys):
    checkpoint, labels = network
    model = [f"--checkpoint={checkpoint}", labels]
    commands = {
        "saliency": [checkpoint, str(records), f"--out={tmp_path / 's.csv'}"],
        "plot": [str(records), f"--out={tmp_path / 'pictures'}"],
        "report": [str(records), *model, f"--out={tmp_path / 'r.html'}"],
    }
    for name, options in commands.items():
        assert main([name, *options]) == 0, name
        if name == "plot":
            shutil.rmtree(tmp_path / "pictures")
        capsys.readouterr()
        assert main([name, *options, "--verify"]) == 3, name
        captured = capsys.readouterr()
        assert DOUBT in captured.out + captured.err, name
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.png"]
    assert DOUBT not in Path(tmp_path / "r.html").read_text().partition('"errors"')[0]


def test_a_page_says_doubts(records, network, tmp_path):
    out = tmp_path / "r.html"
    options = [str(records), f"--checkpoint={network[0]}", network[1], f"--out={out}"]
    assert main(["report", *options]) == 0
    assert f'"doubts": "{DOUBT}"' in out.read_text().replace('":"', '": "')


def prepare(records, out, *options) -> int:
    locations = [f"--raw-root={records}", f"--processed-root={out}"]
    assert main(["prepare", "records", "--source=generic", *locations]) == 0
    return main(["prepare", "signals", f"--processed-root={out}", *options])


def test_prepare_lists_doubts_and_quarantines_them_where_asked(records, tmp_path, capsys):
    out = tmp_path / "out"
    doubts = out / "doubts.csv"
    assert prepare(records, out) == 0
    printed = capsys.readouterr().out
    assert f"1 records are doubtful, see {doubts}; the first: {DOUBT}" in printed
    assert doubts.read_text() == f"source,record,doubt\ngeneric,b.hea,{DOUBT}\n"
    kept = pd.read_csv(out / "meta.csv")
    assert "doubts" not in "".join(kept)
    assert len(kept) == 2
    before = (out / "segmented" / "generic_a_0.mat").read_bytes()
    assert prepare(records, out) == 0  # nothing is prepared again, and the list is the same
    assert doubts.read_text() == f"source,record,doubt\ngeneric,b.hea,{DOUBT}\n"
    assert prepare(records, out, "--verify") == 3
    assert not doubts.exists()
    assert DOUBT in pd.read_csv(out / "quarantine.csv")["reason"].item()
    assert [Path(path).name for path in pd.read_csv(out / "meta.csv")["path"]] == ["a.hea"]
    assert (out / "segmented" / "generic_a_0.mat").read_bytes() == before
    assert not (out / "segmented" / "generic_b_0.mat").exists()
    assert prepare(records, out) == 0
    assert doubts.exists()
    assert len(pd.read_csv(out / "meta.csv")) == 2


def test_prepare_verifies_long_recordings_where_asked(records, tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_ecg.ecg.blocks.BLOCK_SAMPLES", 500)
    assert prepare(records, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "doubts.csv").exists()  # it was not read at once
    assert prepare(records, tmp_path / "out", "--verify") == 3
    quarantine = pd.read_csv(tmp_path / "out" / "quarantine.csv")
    assert quarantine["record"].item() == "b.hea"


def test_prepare_reads_records_of_any_name(records, tmp_path):
    for name in ("a", "b"):
        header = records / f"{name}.hea"
        header.write_text(header.read_text().replace(f"{name} 12", f"ge/{name}.mat 12", 1))
    assert prepare(records, tmp_path / "out") == 0
    assert len(pd.read_csv(tmp_path / "out" / "meta.csv")) == 2


def test_checksums_of_stores_are_compared_where_asked(shared, network, tmp_path, capsys):
    store = tmp_path / "store"
    (tmp_path / "plain").mkdir()
    segments = shared / "ecg" / "code_15" / "segmented"
    names = sorted(path.name for path in segments.glob("*.mat"))[:3]
    for split, name in zip(("test", "train", "valid"), names, strict=True):
        (tmp_path / "plain" / f"{split}.tsv").write_text(f"\t{segments}/\n{name}\t2500\n")
    assert main(["store", "pack", str(tmp_path / "plain"), str(store)]) == 0
    index = pd.read_parquet(next(store.glob("index*.parquet"))).set_index("path")
    shard = store / f"shard-{index.loc[names[0], 'shard']:06}.npy"
    content = bytearray(shard.read_bytes())
    content[128 + 4 * index.loc[names[0], "offset"]] ^= 1
    shard.write_bytes(content)
    checkpoint, labels = network
    out = tmp_path / "t.csv"
    for command, options in (("predict", network), ("embed", network[:1])):
        assert main([command, *options, str(store), f"--out={out}"]) == 0
        assert len(pd.read_csv(out)) == 2
        assert main([command, *options, str(store), f"--out={out}", "--verify"]) == 3
        assert len(pd.read_csv(out)) == 1
    truth = shared / "ecg" / "code_15" / "labels" / "y.npy"
    reported = f"the checksum of {names[0]} is wrong"
    options = [checkpoint, labels, f"--manifest={store / 'test'}", f"--labels={truth}"]
    capsys.readouterr()
    assert main(["evaluate", *options]) == 0
    assert main(["evaluate", *options, "--verify"]) == 2  # of none that is left
    assert reported in capsys.readouterr().err
    options = [checkpoint, f"--data={store}", f"--labels={truth}", f"--out={tmp_path / 'probe'}"]
    main(["probe", *options])  # which are embedded, if too few to fit anything
    assert len(list((tmp_path / "probe" / "embeddings").rglob("*.npz"))) == 3
    assert reported not in capsys.readouterr().err
    assert main(["probe", *options, "--verify"]) == 2
    assert reported in capsys.readouterr().err


def test_records_that_a_manifest_names_are_verified(records, network, tmp_path):
    (tmp_path / "mats").mkdir()
    for name in ("a", "b"):
        scipy.io.savemat(tmp_path / "mats" / f"{name}.mat", {"ecg_path": str(records / name)})
    manifest = tmp_path / "test.tsv"
    manifest.write_text(f"\t{tmp_path / 'mats'}/\na.mat\t5000\nb.mat\t5000\n")
    options = [*network, str(manifest), f"--out={tmp_path / 't.csv'}"]
    assert main(["predict", *options]) == 0
    assert main(["predict", *options, "--verify"]) == 3
    assert pd.read_csv(tmp_path / "t.csv")["recording"].tolist() == ["a.mat"]


def test_the_option_is_that_of_every_command(capsys):
    for command in ("predict", "embed", "saliency", "plot", "report", "evaluate", "probe fit"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        assert "--verify" in capsys.readouterr().out, command
