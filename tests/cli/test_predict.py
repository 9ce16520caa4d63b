import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fairseq_ecg.cli import main
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.inference import ECGModel, parts
from fairseq_ecg.inference.results import FACTS
from tests.conftest import environment

N_FACTS = len(FACTS)
ATOL = 2e-6  # of probabilities: float32 sums of another order, and 1e-8 mV
SIGNAL = np.random.default_rng(0).normal(0, 0.5, (12, 5000)).round(3)


def predict(network, *arguments, out: Path) -> pd.DataFrame:
    assert main(["predict", *network, *map(str, arguments), f"--out={out}"]) == 0
    return read(out)


def read(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    return table.fillna(
        dict.fromkeys(["missing_leads", "flat_leads", "doubts", "quality_reasons"], "")
    ).set_index("recording")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_recordings_of_a_folder(suffix, network, outputs, shared, tmp_path, capsys):
    folder = shared / "ecg" / "code_15" / "org"
    segments = tmp_path / f"segments.{suffix}"
    options = [f"--segments={segments}", "--workers=2", "--batch-size=4"]
    table = predict(network, folder, *options, out=tmp_path / f"p.{suffix}")
    assert list(table.index) == [str(path) for path in sorted(folder.glob("*.mat"))]
    assert list(table.columns) == [
        *FACTS, "is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg",
    ]  # fmt: skip
    np.testing.assert_allclose(
        table.iloc[1, N_FACTS:].astype(float), outputs[1:3].mean(axis=0), 0, ATOL
    )
    of_segments = pd.read_csv(segments) if suffix == "csv" else pd.read_parquet(segments)
    assert list(of_segments.columns[:4]) == ["recording", "segment", "start", "end"]
    np.testing.assert_allclose(of_segments.iloc[:, 4:], outputs, 0, ATOL)
    assert capsys.readouterr().out == f"10 recordings: {tmp_path / f'p.{suffix}'}, {segments}\n"
    assert sorted(os.listdir(tmp_path)) == sorted([f"p.{suffix}", f"segments.{suffix}"])


@pytest.fixture
def prepared(shared, code_15, tmp_path) -> dict[str, list]:
    """The published segments in every file format that prepared ones have."""
    from fairseq_ecg.prepare.pack import pack

    folder = shared / "ecg" / "code_15" / "segmented"
    table = pd.read_csv(shared / "ecg" / "code_15" / "segmented.csv")
    table.assign(path=[str(folder / name) for name in table["path"]]).to_parquet(
        tmp_path / "segmented.parquet"
    )
    pack(code_15 / "plain", tmp_path / "store")
    return {
        "folder": [folder],
        "files": sorted(folder.glob("*.mat"), reverse=True),
        "manifest": [code_15 / "plain" / "test.tsv"],
        "split": [code_15 / "plain", "--split=test"],
        "table": [tmp_path / "segmented.parquet"],
        "store": [tmp_path / "store", "--split=test"],
        "whole store": [tmp_path / "store"],
        "preprocessed": [shared / "ecg" / "code_15" / "preprocessed"],
    }


def test_prepared_recordings_are_not_standardised_again(network, outputs, prepared, tmp_path):
    rows = [[0], [1, 2], [3], [4, 5], [6], [7, 8], [9], [10], [11], [12, 13]]
    expected = np.stack([outputs[segments].mean(axis=0) for segments in rows])
    for kind, named in prepared.items():
        table = predict(network, *named, out=tmp_path / "p.csv")
        if kind == "files":
            table = table.iloc[::-1]
        names = [Path(name).name for name in table.index]
        assert names[:2] == ["code_15_1238362.mat", "code_15_1594286.mat"], kind
        assert table["segments"].tolist() == [len(segments) for segments in rows], kind
        np.testing.assert_allclose(table.iloc[:, N_FACTS:], expected, 0, ATOL, err_msg=kind)


def test_pairs_of_a_cmsc_manifest(network, outputs, code_15, tmp_path):
    manifest = str(code_15 / "cmsc" / "test.tsv")
    assert main(["predict", *network, manifest, f"--out={tmp_path / 'p.tsv'}"]) == 0
    table = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert table["recording"].tolist() == [
        "code_15_1594286.mat", "code_15_270272.mat", "code_15_2969044.mat", "code_15_975093.mat",
    ]  # fmt: skip
    np.testing.assert_allclose(
        table.iloc[0, N_FACTS + 1 :].astype(float), outputs[1:3].mean(axis=0), 0, ATOL
    )


def test_arrays_records_and_tables_of_them(network, record, tmp_path):
    np.save(tmp_path / "all.npy", np.stack([SIGNAL, SIGNAL[:, ::-1]]).astype(np.float32))
    said = ["--sample-rate=500", f"--leads={','.join(LEADS)}"]
    table = predict(network, tmp_path / "all.npy", *said, out=tmp_path / "p.csv")
    assert list(table.index) == [f"{tmp_path / 'all.npy'}[{row}]" for row in range(2)]
    for name, samples in (("a", SIGNAL), ("b", SIGNAL[:, ::-1])):
        record(name, samples)
    pd.DataFrame({"path": ["b.hea", "a"]}).to_csv(tmp_path / "table.csv")
    of_records = predict(network, tmp_path / "table.csv", out=tmp_path / "r.csv")
    assert list(of_records.index) == ["b.hea", "a"]
    # Files hold these numbers to 1e-3 mV, arrays to what float32 rounds.
    np.testing.assert_allclose(
        of_records.iloc[::-1, N_FACTS:], table.iloc[:, N_FACTS:], rtol=0, atol=1e-4
    )
    (tmp_path / "counts").mkdir()
    np.save(tmp_path / "counts" / "c.npy", (SIGNAL.T * 200).round().astype(np.int16))
    scaled = predict(network, tmp_path / "counts", *said, "--gain=200", out=tmp_path / "c.csv")
    np.testing.assert_allclose(
        scaled.iloc[:, N_FACTS:], table.iloc[:1, N_FACTS:], rtol=0, atol=1e-2
    )


def test_leads_that_are_missing(network, record, tmp_path):
    named = record("two", SIGNAL[:2], leads=("I", "II"))
    derived = predict(network, named, out=tmp_path / "p.csv")
    zeros = predict(network, named, "--missing-leads=zero", out=tmp_path / "z.csv")
    missing = ", ".join(LEADS[2:])
    assert derived["missing_leads"].item() == zeros["missing_leads"].item() == missing
    assert not np.allclose(
        derived.iloc[0, N_FACTS:].astype(float), zeros.iloc[0, N_FACTS:].astype(float)
    )


def test_aggregation_and_thresholds(network, shared, outputs, tmp_path):
    named = shared / "ecg" / "code_15" / "org" / "code_15_1594286.mat"
    largest = predict(network, named, "--aggregation=max", out=tmp_path / "p.csv")
    np.testing.assert_allclose(
        largest.iloc[0, N_FACTS:].astype(float), outputs[1:3].max(axis=0), 0, ATOL
    )
    (tmp_path / "t.csv").write_text("label,threshold\nis_male,0.29\nAF,0.0214\nRBBB,0.99\n")
    options = ["--aggregation=AF=max", f"--thresholds={tmp_path / 't.csv'}"]
    table = predict(network, named, *options, out=tmp_path / "p.csv").iloc[0]
    assert table["AF"] == pytest.approx(outputs[1:3, 6].max(), abs=ATOL)
    assert table["ST"] == pytest.approx(outputs[1:3, 5].mean(), abs=ATOL)
    expected = {"is_male": table["is_male"] >= 0.29, "AF": table["AF"] >= 0.0214, "RBBB": False}
    assert {name: bool(table[f"{name} holds"]) for name in expected} == expected
    assert table["normal_ecg holds"] == 0
    all_hold = predict(network, named, "--thresholds=0", out=tmp_path / "p.csv").iloc[0]
    assert (all_hold[[name for name in all_hold.index if name.endswith(" holds")]] == 1).all()


def test_bfloat16_is_close(network, shared, tmp_path):
    named = shared / "ecg" / "code_15" / "org"
    full = predict(network, named, out=tmp_path / "p.csv").iloc[:, N_FACTS:].to_numpy(float)
    half = predict(network, named, "--dtype=bf16", out=tmp_path / "h.csv").iloc[:, N_FACTS:]
    difference = np.abs(half.to_numpy(float) - full).max()
    assert 0 < difference < 0.02  # 8 bits of mantissa


def test_manifests_that_name_records(network, record, tmp_path):
    named = record("r", SIGNAL)
    (tmp_path / "mats").mkdir()
    scipy.io.savemat(tmp_path / "mats" / "r.mat", {"ecg_path": named.removesuffix(".hea")})
    (tmp_path / "test.tsv").write_text(f"\t{tmp_path / 'mats'}/\nr.mat\t5000\n")
    table = predict(network, tmp_path / "test.tsv", out=tmp_path / "p.csv")
    assert list(table.index) == ["r.mat"]
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True),
        predict(network, named, out=tmp_path / "p.csv").reset_index(drop=True),
    )


def test_outputs_are_no_recordings(network, record, tmp_path):
    record("r", SIGNAL)
    for _ in range(2):
        options = [f"--segments={tmp_path / 's.csv'}"]
        table = predict(network, tmp_path, *options, out=tmp_path / "p.csv")
        assert list(table.index) == [str(tmp_path / "r.hea")]


CHANGES = {
    "uV": (lambda x: x * 1000, "look like microvolts"),
    "short": (lambda x: x[:, :1500], "3 s, shorter than one segment of 5 s"),
    "flat": (lambda x: x * 0, "no signal, all leads are flat"),
    "NaN": (
        lambda x: np.where(np.arange(x.shape[1]) == 7, np.nan, x),
        "NaN or infinite are 1 in I, 1 in II",
    ),
}


@pytest.fixture
def mixed(record, tmp_path) -> Path:
    """A folder of recordings of which one is good."""
    for name, (change, _) in CHANGES.items():
        record(name, change(SIGNAL))
    record("good", SIGNAL)
    (tmp_path / "damaged.edf").write_bytes(b"0       nothing else")
    return tmp_path


def test_what_cannot_be_used_is_noted_with_the_reason(network, mixed, capsys):
    arguments = ["predict", *network, str(mixed), f"--out={mixed / 'results' / 'p.csv'}"]
    assert main(arguments) == 3
    captured = capsys.readouterr()
    assert list(read(mixed / "results" / "p.csv").index) == [str(mixed / "good.hea")]
    noted = pd.read_csv(mixed / "results" / "p.quarantine.csv").set_index("recording")["reason"]
    for name, (_, message) in CHANGES.items():
        assert message in noted[str(mixed / f"{name}.hea")], name
    assert "EDF" in noted[str(mixed / "damaged.edf")]
    assert "5 recordings cannot be used, see " in captured.out
    assert captured.err == ""
    assert main([*arguments, "--strict"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fairseq-ecg: ")
    assert error.count("\n") == 1
    policies = ["--short=pad", "--nan-policy=interpolate"]
    assert main([*arguments, *policies]) == 3
    assert len(read(mixed / "results" / "p.csv")) == 3
    for name in ("uV.hea", "flat.hea", "damaged.edf"):
        (mixed / name).unlink()
    assert main([*arguments, *policies]) == 0
    assert not (mixed / "results" / "p.quarantine.csv").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_a_recording_that_cannot_be_used(change, network, record, tmp_path, capsys):
    changed, message = CHANGES[change]
    named = record("r", changed(SIGNAL))
    assert main(["predict", *network, named, f"--out={tmp_path / 'p.csv'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--aggregation=flutter=max"], "unknown label 'flutter'; the labels are is_male, "),
        (["--aggregation=median"], "'median' is no aggregation"),
        (["--aggregation=max", "--aggregation=AF=mean"], "--aggregation max: give one rule"),
        (["--thresholds=1.5"], "1.5 is no probability"),
        (["--thresholds=none.csv"], "none.csv: no such file"),
        (["--batch-size=0"], "batch_size=0: must be positive"),
        (["--workers=-1"], "workers=-1"),
        (["--device=gpu9"], "device gpu9"),
        (["--sample-rate=0"], "sample_rate=0.0: give a positive number (Hz)"),
        (["--format=ecg"], "--format='ecg': choose from wfdb, "),
        (["--missing-leads=error"], "lacks lead III"),
        (["--label-def=none.csv"], "none.csv: no such file"),
        (["--split=test"], "two.hea: is no store and no folder of manifests"),
        (
            ["--out=p.xlsx"],
            "p.xlsx: of no known format. Let its name end with .csv, .tsv, .parquet",
        ),
    ],
)
def test_options_that_cannot_be_used(options, message, network, record, tmp_path, capsys):
    named = record("two", SIGNAL[:2], leads=("I", "II"))
    arguments = [*network, named, f"--out={tmp_path / 'p.csv'}", *options]
    assert main(["predict", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "say its sampling rate"),
        (["--sample-rate=500", "--leads=I,W9"], "unknown lead W9; the leads are I, II, III"),
        (["--sample-rate=500", "--leads=I,II"], "but 2 leads are named"),
        (["--sample-rate=500", "--units=mmHg"], "mmHg"),
    ],
)
def test_what_is_said_of_arrays(said, message, network, tmp_path, capsys):
    np.save(tmp_path / "a.npy", SIGNAL[None])
    arguments = [*network, str(tmp_path / "a.npy"), f"--out={tmp_path / 'p.csv'}", *said]
    assert main(["predict", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_labels_by_number_of_labels(network, shared, record, tmp_path, capsys):
    (tmp_path / "l.csv").write_text("name\nAF\n")
    named = record("r", SIGNAL)
    options = [f"--out={tmp_path / 'p.csv'}", f"--label-def={tmp_path / 'l.csv'}"]
    arguments = [network[0], named, *options]
    assert main(["predict", *arguments]) == 2
    assert "predicts 8 labels" in capsys.readouterr().err
    pretrained = str(shared / "golden" / "pretrain_small.pt")
    assert main(["predict", pretrained, *arguments[1:3]]) == 2
    assert "predicts no labels" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "none.pt"), *arguments[1:3]]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_prepared_at_another_rate(network, shared, tmp_path, capsys):
    mat = scipy.io.loadmat(shared / "ecg" / "code_15" / "segmented" / "code_15_1238362_0.mat")
    kept = {name: value for name, value in mat.items() if name[0] != "_"}
    scipy.io.savemat(tmp_path / "a_0.mat", kept | {"curr_sample_rate": 250})
    assert main(["predict", *network, str(tmp_path), f"--out={tmp_path / 'p.csv'}"]) == 2
    assert "prepared at 250 Hz, the network reads 500 Hz" in capsys.readouterr().err


def test_a_killed_run_goes_on_where_it_was(network, tmp_path, monkeypatch):
    signals = np.random.default_rng(1).normal(0, 0.5, (40, 12, 2600)).astype(np.float32)
    np.save(tmp_path / "all.npy", signals)
    arguments = ["predict", *network, str(tmp_path / "all.npy"), "--sample-rate=500"]
    monkeypatch.setattr(parts, "RECORDINGS", 8)
    whole = [f"--out={tmp_path / 'w.csv'}", f"--segments={tmp_path / 'ws.parquet'}"]
    assert main([*arguments, *whole]) == 0
    killed = [f"--out={tmp_path / 'k.csv'}", f"--segments={tmp_path / 'ks.parquet'}"]
    folder = tmp_path / ".k.csv.parts"
    program = (
        "import os, signal, sys, fairseq_ecg.inference.parts as parts\n"
        "from fairseq_ecg.cli import main\n"
        "parts.RECORDINGS = 8\n"
        "compute = parts._part\n"
        "def part(folder, number, *rest):\n"
        "    if number == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return compute(folder, number, *rest)\n"
        "parts._part = part\n"
        "main(sys.argv[1:])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments, *killed],
        capture_output=True,
        check=False,
        env=environment(),
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()[-2000:]
    assert not (tmp_path / "k.csv").exists()
    done = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert len(done) == 6
    computed = []
    predict_part = ECGModel.predict
    monkeypatch.setattr(
        "fairseq_ecg.inference.model.ECGModel.predict",
        lambda self, part, **rest: computed.append(len(part)) or predict_part(self, part, **rest),
    )
    assert main([*arguments, *killed]) == 0
    assert computed == [8, 8]
    assert (tmp_path / "k.csv").read_bytes() == (tmp_path / "w.csv").read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "ks.parquet"), pd.read_parquet(tmp_path / "ws.parquet")
    )
    assert not folder.exists()


def test_a_single_recording_needs_no_parts(network, record, tmp_path, monkeypatch):
    """Neither a file of its own nor a checksum of all weights: there is nothing to go on with."""

    def refused(*_):
        raise AssertionError

    monkeypatch.setattr(parts, "identity_of", refused)
    monkeypatch.setattr(parts.Ledger, "writing", refused)
    assert main(["predict", *network, record("r", SIGNAL), f"--out={tmp_path / 'p.csv'}"]) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == 1
    assert not (tmp_path / ".p.csv.parts").exists()
