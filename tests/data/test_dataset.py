import copy
import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper  # what a DataLoader's worker sends its errors in
from torch.utils.data import DataLoader

from fairseq_ecg.data import DataError
from fairseq_ecg.ops.augment import EMGNoise, RandomLeadsMask, build_augmentations
from tests.ecg_datasets import dataset_of


@pytest.fixture
def manifest(write_ecg, write_manifest):
    """Three recordings of 20, 30 and 25 samples, with labels of their own and by idx."""
    lengths = [20, 30, 25]
    for i, n_samples in enumerate(lengths):
        write_ecg(f"{i}.mat", n_samples, idx=2 - i, label=np.array([[i, 1]], np.uint8))
    return write_manifest(*((f"{i}.mat", n_samples) for i, n_samples in enumerate(lengths)))


@pytest.fixture
def label_file(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(6.0).reshape(3, 2))
    return tmp_path / "y.npy"


def items(dataset):
    return [dataset[i] for i in range(len(dataset))]


def sources(dataset):
    return [item["source"] for item in items(dataset)]


def augmented(dataset, *indices):
    """Items as they go into the model, each a batch of its own."""
    batches = [dataset.collate([dataset[i]]) for i in indices or range(len(dataset))]
    return [dataset.augment(batch)[0] for batch in batches]


def test_an_item(manifest):
    dataset = dataset_of(manifest)
    item = dataset[1]
    assert item.keys() == {"id", "source", "sample_rate"}
    assert item["id"] == 1
    expected = 100.0 * torch.arange(12)[:, None] + torch.arange(30)
    assert torch.equal(item["source"], expected)
    assert dataset.sizes.dtype == np.int64
    assert dataset.sizes.tolist() == [20, 30, 25]


def test_indices_are_those_of_a_sequence(manifest):
    dataset = dataset_of(manifest)
    assert dataset[-1]["id"] == dataset[np.int64(2)]["id"] == 2
    assert len(list(dataset)) == 3
    with pytest.raises(IndexError):
        dataset[3]


def test_names_are_paths(tmp_path, manifest):
    dataset = dataset_of(manifest)
    expected = [os.path.join(tmp_path, "2.mat"), os.path.join(tmp_path, "0.mat")]
    assert dataset.names(torch.tensor([2, 0])) == expected


def test_labels_by_idx(manifest, label_file):
    dataset = dataset_of(manifest, label=True, label_file=label_file)
    batch = dataset.collate(items(dataset))
    assert batch["label"].tolist() == [[4, 5], [2, 3], [0, 1]]
    assert batch["label"].dtype == torch.float64


def test_labels_of_the_recordings_themselves(manifest):
    dataset = dataset_of(manifest, label=True)
    batch = dataset.collate(items(dataset))
    assert batch["label"].tolist() == [[0, 1], [1, 1], [2, 1]]
    assert batch["label"].dtype == torch.uint8


def test_a_label_file_is_left_alone_without_labels(manifest, tmp_path):
    dataset = dataset_of(manifest, label=False, label_file=tmp_path / "absent.npy")
    assert "label" not in dataset.collate(items(dataset))


def test_a_padded_batch(manifest):
    dataset = dataset_of(manifest, enable_padding=True)
    batch = dataset.collate(items(dataset))
    assert batch.keys() == {"id", "net_input"}
    assert batch["id"].tolist() == [0, 1, 2]
    assert batch["id"].dtype == torch.int64
    source, mask = batch["net_input"]["source"], batch["net_input"]["padding_mask"]
    assert source.shape == mask.shape == (3, 12, 30)
    assert mask[:, 4].sum(dim=1).tolist() == [10, 0, 5]
    assert not source[mask].any()
    assert dataset.size(1) == 30


def test_a_cropped_batch(manifest):
    dataset = dataset_of(manifest, max_sample_size=22)
    batch = dataset.collate(items(dataset)[1:])
    assert batch["net_input"].keys() == {"source"}
    source = batch["net_input"]["source"]
    assert source.shape == (2, 12, 22)
    starts = source[:, 0, 0]
    assert torch.equal(source[:, 3], 300 + starts[:, None] + torch.arange(22))
    assert (starts <= torch.tensor([8, 3])).all()
    assert [dataset.size(i) for i in range(3)] == [20, 22, 22]


def test_padding_and_cropping_together(manifest):
    dataset = dataset_of(manifest, enable_padding=True, max_sample_size=22)
    net_input = dataset.collate(items(dataset))["net_input"]
    assert net_input["source"].shape == (3, 12, 22)
    assert net_input["padding_mask"][:, 0].sum(dim=1).tolist() == [2, 0, 0]
    assert dataset.size(1) == 30


def test_crops_differ_between_epochs_and_items_but_not_between_batches(manifest):
    dataset = dataset_of(manifest, max_sample_size=5)
    starts = set()
    for epoch in range(1, 21):
        dataset.set_epoch(epoch)
        batch = dataset.collate(items(dataset))["net_input"]["source"]
        alone = dataset.collate([dataset[1]])["net_input"]["source"]
        assert torch.equal(batch[1], alone[0])
        starts.add(tuple(batch[:, 0, 0].tolist()))
    assert len(starts) == 20
    assert {start for start, _, _ in starts} <= set(range(16))


def test_no_samples_are_an_empty_batch(manifest):
    assert dataset_of(manifest).collate([]) == {}


def test_buckets_limit_the_lengths_of_batches(write_ecg, write_manifest):
    lengths = [10, 11, 12, 20, 21, 30]
    for n_samples in lengths:
        write_ecg(f"{n_samples}.mat", n_samples)
    manifest = write_manifest(*((f"{n}.mat", n) for n in lengths))
    dataset = dataset_of(manifest, enable_padding=True, max_sample_size=25, num_batch_buckets=2)

    def length(*indices):
        return dataset.collate([dataset[i] for i in indices])["net_input"]["source"].shape[-1]

    # Half of min(size, 25) is at most 12.
    assert [length(i) for i in range(6)] == [12, 12, 12, 25, 25, 25]
    assert length(0, 3) == 25
    padding_mask = dataset.collate([dataset[0]])["net_input"]["padding_mask"]
    assert padding_mask[0, 0].tolist() == [False] * 10 + [True] * 2


def test_order_is_that_of_fairseq_signals(write_manifest):
    lengths = np.random.RandomState(1).choice([100, 200, 300, 400], size=50)
    dataset = dataset_of(
        write_manifest(*((f"{i}.mat", n) for i, n in enumerate(lengths))), max_sample_size=300
    )
    np.random.seed(7)
    order = dataset.ordered_indices()
    following = np.random.rand()

    np.random.seed(7)
    keys = np.random.permutation(50)
    assert following == np.random.rand()
    capped = np.minimum(lengths, 300)
    assert order.tolist() == sorted(range(50), key=lambda i: (-capped[i], -keys[i]))


def test_order_without_shuffling_is_that_of_the_manifest(manifest):
    np.random.seed(0)
    dataset = dataset_of(manifest, shuffle=False)
    assert dataset.ordered_indices().tolist() == [0, 1, 2]
    np.testing.assert_array_equal(np.random.rand(), np.random.RandomState(0).rand())


def test_short_recordings_are_dropped_before_indices_are_given(manifest):
    dataset = dataset_of(manifest, min_sample_size=25)
    assert [item["id"] for item in items(dataset)] == [0, 1]
    assert dataset[0]["source"].shape == (12, 30)


def test_augmentation_is_for_training(manifest):
    mask = [RandomLeadsMask()]
    plain = sources(dataset_of(manifest))
    valid = augmented(dataset_of(manifest, augmentations=mask))
    train = augmented(dataset_of(manifest, augmentations=mask, training=True))
    assert all(map(torch.equal, plain, valid))
    for before, after in zip(plain, train, strict=True):
        # Lead I holds a zero at its first sample; its last is not one.
        kept = after[:, -1] != 0
        assert torch.equal(after[kept], before[kept])
        assert 0 < kept.sum() < 12


def test_augmentation_depends_on_seed_epoch_and_index_alone(manifest):
    def dataset(seed=1):
        return dataset_of(manifest, augmentations=[EMGNoise()], training=True, seed=seed)

    first = dataset()
    (noise,) = augmented(first, 0)
    assert torch.equal(augmented(first, 0)[0], noise)
    np.random.seed(3)
    assert torch.equal(augmented(dataset(), 0)[0], noise)
    assert not torch.equal(augmented(dataset(seed=2), 0)[0], noise)
    assert not torch.equal(augmented(first, 1)[0][:, :20], noise)
    first.set_epoch(2)
    assert first.epoch == 2
    assert not torch.equal(augmented(first, 0)[0], noise)
    first.set_epoch(1)
    assert torch.equal(augmented(first, 0)[0], noise)


def test_a_crop_of_an_augmented_recording_is_the_augmented_crop(manifest):
    noises = build_augmentations(["emg_noise", "baseline_shift", "baseline_wander"])
    whole = dataset_of(manifest, augmentations=noises, training=True)
    cropped = dataset_of(manifest, augmentations=noises, training=True, max_sample_size=10)
    for ecg, crop in zip(augmented(whole), augmented(cropped), strict=True):
        crops = [ecg[:, first : first + 10] for first in range(ecg.shape[1] - 9)]
        assert sum(torch.equal(crop, each) for each in crops) == 1


def test_padding_is_not_augmented(manifest):
    dataset = dataset_of(manifest, augmentations=[EMGNoise()], training=True, enable_padding=True)
    ecgs = dataset.augment(dataset.collate(items(dataset)))
    assert not ecgs[0, :, 20:].any()
    for together, alone in zip(ecgs, augmented(dataset), strict=True):
        assert torch.equal(together[:, : alone.shape[1]], alone)


def test_a_batch_keeps_its_recordings(manifest):
    dataset = dataset_of(manifest, augmentations=[EMGNoise()], training=True)
    batch = dataset.collate([dataset[0]])
    before = batch["net_input"]["source"].clone()
    once, twice = dataset.augment(batch), dataset.augment(batch)
    assert torch.equal(batch["net_input"]["source"], before)
    assert torch.equal(once, twice)


def test_powerline_noise_uses_the_rate_of_the_file(write_ecg, write_manifest):
    rate, n_samples = 400, 4000
    write_ecg(feats=np.zeros((1, n_samples)), curr_sample_rate=rate)
    dataset = dataset_of(
        write_manifest(("a.mat", n_samples)),
        leads_to_load="[0]",
        augmentations=build_augmentations(["powerline_noise"], dependency=False),
        training=True,
    )
    spectrum = np.abs(np.fft.rfft(augmented(dataset)[0][0].numpy()))
    assert spectrum.argmax() * rate / n_samples in (50, 60)


def test_a_lead_is_drawn_from_the_bucket_in_validation_too(manifest):
    dataset = dataset_of(manifest, leads_to_load="['V2','V1','I']", leads_bucket="[6, 7]")
    drawn = set()
    for epoch in range(1, 11):
        dataset.set_epoch(epoch)
        first = dataset[0]["source"][:, 0].tolist()
        assert first[0] == 0
        drawn.add(first[1])
    assert drawn == {600, 700}


def test_dependency_is_checked_for_every_lead_of_the_bucket(manifest):
    def dataset(bucket):
        return dataset_of(manifest, leads_bucket=bucket, augmentations=[EMGNoise()], training=True)

    assert dataset("['V1', 'V2']")[0]["source"].shape == (11, 20)
    with pytest.raises(ValueError, match="Load I and II as well, or set dependency=False"):
        dataset("['I', 'V2']")


def test_padded_leads(manifest):
    dataset = dataset_of(manifest, leads_to_load=["V1"], enable_padding_leads=True)
    source = dataset[0]["source"]
    assert source.shape == (12, 20)
    assert source[6, 0] == 600
    assert source.any(dim=1).nonzero().tolist() == [[6]]


def test_normalisation(manifest, tmp_path):
    (tmp_path / "mean.txt").write_text("".join(f"{100 * lead}\n" for lead in range(12)))
    (tmp_path / "std.txt").write_text("2\n" * 12)
    dataset = dataset_of(
        manifest,
        leads_to_load="['V1', 'II']",
        normalize=True,
        mean_path=tmp_path / "mean.txt",
        std_path=tmp_path / "std.txt",
    )
    assert torch.equal(dataset[0]["source"], torch.arange(20).expand(2, 20) / 2)


def test_a_filtered_source_is_float32(manifest, monkeypatch):
    neurokit = types.ModuleType("neurokit2")
    neurokit.ecg_clean = lambda row, sampling_rate: row.astype(np.float64) / 3
    monkeypatch.setitem(sys.modules, "neurokit2", neurokit)
    source = dataset_of(manifest, filter=True)[0]["source"]
    assert source.dtype == torch.float32
    assert source[1, 0] == np.float32(100 / 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precompute_mask_indices": True}, "precompute_mask_indices=true is not supported"),
        ({"num_batch_buckets": 2}, "num_batch_buckets needs enable_padding=true"),
        ({"normalize": True, "mean_path": "m"}, "normalize=true needs mean_path and std_path"),
        ({"max_sample_size": 0}, "max_sample_size=0"),
        ({"nan_policy": "drop"}, "nan_policy='drop'"),
        ({"leads_to_load": "[12]"}, "unknown lead 12"),
        ({"leads_bucket": "[1]", "enable_padding_leads": True}, "exclude each other"),
        ({"leads_to_load": "[0]", "leads_bucket": "[1]"}, "leads_bucket holds II"),
    ],
)
def test_contradicting_settings_are_refused(manifest, settings, message):
    with pytest.raises(ValueError, match=message):
        dataset_of(manifest, **settings)


def test_unknown_settings_are_refused(manifest):
    with pytest.raises(TypeError, match="enable_paddin"):
        dataset_of(manifest, enable_paddin=True)


@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        ({"n_samples": 21}, {}, "has 21 samples, the manifest says 20"),
        ({"curr_sample_rate": 400}, {"sample_rate": 500}, "is sampled at 400 Hz"),
        ({"n_leads": 3}, {}, "has 3 leads, without aVR"),
        ({"feats": np.full((12, 20), np.nan)}, {}, "NaN or infinite are 20 in I, "),
        ({"curr_sample_rate": None}, {}, "has no 'curr_sample_rate'"),
        ({"idx": None}, {"label": True, "label_file": "y.npy"}, "has no 'idx'. Rows of label_file"),
        ({"idx": 3}, {"label": True, "label_file": "y.npy"}, "idx 3 is not a row of y.npy"),
        ({}, {"label": True}, "has no 'label'. Add the labels to the file, or set task.label_file"),
        ({"label": np.eye(2)}, {"label": True}, r"'label' must be numbers of shape \(1, labels\)"),
    ],
)
def test_bad_files_are_named_with_their_line(
    write_ecg, write_manifest, label_file, monkeypatch, file, settings, message
):
    monkeypatch.chdir(label_file.parent)
    path = write_ecg(**file)
    manifest = write_manifest(("a.mat", 20))
    dataset = dataset_of(manifest, **settings)
    with pytest.raises(DataError, match=message) as raised:
        dataset[0]
    assert str(raised.value).startswith(f"{path} ({manifest}, line 2): ")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"n_leads": 2}, "b.mat has 2 leads, but .*a.mat of the same batch has 12"),
        ({"label": [[1, 0, 0]]}, "b.mat has 3 labels, but .*a.mat of the same batch has 2"),
    ],
)
def test_samples_that_disagree_are_named(write_ecg, write_manifest, second, message):
    write_ecg("a.mat", label=[[1, 0]])
    write_ecg("b.mat", **{"label": [[1, 0]], **second})
    manifest = write_manifest(("a.mat", 20), ("b.mat", 20))
    wide = dataset_of(manifest, label=True)
    narrow = dataset_of(manifest, label=True, leads_to_load="[0, 1]")
    with pytest.raises(DataError, match=message):
        wide.collate([wide[0], (narrow if "n_leads" in second else wide)[1]])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_data_sets_can_be_copied(manifest, label_file, duplicate):
    dataset = dataset_of(
        manifest,
        label=True,
        label_file=label_file,
        augmentations=build_augmentations(["emg_noise", "random_leads_masking"]),
        training=True,
    )
    dataset.set_epoch(3)
    twin = duplicate(dataset)
    assert twin.epoch == 3
    for ours, theirs in zip(augmented(dataset), augmented(twin), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(items(dataset), items(twin), strict=True):
        assert torch.equal(ours["label"], theirs["label"])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_outlive_an_epoch_draw_what_the_main_process_draws(manifest, start):
    dataset = dataset_of(manifest, augmentations=[EMGNoise()], training=True, max_sample_size=10)
    loader = DataLoader(
        dataset,
        batch_size=2,
        collate_fn=dataset.collate,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
    )
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        whole = dataset.augment(dataset.collate(items(dataset)))
        by_worker = torch.cat([dataset.augment(batch) for batch in loader])
        assert torch.equal(by_worker, whole)


def test_the_error_of_a_worker_keeps_its_class_and_message(write_ecg, write_manifest):
    write_ecg(curr_sample_rate=None)
    dataset = dataset_of(write_manifest(("a.mat", 20)))
    try:
        dataset[0]
    except DataError:
        sent = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(DataError, match=r"a.mat .*train.tsv, line 2\): has no 'curr_sample_rate'"):
        pickle.loads(pickle.dumps(sent)).reraise()


def test_real_ecgs_and_labels_are_those_of_fairseq_signals(shared, tmp_path):
    folder = shared / "ecg" / "code_15"
    files = sorted((folder / "segmented").glob("*.mat"))
    rows = "".join(f"{file.name}\t2500\n" for file in files)
    manifest = tmp_path / "test.tsv"
    manifest.write_text(f"\t{folder / 'segmented'}/\n{rows}")
    dataset = dataset_of(
        manifest,
        enable_padding=True,
        sample_rate=500,
        label=True,
        label_file=folder / "labels" / "y.npy",
    )
    batch = dataset.collate(items(dataset))
    targets = np.memmap(
        shared / "golden" / "extract_small" / "targets_test.npy", np.float32, "r", shape=(14, 8)
    )
    np.testing.assert_array_equal(batch["label"], targets)

    recorded = np.load(shared / "golden" / "diagnosis_small.npz")
    names = [file.name for file in files]
    chosen = [
        names.index(f"code_15_{exam}_{segment}.mat")
        for exam in (1594286, 270272, 2969044, 975093)
        for segment in (0, 1)
    ]
    np.testing.assert_array_equal(batch["net_input"]["source"][chosen], recorded["source"])
    np.testing.assert_array_equal(batch["label"][chosen], recorded["label"])
