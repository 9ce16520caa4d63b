"""A folder with a hostile file of each kind beside good recordings: the good ones are done."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg import limits
from fairseq_ecg.cli import main
from fairseq_ecg.formats import scp
from fairseq_ecg.inference.results import FACTS
from tests.prepare.sources.archives import muse_counts, muse_xml
from tests.segment_files import write_segment_files
from tests.trials.files import write_record

GOOD = ("a_first.hea", "m_middle.hea", "z_last.hea")


RAISED = {"memory": MemoryError(), "depth": RecursionError("too deep"), "other": KeyError(3)}
"""By readers of these files; whatever a reader raises is one recording's error."""


def npy(shape: str, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(960)


def header(folder: Path, name: str, record: str, of_signal: str, n_signals: int = 1) -> None:
    lines = [f"{name} {record}", *[f"{name}.dat {of_signal}"] * n_signals]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.dat").write_bytes(bytes(2000))


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """The folder; every file in it but the good ones is hostile."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in GOOD:
        write_record(folder, name.removesuffix(".hea"))
    header(folder, "samples", "1 250 1000000000000", "16 200/mV 16 0 0 0 0 I")
    header(folder, "baseline", "1 250 1000", f"16 200({'9' * 400})/mV 16 0 0 0 0 I")
    header(folder, "gain", "1 250 1000", f"16 {'9' * 400}/mV 16 0 0 0 0 I")
    header(folder, "slow", "1 0.0000001 1000", "16 200/mV 16 0 0 0 0 I")
    header(folder, "fast", "1 1000000000 1000", "16 200/mV 16 0 0 0 0 I")
    header(folder, "offset", "1 250 1000", f"16+{'9' * 30} 200/mV 16 0 0 0 0 I")
    header(folder, "signals", "99999999999 250 1000", "16 200/mV 16 0 0 0 0 I")
    header(folder, "empty", "", "")
    xml = muse_xml(muse_counts(1, 250), sample_rate=250)
    for name, exponent in (("exponent", "400"), ("small", "-400")):
        changed = xml.replace("<SampleExponent>0<", f"<SampleExponent>{exponent}<")
        (folder / f"{name}.xml").write_text(changed)
    (folder / "laughs.xml").write_text(
        '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><RestingECG>&b;</RestingECG>'
    )
    (folder / "negative.npy").write_bytes(npy("(12, -5)"))
    (folder / "negatives.npy").write_bytes(npy("(-3, 12, -5)"))
    (folder / "nothing.npy").write_bytes(npy("(3000000, 12, 0)"))
    (folder / "void.npy").write_bytes(npy("(3000000, 12, 500)", "|V0"))
    (folder / "large.npy").write_bytes(npy(f"({10**30}, 12, 500)"))
    (folder / "objects.npy").write_bytes(npy("(2, 12, 5)", "|O"))
    for suffix in ("edf", "dcm", "mat", "h5", "npz"):
        (folder / f"noise_{suffix}.{suffix}").write_bytes(np.random.default_rng(0).bytes(2000))
    for suffix in ("edf", "csv", "tsv", "mat", "npy"):
        (folder / f"none_{suffix}.{suffix}").write_bytes(b"")
    (folder / "manifest.tsv").write_text("/nowhere/at/all\na.mat\t250\n")
    (folder / "paths.csv").write_text("path,label\nmissing.edf,1\n,2\ngone/x.edf,3\n")
    (folder / "columns.csv").write_text(",".join(["path"] * 200_000) + "\n")
    (folder / "text.csv").write_bytes(b"path\xff\xfe,I\n1,2\n")
    monkeypatch.setattr(limits, "FREELY_UNPACKED", 10**6)
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(bytes(10**7)))

    def failing(location, *_):
        raise RAISED[location.stem]

    monkeypatch.setattr(scp, "read_scp", failing)
    for name in RAISED:
        (folder / f"{name}.scp").write_text("of an SCP-ECG")
    # No recordings, and so not listed: a folder, a pipe, links that lead nowhere or in circles.
    (folder / "folder.edf").mkdir()
    os.mkfifo(folder / "pipe.csv")
    os.symlink(folder / "nowhere.edf", folder / "link.edf")
    os.symlink(folder / "circle.edf", folder / "circle.edf")
    return folder


def hostile_names(folder: Path) -> set[str]:
    """Names that are to be reported, as the first column of a list of reasons has them."""
    names = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".dat"} - {
        *GOOD,
        "paths.csv",
    }
    return names | {"missing.edf", "gone/x.edf", "paths.csv, row 2"}


def command(name: str, network: str, folder: Path, out: Path, *options: str) -> list[str]:
    return [name, network, str(folder), f"--out={out}", *options]


def reported_in(table: Path, folder: Path) -> dict[str, str]:
    rows = pd.read_csv(table, keep_default_na=False)
    short = [name.removeprefix(f"{folder}/") for name in rows["recording"]]
    return dict(zip(short, rows["reason"], strict=True))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_predict(workers, network, hostile, tmp_path, capsys):
    out = tmp_path / "p.csv"
    options = [f"--workers={workers}", "--batch-size=2", "--segments", str(tmp_path / "s.csv")]
    assert main(command("predict", network, hostile, out, *options)) == 3
    table = pd.read_csv(out).set_index("recording")
    assert list(table.index) == [str(hostile / name) for name in GOOD]
    reported = reported_in(tmp_path / "p.quarantine.csv", hostile)
    assert set(reported) == hostile_names(hostile)
    for name, reason in reported.items():
        assert name.partition(",")[0] in reason, reason
        assert len(reason) < 1500
    assert "MemoryError" in reported["memory.scp"]
    assert "RecursionError" in reported["depth.scp"]
    assert f"{len(reported)} recordings cannot be used" in capsys.readouterr().out
    alone = tmp_path / "alone.csv"
    good = [str(hostile / name) for name in GOOD]
    assert main(["predict", network, *good, f"--out={alone}"]) == 0
    np.testing.assert_allclose(
        table.iloc[:, len(FACTS) :],
        pd.read_csv(alone).set_index("recording").iloc[:, len(FACTS) :],
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("name", "options"), [("embed", []), ("saliency", []), ("saliency", ["--samples"])]
)
def test_embed_and_saliency(name, options, network, hostile, tmp_path):
    out = tmp_path / "out.csv"
    assert main(command(name, network, hostile, out, *options)) == 3
    assert set(pd.read_csv(out)["recording"]) == {str(hostile / name) for name in GOOD}
    assert set(reported_in(tmp_path / "out.quarantine.csv", hostile)) == hostile_names(hostile)


def test_reasons_are_written_where_nothing_can_be_used(network, hostile, tmp_path, capsys):
    for name in GOOD:
        (hostile / name).unlink()
    out = tmp_path / "p.csv"
    assert main(command("predict", network, hostile, out)) == 2
    assert not out.exists()
    reported = reported_in(tmp_path / "p.quarantine.csv", hostile)
    assert set(reported) == hostile_names(hostile)
    assert f"none of {len(reported)} recordings can be used; the first: " in capsys.readouterr().err
    assert main(command("predict", network, hostile, out, "--strict")) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("page", [True, False])
def test_report(page, network, hostile, tmp_path, capsys):
    out = tmp_path / ("page.html" if page else "pages")
    assert main(["report", str(hostile), f"--checkpoint={network}", f"--out={out}"]) == 3
    reported = capsys.readouterr().err
    assert reported.count("left out: ") == len(hostile_names(hostile))
    for name in hostile_names(hostile):
        assert name.partition(",")[0] in reported
    if page:
        text = out.read_text()
        assert all(str(hostile / name) in text for name in GOOD)
    else:
        assert {path.name for path in out.rglob("*.html")} == {
            name.replace(".hea", ".html") for name in GOOD
        }


def test_plot(network, hostile, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert main(["plot", str(hostile), f"--checkpoint={network}", f"--out={out}"]) == 3
    reported = capsys.readouterr().err
    for name in hostile_names(hostile):
        assert name.partition(",")[0] in reported
    pictures = {path.name for path in out.rglob("*.png")}
    assert pictures >= {name.replace(".hea", ".png") for name in GOOD}
    assert len(pictures) < len(hostile_names(hostile)) / 2  # some are odd, but can be drawn


def test_evaluate(network, hostile, tmp_path, capsys):
    names = sorted({path.name for path in hostile.iterdir()} - {"paths.csv"})
    files = [name for name in names if (hostile / name).is_file() and not name.endswith(".dat")]
    kinds = (".npy", "columns.csv", "text.csv", "manifest.tsv")  # these may be several recordings
    rows = [name for name in files if not name.endswith(kinds)]
    labels = pd.DataFrame({"path": [str(hostile / name) for name in rows]})
    labels = labels.assign(AF=[i % 2 for i in range(len(rows))], SB=1)
    labels.loc[labels["path"].str.contains("a_first|m_middle"), "AF"] = 1
    labels.loc[labels["path"].str.contains("z_last"), "AF"] = 0
    labels.to_csv(tmp_path / "t.csv", index=False)
    scores = tmp_path / "scores.csv"
    options = ["evaluate", network, f"--table={tmp_path / 't.csv'}", f"--out={scores}"]
    assert main(options) == 3
    reported = capsys.readouterr().err
    assert reported.count("left out: ") == len(rows) - len(GOOD)
    table = pd.read_csv(scores).set_index("label")
    assert (table["recordings"] == len(GOOD)).all()
    assert table.loc["AF", "positives"] == 2
    assert main([*options, "--strict"]) == 2
    assert main([*options, "--require-auroc=2"]) == 1


def test_evaluate_segments(network, tmp_path, capsys):
    folder = tmp_path / "segments"
    write_segment_files(
        folder, {"test": (2, 2, 2, 2)}, lambda _: 250, label=[[1.0, 0.0]], curr_sample_rate=250
    )
    options = ["evaluate", network, f"--manifest={folder / 'test.tsv'}", "--batch-size=3"]
    assert main([*options, f"--out={tmp_path / 'all.csv'}"]) == 0
    (folder / "segmented" / "rec1_1.mat").write_bytes(b"damaged")
    (folder / "segmented" / "rec3_0.mat").unlink()
    capsys.readouterr()
    assert main([*options, f"--out={tmp_path / 'some.csv'}"]) == 3
    reported = capsys.readouterr().err
    assert "rec1_1.mat" in reported
    assert "rec3_0.mat" in reported
    assert set(pd.read_csv(tmp_path / "some.csv")["recordings"]) == {2}
    assert main([*options, "--strict"]) == 2


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_prepare(jobs, hostile, tmp_path, capsys):
    out = tmp_path / "out"
    locations = [f"--raw-root={hostile}", f"--processed-root={out}"]
    assert main(["prepare", "records", "--source=generic", *locations]) == 0
    settings = ["--segment-seconds=1", "--sample-rate=250", f"--jobs={jobs}"]
    assert main(["prepare", "signals", f"--processed-root={out}", *settings]) == 3
    assert {name.removesuffix(".hea") for name in GOOD} == {
        name.removeprefix("generic_").removesuffix("_0.mat")
        for name in os.listdir(out / "segmented")
    }
    table = pd.read_csv(out / "quarantine.csv")
    n_others = len(pd.read_csv(out / "records.csv")) - len(GOOD)
    assert n_others - 3 <= len(table) <= n_others  # some are read, and have no value or are flat
    assert table["reason"].str.len().max() < 1500
