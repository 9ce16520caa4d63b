import csv

import numpy as np
import pytest
import wfdb
from scipy.io import loadmat

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.prepare import prepare
from fairseq_ecg.prepare.signals import segments_of

N_RECORDS = 12
SHORT = 3


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Twelve records of six patients; 2.5 s at 100 Hz, one of them only 0.5 s."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    for i in range(N_RECORDS):
        (folder / f"p{i % 6}").mkdir(exist_ok=True)
        wfdb.wrsamp(
            f"r{i}",
            fs=100,
            units=["mV"] * 12,
            sig_name=list(LEADS),
            d_signal=rng.integers(-1000, 1000, size=(50 if i == SHORT else 250, 12)),
            fmt=["16"] * 12,
            adc_gain=[1000.0] * 12,
            baseline=[0] * 12,
            write_dir=str(folder / f"p{i % 6}"),
        )
    rows = [f"p{i % 6}/r{i},{i % 6},{i % 2},{int(i < 4)}" for i in range(N_RECORDS)]
    (folder / "labels.csv").write_text("\n".join(["record,patient,x,y", *rows]) + "\n")
    return folder


def run(records, out, **options):
    return prepare(
        records,
        records / "labels.csv",
        out,
        patient_column="patient",
        **{
            "sample_rate": 200,
            "segment_seconds": 1,
            "fractions": (0.5, 0.25, 0.25),
            "seed": 1,
            **options,
        },
    )


@pytest.fixture(scope="module")
def prepared(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    return out, run(records, out)


def test_summary_counts_what_is_there(prepared):
    out, summary = prepared
    assert summary.too_short == 1
    assert sum(summary.patients.values()) == 6
    assert sum(summary.recordings.values()) == N_RECORDS - 1
    assert sum(summary.segments.values()) == len(list((out / "segmented").iterdir())) == 22


def test_segment_files_have_the_keys_of_fairseq_signals(records, prepared):
    out, _ = prepared
    content = loadmat(out / "segmented" / "p5_r11_1.mat")
    scalars = {
        "org_sample_rate": 100,
        "curr_sample_rate": 200,
        "org_sample_size": 250,
        "curr_sample_size": 200,
        "idx": 11,
        "segment_i": 1,
    }
    for key, value in scalars.items():
        assert content[key].dtype == np.int64
        assert content[key].tolist() == [[value]]
    original = wfdb.rdrecord(str(records / "p5" / "r11")).p_signal.T
    expected = segments_of(original, 100, 200, 200)
    np.testing.assert_array_equal(content["feats"], expected.ecg[1])
    np.testing.assert_array_equal(content["mean"], expected.mean)
    np.testing.assert_array_equal(content["std"], expected.std)


def test_keys_are_those_of_published_segments(prepared, shared):
    published = loadmat(next((shared / "ecg" / "code_15" / "segmented").glob("*.mat")))
    content = loadmat(prepared[0] / "segmented" / "p0_r0_0.mat")
    assert list(content) == list(published)
    for key in published.keys() - {"__header__"}:
        assert getattr(content[key], "dtype", None) == getattr(published[key], "dtype", None)


def test_no_patient_is_in_two_splits(prepared):
    out, summary = prepared
    with open(out / "meta_split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N_RECORDS - 1
    splits_of = {}
    for row in rows:
        splits_of.setdefault(row["patient"], set()).add(row["split"])
        assert row["record"] == f"p{row['patient']}/r{row['idx']}"
        assert row["save_file"] == f"p{row['patient']}_r{row['idx']}.mat"
    assert all(len(splits) == 1 for splits in splits_of.values())
    for split, n_segments in summary.segments.items():
        lines = (out / "manifests" / f"{split}.tsv").read_text().splitlines()[1:]
        of_split = {row["save_file"].removesuffix(".mat") for row in rows if row["split"] == split}
        assert {line.split("\t")[0].rsplit("_", 1)[0] for line in lines} == of_split
        assert len(lines) == n_segments == 2 * len(of_split)
        pairs = (out / "manifests" / "cmsc" / f"{split}.tsv").read_text().splitlines()[2:]
        assert {line.split("\t")[0] for line in pairs} == of_split


def test_rows_of_y_are_found_by_idx(prepared):
    y = np.load(prepared[0] / "labels" / "y.npy")
    np.testing.assert_array_equal(y, [[i % 2, i < 4] for i in range(N_RECORDS)])


def test_again_gives_the_same_bytes(records, prepared, tmp_path):
    out, _ = prepared
    run(records, tmp_path)
    written = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert written == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for path in written:
        first, second = (out / path).read_bytes(), (tmp_path / path).read_bytes()
        assert first == second.replace(str(tmp_path).encode(), str(out).encode())


def test_a_record_that_is_missing_is_named(records, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("record,patient,x\np0/r0,0,1\np9/r9,1,0\n")
    with pytest.raises(DataError, match=r"p9/r9\.hea: no such WFDB header"):
        prepare(records, table, tmp_path / "out", patient_column="patient")


def test_records_that_would_share_a_file_are_refused(records, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("record,patient,x\np0/r0,0,1\np0_r0,1,0\n")
    with pytest.raises(DataError, match=r"p0/r0 and p0_r0 would both become p0_r0\.mat"):
        prepare(records, table, tmp_path / "out", patient_column="patient")


def test_labels_without_a_positive_in_training_are_reported(records, tmp_path):
    table = tmp_path / "labels.csv"
    rows = [f"p{i}/r{i},{i},{i % 2},0" for i in range(6) if i != SHORT]
    table.write_text("\n".join(["record,patient,x,never", *rows]) + "\n")
    summary = prepare(
        records,
        table,
        tmp_path / "out",
        patient_column="patient",
        segment_seconds=1,
        fractions=(0.6, 0.2, 0.2),
    )
    assert summary.untrainable == ["never"]
    assert (tmp_path / "out" / "labels" / "pos_weight.txt").read_text().endswith(",inf]")
