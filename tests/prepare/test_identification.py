import random

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.identification import write_identification_manifests

TABLE = """path,sample_size,patient
/d/a_1.mat,2500,p
/d/a_0.mat,2501,p
/d/b_0.mat,2502,q
/d/c_0.mat,2503,p
/d/e_0.mat,2504,q
/d/f_0.mat,2505,p
/d/g_0.mat,2506,r
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "segmented_split.csv").write_text(TABLE)
    return tmp_path / "segmented_split.csv"


def manifests(folder):
    paths = (folder / "identify").glob("*.tsv")
    return {path.stem: path.read_text().splitlines() for path in paths}


def test_two_recordings_of_a_patient_are_gallery_and_probe(table, tmp_path):
    """r has one recording alone, and stays in training though drawn."""
    counts = write_identification_manifests(
        [table], tmp_path, patient_column="patient", valid_fraction=1
    )
    assert counts == {"train": 1, "valid_gallery": 2, "valid_probe": 2}
    assert manifests(tmp_path) == {
        "train": ["/d", "g_0.mat\t2506\t0"],
        "valid_gallery": ["/d", "a_0.mat\t2501\t0", "b_0.mat\t2502\t1"],
        "valid_probe": ["/d", "c_0.mat\t2503\t0", "e_0.mat\t2504\t1"],
    }


def test_patients_are_numbered_as_they_occur(table, tmp_path):
    write_identification_manifests([table], tmp_path, patient_column="patient", valid_fraction=0)
    made = manifests(tmp_path)
    assert [row.rpartition("\t")[2] for row in made["train"][1:]] == list("0010102")
    assert made["valid_gallery"] == made["valid_probe"] == ["/d"]


def test_patients_are_drawn_by_seed_and_are_never_on_both_sides_d11(tmp_path):
    rows = [f"/d/r{i}_0.mat,2500,{i % 60}" for i in range(120)]
    path = tmp_path / "segmented_split.csv"
    path.write_text("\n".join(["path,sample_size,patient", *rows]) + "\n")
    made = []
    for seed in (1, 1, 2):
        write_identification_manifests(
            [path], tmp_path, patient_column="patient", valid_fraction=0.3, seed=seed
        )
        made.append(manifests(tmp_path))
    assert made[0] == made[1] != made[2]
    number = {
        split: {int(row.split("_")[0][1:]) % 60 for row in rows[1:]}
        for split, rows in made[0].items()
    }
    assert number["valid_gallery"] == number["valid_probe"]
    assert number["train"] | number["valid_probe"] == set(range(60))
    assert not number["train"] & number["valid_probe"]
    assert 5 < len(number["valid_probe"]) < 35


def test_patients_of_two_tables_are_different(table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("path,sample_size,patient\n/d/z_0.mat,2500,p\n")
    counts = write_identification_manifests(
        [table, other], tmp_path, patient_column="patient", valid_fraction=0
    )
    assert counts["train"] == 4


def test_mistakes(table, tmp_path):
    with pytest.raises(DataError, match="no column 'who'"):
        write_identification_manifests([table], tmp_path, patient_column="who")
    with pytest.raises(DataError, match="from 0 to 1"):
        write_identification_manifests(
            [table], tmp_path, patient_column="patient", valid_fraction=20
        )
    table.write_text(TABLE.replace("g_0.mat,2506,r", "g_0.mat,2506,"))
    with pytest.raises(DataError, match="line 8: patient ''"):
        write_identification_manifests([table], tmp_path, patient_column="patient")


FILES = """path,save_file,sample_size,patient
/d/3_b.mat,3_b.mat,2500,3
/d/1_a.mat,1_a.mat,2501,1
/d/3_a.mat,3_a.mat,2502,3
/d/2_a.mat,2_a.mat,2503,2
/d/1_b.mat,1_b.mat,2504,1
/d/1_c.mat,1_c.mat,2505,1
"""


def test_files_are_divided_as_fairseq_signals_does(tmp_path):
    """Of a patient who is drawn the first two files; who has one is left out."""
    path = tmp_path / "segmented.csv"
    path.write_text(FILES)
    files = {"3": ["3_b", "3_a"], "1": ["1_a", "1_b", "1_c"], "2": ["2_a"]}
    length = {"3_b": 2500, "1_a": 2501, "3_a": 2502, "2_a": 2503, "1_b": 2504, "1_c": 2505}
    seen = set()
    for seed in range(12):
        for fraction in (0.0, 0.4, 1.0):
            state = random.Random(seed)
            expected = {"train": ["/d"], "valid_gallery": ["/d"], "valid_probe": ["/d"]}
            number = {"train": 0, "valid": 0}
            for of_patient in files.values():
                if state.random() > fraction:
                    expected["train"] += [
                        f"{name}.mat\t{length[name]}\t{number['train']}" for name in of_patient
                    ]
                    number["train"] += 1
                elif len(of_patient) > 1:
                    for split, name in zip(("gallery", "probe"), of_patient, strict=False):
                        row = f"{name}.mat\t{length[name]}\t{number['valid']}"
                        expected[f"valid_{split}"].append(row)
                    number["valid"] += 1
            counts = write_identification_manifests(
                [path],
                tmp_path,
                patient_column="patient",
                strategy="files",
                valid_fraction=fraction,
                seed=seed,
            )
            assert manifests(tmp_path) == expected
            assert counts["train"] == number["train"]
            assert counts["valid_gallery"] == counts["valid_probe"] == number["valid"]
            seen.add(str(expected))
    assert len(seen) > 5


def test_files_that_are_whole_recordings(tmp_path):
    """Their names say no segment where the column save_file repeats them."""
    path = tmp_path / "segmented.csv"
    path.write_text(FILES.replace("_a.mat", "_1.mat").replace("_b.mat", "_2.mat"))
    counts = write_identification_manifests(
        [path], tmp_path, patient_column="patient", valid_fraction=1
    )
    assert counts == {"train": 1, "valid_gallery": 2, "valid_probe": 2}
    assert manifests(tmp_path)["valid_probe"] == ["/d", "3_1.mat\t2502\t0", "1_2.mat\t2504\t1"]
    path.write_text(path.read_text().replace("save_file", "other"))
    with pytest.raises(DataError, match=r"'/d/1_c\.mat' is no segment"):
        write_identification_manifests([path], tmp_path, patient_column="patient")


def test_a_strategy_that_there_is_not(table, tmp_path):
    with pytest.raises(DataError, match="choose one of recordings, files"):
        write_identification_manifests(
            [table], tmp_path, patient_column="patient", strategy="patients"
        )
