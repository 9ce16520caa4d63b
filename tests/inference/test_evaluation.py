import csv
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.io
import torch

from fairseq_ecg.data import DataError, labels_of
from fairseq_ecg.inference import ECGModel
from fairseq_ecg.inference.evaluation import (
    evaluate,
    format_scores,
    labelled_segments,
    score,
    write_scores,
)
from tests.ecg_datasets import dataset_of


@pytest.fixture
def scores():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.4, 0.1], [0.8, 0.3, 0.2], [0.2, 0.1, 0.3], [0.1, 0.7, 0.4]])
    return score(truth, probabilities, ["easy", "hard", "absent"])


def test_known_scores(scores):
    easy, hard, absent = scores.scores
    assert (easy.positives, easy.auroc, easy.auprc) == (2, 1.0, 1.0)
    # of the four pairs of a positive and a negative, (0.3, 0.4) is in the wrong order
    assert (hard.positives, hard.auroc) == (2, 0.75)
    assert hard.auprc == pytest.approx((1 + 2 / 3) / 2)
    assert absent.positives == 0
    assert np.isnan(absent.auroc)
    assert np.isnan(absent.auprc)


def test_macro_leaves_out_what_has_no_score(scores):
    assert scores.recordings == 4
    assert scores.macro_auroc == pytest.approx(0.875)
    nothing = score(np.zeros((3, 1)), np.zeros((3, 1)), ["absent"])
    assert np.isnan(nothing.macro_auroc)


class LevelModel:
    """Says with which probability the first lead of a segment is high."""

    labels = ("high",)
    aggregation: ClassVar = {"high": "mean"}

    def probabilities(self, source, padding_mask):
        assert not padding_mask.any()
        return source[:, :1].mean(dim=2).sigmoid().double().numpy()


def test_labels_that_are_unknown_leave_the_recording_out():
    truth = np.array([[1.0], [0.0], [np.nan], [1.0]])
    (label,) = score(truth, np.array([[0.9], [0.5], [0.0], [0.1]]), ["AF"]).scores
    assert (label.positives, label.auroc) == (2, 0.5)


def test_recordings_are_scored_by_their_mean_and_their_own_labels(tmp_path):
    # Segment by segment, the recordings cannot be distinguished.
    levels = {"a_0": 3.0, "a_1": -1.0, "b_0": 1.0, "b_1": -3.0, "c_11": 0.5}
    idx = {"a": 2, "b": 0, "c": 1}
    for name, level in levels.items():
        scipy.io.savemat(
            tmp_path / f"{name}.mat",
            {
                "feats": np.full((12, 8), level),
                "curr_sample_rate": 500,
                "idx": idx[name[0]],
            },
        )
    lines = [f"\t{tmp_path}/", *(f"{name}.mat\t8" for name in reversed(levels))]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "y.npy", np.array([[0.0], [1.0], [1.0]]))
    dataset = dataset_of(
        tmp_path / "test.tsv",
        label=True,
        label_file=tmp_path / "y.npy",
        enable_padding=True,
        shuffle=False,
    )
    evaluation = evaluate(LevelModel(), dataset, batch_size=2)
    assert evaluation.recordings == 3
    assert evaluation.scores[0].positives == 2
    assert evaluation.scores[0].auroc == 1.0
    assert torch.is_grad_enabled()


def test_labels_of_other_data_are_refused(tmp_path):
    scipy.io.savemat(
        tmp_path / "a_0.mat", {"feats": np.zeros((12, 8)), "curr_sample_rate": 500, "idx": 0}
    )
    (tmp_path / "test.tsv").write_text(f"\t{tmp_path}/\na_0.mat\t8\n")
    np.save(tmp_path / "y.npy", np.zeros((1, 2)))
    dataset = dataset_of(tmp_path / "test.tsv", label=True, label_file=tmp_path / "y.npy")
    with pytest.raises(DataError, match=r"y\.npy has 2 labels, the network predicts 1"):
        evaluate(LevelModel(), dataset, batch_size=2)


def test_table_as_csv(scores, tmp_path):
    baseline = score(np.array([[1, 1, 1], [0, 0, 0]]), np.zeros((2, 3)), ["a", "b", "c"])
    write_scores(tmp_path / "scores.csv", scores, baseline)
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["easy", "hard", "absent", "macro"]
    assert rows[1]["auroc"] == "0.75"
    assert rows[1]["auroc_untrained"] == "0.5"
    assert rows[2]["auroc"] == "nan"
    assert float(rows[3]["auroc"]) == pytest.approx(0.875)
    write_scores(tmp_path / "scores.csv", scores, None)
    assert "untrained" not in (tmp_path / "scores.csv").read_text()


def test_table_on_the_terminal(scores):
    lines = format_scores(scores, None).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["label", "positive", "AUROC", "AUPRC"]
    assert lines[3].split() == ["hard", "2", "0.750", "0.833"]
    assert lines[4].split() == ["absent", "0", "-", "-"]
    assert lines[6].split() == ["macro", "0.875", "0.917"]


def test_segments_are_read_as_the_network_needs_them(diagnosis, extracted, shared, tmp_path):
    root = shared / "ecg" / "code_15"
    files = sorted((root / "segmented").glob("*.mat"))
    lines = [f"\t{root / 'segmented'}/", *(f"{file.name}\t2500" for file in files)]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    labels = labels_of(root / "labels" / "y.npy")
    dataset = labelled_segments(diagnosis, tmp_path / "test.tsv", labels)
    batch = dataset.collate([dataset[i] for i in range(len(dataset))])
    probabilities = diagnosis.probabilities(**batch["net_input"])
    assert probabilities.dtype == np.float64
    expected = 1 / (1 + np.exp(-extracted["outputs"].astype(np.float64)))
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=2e-6)
    slow = ECGModel(
        diagnosis.network,
        diagnosis.cfg,
        replace(diagnosis.preprocessing, sample_rate=250),
        diagnosis.labels,
    )
    with pytest.raises(DataError, match="is sampled at 500 Hz, but"):
        labelled_segments(slow, tmp_path / "test.tsv", labels)[0]
