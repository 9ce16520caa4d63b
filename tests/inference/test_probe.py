import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.inference.probe import (
    EmbeddingCache,
    Features,
    Fitting,
    LinearProbe,
    fit_probe,
    run_probe,
)
from fairseq_ecg.inference.probe.embedding import fingerprint
from fairseq_ecg.inference.probe.fitting import PENALTIES, fit_lines
from fairseq_ecg.inference.probe.scoring import predict, score
from fairseq_ecg.inference.probe.tables import read_labelled_recordings
from fairseq_ecg.prepare.pack import pack

LABELS = ["easy", "hard", "never"]
FAST = Fitting(penalties=(0.1, 0.01))


def simulated(seed, n_recordings=80, segments=2):
    """Two labels of which the embeddings predict one well, and one that never holds."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((n_recordings, 3))
    labels[:, :2] = rng.random((n_recordings, 2)) < 0.4
    recording_of = np.repeat(np.arange(n_recordings), segments)
    embeddings = rng.normal(size=(len(recording_of), 6)) * 5 + 3
    embeddings[:, 0] += 20 * labels[recording_of, 0]
    embeddings[:, 1] += 4 * labels[recording_of, 1]
    names = tuple(f"{seed}-{number}" for number in range(n_recordings))
    return Features(embeddings.astype(np.float32), recording_of, names, labels)


@pytest.fixture
def features():
    return {split: simulated(seed) for seed, split in enumerate(("train", "valid", "test"))}


def test_the_optimum_is_that_of_scikit_learn():
    data = simulated(0)
    x = (data.embeddings - data.embeddings.mean(axis=0)) / data.embeddings.std(axis=0)
    x = x.astype(np.float32)
    truth = data.segment_labels[:, :2].copy()
    truth[:10, 1] = np.nan
    for penalty in (1.0, 0.01):
        lines = fit_lines(x, truth, penalty)
        for label in range(2):
            known = ~np.isnan(truth[:, label])
            other = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-8, max_iter=1000)
            # In float64: of float32 features scikit-learn's solver stops short of the optimum,
            # where depends on the processor.
            other.fit(x[known].astype(np.float64), truth[known, label])
            np.testing.assert_allclose(lines.weight[label], other.coef_[0], atol=2e-4)
            np.testing.assert_allclose(lines.bias[label], other.intercept_[0], atol=2e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_both_solvers_learn_what_there_is(features, solver):
    fitting = replace(FAST, solver=solver, epochs=5)
    probe, trials = fit_probe(features["train"], features["valid"], LABELS, fitting)
    said = predict(probe, features["test"], "test")["recording"]
    assert roc_auc_score(said.truth[:, 0], said.probabilities[:, 0]) > 0.98
    assert 0.6 < roc_auc_score(said.truth[:, 1], said.probabilities[:, 1]) < 0.98
    # (0 + 1) / (N + 2) of a label that never holds in the N segments of train
    np.testing.assert_allclose(said.probabilities[:, 2], 1 / 162, rtol=1e-5)
    assert len(trials) == (2 if solver == "lbfgs" else 10)


def test_sgd_depends_on_its_seeds_and_on_nothing_else(features):
    def fitted(*seeds):
        fitting = replace(FAST, solver="sgd", epochs=2, seeds=seeds)
        return fit_probe(features["train"], features["valid"], LABELS, fitting)

    first, trials = fitted(1)
    np.testing.assert_array_equal(first.weight, fitted(1)[0].weight)
    other, _ = fitted(2)
    assert (first.weight != other.weight).any()
    both, tried = fitted(1, 2)
    assert len(tried) == 2 * len(trials)
    best = max(tried, key=lambda trial: trial.rank)
    np.testing.assert_array_equal(both.weight, (first, other)[best.seed - 1].weight)


def test_a_penalty_is_chosen_on_valid(features):
    # Channels of noise, many for so few recordings: the weakest penalty learns them by heart.
    noise = {
        split: replace(
            part,
            embeddings=np.c_[
                part.embeddings,
                np.random.default_rng(9 + seed).normal(size=(160, 200)),
            ].astype(np.float32),
        )
        for seed, (split, part) in enumerate(features.items())
    }
    _, trials = fit_probe(noise["train"], noise["valid"], LABELS, Fitting())
    best = max(trials, key=lambda trial: trial.rank)
    assert [trial.penalty for trial in trials] == list(PENALTIES)
    assert best.penalty > PENALTIES[-1]
    assert best.macro_auroc > trials[-1].macro_auroc


def test_scores_of_recordings_and_segments(features):
    probe, _ = fit_probe(features["train"], features["valid"], LABELS, FAST)
    said = predict(probe, features["test"], "test")
    segments = probe.probabilities(features["test"].embeddings)
    np.testing.assert_allclose(segments, expit(probe.logits(features["test"].embeddings)))
    np.testing.assert_allclose(
        said["recording"].probabilities, (segments[0::2] + segments[1::2]) / 2
    )
    for level, rows in (("recording", 80), ("segment", 160)):
        table = score(said[level], LABELS, n_resamples=50, seed=1).set_index("label")
        part = said[level]
        assert table.loc["easy", "rows"] == rows
        assert table.loc["hard", "auroc"] == pytest.approx(
            roc_auc_score(part.truth[:, 1], part.probabilities[:, 1])
        )
        assert table.loc["hard", "auroc_low"] < table.loc["hard", "auroc"]
        assert table.loc["hard", "auroc"] < table.loc["hard", "auroc_high"]
        assert np.isnan(table.loc["never", "auroc"])
        assert table.loc["never", "resamples"] == 0
        macro = table.loc[["easy", "hard"], "auroc"].mean()
        assert table.loc["macro", "auroc"] == pytest.approx(macro)


def test_maximum_over_segments(features):
    fitting = replace(FAST, aggregation="max")
    probe, _ = fit_probe(features["train"], features["valid"], LABELS, fitting)
    segments = probe.probabilities(features["test"].embeddings)
    said = predict(probe, features["test"], "test")["recording"]
    np.testing.assert_allclose(said.probabilities, np.maximum(segments[0::2], segments[1::2]))


def test_everything_is_written(features, tmp_path):
    result = run_probe(
        features, LABELS, tmp_path, fitting=replace(FAST, calibration="platt"), n_resamples=20,
        table_format="parquet",
    )  # fmt: skip
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert len(metrics) == 2 * 2 * 4
    assert metrics["auroc"].max() <= 1
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["recordings"] == {"train": 80, "valid": 80, "test": 80}
    assert written["metrics"][2]["auroc"] is None
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    assert len(predictions) == 2 * (80 + 160)
    mine = predictions[(predictions["split"] == "test") & (predictions["level"] == "recording")]
    assert roc_auc_score(mine["true: easy"], mine["easy"]) == pytest.approx(
        metrics.query("split == 'test' and level == 'recording' and label == 'easy'")[
            "auroc"
        ].item()
    )
    thresholds = pd.read_csv(tmp_path / "thresholds.csv")
    assert set(thresholds["rule"]) == {"youden", "f1", "sensitivity"}
    assert set(thresholds["level"]) == {"recording", "segment"}
    kept = thresholds.query("split == 'test' and level == 'recording' and rule == 'f1'")
    np.testing.assert_allclose(kept["threshold"], result.probe.thresholds["f1"], rtol=1e-12)
    assert np.isnan(result.probe.thresholds["f1"][2])
    on_valid = thresholds.query("split == 'valid' and rule == 'sensitivity' and label != 'never'")
    assert (on_valid["sensitivity"] >= 0.9).all()
    for name in ("roc", "pr", "reliability"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    read = LinearProbe.load(tmp_path / "probe.safetensors")
    assert read.labels == tuple(LABELS)
    for name in ("weight", "bias", "slope", "offset"):
        np.testing.assert_array_equal(getattr(read, name), getattr(result.probe, name))
    np.testing.assert_array_equal(read.thresholds["f1"], result.probe.thresholds["f1"])


def test_embeddings_that_are_not_finite(features, caplog):
    broken = features["test"].embeddings.copy()
    broken[3] = np.nan
    broken[10:12] = np.inf
    with caplog.at_level(logging.WARNING):
        kept = replace(features["test"], embeddings=broken).usable("test")
    assert "test: 3 of 160 segments are left out" in caplog.text
    assert len(kept.embeddings) == 157
    assert len(kept.recordings) == 79
    assert "2-5" not in kept.recordings
    np.testing.assert_array_equal(kept.segment_labels[3:9], features["test"].segment_labels[4:10])
    with pytest.raises(DataError, match="no segment has an embedding that is finite"):
        replace(features["test"], embeddings=np.full((160, 6), np.nan)).usable("test")


def test_nothing_to_learn(features):
    nothing = replace(features["train"], labels=np.zeros((80, 3)))
    with pytest.raises(DataError, match="nothing to learn of easy, hard, never"):
        fit_probe(nothing, features["valid"], LABELS, FAST)
    with pytest.raises(DataError, match="train has 3 labels, but 2 are named"):
        fit_probe(features["train"], features["valid"], LABELS[:2], FAST)
    with pytest.raises(DataError, match=r"0-4: label 1 is 0\.5"):
        replace(features["train"], labels=np.where(np.arange(240).reshape(80, 3) == 13, 0.5, 0.0))
    with pytest.raises(DataError, match="no recordings of test"):
        run_probe({"train": nothing, "valid": nothing}, LABELS, None)


def test_files_that_are_no_probe(tmp_path):
    with pytest.raises(FileNotFoundError):
        LinearProbe.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="is no linear probe, or damaged"):
        LinearProbe.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("arrays", "about"),
    [
        ({"weight": np.zeros((3, 4), np.float32)}, {}),
        ({"weight": np.zeros(2, np.float32)}, {}),
        ({"weight": np.full((2, 4), np.nan, np.float32)}, {}),
        ({"weight": np.zeros((2, 4), np.int64)}, {}),
        ({"bias": np.zeros(3, np.float32)}, {}),
        ({"slope": np.array([1, np.inf])}, {}),
        ({"threshold.f1": np.zeros(5)}, {}),
        ({"more": np.zeros(2)}, {}),
        ({}, {"labels": "ab"}),
        ({}, {"labels": [1, 2]}),
        ({}, {"labels": ["a"]}),
        ({}, {"labels": None}),
        ({}, {"aggregation": {"a": "median"}}),
        ({}, {"aggregation": {"z": "max"}}),
        ({}, {"aggregation": 3}),
    ],
)
def test_probes_that_do_not_fit_themselves(arrays, about, tmp_path):
    whole = {"weight": np.zeros((2, 4), np.float32), "bias": np.zeros(2, np.float32)}
    whole |= {"slope": np.ones(2), "offset": np.zeros(2), "threshold.f1": np.array([0.5, np.nan])}
    stored = {"labels": ["a", "b"], "aggregation": {"a": "max", "b": "mean"}, "model": "x"}
    path = tmp_path / "probe.safetensors"
    save_file(whole, path, metadata={"probe": json.dumps(stored)})
    assert LinearProbe.load(path).aggregation == stored["aggregation"]
    save_file(whole | arrays, path, metadata={"probe": json.dumps(stored | about)})
    with pytest.raises(DataError, match=r"probe\.safetensors"):
        LinearProbe.load(path)


# On the real recordings


@pytest.fixture
def y(shared):
    return shared / "ecg" / "code_15" / "labels" / "y.npy"


def test_segments_of_a_manifest_are_embedded_once(
    pretrained, code_15, y, tmp_path, monkeypatch, extracted
):
    calls = []
    embeddings = pretrained.embeddings
    monkeypatch.setattr(
        pretrained, "embeddings", lambda *args, **kw: calls.append(1) or embeddings(*args, **kw)
    )
    monkeypatch.setattr("fairseq_ecg.inference.probe.embedding.SEGMENTS_PER_PART", 5)
    cache = EmbeddingCache(tmp_path, pretrained, batch_size=5)
    first = cache.of_manifest(code_15 / "plain" / "test.tsv", y)
    assert len(calls) == 3
    assert first.embeddings.shape == (14, 64)
    assert len(first.recordings) == 10
    again = cache.of_manifest(code_15 / "plain" / "valid.tsv", y)
    assert len(calls) == 3
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    # As after a run that was killed: what is there is kept.
    sorted(cache.folder.iterdir())[0].unlink()
    np.testing.assert_array_equal(
        cache.of_manifest(code_15 / "plain" / "test.tsv", y).embeddings, first.embeddings
    )
    assert len(calls) == 4
    names = [name.rpartition("/")[2] for name in first.recordings]
    assert names == sorted(names)
    labels = np.load(y)
    table = pd.read_csv(y.parents[1] / "meta.csv").set_index("save_file")
    for name, row in zip(names, first.labels, strict=True):
        np.testing.assert_array_equal(row, labels[table.loc[f"{name}.mat", "idx"]])


def test_a_store_gives_what_its_files_give(pretrained, code_15, y, tmp_path):
    pack(code_15 / "plain", tmp_path / "store")
    cache = EmbeddingCache(tmp_path / "cache", pretrained)
    files = cache.of_manifest(code_15 / "plain" / "test.tsv", y)
    stored = cache.of_manifest(f"{tmp_path / 'store'}/test", y)
    np.testing.assert_allclose(stored.embeddings, files.embeddings, atol=1e-6)
    np.testing.assert_array_equal(stored.labels, files.labels)


def test_recordings_as_they_are(pretrained, shared, tmp_path):
    folder = shared / "ecg" / "code_15" / "org"
    paths = [str(path) for path in sorted(folder.glob("*.mat"))]
    cache = EmbeddingCache(tmp_path, pretrained)
    labels = np.zeros((len(paths), 1))
    features = cache.of_recordings(paths, labels)
    expected = pretrained.embed(paths, progress=False)
    np.testing.assert_array_equal(
        features.embeddings, expected.segments[range(64)].to_numpy(np.float32)
    )
    assert features.recordings == tuple(paths)
    np.testing.assert_array_equal(np.bincount(features.recording_of), expected.recordings.segments)
    with pytest.raises(DataError, match="listed twice"):
        cache.of_recordings(paths[:1] * 2, labels[:2])


def test_recordings_that_cannot_be_used(pretrained, shared, tmp_path, caplog):
    path = next((shared / "ecg" / "code_15" / "org").glob("*.mat"))
    (tmp_path / "bad.mat").write_bytes(b"no")
    paths, labels = [str(tmp_path / "bad.mat"), str(path)], np.array([[0.0], [1.0]])
    cache = EmbeddingCache(tmp_path, pretrained)
    with pytest.raises(DataError, match=r"bad\.mat"):
        cache.of_recordings(paths, labels)
    features = cache.of_recordings(paths, labels, on_error="skip")
    assert features.recordings == (str(path),)
    np.testing.assert_array_equal(features.labels, [[1]])
    assert "bad.mat" in caplog.text
    with pytest.raises(DataError, match=r"bad\.mat: was left out by an earlier run"):
        cache.of_recordings(paths, labels)


def test_the_fingerprint_is_that_of_encoder_and_preprocessing(shared, pretrained, diagnosis):
    same = load_model(shared / "golden" / "pretrain_small.pt")
    assert fingerprint(same) == fingerprint(pretrained)
    assert fingerprint(diagnosis) != fingerprint(pretrained)
    other = load_model(shared / "golden" / "pretrain_small.pt", untrained_seed=1)
    assert fingerprint(other) != fingerprint(pretrained)
    same.preprocessing = replace(same.preprocessing, resampler="polyphase")
    assert fingerprint(same) != fingerprint(pretrained)


@pytest.mark.parametrize("kind", ["pretrained", "diagnosis"])
def test_a_probe_becomes_a_classifier(kind, request, shared, code_15, y, tmp_path):
    model = request.getfixturevalue(kind)
    cache = EmbeddingCache(tmp_path / "cache", model)
    features = cache.of_manifest(code_15 / "plain" / "test.tsv", y)
    labels = read_label_names(y.with_name("label_def.csv"))
    result = run_probe(
        dict.fromkeys(("train", "valid", "test"), features), labels, tmp_path, model=model,
        fitting=replace(FAST, calibration="temperature"), n_resamples=10,
        model_fingerprint=cache.fingerprint,
    )  # fmt: skip
    assert result.macro()["auroc"] == 1  # it has seen these recordings
    read = load_model(tmp_path / "model")
    assert read.labels == tuple(labels)
    path = str(next((shared / "ecg" / "code_15" / "org").glob("*.mat")))
    embedded = model.embed(path).segments[range(64)].to_numpy(np.float32)
    np.testing.assert_allclose(
        read.predict(path).segments[labels].to_numpy(),
        result.probe.probabilities(embedded),
        atol=1e-5,
    )
    small = replace(result.probe, weight=result.probe.weight[:, :5])
    with pytest.raises(DataError, match="reads 5 channels, the network gives 64"):
        small.classifier(model)


def test_tables_of_recordings(tmp_path):
    (tmp_path / "t.csv").write_text(
        "path,split,age,AF,SB\na.hea,train,3,1,False\nb.hea,test,4,,True\nc.hea,train,5,0,0\n"
    )
    parts, labels = read_labelled_recordings(tmp_path / "t.csv", ["train", "test"], ["AF", "SB"])
    assert labels == ["AF", "SB"]
    assert parts["train"][0] == [str(tmp_path / "a.hea"), str(tmp_path / "c.hea")]
    np.testing.assert_array_equal(parts["train"][1], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(parts["test"][1], [[np.nan, 1]])
    with pytest.raises(DataError, match="line 2: 'age' is '3'"):
        read_labelled_recordings(tmp_path / "t.csv", ["train"])
    with pytest.raises(DataError, match="no recording is of split 'valid'"):
        read_labelled_recordings(tmp_path / "t.csv", ["valid"], ["AF"])
