"""Similarity of recordings and texts, labels by prompts, and recall, in Python and by commands."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
import wfdb

from fairseq_ecg import load_model
from fairseq_ecg.cli import main
from fairseq_ecg.data import ECGDataset
from fairseq_ecg.data.targets import labels_of
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.evaluation import evaluate, labelled_segments
from fairseq_ecg.inference.metrics import Ranking
from fairseq_ecg.inference.retrieval import (
    check_prompts,
    means_of_labels,
    read_prompts,
    read_texts,
    recall,
)
from fairseq_ecg.inference.retrieval_evaluation import evaluate_retrieval
from fairseq_ecg.inference.zero_shot import ZeroShot
from fairseq_ecg.labeler.label_table import LabelSet, read_label_set
from fairseq_ecg.labeler.prompts import prompts_of
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary
from fairseq_ecg.modules.text import TEXT_NETWORKS
from fairseq_ecg.options import options_of
from tests.clip_networks import checkpoint_of, clip_checkpoint
from tests.conftest import ROOT
from tests.modules.test_m3ae import TINY as TINY_M3AE
from tests.text_networks import ANSWERS, TinyTextNetwork, tiny_text_checkpoint

WORDS = ["sinus", "rhythm", "atrial", "fibrillation", "af", "left", "bundle", "branch", "block"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
ECGS = np.random.default_rng(0).normal(0, 0.5, (3, 12, 1000)).round(3)
TEXTS = ["Sinus rhythm", "atrial fibrillation", "left bundle branch block", "AF"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return clip_checkpoint(tmp_path_factory.mktemp("clip") / "clip.pt", VOCABULARY)


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, device="cpu")


def ids_of(text):
    words = ["[CLS]", *text.lower().split(), "[SEP]"]
    return torch.tensor([[VOCABULARY.index(word) for word in words]])


def expected_texts(model):
    """Embeddings of each text by itself, from the network alone."""
    with torch.no_grad():
        return np.concatenate([model.network.embed_text(ids_of(text)) for text in TEXTS])


def test_embeddings_of_texts(model):
    found = model.embed_text(TEXTS)
    assert (found.shape, found.dtype) == ((4, model.embed_dim), np.float32)
    np.testing.assert_allclose(found, expected_texts(model), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert np.array_equal(model.embed_text(TEXTS[1]), found[1:2])
    assert np.array_equal(model.embed_text([TEXTS[1], TEXTS[1]]), found[[1, 1]])


def test_similarity_is_the_cosine_of_embeddings(model):
    found = model.similarity(ECGS, TEXTS, sample_rate=500)
    ecg = np.asarray(model.embed(ECGS, sample_rate=500))
    np.testing.assert_allclose(found, ecg @ expected_texts(model).T, rtol=0, atol=1e-6)
    assert list(found.table.columns) == TEXTS
    top = found.top(2)
    order = np.argsort(-np.asarray(found)[1])[:2]
    assert top.loc[1, "text"].tolist() == [TEXTS[i] for i in order]
    assert top.loc[1, "similarity"].tolist() == np.asarray(found)[1][order].tolist()


def test_similarity_of_a_long_recording_is_the_mean_over_segments(model):
    long = np.concatenate(list(ECGS), axis=1)
    found = model.similarity(long, TEXTS, sample_rate=500)
    of_each = model.similarity(ECGS, TEXTS, sample_rate=500)
    assert len(found.segments) == 3
    np.testing.assert_allclose(
        found.of_recordings[0], found.segments[TEXTS].to_numpy().mean(axis=0), rtol=1e-6
    )
    assert found.of_recordings.shape == (1, 4)
    assert of_each.of_recordings.shape == (3, 4)


def test_texts_beside_each_other_do_not_change_each_other(model):
    alone = [np.asarray(model.similarity(ECGS, text, sample_rate=500))[:, 0] for text in TEXTS]
    together = model.similarity(ECGS, TEXTS, sample_rate=500)
    np.testing.assert_allclose(np.transpose(alone), together, rtol=0, atol=1e-6)


def test_labels_by_prompts_are_means_of_their_similarities(model):
    prompts = {"AF": ["atrial fibrillation", "AF"], "SR": "sinus rhythm"}
    found = model.zero_shot(ECGS, prompts, sample_rate=500)
    of_texts = np.asarray(model.similarity(ECGS, TEXTS, sample_rate=500))
    expected = np.stack([of_texts[:, [1, 3]].mean(axis=1), of_texts[:, 0]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert list(found.table.columns) == ["AF", "SR"]


def test_bf16(checkpoint, model):
    small = load_model(checkpoint, device="cpu", dtype="bfloat16")
    found = small.similarity(ECGS, TEXTS, sample_rate=500)
    expected = model.similarity(ECGS, TEXTS, sample_rate=500)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "no texts"), (["?"], "has no word"), ("", "has no word")],
)
def test_texts_that_say_nothing_are_refused(model, texts, message):
    with pytest.raises(DataError, match=message):
        model.similarity(ECGS, texts, sample_rate=500)


def test_a_text_that_is_too_long_is_cut_with_a_warning(model):
    long = " ".join(["sinus"] * 40)
    with pytest.warns(UserWarning, match="tokens longer than the 30"):
        found = model.embed_text([long])
    np.testing.assert_allclose(found, model.embed_text(" ".join(["sinus"] * 28)), atol=1e-6)


@pytest.mark.parametrize(
    ("prompts", "message"), [({}, "no prompts"), ({"AF": []}, "label 'AF' has no prompt")]
)
def test_prompts_that_are_none_are_refused(prompts, message):
    with pytest.raises(DataError, match=message):
        check_prompts(prompts)


class Aligned(TinyTextNetwork):
    """Compares an ECG with a text by a number for each, as networks of one stream."""

    def alignment(self, ecg, text, ecg_padding_mask=None, text_padding_mask=None):
        words = (self.words(text) + self.positions.weight[: text.shape[1]]).mean(dim=1)
        return (self.embed_ecg(ecg, ecg_padding_mask) * words).sum(dim=1)


@pytest.fixture
def aligned(tmp_path, monkeypatch):
    monkeypatch.setitem(TEXT_NETWORKS, "tiny_text", Aligned)
    return load_model(tiny_text_checkpoint(tmp_path / "a.pt", notes=NOTES))


MEDVILL = {"max_text_size": 32}
NOTES = {
    "labels": ANSWERS,
    "sample_rate": 500.0,
    "segment_seconds": 2.0,
    "vocabulary": VOCABULARY,
    "lower_case": True,
    "max_text_size": 16,
}


def test_a_network_without_a_shared_space_gives_probabilities_of_belonging(aligned):
    found = aligned.similarity(ECGS, TEXTS, sample_rate=500)
    ecgs = torch.tensor(ECGS, dtype=torch.float32)
    with torch.no_grad():
        expected = [
            aligned.network.alignment(ecgs, ids_of(text).expand(3, -1)).sigmoid() for text in TEXTS
        ]
    np.testing.assert_allclose(found, torch.stack(expected, dim=1), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="embeds no texts in the space of ECGs"):
        aligned.embed_text(TEXTS)


def test_a_folder_compares_as_the_checkpoint_does(model, tmp_path):
    model.save_pretrained(tmp_path / "clip")
    found = load_model(tmp_path / "clip", device="cpu").similarity(ECGS, TEXTS, sample_rate=500)
    expected = model.similarity(ECGS, TEXTS, sample_rate=500)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["m3ae", "medvill"])
def test_published_networks_compare_by_their_head_of_alignment(name, manifest, tmp_path):
    known = options_of(TEXT_NETWORKS[name])
    sizes = {key: x for key, x in (TINY_M3AE | MEDVILL).items() if key in known}
    path = checkpoint_of({"_name": name, **sizes}, tmp_path / f"{name}.pt", VOCABULARY)
    model = load_model(path, device="cpu")
    found = model.similarity(ECGS, TEXTS, sample_rate=500)
    ecgs = torch.tensor(ECGS, dtype=torch.float32)
    no_padding = torch.zeros_like(ecgs, dtype=torch.bool)
    expected = []
    for text in TEXTS:
        ids = ids_of(text).expand(3, -1)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        with torch.no_grad():
            expected.append(model.network.alignment(ecgs, ids, no_padding, mask).sigmoid())
    np.testing.assert_allclose(found, torch.stack(expected, dim=1), rtol=0, atol=1e-5)
    assert np.ptp(found) > 0
    recalls = evaluate_retrieval(model, manifest, batch_size=4)
    assert (recalls.n_texts, recalls.errors) == (4, {})


def test_a_network_that_compares_nothing_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(TEXT_NETWORKS, "tiny_text", TinyTextNetwork)
    model = load_model(tiny_text_checkpoint(tmp_path / "a.pt", notes=NOTES))
    with pytest.raises(DataError, match="does not say how well texts and ECGs go together"):
        model.similarity(ECGS, TEXTS, sample_rate=500)


def ranks(similarity, is_partner):
    """Rank of the best partner of each query, one candidate after the other."""
    found = []
    for row, partners in zip(similarity, is_partner, strict=True):
        best = max(x for x, is_right in zip(row, partners, strict=True) if is_right)
        wrong = [x for x, is_right in zip(row, partners, strict=True) if not is_right]
        found.append(1 + sum(x > best for x in wrong) + sum(x == best for x in wrong) / 2)
    return found


def test_recall_is_the_share_of_ranks_up_to_k():
    rng = np.random.default_rng(0)
    similarity = rng.integers(0, 20, (12, 9)) / 4
    is_partner = rng.random((12, 9)) < 0.2
    is_partner[np.arange(12), rng.integers(0, 9, 12)] = True
    found = recall(similarity, is_partner, (1, 3, 9))
    expected = ranks(similarity, is_partner)
    assert found.at == {k: np.mean([rank <= k for rank in expected]) for k in (1, 3, 9)}
    assert found.median_rank == np.median(expected)
    assert (found.queries, found.candidates) == (12, 9)


def test_a_network_that_finds_all_alike_recalls_as_by_chance():
    found = recall(np.zeros((20, 20)), np.eye(20, dtype=bool), (1, 10))
    assert found.at == {1: 0.0, 10: 0.0}
    assert found.median_rank == 10.5


def test_means_of_labels():
    values = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(means_of_labels(values, [1, 3, 2]), [[0, 2, 4.5], [6, 8, 10.5]])


REPORTS = ["sinus rhythm", "atrial fibrillation", "Sinus  rhythm", "left bundle branch block", "af"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Five recordings with reports, two of which are equal; the first has two segments."""
    folder = tmp_path_factory.mktemp("manifest")
    rng = np.random.default_rng(1)
    lines = [str(folder)]
    for number, text in enumerate(REPORTS):
        for segment in range(2 if number == 0 else 1):
            name = f"r{number}_{segment}.mat"
            feats = rng.normal(size=(12, 1000)).astype(np.float32)
            mat = {"feats": feats, "curr_sample_rate": 500, "text": text, "idx": number}
            scipy.io.savemat(folder / name, mat)
            lines.append(f"{name}\t1000")
    (folder / "test.tsv").write_text("\n".join(lines) + "\n")
    labels = [[number % 2, number < 3] for number in range(5)]
    np.save(folder / "y.npy", np.array(labels, float))
    definition = "name,pos\nAtrial fibrillation,1\nSinus rhythm,1\n"
    (folder / "label_def.csv").write_text(definition)
    return folder / "test.tsv"


def recordings_of(manifest):
    """Segments of each recording, and its embedding's similarity to each report."""
    files = {number: [f"r{number}_0.mat"] for number in range(5)}
    files[0].append("r0_1.mat")
    return {
        number: np.stack([scipy.io.loadmat(manifest.parent / name)["feats"] for name in names])
        for number, names in files.items()
    }


def test_recall_of_a_manifest(model, manifest):
    found = evaluate_retrieval(model, manifest, batch_size=4)
    texts = model.embed_text(REPORTS)
    rows = []
    for segments in recordings_of(manifest).values():
        with torch.no_grad():
            embedded = model.network.embed_ecg(torch.from_numpy(segments)).numpy()
        rows.append((embedded @ texts.T).mean(axis=0))
    similarity = np.array(rows)
    same = [" ".join(text.lower().split()) for text in REPORTS]
    is_partner = np.array([[one == other for other in same] for one in same])
    for name, scores in (("ECG to text", similarity), ("text to ECG", similarity.T)):
        expected = ranks(scores.round(6), is_partner)
        one = found.directions[name]
        assert one.at == {k: np.mean([rank <= k for rank in expected]) for k in (1, 5, 10)}
        assert one.median_rank == np.median(expected)
    assert (found.n_texts, found.errors) == (4, {})


def test_zero_shot_auroc_of_a_manifest(model, manifest):
    prompts = {"Atrial fibrillation": ["AF", "atrial fibrillation"], "Sinus rhythm": "sinus rhythm"}
    dataset = labelled_segments(model, manifest, labels_of(manifest.parent / "y.npy"))
    found = evaluate(ZeroShot(model, prompts), dataset, batch_size=4)
    texts = model.embed_text(["af", "atrial fibrillation", "sinus rhythm"])
    scores = []
    for segments in recordings_of(manifest).values():
        with torch.no_grad():
            cosines = model.network.embed_ecg(torch.from_numpy(segments)).numpy() @ texts.T
        scores.append([cosines[:, :2].mean(), cosines[:, 2].mean()])
    truth = np.array([[number % 2, number < 3] for number in range(5)], float)
    for column, score in enumerate(found.scores):
        areas = Ranking(truth[:, column], np.array(scores)[:, column]).areas()
        assert score.auroc == pytest.approx(float(areas.auroc[0]))


def test_prompts_are_wordings_of_the_vocabulary():
    vocabulary = read_vocabulary("default")
    sources = {"AF": ("Atrial fibrillation", "Atrial flutter"), "I": ("Infarction - Anterior",)}
    found = prompts_of(vocabulary, LabelSet(sources))
    assert found["AF"] == ("Atrial fibrillation", "AF", "Atrial flutter", "AFL")
    assert "Anterior Infarction" in found["I"]
    every = prompts_of(vocabulary, read_label_set("mimic_iv_ecg", vocabulary))
    assert len(every) == 17
    assert all(prompts[0].lower() == label.lower() for label, prompts in every.items())
    assert not any("<" in prompt for prompts in every.values() for prompt in prompts)


def test_files_of_prompts_and_of_texts(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("label,prompt\nAF,atrial fibrillation\nSR,sinus rhythm\nAF,af\n")
    assert read_prompts(path) == {"AF": ("atrial fibrillation", "af"), "SR": ("sinus rhythm",)}
    for text, message in (
        ("label,text\nAF,af\n", "no column 'prompt'"),
        ("label,prompt\n", "has no prompts"),
        ("label,prompt\nAF,\n", "line 2: give a label and a prompt"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_prompts(path)
    path.write_text("one\n\n two \none\n")
    assert read_texts([str(path), "three"]) == ("one", "two", "three")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "one.npy"
    np.save(path, ECGS[0])
    return path


def test_match_prints_the_most_similar_texts(checkpoint, model, recording, capsys):
    given = [str(recording), "--sample-rate", "500", "--device", "cpu"]
    assert main(["match", str(checkpoint), *given, "--texts", *TEXTS, "--top", "2"]) == 0
    top = model.similarity(ECGS[0], TEXTS, sample_rate=500).top(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{recording}:",
        *(f"  {row.similarity:6.3f}  {row.text}" for row in top.itertuples()),
    ]


def test_match_writes_scores_of_labels(checkpoint, model, recording, tmp_path, capsys):
    given = [str(recording), "--sample-rate", "500", "--device", "cpu"]
    out = tmp_path / "labels.csv"
    assert (
        main(["match", str(checkpoint), *given, "--labels", "mimic_iv_ecg", "--out", str(out)]) == 0
    )
    vocabulary = read_vocabulary("default")
    prompts = prompts_of(vocabulary, read_label_set("mimic_iv_ecg", vocabulary))
    expected = model.zero_shot(ECGS[0], prompts, sample_rate=500)
    written = pd.read_csv(out)
    np.testing.assert_allclose(written[list(prompts)], expected, rtol=0, atol=1e-6)
    own = tmp_path / "prompts.csv"
    own.write_text("label,prompt\nAF,af\n")
    assert main(["match", str(checkpoint), *given, "--prompts", str(own)]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["match", str(checkpoint), *given])
    assert "what recordings are compared with" in capsys.readouterr().err


def test_ecgs_are_read_once_where_they_share_a_space_with_texts(model, manifest, monkeypatch):
    rows, read = [], ECGDataset.__getitems__
    monkeypatch.setattr(
        ECGDataset, "__getitems__", lambda one, found: rows.extend(found) or read(one, found)
    )
    evaluate_retrieval(model, manifest, batch_size=4)
    assert rows == list(range(len(rows))) != []


def test_evaluate_reports_recall_and_zero_shot(checkpoint, model, manifest, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    command = ["evaluate", str(checkpoint), "--manifest", str(manifest), "--out", str(out)]
    assert main(command) == 0
    found = evaluate_retrieval(model, manifest, batch_size=4)
    table = pd.read_csv(out, index_col="direction")
    for name, one in found.directions.items():
        assert table.loc[name, "recall@1"] == one.at[1]
        assert table.loc[name, "median rank"] == one.median_rank
    assert "5 recordings, 4 different texts" in capsys.readouterr().out
    folder = manifest.parent
    labels = ["--labels", str(folder / "y.npy")]
    definition = ["--label-def", str(folder / "label_def.csv")]
    assert main([*command, *labels, *definition]) == 0
    scores = pd.read_csv(out, index_col="label")
    assert scores.index.tolist() == ["Atrial fibrillation", "Sinus rhythm", "macro"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command, *labels])
    assert "name them by --label-def" in capsys.readouterr().err
    (tmp_path / "p.csv").write_text("label,prompt\nSinus rhythm,sr\nAtrial fibrillation,af\n")
    assert main([*command, *labels, *definition, "--prompts", str(tmp_path / "p.csv")]) == 0
    assert main([*command, *labels, *definition, "--require-auroc", "1"]) == 1


README = ROOT / "fairseq_ecg" / "inference" / "README.md"


def test_what_the_readme_shows_runs(checkpoint, manifest, tmp_path, monkeypatch, capsys):
    """The snippet and the commands as they stand there, on files of these names."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, "clip.pt")
    options = {"units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": ["16"] * 12}
    wfdb.wrsamp("record", fs=500, p_signal=ECGS[0].T, **options)
    os.mkdir("RECORDINGS")
    wfdb.wrsamp("one", fs=500, p_signal=ECGS[1].T, write_dir="RECORDINGS", **options)
    for folder in ("manifests", "labels"):
        os.makedirs(f"DATA/{folder}")
    shutil.copy(manifest, "DATA/manifests/test.tsv")
    for name in ("y.npy", "label_def.csv"):
        shutil.copy(manifest.parent / name, "DATA/labels")
    Path("prompts.csv").write_text("label,prompt\nAF,af\n")
    section = README.read_text(encoding="utf-8").split("## Texts, and labels by prompts")[1]
    section = section.split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {}
    exec(compile("import fairseq_ecg\n" + block, "README.md", "exec"), names)
    assert names["similarity"].table.shape == (1, 2)
    assert names["scores"].texts == ("AF", "SR")
    commands = re.findall(r"^    fairseq-ecg (.*)$", section, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert pd.read_csv("scores.csv").columns[-1] == "AF"
    assert "recall@10" in capsys.readouterr().out
