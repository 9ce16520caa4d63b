import numpy as np
import pytest
import scipy.io

from fairseq_ecg.tasks._notes import notes_of
from tests.ecg_datasets import dataset_of, pairs_of


@pytest.fixture
def folder(tmp_path):
    lines = [f"\t{tmp_path}/"]
    for number, n_samples in enumerate((500, 1250, 1250)):
        scipy.io.savemat(
            tmp_path / f"{number}.mat",
            {
                "feats": np.random.default_rng(number).normal(size=(12, n_samples)),
                "curr_sample_rate": 250,
                "idx": number,
            },
        )
        lines.append(f"{number}.mat\t{n_samples}")
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "y.npy", np.eye(3))
    return tmp_path


def test_rate_and_the_usual_length_are_noted(folder):
    notes = notes_of(dataset_of(folder / "train.tsv"))
    assert notes == {"sample_rate": 250.0, "segment_seconds": 5.0}


def test_names_of_labels_are_noted(folder):
    (folder / "label_def.csv").write_text("name\nAF\nST\nSB\n")
    dataset = dataset_of(folder / "train.tsv", label=True, label_file=folder / "y.npy")
    assert notes_of(dataset)["labels"] == ["AF", "ST", "SB"]


def test_pairs(folder):
    for number in (1, 2):
        (folder / f"{number}.mat").rename(folder / f"p_{number}.mat")
    (folder / "pairs.tsv").write_text(f"{folder}/\nmat\np\t1250\t0\t1,2\n")
    notes = notes_of(pairs_of(folder / "pairs.tsv"))
    assert notes == {"sample_rate": 250.0, "segment_seconds": 5.0}


def test_statistics_of_normalised_leads_are_noted(folder):
    for name, value in (("mean", 0.5), ("std", 2.0)):
        (folder / name).write_text(f"{value}\n" * 12)
    statistics = {"mean_path": folder / "mean", "std_path": folder / "std"}
    notes = notes_of(dataset_of(folder / "train.tsv", normalize=True, **statistics))
    assert (notes["mean"], notes["std"]) == ([0.5] * 12, [2.0] * 12)
