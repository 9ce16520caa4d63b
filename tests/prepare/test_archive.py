import ast
import os
import signal
import traceback

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.ecg.standardisation import standardisation
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.jobs.pool import workers
from fairseq_ecg.prepare import archive as archive_module
from fairseq_ecg.prepare.archive import JOURNAL, prepare_signals
from fairseq_ecg.prepare.records import read_source, write_records
from fairseq_ecg.prepare.stages import Settings

SECOND = {"sample_rate": 200, "segment_seconds": 1}


def tree(folder):
    """Content of every file below a folder, by path; paths in it are made relative."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def table(folder, name="meta"):
    return pd.read_csv(folder / f"{name}.csv")


def test_files_and_tables_are_as_fairseq_signals_writes_them(archive, make_ecg):
    names = {f"a/r{i}": make_ecg(i) for i in range(11)} | {"short": make_ecg(11, seconds=0.9)}
    source = archive.source(names)
    prepared = prepare_signals(source, archive.folder, Settings(**SECOND))
    assert prepared.summary.to_dict("records") == [
        {"source": "given", "dataset": "given", "outcome": "kept", "records": 11, "segments": 22},
        {
            "source": "given",
            "dataset": "given",
            "outcome": "shorter than a segment",
            "records": 1,
            "segments": 0,
        },
    ]
    meta = table(archive.folder)
    assert list(meta) == [
        *("idx", "path", "save_file", "source", "dataset", "save_path", "lead_order"),
        *("sample_rate", "sample_size", "avail_leads", "nan_any", "nan_leads_any", "nan_leads"),
        *("constant_leads_any", "constant_leads"),
        *(f"{name}_{i}" for name in ("mean", "std") for i in range(12)),
    ]
    assert meta["idx"].tolist() == list(range(12))
    assert meta["path"][0] == "/archive/a/r0"
    assert ast.literal_eval(meta["lead_order"][0]) == list(LEADS)
    lines = (archive.folder / "segmented.csv").read_text().splitlines()
    assert lines[0] == "path,save_file,sample_size"
    assert lines[-1] == ",,200"
    stems = [line.split(",")[0].rpartition("/")[2] for line in lines[1:-1]]
    assert stems == sorted(stems)
    assert stems.index("a_r10_0.mat") < stems.index("a_r1_0.mat") < stems.index("a_r2_0.mat")
    first = (archive.folder / "manifest.csv").read_text().splitlines()[:2]
    assert first == [
        "idx,source,source_path,save_file,sample_rate,sample_size",
        "0,given,/archive/a/r0,a_r0.mat,100,250",
    ]
    segment = loadmat(archive.folder / "segmented" / "a_r3_1.mat")
    scalars = {
        "org_sample_rate": 100,
        "curr_sample_rate": 200,
        "org_sample_size": 250,
        "curr_sample_size": 200,
        "idx": 3,
        "segment_i": 1,
    }
    for key, value in scalars.items():
        assert segment[key].dtype == np.int64
        assert segment[key].tolist() == [[value]]
    resampled = resample(names["a/r3"].signal, 100, 200)
    found = standardisation(resampled)
    np.testing.assert_allclose(segment["feats"], found(resampled)[:, 200:400], rtol=0, atol=5e-15)
    np.testing.assert_allclose(segment["mean"], found.mean, rtol=0, atol=5e-15)
    np.testing.assert_allclose(segment["std"], found.std, rtol=0, atol=5e-15)


def test_leads_are_brought_into_standard_order(archive, make_ecg):
    """Whatever their order in the file; others are dropped, missing ones are NaN."""
    given = make_ecg(leads=("V1", "aVF", "X", "II"))
    source = archive.source({"r": given})
    prepare_signals(source, archive.folder, Settings(**SECOND, leads=(1, 5, 6)))
    org = loadmat(archive.folder / "org" / "r.mat")
    np.testing.assert_array_equal(org["feats"], given.signal[[3, 1, 0]])
    prepare_signals(source, archive.folder, Settings(**SECOND))
    org = loadmat(archive.folder / "org" / "r.mat")["feats"]
    assert org.shape == (12, 250)
    assert np.isfinite(org).all(axis=1).tolist() == [lead in given.leads for lead in LEADS]
    meta = table(archive.folder)
    assert ast.literal_eval(meta["avail_leads"][0]) == ["II", "aVF", "V1"]
    assert meta["nan_leads_any"][0]


@pytest.mark.parametrize("seconds", [1, 1.0, 0.25, 0.29])
def test_segments_of_any_length(archive, make_ecg, seconds):
    """D1 of fairseq_signals: a length that is given was a TypeError."""
    source = archive.source({"r": make_ecg()})
    prepare_signals(source, archive.folder, Settings(sample_rate=100, segment_seconds=seconds))
    samples = round(100 * seconds)
    assert len(list((archive.folder / "segmented").iterdir())) == 250 // samples
    assert loadmat(archive.folder / "segmented" / "r_0.mat")["feats"].shape == (12, samples)
    assert table(archive.folder, "segmented")["sample_size"][0] == samples


def test_without_standardisation_the_signal_stays_in_mv(archive, make_ecg):
    """D2: was an UnboundLocalError."""
    ecg = make_ecg()
    source = archive.source({"r": ecg})
    settings = Settings(sample_rate=100, segment_seconds=1, standardise=False)
    prepare_signals(source, archive.folder, settings)
    segment = loadmat(archive.folder / "segmented" / "r_1.mat")
    np.testing.assert_array_equal(segment["feats"], ecg.signal[:, 100:200])
    np.testing.assert_allclose(segment["mean"][:, 0], ecg.signal.mean(axis=1))


@pytest.mark.parametrize("skip", [("org",), ("org", "preprocessed"), ("org", "segmented")])
def test_stages_are_skipped(archive, make_ecg, skip):
    """D3: --skip org with a manifest was a KeyError, and gave new ids."""
    source = archive.source({f"r{i}": make_ecg(i) for i in range(2)})
    manifest = archive.folder.parent / "all.csv"
    prepare_signals(source, archive.folder, Settings(**SECOND), manifest=manifest)
    before, text = tree(archive.folder), manifest.read_text()
    for name in ("segmented", "preprocessed"):
        if name not in skip:
            for path in (archive.folder / name).iterdir():
                path.unlink()
    source.recordings = {}  # nothing is read from the archive
    prepare_signals(source, archive.folder, Settings(**SECOND, skip=skip), manifest=manifest)
    after = tree(archive.folder)
    del before[JOURNAL], after[JOURNAL], before["summary.csv"], after["summary.csv"]
    assert after == before
    assert manifest.read_text() == text


def test_skipping_org_for_another_length(archive, make_ecg):
    ecg = make_ecg()
    source = archive.source({"r": ecg})
    prepare_signals(source, archive.folder, Settings(**SECOND))
    assert len(list((archive.folder / "segmented").iterdir())) == 2
    source.recordings = {}
    settings = Settings(sample_rate=100, segment_seconds=2, skip=("org",))
    prepare_signals(source, archive.folder, settings)
    names = sorted(path.name for path in (archive.folder / "segmented").iterdir())
    assert names == ["r_0.mat"]
    np.testing.assert_allclose(
        loadmat(archive.folder / "segmented" / "r_0.mat")["feats"],
        standardisation(ecg.signal)(ecg.signal)[:, :200],
        atol=5e-15,
    )


def test_a_skipped_stage_that_never_ran_is_reported(archive, make_ecg):
    source = archive.source({"r": make_ecg()})
    with pytest.raises(DataError, match=r"org/r\.mat: no such file\. Run the stage"):
        prepare_signals(source, archive.folder, Settings(skip=("org",)))


def test_flat_leads_are_flagged_whatever_their_value(archive, make_ecg):
    """D7: only those were flagged whose mean is exact, at 0 or 0.125 mV but not at 0.1."""
    ecg = make_ecg(seconds=3, rate=257)
    for row, value in ((1, 0.1), (3, 0.125), (4, 0.0), (5, -1 / 3)):
        ecg.signal[row] = value
    source = archive.source({"r": ecg})
    prepare_signals(source, archive.folder, Settings(**SECOND))
    meta = table(archive.folder)
    assert meta["constant_leads_any"][0]
    assert ast.literal_eval(meta["constant_leads"][0]) == ["II", "aVR", "aVL", "aVF"]
    for strategy, expected in (("zero", 0), ("constant", 0), ("nan", np.nan)):
        prepare_signals(source, archive.folder, Settings(**SECOND, constant_lead_strategy=strategy))
        segment = loadmat(archive.folder / "segmented" / "r_0.mat")["feats"]
        np.testing.assert_allclose(segment[[1, 3, 4, 5]], expected, atol=1e-12)
        assert np.isfinite(segment[[0, 2, 6]]).all()


def test_samples_without_value_reach_segments_only_if_asked(archive, make_ecg):
    """D12: they were flagged, and trained on."""
    ecg = make_ecg(seconds=3)
    ecg.signal[2, 50:60] = np.nan
    ecg.signal[3, 7] = np.inf
    ecg.signal[4] = np.nan
    source = archive.source({"whole": make_ecg(1), "r": ecg})
    settings = {"sample_rate": 100, "segment_seconds": 1}
    prepared = prepare_signals(source, archive.folder, Settings(**settings))
    assert prepared.summary["outcome"].tolist() == ["kept", "samples without a value"]
    names = {path.name for path in (archive.folder / "segmented").iterdir()}
    assert names == {"whole_0.mat", "whole_1.mat"}
    assert table(archive.folder)["nan_any"].tolist() == [False, True]
    assert ast.literal_eval(table(archive.folder)["nan_leads"][1]) == ["aVL"]

    prepare_signals(source, archive.folder, Settings(**settings, nan_policy="keep"))
    kept = loadmat(archive.folder / "segmented" / "r_1.mat")["feats"]
    assert np.isnan(kept).any(axis=1).nonzero()[0].tolist() == [2, 3, 4]

    prepare_signals(source, archive.folder, Settings(**settings, nan_policy="zero"))
    content = loadmat(archive.folder / "segmented" / "r_0.mat")
    zeroed = content["feats"]
    assert np.isfinite(zeroed).all()
    assert np.isfinite(content["mean"]).all()
    assert (zeroed[2, 50:60] == 0).all()
    assert (zeroed[4] == 0).all()
    valid = np.delete(ecg.signal[2], np.s_[50:60])
    expected = (ecg.signal[2, :50] - valid.mean()) / valid.std()
    np.testing.assert_allclose(zeroed[2, :50], expected, atol=1e-12)


@pytest.mark.parametrize("policy", ["keep", "zero"])
@pytest.mark.parametrize("resampler", ["linear", "polyphase"])
def test_a_long_recording_is_prepared_in_blocks(archive, make_ecg, monkeypatch, policy, resampler):
    ecg = make_ecg(seconds=60, rate=257)
    ecg.signal[1] = 0.1
    ecg.signal[2, 300:400] = np.nan
    source = archive.source({"r": ecg})
    settings = Settings(**SECOND, nan_policy=policy, resampler=resampler)
    prepare_signals(source, archive.folder, settings)
    whole = {path: loadmat(path) for path in archive.folder.rglob("*.mat")}
    assert len(whole) == 2 + 60
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 1000)
    prepare_signals(source, archive.folder, settings, again=True)
    for path, content in whole.items():
        found = loadmat(path)
        assert list(found) == list(content)
        for key in (key for key in content if not key.startswith("__")):
            np.testing.assert_allclose(found[key], content[key], rtol=0, atol=1e-11)


def test_a_record_that_cannot_be_read_is_quarantined(archive, make_ecg, damaged):
    recordings = {"a": make_ecg(), "b": damaged, "c": ValueError("two\nlines"), "d": make_ecg(1)}
    source = archive.source(recordings)
    prepared = prepare_signals(source, archive.folder, Settings(**SECOND))
    expected = [
        {"source": "given", "record": "b", "reason": "b.dat: is damaged", "step": "org"},
        {
            "source": "given",
            "record": "c",
            "reason": "/archive/c: cannot be read (ValueError: two lines)",
            "step": "org",
        },
    ]
    assert table(archive.folder, "quarantine").to_dict("records") == expected
    assert prepared.quarantine.to_dict("records") == expected
    assert table(archive.folder)["idx"].tolist() == [0, 3]
    assert prepared.summary.set_index("outcome")["records"].to_dict() == {
        "kept": 2,
        "quarantined": 2,
    }
    with pytest.raises(DataError, match="is damaged"):
        prepare_signals(source, archive.folder, Settings(**SECOND), strict=True)

    source.recordings = recordings | {"b": make_ecg(2), "c": make_ecg(3)}
    prepare_signals(source, archive.folder, Settings(**SECOND))
    assert not (archive.folder / "quarantine.csv").exists()
    assert table(archive.folder)["idx"].tolist() == [0, 1, 2, 3]


def test_samples_that_no_ecg_can_have_are_damage(archive, make_ecg, recwarn):
    """Bits that were flipped in an exponent: as float32 the variance would be infinite."""
    flipped = make_ecg(1)
    flipped.signal[3, 7] = 1e200
    source = archive.source({"a": make_ecg(), "b": flipped})
    prepared = prepare_signals(source, archive.folder, Settings(**SECOND))
    assert prepared.quarantine["record"].tolist() == ["b"]
    assert "samples of lead aVR are too large" in prepared.quarantine["reason"].iloc[0]
    assert not recwarn.list


@pytest.mark.parametrize("seconds", [0, float("nan"), float("inf")])
def test_segments_have_a_length(seconds):
    with pytest.raises(DataError, match="make no segment"):
        Settings(segment_seconds=seconds)


def test_an_archive_without_a_usable_record_is_an_error(archive, damaged):
    source = archive.source({"b": damaged})
    with pytest.raises(DataError, match=r"none of 1 records can be used: b\.dat: is damaged"):
        prepare_signals(source, archive.folder, Settings())
    assert len(table(archive.folder, "quarantine")) == 1


def test_ids_stay_when_records_and_sources_are_added(archive, make_ecg, tmp_path):
    manifest = tmp_path / "manifest.csv"
    recordings = {name: make_ecg(i) for i, name in enumerate("bd")}
    source = archive.source(recordings)
    prepare_signals(source, archive.folder, Settings(**SECOND), manifest=manifest)
    other = type(archive)(tmp_path / "other")
    of_other = other.source({"b": make_ecg(5)})
    of_other.name = "elsewhere"
    of_other.records().to_csv(other.folder / "records.csv", index=False)
    prepare_signals(of_other, other.folder, Settings(**SECOND), manifest=manifest)
    more = archive.source({name: make_ecg(i) for i, name in enumerate("abcd")})
    prepare_signals(more, archive.folder, Settings(**SECOND), manifest=manifest)
    ids = table(archive.folder).set_index("save_file")["idx"].to_dict()
    assert ids == {"a.mat": 3, "b.mat": 0, "c.mat": 4, "d.mat": 1}
    assert table(other.folder)["idx"].tolist() == [2]
    rows = pd.read_csv(manifest)
    assert rows["idx"].tolist() == [0, 1, 2, 3, 4]
    assert rows["source"].tolist() == ["given", "given", "elsewhere", "given", "given"]
    assert loadmat(archive.folder / "org" / "d.mat")["idx"].item() == 1


def test_ids_of_a_subset_are_those_of_all(archive, make_ecg):
    names = dict(zip("abcd", "xyxy", strict=True))
    source = archive.source({name: make_ecg(i) for i, name in enumerate(names)}, names)
    prepare_signals(source, archive.folder, Settings(**SECOND), datasets=["y"])
    assert table(archive.folder)["idx"].tolist() == [1, 3]
    assert table(archive.folder, "manifest")["idx"].tolist() == [1, 3]
    prepare_signals(source, archive.folder, Settings(**SECOND))
    assert table(archive.folder)["idx"].tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"no record of data set 'z' \(of x, y\)"):
        prepare_signals(source, archive.folder, Settings(**SECOND), datasets=["z"])


def test_what_is_done_is_not_done_again(archive, make_ecg):
    recordings = {"a": make_ecg(), "b": make_ecg(1)}
    source = archive.source(recordings)
    prepare_signals(source, archive.folder, Settings(**SECOND))
    before = tree(archive.folder)
    source.recordings = {}
    prepare_signals(source, archive.folder, Settings(**SECOND))
    assert tree(archive.folder) == before
    (archive.folder / "segmented" / "b_1.mat").unlink()
    source.recordings = {"b": recordings["b"]}
    prepare_signals(source, archive.folder, Settings(**SECOND))
    assert tree(archive.folder) == before
    source.recordings = recordings | {"b": make_ecg(2)}
    prepare_signals(source, archive.folder, Settings(**SECOND), again=True)
    changed = {name for name, content in tree(archive.folder).items() if content != before[name]}
    assert {"org/b.mat", "segmented/b_0.mat", "meta.csv", JOURNAL} <= changed
    assert "org/a.mat" not in changed


def test_a_row_that_changed_is_prepared_again(archive, make_ecg):
    source = archive.source({"a": make_ecg(), "b": make_ecg(1)})
    prepare_signals(source, archive.folder, Settings(**SECOND))
    records = source.records().assign(gain=[1, 2])
    records.to_csv(archive.folder / "records.csv", index=False)
    source.recordings = {"a": make_ecg(4), "b": make_ecg(5)}
    prepare_signals(source, archive.folder, Settings(**SECOND))
    np.testing.assert_array_equal(
        loadmat(archive.folder / "org" / "a.mat")["feats"], make_ecg(4).signal
    )


def in_child(function, *arguments):
    """Run a function in a process of its own; returns its exit code, negative if killed."""
    child = os.fork()
    if not child:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def code_15_archive(write_code_15, tmp_path_factory):
    rng = np.random.default_rng(0)
    tracings = {
        exam: rng.normal(size=(12, 1000 + 400 * (exam % 3))).astype(np.float32)
        for exam in range(1, 8)
    }
    raw = write_code_15(tmp_path_factory.mktemp("archive") / "raw", tracings)
    (raw / "exams.csv").write_text(
        (raw / "exams.csv").read_text() + "99,1,True,1,,,,,,,7,,,False,exams_part0.hdf5\n"
    )
    return raw


def run_until(folder, n_replaced, before, half_a_line=False):
    """Prepare CODE-15; be killed around the n-th file that gets its final name."""
    replace, count = os.replace, 0

    def counting(*paths):
        nonlocal count
        count += 1
        if count == n_replaced and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
        if count == n_replaced:
            if half_a_line:
                with open(folder / JOURNAL, "ab") as file:
                    file.write(b'3\tabcdef\t{"sample_')
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counting
    prepare_code_15(folder)


def prepare_code_15(folder, manifest=None):
    settings = Settings(sample_rate=500, segment_seconds=1)
    prepare_signals(read_source(folder), folder, settings, manifest=manifest)


@pytest.fixture(scope="module")
def uninterrupted(code_15_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_records("code_15", code_15_archive, folder)
    prepare_code_15(folder)
    return tree(folder)


def test_killed_anywhere_and_started_again_the_files_are_the_same(
    code_15_archive, uninterrupted, tmp_path
):
    rng = np.random.default_rng(1)
    n_files = len(uninterrupted)
    assert n_files > 40
    points = rng.choice(np.arange(1, n_files + 1), size=14, replace=False)
    for point in points:
        folder = tmp_path / str(point)
        write_records("code_15", code_15_archive, folder)
        before = bool(rng.integers(2))
        assert in_child(run_until, folder, point, before, not before) == -signal.SIGKILL
        for path in folder.rglob("*.mat"):
            if not path.name.startswith("."):
                loadmat(path)
        prepare_code_15(folder)
        assert tree(folder) == uninterrupted, point


def test_killed_again_and_again_it_gets_there(code_15_archive, uninterrupted, tmp_path):
    write_records("code_15", code_15_archive, tmp_path)
    statuses = []
    while not statuses or statuses[-1]:
        statuses.append(in_child(run_until, tmp_path, 15, False))
        assert len(statuses) < 20
    assert set(statuses[:-1]) == {-signal.SIGKILL}
    assert len(statuses) > 3
    assert tree(tmp_path) == uninterrupted


def test_only_the_record_in_hand_is_done_again(
    code_15_archive, uninterrupted, tmp_path, monkeypatch
):
    write_records("code_15", code_15_archive, tmp_path)
    assert in_child(run_until, tmp_path, 30, False) == -signal.SIGKILL
    done = (tmp_path / JOURNAL).read_text().count("\n") - 1
    assert done > 2
    read = []
    prepare_record = archive_module.prepare_record
    monkeypatch.setattr(
        archive_module,
        "prepare_record",
        lambda *given: read.append(given[-1]["save_file"]) or prepare_record(*given),
    )
    prepare_code_15(tmp_path)
    started = {name.split("/")[1] for name in uninterrupted if name.startswith("org/")}
    assert len(read) == len(started) + 1 - done  # one exam is not in its file


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_processes_give_the_same_files(code_15_archive, uninterrupted, tmp_path, backend):
    write_records("code_15", code_15_archive, tmp_path)
    with joblib.parallel_config(backend, n_jobs=2):
        prepare_code_15(tmp_path)
    assert tree(tmp_path) == uninterrupted


def test_a_dask_cluster_gives_the_same_files(code_15_archive, uninterrupted, tmp_path):
    distributed = pytest.importorskip("distributed")
    write_records("code_15", code_15_archive, tmp_path)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        workers(-1, "dask", cluster.scheduler_address),
    ):
        prepare_code_15(tmp_path)
    assert tree(tmp_path) == uninterrupted


def test_two_runs_in_one_folder_are_refused(archive, make_ecg):
    source = archive.source({"r": make_ecg()})
    with (
        locked(archive.folder / "signals"),
        pytest.raises(DataError, match="another run is writing there"),
    ):
        prepare_signals(source, archive.folder, Settings(**SECOND))


def test_runs_side_by_side_share_a_manifest(code_15_archive, tmp_path):
    manifest = tmp_path / "manifest.csv"
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        write_records("code_15", code_15_archive, folder)
        path = folder / "records.csv"
        path.write_text(path.read_text().replace(",code_15,", f",{folder.name},"))
    children = []
    for folder in folders:
        child = os.fork()
        if not child:
            status = 1
            try:
                prepare_code_15(folder, manifest)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    rows = pd.read_csv(manifest)
    assert rows["idx"].is_unique
    assert rows.groupby("source").size().to_dict() == {"a": 7, "b": 7}
    for folder in folders:
        ids = table(folder)["idx"].tolist()
        assert rows.loc[rows["source"] == folder.name, "idx"].tolist() == ids


def test_metadata_and_tables_of_a_source(archive, make_ecg):
    beats = pd.DataFrame({"Number": [1, 2], "Time": [0.5, 1.5]})
    source = archive.source(
        {
            "a": make_ecg(age=50, tags=["x"], qrs_data=beats),
            "b": make_ecg(1, sex="F", qrs_data=beats[:1]),
        }
    )
    prepare_signals(source, archive.folder, Settings(**SECOND))
    meta = table(archive.folder)
    columns = list(meta)
    at = columns.index("sample_size")
    assert columns[at : at + 5] == ["sample_size", "age", "tags", "sex", "avail_leads"]
    assert meta["tags"][0] == "['x']"
    rows = table(archive.folder, "qrs_data")
    assert list(rows) == ["Number", "Time", "save_file", "idx"]
    assert rows["save_file"].tolist() == ["a.mat", "a.mat", "b.mat"]


def test_suffix_and_discard(archive, make_ecg):
    source = archive.source({"r": make_ecg()})
    settings = Settings(**SECOND, discard=("org", "preprocessed"))
    prepare_signals(source, archive.folder, settings, suffix="_2")
    names = {path.name for path in archive.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("records.csv", "meta_2.csv", "segmented_2.csv", "summary_2.csv"),
        *("manifest.csv", "manifest_ids.csv", "segmented"),
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample_rate": 0}, "sampling rate of 0 Hz"),
        ({"segment_seconds": 0.0001}, "make no segment"),
        ({"skip": ("orgs",)}, "skip 'orgs': not one of org, preprocessed, segmented"),
        ({"discard": ("segmented",)}, "discard 'segmented': not one of org, preprocessed"),
        ({"constant_lead_strategy": "mean"}, "constant_lead_strategy 'mean'"),
        ({"nan_policy": "ignore"}, "nan_policy 'ignore': not one of drop, zero, keep"),
        ({"resampler": "fft"}, "resampler 'fft': not one of linear, polyphase"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        Settings(**wrong)
