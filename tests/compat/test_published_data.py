"""Data sets, batches and augmentations by fairseq_signals' arguments."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from fairseq_ecg.compat.published import augmentations, datasets
from fairseq_ecg.compat.published.batching import (
    batch_by_size,
    compute_mask_indices,
    get_buckets,
)
from fairseq_ecg.ops import augment
from fairseq_ecg.ops.masking import SpanMasking
from fairseq_ecg.ops.masking import compute_mask_indices as draw_mask
from tests.segment_files import write_segment_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of two segments; patient 9 is the first class, 8 the other."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(1)
    variables = {
        "patient_id": 9,
        "segment_label": rng.integers(0, 4, (1, 40)),
        "segment_mask": np.arange(40)[None] < 5,
    }
    write_segment_files(folder, {"train": [2, 2, 2]}, **variables)
    root, *rows = (folder / "train.tsv").read_text().splitlines()
    patients = "\n".join([root, *(f"{row}\t{n % 2}" for n, row in enumerate(rows))])
    (folder / "patients.tsv").write_text(patients + "\n")
    np.save(folder / "y.npy", np.arange(6.0).reshape(3, 2))
    return folder


def test_batches_of_files(folder):
    data = datasets.FileECGDataset(
        folder / "train.tsv", 500, label=True, pad=True, leads_to_load="[0, 'II']", pad_leads=True
    )
    assert len(data) == len(data.sizes) == 6
    item = data[3]
    assert (item["id"], item["source"].shape, item["label"].tolist()) == (3, (12, 40), [1, 1, 1.5])
    batch = data.collator([data[0], data[3]])
    assert batch["id"].tolist() == [0, 3]
    assert batch["label"].tolist() == [[0, 0, 1.5], [1, 1, 1.5]]
    assert batch["net_input"]["source"].shape == (2, 12, 40)
    assert not batch["net_input"]["source"][:, 2:].any()
    assert not batch["net_input"]["padding_mask"].any()
    assert data.collator([]) == {}
    np.random.seed(3)
    order = data.ordered_indices()
    np.random.seed(3)
    assert order.tolist() == np.lexsort([np.random.permutation(6), data.sizes])[::-1].tolist()


def test_labels_of_a_file(folder):
    data = datasets.FileECGDataset(
        folder / "train.tsv", None, label=True, label_file=str(folder / "y.npy"), num_buckets=0
    )
    assert data.collator([data[0], data[5]])["label"].tolist() == [[0, 1], [4, 5]]


def test_segments_of_recordings(folder):
    data = datasets.CMSCECGDataset(folder / "cmsc" / "train.tsv", 500)
    batch = data.collator([data[0], data[2]])
    assert batch["id"].tolist() == [0, 0, 2, 2]
    assert batch["segment"].tolist() == [0, 1, 0, 1]
    assert batch["net_input"]["source"].shape == (4, 12, 40)


def test_patients(folder):
    path = folder / "patients.tsv"
    data = datasets.IdentificationECGDataset(path, 500, label=True)
    assert data[1]["label"].tolist() == [1]
    batch = data.collator([data[0], data[1]])
    assert batch["label"].tolist() == [[0], [1]]
    assert batch["patient_id"].tolist() == [9, 9]
    without = datasets.IdentificationECGDataset(path, 500)
    assert "label" not in without.collator([without[0]])


def test_classes_of_samples(folder):
    data = datasets.SegmentationECGDataset(folder / "train.tsv", 500)
    batch = data.collator([data[0], data[1]])
    assert batch["segment_label"].shape == (2, 40)
    assert batch["segment_mask"].sum(dim=1).tolist() == [5, 5]


def test_views_of_recordings(folder):
    path = folder / "train.tsv"
    data = datasets.PerturbECGDataset(
        path, 500, perturbation_mode=["random_leads_masking"], p=[1.0], mask_leads_prob=1.0
    )
    batch = data.collator([data[0], data[1]])
    assert batch["id"].tolist() == [0, 0, 1, 1]
    assert not batch["net_input"]["source"].any()
    data = datasets.ThreeKGECGDataset(path, 500, angle=None, scale=None, mask_ratio=0.25)
    first, second = data.collator([data[0]])["net_input"]["source"]
    assert ((first == 0).sum(dim=1) == 10).all()  # a quarter of 40 samples of each lead
    assert not torch.equal(first, second)


def test_augmentation_in_training_alone(folder):
    path = folder / "train.tsv"
    options = {"perturbation_mode": ["emg_noise"], "p": 1.0, "max_amplitude": 2.0, "freq": 500}
    plain, noisy = (
        datasets.FileECGDataset(path, 500, training=training, **options)
        for training in (False, True)
    )
    expected, found = (
        data.collator([data[0], data[1]])["net_input"]["source"] for data in (plain, noisy)
    )
    assert torch.equal(expected[0], plain[0]["source"])
    assert 0.1 < (found - expected).std() < 2.5


def test_options_that_there_are_not(folder):
    path = folder / "train.tsv"
    with pytest.raises(TypeError, match="no_such_option"):
        datasets.FileECGDataset(path, 500, no_such_option=1)
    with pytest.raises(ValueError, match="inappropriate perturbation choices: 3kg"):
        datasets.FileECGDataset(path, 500, perturbation_mode=["3kg"])
    with pytest.raises(ValueError, match="precompute_mask_indices=true is not supported"):
        datasets.FileECGDataset(path, 500, compute_mask_indices=True)


class Numbers(datasets.BaseDataset):
    """A data set of one's own, written for fairseq_signals."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {"id": index}

    def collator(self, samples):
        return {"id": torch.tensor([sample["id"] for sample in samples])}

    def num_tokens(self, index):
        return 10 * (index + 1)


def test_a_data_set_of_ones_own():
    data = Numbers()
    assert data.collater([data[1], data[2]])["id"].tolist() == [1, 2]
    indices = data.ordered_indices()
    for name in ("max_signals", "max_sentences"):
        batches = data.batch_by_size(indices, **{name: 2})
        assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch.tolist() for batch in data.batch_by_size(indices, 60)] == [[0, 1], [2], [3], [4]]


def test_batches_by_size():
    batches = batch_by_size(range(7), None, [4] * 7, max_signals=5, required_batch_size_multiple=2)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5], [6]]
    batches = batch_by_size([2, 0, 1], lambda index: 4, max_tokens=8)
    assert [batch.tolist() for batch in batches] == [[2, 0], [1]]
    assert get_buckets([1, 2, 3, 4, 5, 6, 7, 8, 9], 2).tolist() == [5, 9]


@pytest.mark.parametrize("kind", ["static", "uniform", "normal", "poisson"])
def test_masks(kind):
    padding = torch.zeros(3, 50, dtype=torch.bool)
    padding[1, 30:] = True
    np.random.seed(5)
    mask = compute_mask_indices((3, 50), padding, 0.5, 5, kind, 2, min_masks=1)
    assert mask.dtype == bool
    assert len(set(mask.sum(axis=1))) == 1
    assert 0 < mask[0].sum() < 50
    assert not mask[1, 30:].any()
    masking = SpanMasking(0.5, 5, kind, 2, min_masks=1)
    np.testing.assert_array_equal(mask, draw_mask((3, 50), padding, masking, RandomState(5)))


@pytest.mark.parametrize(
    ("name", "kind", "given", "defaults"),
    [
        ("powerline_noise", augment.PowerlineNoise, {"max_amplitude": 0.3, "freq": 250}, {}),
        ("emg_noise", augment.EMGNoise, {"p": 0.9}, {}),
        (
            *("baseline_shift", augment.BaselineShift, {"num_segment": 2}),
            {"max_amplitude": 0.25, "dependency": False},
        ),
        ("baseline_wander", augment.BaselineWander, {"k": 5}, {}),
        ("random_leads_masking", augment.RandomLeadsMask, {"mask_leads_prob": 0.7}, {}),
    ],
)
def test_augmentations_draw_from_the_global_stream(name, kind, given, defaults):
    ecg = torch.randn(12, 100)
    before = ecg.clone()
    noise = augmentations.instantiate_from_name(name, **given, of_another=1)
    own = {key: value for key, value in given.items() if key != "freq"}
    plain = kind(**{**defaults, **own})
    for seed in range(3):
        np.random.seed(seed)
        found = noise(ecg)
        draws = plain.draw(RandomState(seed), 12, 100)
        rate = given.get("freq", 500)
        expected = ecg if draws is None else plain.apply(ecg, draws, sample_rate=rate)
        assert torch.equal(found, expected)
    assert torch.equal(ecg, before)
    with pytest.raises(ValueError, match="inappropriate perturbation choices: other"):
        augmentations.instantiate_from_name("other")


def test_options_by_position_and_leads_of_others():
    noise = augmentations.PowerlineNoise(0.4, 0.1, 0.5, 250, False)
    assert (noise.max_amplitude, noise.min_amplitude, noise.p, noise.freq) == (0.4, 0.1, 0.5, 250)
    assert not noise.dependency
    ecg = torch.arange(24.0).view(12, 2) ** 2
    i, ii = ecg[0].clone(), ecg[1].clone()
    found = augmentations.adjust_channel_dependency(ecg)
    assert found is ecg
    expected = torch.stack([ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])
    assert torch.equal(found[2:6], expected)
