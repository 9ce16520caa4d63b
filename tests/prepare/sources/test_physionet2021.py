import re
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.physionet2021 import SUBSETS, PhysioNet2021
from tests.prepare.sources.archives import (
    CINC_COMMENTS,
    CINC_RECORDS,
    beats,
    make_cinc_weights,
    make_physionet2021,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_physionet2021(tmp_path_factory.mktemp("physionet2021"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_cinc_weights(tmp_path_factory.mktemp("evaluation-2021"))


def test_records_of_all_subsets_sorted_by_path(archive):
    assert set(SUBSETS) == set(CINC_RECORDS)
    records = PhysioNet2021(archive).records()
    assert list(records) == ["path", "dataset", "save_file", "source"]
    assert list(records["path"]) == [
        "chapman_shaoxing/g1/JS00001",
        "cpsc_2018/g1/A0001",
        "cpsc_2018/g1/A0002",
        "cpsc_2018_extra/g1/Q0001",
        "georgia/g1/E00001",
        "ningbo/g1/JS10647",
        "ptb/g1/S0001",
        "ptb/g1/S0002",
        "ptb-xl/g1/HR00001",
        "st_petersburg_incart/g1/I0001",
    ]
    assert list(records["dataset"]) == [path.split("/")[0] for path in records["path"]]
    assert records["save_file"][4] == "physionet2021_georgia_g1_E00001.mat"
    assert set(records["source"]) == {"physionet2021"}


@pytest.mark.parametrize("subset", SUBSETS)
def test_one_subset_alone_is_the_same(archive, subset, tmp_path):
    """fairseq_signals loses the name of the data set, and then the files (D4)."""
    everything = PhysioNet2021(archive).records()
    expected = everything[everything["dataset"] == subset].reset_index(drop=True)
    alone = make_physionet2021(tmp_path, subsets=(subset,))
    for root in (alone, alone / "training", alone / "training" / subset):
        source = PhysioNet2021(root)
        pd.testing.assert_frame_equal(source.records(), expected)
        assert source.read(source.records().iloc[0].to_dict()).n_samples > 0
    pd.testing.assert_frame_equal(PhysioNet2021(archive / "training" / subset).records(), expected)


def test_other_layouts(tmp_path):
    flat = make_physionet2021(tmp_path / "flat", subsets=("georgia", "ptb"), groups=False)
    assert list(PhysioNet2021(flat).records()["path"]) == [
        *("georgia/E00001", "ptb/S0001", "ptb/S0002")
    ]
    inner = PhysioNet2021(flat / "training" / "ptb").records()
    assert list(inner["save_file"]) == [
        *("physionet2021_ptb_S0001.mat", "physionet2021_ptb_S0002.mat")
    ]
    bare = make_physionet2021(tmp_path / "bare", subsets=("georgia",), training=False)
    assert list(PhysioNet2021(bare).records()["path"]) == ["georgia/g1/E00001"]
    name = (
        "classification-of-12-lead-ecgs-the-physionetcomputing-in-cardiology-challenge-2021-1.0.3"
    )
    make_physionet2021(tmp_path / "above" / name, subsets=("georgia",))
    assert list(PhysioNet2021(tmp_path / "above").records()["path"]) == ["georgia/g1/E00001"]


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    archive = make_physionet2021(tmp_path, subsets=("georgia",))
    folder = archive / "training" / "georgia" / "g1"
    for kind in ("hea", "mat"):
        (folder.parent / "g10").mkdir(exist_ok=True)
        (folder.parent / "g2").mkdir(exist_ok=True)
        (folder / f"E00001.{kind}").rename(folder.parent / "g10" / f"E00001.{kind}")
        (folder.parent / "g2" / f"E2.{kind}").write_bytes(b"")
    paths = list(PhysioNet2021(archive).records()["path"])
    assert paths == ["georgia/g2/E2", "georgia/g10/E00001"]


def test_every_header_is_understood(archive, read_all):
    source = PhysioNet2021(archive)
    _, meta, faults = read_all(source)
    assert faults == {}
    described = source.describe(meta)
    assert list(described) == [
        *("idx", "path", "dataset", "save_file", "source", "sample_rate", "units"),
        *("age", "diagnosis", "Hx", "Rx", "sex", "Sx"),
    ]
    for row in described.itertuples():
        age, diagnosis, sex = CINC_COMMENTS[row.path.rpartition("/")[2]][1]
        assert (float(row.age) == age) if age is not None else row.age in (np.nan, "NaN")
        assert (row.diagnosis == diagnosis) if diagnosis else pd.isna(row.diagnosis)
        assert (row.sex == sex) if sex is not None else pd.isna(row.sex)
    of_s0001 = described.set_index("path").loc["ptb/g1/S0001"]
    assert list(of_s0001[["Rx", "Hx", "Sx"]]) == [
        *("Captopril, Atenolol", "Diabetes: mellitus", "Chest pain")
    ]
    assert set(described["units"]) == {"mv"}


def test_no_comment_is_lost(archive):
    """fairseq_signals loses the last one (D5), and whatever it does not know."""
    source = PhysioNet2021(archive)
    comments = ["Dx: 1\nDx:2, 3\nno key\nHeight: 170\nSx: pain", "Sex: ?\nWeight : 60", ""]
    described = source.describe(pd.DataFrame({"idx": [0, 1, 2], "comments": comments}))
    assert list(described) == ["idx", "diagnosis", "Height", "Sx", "Weight", "comments"]
    assert described.iloc[0].to_dict() == {
        **{"idx": 0, "diagnosis": "1,2,3", "Sx": "pain", "Height": "170"},
        **{"Weight": described.iloc[0]["Weight"], "comments": "no key"},
    }
    assert described.loc[1, "Weight"] == "60"
    assert described.loc[2].isna().sum() == 5


def test_metadata_is_written_as_fairseq_signals_writes_it(archive):
    """Ages are the text of the header, and names are in the order of the alphabet."""
    source = PhysioNet2021(archive)
    comments = [
        "Age: 74\nSex: Male\nDx: 1\nRx: Unknown\nHx: none\nSx: Unknown",
        "Age: NaN\nSex: Female\nDx: 2\nRx: Aspirin\nHx: Unknown\nSx: Unknown",
        "Age: nan\nSex: Unknown\nDx: 3\nRx: Unknown\nHx: Unknown\nSx: Unknown",
    ]
    described = source.describe(pd.DataFrame({"idx": [0, 1, 2], "comments": comments}))
    assert described.to_csv(index=False).splitlines() == [
        "idx,age,diagnosis,Hx,Rx,sex",
        "0,74,1,none,,0",
        "1,NaN,2,,Aspirin,1",
        "2,NaN,3,,,",
    ]


def test_a_comment_that_is_called_as_a_column(archive):
    comments = ["path: elsewhere\ndiagnosis: none\nDx: 1"]
    described = PhysioNet2021(archive).describe(pd.DataFrame({"path": ["a"], "comments": comments}))
    assert described.iloc[0].to_dict() == {
        **{"path": "a", "diagnosis": "1"},
        **{"comment_diagnosis": "none", "comment_path": "elsewhere"},
    }


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.text(string.ascii_letters + string.digits + " :#/.,-", min_size=1).filter(str.strip),
        max_size=6,
    )
)
def test_every_word_of_every_comment_is_kept(archive, lines):
    source = PhysioNet2021(archive)
    meta = pd.DataFrame({"idx": [0], "comments": ["\n".join(lines)]})
    described = source.describe(meta).iloc[0]
    kept = " ".join([*map(str, described.index), *map(str, described)])
    for line in lines:
        if re.search("age|sex|dx|rx|hx|sx|unknown|nan|none", line, re.IGNORECASE):
            continue
        if line.strip().endswith(":"):  # says nothing
            continue
        for word in re.findall(r"[A-Za-z0-9]+", line):
            assert word in kept


def test_date_and_time_of_a_recording(tmp_path, read_all):
    archive = make_physionet2021(tmp_path, subsets=("cpsc_2018",))
    for name, start in (("A0001", " 11:39:16 05/02/2020"), ("A0002", " 05-Feb-2020 11:39:16")):
        header = archive / "training" / "cpsc_2018" / "g1" / f"{name}.hea"
        line, *rest = header.read_text().splitlines()
        header.write_text("\n".join([" ".join(line.split()[:4]) + start, *rest]) + "\n")
    source = PhysioNet2021(archive)
    described = source.describe(read_all(source)[1])
    assert list(described["base_date"].fillna("")) == ["2020-02-05", ""]
    assert list(described["base_time"].fillna("")) == ["11:39:16", ""]


def test_signals_in_millivolts(archive, read_all):
    ecgs, meta, _ = read_all(PhysioNet2021(archive))
    for name, dataset in zip(meta["save_file"], meta["dataset"], strict=True):
        ecg = ecgs[name]
        record = name.removesuffix(".mat").rpartition("_")[2]
        _, _, sample_rate, seconds = CINC_RECORDS[dataset]
        expected = beats(sample_rate, seconds, sum(record.encode()))
        assert (ecg.sample_rate, ecg.seconds) == (sample_rate, seconds)
        for lead, row in zip(ecg.leads, ecg.signal, strict=True):
            if lead in LEADS and (record, lead) != ("S0002", "V6"):
                step = 1 / 306 if dataset == "st_petersburg_incart" else 1 / 1000
                np.testing.assert_allclose(row, expected[LEADS.index(lead)], atol=step / 2 + 1e-9)
    whole = ecgs["physionet2021_ptb_g1_S0001.mat"]
    assert whole.leads[:12] == LEADS
    partial = ecgs["physionet2021_ptb_g1_S0002.mat"]
    assert set(LEADS) - set(partial.leads) == {"V5"}
    assert set(partial.signal[partial.leads.index("V6")]) == {0.1}


def test_baseline_and_microvolts(tmp_path):
    """Counts become mV by gain and baseline, whatever the unit of the gain."""
    archive = make_physionet2021(tmp_path, subsets=("georgia",))
    source = PhysioNet2021(archive)
    (record,) = source.records().to_dict("records")
    before = source.read(record).signal
    header = archive / "training" / "georgia" / "g1" / "E00001.hea"
    header.write_text(header.read_text().replace("1000.0(0)/mV", "1.0(100)/uV"))
    np.testing.assert_allclose(source.read(record).signal, before - 0.1, atol=1e-12)
    header.write_text(header.read_text().replace("1.0(100)/uV", "1.0(100)/bpm"))
    with pytest.raises(DataError, match=r"E00001\.hea: lead I is in 'bpm'"):
        source.read(record)


def test_damaged_records_are_set_aside(tmp_path, read_all):
    archive = make_physionet2021(tmp_path, subsets=("georgia", "cpsc_2018"))
    folder = archive / "training" / "cpsc_2018" / "g1"
    (folder / "A0001.hea").unlink()
    (folder / "A0002.mat").write_bytes((folder / "A0002.mat").read_bytes()[:1000])
    ecgs, _, faults = read_all(PhysioNet2021(archive))
    assert list(ecgs) == ["physionet2021_georgia_g1_E00001.mat"]
    assert list(faults) == [
        *("physionet2021_cpsc_2018_g1_A0001.mat", "physionet2021_cpsc_2018_g1_A0002.mat")
    ]
    missing, cut = faults.values()
    assert "A0001.hea: no such WFDB header" in missing
    assert "A0002.hea: " in cut


def test_a_name_twice_in_a_subset_is_set_aside(tmp_path, read_all):
    archive = make_physionet2021(tmp_path, subsets=("georgia",))
    make_physionet2021(tmp_path, subsets=("georgia",), groups=False)
    source = PhysioNet2021(archive)
    assert source.records()["save_file"].is_unique
    ecgs, _, faults = read_all(source)
    assert list(ecgs) == ["physionet2021_georgia_E00001.mat"]
    (fault,) = faults.values()
    assert "g1/E00001: the sub-set holds this record already, as georgia/E00001" in fault


def test_labels_of_the_challenge(archive, weights, read_all):
    source = PhysioNet2021(archive, weights_path=weights[0], weight_abbrev_path=weights[1])
    meta = source.describe(read_all(source)[1])
    meta["idx"] = meta["idx"] * 3 + 5  # D6: fairseq_signals needs numbers without gaps
    labels = source.labels(meta)
    assert list(labels) == ["idx", "AF", "CRBBB|RBBB", "SB", "NSR", "PR", "MI"]
    assert list(labels["idx"]) == list(range(5, 35, 3))
    values = labels.drop(columns="idx").to_numpy()
    assert values.dtype == np.int64
    np.testing.assert_array_equal(
        values,
        [
            [1, 1, 0, 0, 0, 0],  # 164889003,59118001,164934002
            [0, 1, 0, 0, 0, 0],  # 59118001
            [0, 0, 0, 1, 0, 0],  # 426783006
            [1, 1, 0, 0, 0, 0],  # 164889003, 59118001
            [0, 1, 1, 0, 0, 0],  # 426177001,713427006,284470004
            [0, 0, 1, 0, 0, 0],  # 426177001
            [0, 0, 0, 0, 0, 1],  # 164865005
            [0, 0, 0, 0, 0, 0],  # no comments
            [0, 0, 0, 1, 0, 0],  # 426783006,251146004
            [0, 0, 0, 1, 1, 0],  # 10370003,713422000,426783006
        ],
    )


def test_labels_uncombined(archive, weights, read_all):
    source = PhysioNet2021(
        archive, weights_path=weights[0], weight_abbrev_path=weights[1], uncombined=True
    )
    labels = source.labels(source.describe(read_all(source)[1]))
    assert list(labels)[1:] == ["AF", "CRBBB", "RBBB", "SB", "NSR", "PR", "MI"]
    assert list(labels["RBBB"]) == [1, 1, 0, 1, 0, 0, 0, 0, 0, 0]  # 59118001
    assert list(labels["CRBBB"]) == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]  # 713427006


def test_labels_of_meta_as_it_was_written(archive, weights, read_all, tmp_path):
    """Where every record has one diagnosis, pandas reads codes as numbers."""
    source = PhysioNet2021(archive, weights_path=weights[0])
    meta = source.describe(read_all(source)[1])
    meta = meta[meta["path"].str.contains("ningbo|ptb/")]
    meta.to_csv(tmp_path / "meta.csv", index=False)
    labels = source.labels(pd.read_csv(tmp_path / "meta.csv"))
    assert list(labels)[1:] == [
        *("164889003", "713427006|59118001", "426177001", "426783006", "10370003", "164865005")
    ]
    assert list(labels["426177001"]) == [1, 0, 0]
    assert list(labels["164865005"]) == [0, 1, 0]
    without = source.labels(meta.drop(columns="diagnosis"))
    assert without.drop(columns="idx").to_numpy().sum() == 0


def test_labels_need_the_classes(archive, weights, tmp_path):
    assert PhysioNet2021(archive).labels(pd.DataFrame({"idx": [0]})) is None
    with pytest.raises(DataError, match="Give weights_path, too"):
        PhysioNet2021(archive, weight_abbrev_path=weights[1])
    shorter = tmp_path / "abbreviations.csv"
    shorter.write_text("".join(weights[1].read_text().splitlines(keepends=True)[:-1]))
    source = PhysioNet2021(archive, weights_path=weights[0], weight_abbrev_path=shorter)
    with pytest.raises(DataError, match=r"names 5 classes, .*weights\.csv has 6"):
        source.labels(pd.DataFrame({"idx": [0]}))


def test_no_archive_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no records \(cpsc_2018"):
        PhysioNet2021(tmp_path).records()
    with pytest.raises(DataError, match="no such folder"):
        PhysioNet2021(tmp_path / "none")
