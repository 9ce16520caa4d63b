import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.inference.probe import Features
from fairseq_ecg.inference.probe.compatible import AdamSettings, train_probe
from fairseq_ecg.inference.probe.extraction import read_extracted
from tests.inference.test_probe import LABELS, simulated

SETTINGS = AdamSettings(n_epochs=25, lr=1e-2, batch_size=32)


@pytest.fixture
def features():
    return {split: simulated(seed) for seed, split in enumerate(("train", "valid", "test"))}


def test_the_defaults_are_those_of_fairseq_signals():
    settings = AdamSettings()
    assert (settings.n_epochs, settings.lr, settings.batch_size) == (5000, 1e-5, 256)
    assert (settings.betas, settings.eps) == ((0.9, 0.98), 1e-8)


def test_files_of_the_checkpoint(features, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        scores = train_probe(features, LABELS, tmp_path, SETTINGS)
    assert "valid: never hold in all segments or in none" in caplog.text
    saved = torch.load(tmp_path / "linear.pt", weights_only=True)
    epoch = saved["epoch"]
    assert epoch in (10, 20)
    assert saved["best_auprc"] == max(saved["valid_auprcs"][9::10])
    table = pd.read_csv(tmp_path / "train.csv", index_col="checkpoint")
    assert list(table.index) == list(range(1, epoch + 1))
    assert list(table) == ["train_loss", "valid_loss", "valid_auroc", "valid_auprc"]
    assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[0]
    np.testing.assert_allclose(table["valid_auroc"], saved["valid_aurocs"])
    for split in ("valid", "test"):
        outputs = np.asarray(MemmapReader.from_header(
            tmp_path / f"checkpoint{epoch}_outputs_{split}.npy"
        ))  # fmt: skip
        targets = np.asarray(MemmapReader.from_header(
            tmp_path / f"checkpoint{epoch}_targets_{split}.npy"
        ))  # fmt: skip
        np.testing.assert_array_equal(targets, features[split].segment_labels)
        weight, bias = (saved["state_dict"][f"proj.{name}"].numpy() for name in ("weight", "bias"))
        np.testing.assert_allclose(outputs, features[split].embeddings @ weight.T + bias, atol=1e-4)
        areas = []
        for label in range(2):
            precision, recall, _ = precision_recall_curve(targets[:, label], outputs[:, label])
            areas.append(auc(recall, precision))
        assert scores[split]["auprc"] == pytest.approx(np.mean(areas))
        aurocs = [roc_auc_score(targets[:, label], outputs[:, label]) for label in range(2)]
        assert scores[split]["auroc"] == pytest.approx(np.mean(aurocs))
    assert table["valid_auroc"].iloc[-1] == pytest.approx(scores["valid"]["auroc"])
    assert table["valid_loss"].iloc[-1] == pytest.approx(scores["valid"]["loss"])
    for name in ("loss", "auroc", "auprc"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_first_step_by_hand(features, tmp_path):
    # One batch: Adam's first step moves every parameter by lr against the sign of its gradient.
    settings = AdamSettings(n_epochs=10, lr=1e-6, batch_size=160, seed=5)
    train_probe(features, LABELS, tmp_path, settings)
    saved = torch.load(tmp_path / "linear.pt", weights_only=True)
    x = torch.from_numpy(features["train"].embeddings)
    y = torch.from_numpy(features["train"].segment_labels).float()
    start = torch.empty(3, 6)
    generator = torch.Generator().manual_seed(5)
    torch.nn.init.xavier_uniform_(start, generator=generator)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ start.T, y)
    assert saved["train_losses"][0] == pytest.approx(float(loss), rel=1e-5)
    assert (saved["state_dict"]["proj.weight"] - start).abs().max() < 1.1e-5
    assert saved["state_dict"]["proj.bias"].abs().max() == pytest.approx(1e-5, rel=0.05)


def test_the_same_seed_gives_the_same_probe(features, tmp_path):
    for name in ("a", "b"):
        train_probe(features, LABELS, tmp_path / name, SETTINGS)
    assert (tmp_path / "a" / "train.csv").read_bytes() == (
        tmp_path / "b" / "train.csv"
    ).read_bytes()


def test_what_cannot_be_trained(features, tmp_path):
    with pytest.raises(DataError, match="n_epochs 9: the probe is kept at epochs 10, 20"):
        AdamSettings(n_epochs=9)
    constant = Features(**{**vars(features["valid"]), "labels": np.ones((80, 3))})
    with pytest.raises(DataError, match="hold in all segments or in none"):
        train_probe(features | {"valid": constant}, LABELS, tmp_path, SETTINGS)
    broken = features["train"].embeddings.copy()
    broken[4, 2] = np.nan
    broken = Features(**{**vars(features["train"]), "embeddings": broken})
    with pytest.raises(DataError, match="train: 1 of 160 embeddings are not finite, that of 0-2"):
        train_probe(features | {"train": broken}, LABELS, tmp_path, SETTINGS)
    assert not list(tmp_path.iterdir())


def test_rows_of_test_without_an_embedding_are_left_out(features, tmp_path):
    broken = features["test"].embeddings.copy()
    broken[4] = np.nan
    broken = Features(**{**vars(features["test"]), "embeddings": broken})
    train_probe(features | {"test": broken}, LABELS, tmp_path, SETTINGS)
    outputs = MemmapReader.from_header(next(tmp_path.glob("*outputs_test.npy")))
    assert outputs.shape == (159, 3)


@pytest.fixture
def extraction(shared, code_15, tmp_path):
    """The folder of fairseq_signals' own extraction, with the configuration of the run."""
    for name in ("encoder_out_test.npy", "encoder_out_test_header.pkl"):
        shutil.copy(shared / "golden" / "extract_small" / name, tmp_path)
    y = shared / "ecg" / "code_15" / "labels" / "y.npy"
    (tmp_path / "config.yaml").write_text(
        f"task:\n  data: {code_15 / 'plain'}\n  label_file: {y}\n"
    )
    return tmp_path


def test_extracted_embeddings(extraction, shared, extracted):
    meta = shared / "ecg" / "code_15" / "meta.csv"
    features = read_extracted(extraction, meta, "test")
    np.testing.assert_allclose(
        features.embeddings, extracted["encoder_out"].mean(axis=1), atol=1e-5
    )
    assert (extraction / "emb_test.npy").is_file()
    assert len(features.recordings) == 10
    labels = np.load(shared / "ecg" / "code_15" / "labels" / "y.npy")
    idx = pd.read_csv(meta).set_index("save_file")["idx"]
    for name, row in zip(features.recordings, features.labels, strict=True):
        np.testing.assert_array_equal(row, labels[idx[f"{name}.mat"]])


def test_extractions_that_do_not_fit(extraction, shared, code_15):
    meta = shared / "ecg" / "code_15" / "meta.csv"
    np.save(extraction / "emb_test.npy", np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"3 embeddings of test, but .* lists 14 segments"):
        read_extracted(extraction, meta, "test")
    (extraction / "emb_test.npy").unlink()
    (extraction / "meta.csv").write_text("save_file,idx\na.mat,0\n")
    with pytest.raises(DataError, match="no save_file code_15_"):
        read_extracted(extraction, extraction / "meta.csv", "test")
    (extraction / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"config\.yaml: no such file"):
        read_extracted(extraction, meta, "test")
