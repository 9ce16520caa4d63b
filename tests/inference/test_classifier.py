import numpy as np
import pytest
import torch

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference.classifier import Classifier
from fairseq_ecg.prepare.labels import read_label_names
from fairseq_ecg.prepare.recordings import read_recording

ATOL = 2e-6  # of probabilities, float32 sums of another order through the whole network


@pytest.fixture(scope="module")
def labels(shared):
    return read_label_names(shared / "ecg" / "code_15" / "labels" / "label_def.csv")


@pytest.fixture(scope="module")
def classifier(shared, labels):
    return Classifier.load(shared / "golden" / "diagnosis_small.pt", labels)


@pytest.fixture(scope="module")
def recorded(shared):
    """Probabilities that fairseq_signals gave the published segments, by file name."""
    logits = np.fromfile(shared / "golden" / "extract_small" / "outputs_test.npy", np.float32)
    files = sorted((shared / "ecg" / "code_15" / "segmented").glob("*.mat"))
    probabilities = 1 / (1 + np.exp(-logits.reshape(len(files), 8).astype(np.float64)))
    return {file.name: values for file, values in zip(files, probabilities, strict=True)}


def test_segments_get_the_probabilities_of_fairseq_signals(classifier, recorded, shared, tmp_path):
    root = shared / "ecg" / "code_15"
    lines = [f"\t{root / 'segmented'}/", *(f"{name}\t2500" for name in recorded)]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    dataset = classifier.dataset(tmp_path / "test.tsv", root / "labels" / "y.npy")
    batch = dataset.collate([dataset[i] for i in range(len(dataset))])
    probabilities = classifier.probabilities(**batch["net_input"])
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, list(recorded.values()), rtol=0, atol=ATOL)


@pytest.mark.parametrize("name", ["code_15_1594286", "code_15_438277"])
def test_a_recording_gets_the_mean_of_its_segments(classifier, recorded, shared, name):
    recording = read_recording(shared / "ecg" / "code_15" / "org" / f"{name}.mat")
    probabilities = classifier.of_recording(recording, 500, 2500)
    expected = np.mean([v for file, v in recorded.items() if file.startswith(name)], axis=0)
    assert tuple(probabilities) == classifier.labels
    np.testing.assert_allclose(list(probabilities.values()), expected, rtol=0, atol=ATOL)


def test_a_recording_shorter_than_a_segment_is_refused(classifier, shared):
    path = shared / "ecg" / "code_15" / "org" / "code_15_438277.mat"
    with pytest.raises(DataError, match=r"438277\.mat: shorter than one segment of 10\.0 s"):
        classifier.of_recording(read_recording(path), 500, 5000)


def test_untrained_networks_differ_by_their_seed_alone(classifier, labels, shared):
    path = shared / "golden" / "diagnosis_small.pt"
    first, again, other = (
        dict(Classifier.load(path, labels, untrained_seed=seed).model.named_parameters())
        for seed in (1, 1, 2)
    )
    trained = dict(classifier.model.named_parameters())
    assert first.keys() == trained.keys()
    for name, value in first.items():
        assert torch.equal(value, again[name])
    assert not torch.equal(first["proj.weight"], other["proj.weight"])
    assert not torch.equal(first["proj.weight"], trained["proj.weight"])


def test_another_number_of_labels_is_refused(labels, shared):
    with pytest.raises(DataError, match=r"tells 8 labels, the label definition names 7"):
        Classifier.load(shared / "golden" / "diagnosis_small.pt", labels[1:])
    with pytest.raises(DataError, match=r"tells no labels, .* Give a fine-tuned checkpoint"):
        Classifier.load(shared / "golden" / "pretrain_small.pt", labels)


def test_input_is_conditioned_as_in_training(shared, tmp_path):
    class Sum(torch.nn.Module):
        def forward(self, source, padding_mask):
            assert source.shape[1] == 2
            return {"out": source.sum(dim=2)}

    for name, value in (("mean", 0.5), ("std", 2.0)):
        (tmp_path / name).write_text(f"{value}\n" * 12)
    task = {
        "leads_to_load": "['V1', 'I']",
        "normalize": True,
        "mean_path": str(tmp_path / "mean"),
        "std_path": str(tmp_path / "std"),
        "sample_rate": 500,
        "perturbation_mode": None,
    }
    classifier = Classifier(Sum(), task, ["V1", "I"])
    recording = read_recording(shared / "ecg" / "code_15" / "org" / "code_15_438277.mat")
    probabilities = classifier.of_recording(recording, 500, 2500)
    from fairseq_ecg.prepare.signals import segments_of

    ecg = segments_of(recording.feats, 400, 500, 2500).ecg
    sums = ((ecg[:, [6, 0]] - 0.5) / 2.0).sum(axis=2)
    expected = (1 / (1 + np.exp(-sums))).mean(axis=0)
    np.testing.assert_allclose(list(probabilities.values()), expected, atol=1e-4)


def test_leads_drawn_at_random_are_refused():
    with pytest.raises(DataError, match="leads_bucket"):
        Classifier(torch.nn.Identity(), {"leads_bucket": "['I', 'II']"}, ["a"])
