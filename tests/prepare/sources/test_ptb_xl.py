import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.ptb_xl import PTBXL
from tests.prepare.sources.archives import PTB_XL_COLUMNS, beats, make_ptb_xl


@pytest.fixture
def archive(tmp_path):
    return make_ptb_xl(tmp_path / "ptb-xl-a-large-publicly-available-dataset-1.0.3")


def test_records_as_listed(archive):
    records = PTBXL(archive).records()
    published = PTB_XL_COLUMNS.split(",")
    assert list(records) == [*published, "path", "save_file", "source", "dataset"]
    assert list(records["ecg_id"]) == [1, 2, 3, 10900]
    assert list(records["patient_id"]) == [15709, 13243, 20372, 20372]
    assert list(records["sex"]) == [1, 0, 1, 1]
    assert list(records["age"]) == [56, 19, 300, 300]
    assert list(records["strat_fold"]) == [3, 2, 9, 9]
    assert records["path"][3] == "records500/10000/10900_hr"
    assert records["save_file"][0] == "ptb_xl_00000_00001_hr.mat"
    assert set(records["source"]) == set(records["dataset"]) == {"ptb_xl"}
    assert records["patient_id"].dtype == "Int64"


def test_the_folder_above_may_be_given(archive):
    pd.testing.assert_frame_equal(PTBXL(archive.parent).records(), PTBXL(archive).records())


@pytest.mark.parametrize(("sample_rate", "end"), [(500, "hr"), (100, "lr")])
def test_both_rates(archive, read_all, sample_rate, end):
    ecgs, meta, faults = read_all(PTBXL(archive, sample_rate=sample_rate))
    assert faults == {}
    assert set(meta["sample_rate"]) == {sample_rate}
    ecg = ecgs[f"ptb_xl_10000_10900_{end}.mat"]
    assert ecg.leads == LEADS
    np.testing.assert_allclose(ecg.signal, beats(sample_rate, 10, 10900), atol=0.5e-3 + 1e-9)


def test_metadata(archive, read_all):
    source = PTBXL(archive)
    described = source.describe(read_all(source)[1])
    assert set(described["units"]) == {"mv"}
    assert "height" not in described  # of nobody
    assert {"strat_fold", "scp_codes", "patient_id", "report", "pacemaker"} <= set(described)


@pytest.mark.parametrize(
    ("task", "names", "rows"),
    [
        (
            "all",
            ["ABQRS", "AFIB", "ASMI", "CLBBB", "IMI", "LVH", "LVOLT", "NDT", "NORM", "SBRAD", "SR"],
            {
                0: ["LVOLT", "NORM", "SR"],
                1: ["NORM", "SBRAD"],
                2: ["ABQRS", "ASMI", "IMI", "SR"],
                3: ["AFIB", "CLBBB", "NDT"],
            },
        ),
        (
            "diagnostic",
            ["ASMI", "CLBBB", "IMI", "LVH", "NDT", "NORM"],
            {0: ["NORM"], 1: ["NORM"], 2: ["ASMI", "IMI"], 3: ["CLBBB", "NDT"]},
        ),
        (
            "subdiagnostic",
            ["AMI", "CLBBB", "IMI", "LVH", "NORM", "STTC"],
            {0: ["NORM"], 1: ["NORM"], 2: ["AMI", "IMI"], 3: ["CLBBB", "STTC"]},
        ),
        (
            "superdiagnostic",
            ["CD", "HYP", "MI", "NORM", "STTC"],
            {0: ["NORM"], 1: ["NORM"], 2: ["MI"], 3: ["CD", "STTC"]},
        ),
        ("form", ["ABQRS", "LVOLT", "NDT"], {0: ["LVOLT"], 2: ["ABQRS"], 3: ["NDT"]}),
        ("rhythm", ["AFIB", "SBRAD", "SR"], {0: ["SR"], 1: ["SBRAD"], 2: ["SR"], 3: ["AFIB"]}),
    ],
)
def test_labels_of_the_benchmark(archive, read_all, tmp_path, task, names, rows):
    source = PTBXL(archive, task=task)
    meta = source.describe(read_all(source)[1])
    meta.to_csv(tmp_path / "meta.csv", index=False)
    labels = source.labels(pd.read_csv(tmp_path / "meta.csv"))
    assert list(labels) == ["idx", *names]
    found = {row.pop("idx"): [k for k, v in row.items() if v] for row in labels.to_dict("records")}
    assert found == rows
    assert set(labels.dtypes) == {np.dtype(np.int64)}


def test_labels_need_the_statements(archive, read_all):
    source = PTBXL(archive)
    meta = source.describe(read_all(source)[1])
    wrong = meta.assign(scp_codes="NORM")
    with pytest.raises(DataError, match="scp_codes is 'NORM', not likelihoods"):
        source.labels(wrong)
    path = archive / "scp_statements.csv"
    path.write_text(path.read_text().replace("SBRAD", "BRAD"))
    with pytest.raises(DataError, match="no statement SBRAD, which records500/00000/00002_hr has"):
        source.labels(meta)
    path.unlink()
    with pytest.raises(DataError, match=r"scp_statements\.csv: no such file"):
        source.labels(meta)


def test_a_record_that_is_listed_twice_is_read_once(archive, read_all):
    path = archive / "ptbxl_database.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[2] + "\n")
    source = PTBXL(archive)
    assert source.records()["save_file"].is_unique
    ecgs, _, faults = read_all(source)
    assert len(ecgs) == 4
    (fault,) = faults.values()
    assert "ptbxl_database.csv, line 6: ecg_id 2 is already in line 3" in fault


def test_what_there_is_not_is_an_error(archive):
    with pytest.raises(DataError, match="sample_rate 250: PTB-XL has"):
        PTBXL(archive, sample_rate=250)
    with pytest.raises(DataError, match="task 'rhythms': not one of all, diagnostic"):
        PTBXL(archive, task="rhythms")
    (archive / "ptbxl_database.csv").unlink()
    with pytest.raises(DataError, match=r"ptbxl_database\.csv: no such file"):
        PTBXL(archive).records()


@pytest.mark.parametrize("path", ["../elsewhere/00001_hr", "/tmp/00001_hr"])
def test_records_lie_in_the_archive(archive, path):
    with pytest.raises(DataError, match=r"a record is .* is not below the archive"):
        PTBXL(archive).read({"path": path})
