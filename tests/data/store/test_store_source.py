"""Items and batches of a store are those of the manifests that were packed, bit by bit."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fairseq_ecg.data import DataError
from fairseq_ecg.data.sources import source_of
from fairseq_ecg.ops.augment import BaselineShift, EMGNoise, RandomLeadsMask
from fairseq_ecg.ops.masking import BatchMasking, SpanMasking
from fairseq_ecg.prepare.pack import pack
from tests.ecg_datasets import dataset_of, pairs_of
from tests.segment_files import write_segment_files

MASKING = BatchMasking(
    ((2, 2), (2, 2)), SpanMasking(0.5, 3, min_masks=1), SpanMasking(0.3, 2), n_channels=16
)
RECIPE = (EMGNoise(), BaselineShift(), RandomLeadsMask())


@pytest.fixture(scope="session")
def statistics(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("statistics")
    rng = np.random.default_rng(0)
    np.savetxt(folder / "mean", rng.normal(size=12))
    np.savetxt(folder / "std", rng.uniform(0.5, 2, size=12))
    np.save(folder / "y.npy", rng.normal(size=(20, 4)))
    return {"mean_path": folder / "mean", "std_path": folder / "std"}


def assert_same(one, other, where=""):
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}/{i}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    else:
        assert one == other, where


def batches(dataset, workers=0, size=3, **options) -> list[dict]:
    torch.manual_seed(0)
    loader = DataLoader(
        dataset,
        batch_sampler=[range(i, min(i + size, len(dataset))) for i in range(0, len(dataset), size)],
        num_workers=workers,
        collate_fn=dataset.collate,
        **options,
    )
    return [batch | {"augmented": dataset.augment(batch)} for batch in loader]


OPTIONS = {
    "as it is": {},
    "augmented": {
        "augmentations": RECIPE,
        "training": True,
        "masking": MASKING,
        "enable_padding": True,
    },
    "masked": {"masking": MASKING, "sample_rate": 500},
    "cropped": {"max_sample_size": 17, "augmentations": RECIPE, "training": True},
    "padded and bucketed": {"enable_padding": True, "num_batch_buckets": 2, "masking": MASKING},
    "normalised": {"normalize": True},
    "some leads": {"leads_to_load": "['V1', 'I']", "normalize": True},
    "leads padded": {"leads_to_load": [3, 7], "enable_padding_leads": True, "normalize": True},
    "bucket of leads": {"leads_bucket": "['II', 'V6']", "augmentations": [EMGNoise()]},
    "too short left out": {"min_sample_size": 40},
    "non-finite kept": {"nan_policy": "keep"},
    "labels of the files": {"label": True},
}
KINDS = {
    "plain": (dataset_of, dataset_of, ""),
    "pairs": (pairs_of, pairs_of, "cmsc"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_files(manifests, store, statistics, kind, options):
    of_files, of_store, folder = KINDS[kind]
    options = options | (statistics if options.get("normalize") else {})
    for split in ("train", "valid"):
        expected = of_files(manifests / folder / f"{split}.tsv", seed=3, **options)
        found = of_store(store / split, seed=3, **options)
        assert len(found) == len(expected)
        for epoch in (1, 2):
            expected.set_epoch(epoch)
            found.set_epoch(epoch)
            assert_same(batches(found), batches(expected))
        for index in range(len(found)):
            assert_same(found[index], expected[index])
        for seed, dataset in itertools.product((1, 2), (expected, found)):
            np.random.seed(seed)
            assert dataset.ordered_indices().dtype == np.int64
        np.random.seed(1)
        order = expected.ordered_indices()
        np.random.seed(1)
        np.testing.assert_array_equal(found.ordered_indices(), order)
        assert [found.size(i) for i in range(len(found))] == [
            expected.size(i) for i in range(len(found))
        ]


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_make_the_same_batches(store, start, workers):
    options = {"augmentations": RECIPE, "training": True, "masking": MASKING}
    dataset = pairs_of(store / "train", **options)
    expected = batches(dataset, size=2)
    found = batches(dataset, workers=workers, size=2, multiprocessing_context=start)
    assert_same(found, expected)


def test_labels_of_a_label_file(manifests, store, statistics):
    labels = {"label": True, "label_file": statistics["mean_path"].with_name("y.npy")}
    for kind in KINDS:
        of_files, of_store, folder = KINDS[kind]
        expected = of_files(manifests / folder / "train.tsv", **labels)
        assert_same(batches(of_store(store / "train", **labels)), batches(expected))


def test_segments_of_several_lengths(tmp_path):
    write_segment_files(tmp_path, {"train": [4, 3, 2]}, lambda segment: 30 + segment // 2)
    pack(tmp_path, tmp_path / "store")
    for options in ({"enable_padding": True, "masking": MASKING}, {"min_sample_size": 31}):
        for of_files, of_store, folder in KINDS.values():
            expected = of_files(tmp_path / folder / "train.tsv", **options)
            found = of_store(tmp_path / "store" / "train", **options)
            assert_same(batches(found), batches(expected))


def test_samples_that_are_not_finite_are_met_as_in_files(tmp_path):
    feats = np.random.default_rng(0).normal(size=(12, 40))
    feats[3, 7] = np.nan
    write_segment_files(tmp_path, {"train": [2]}, feats=feats)
    pack(tmp_path, tmp_path / "store")
    for policy in ("zero", "keep"):
        expected = pairs_of(tmp_path / "cmsc" / "train.tsv", nan_policy=policy)
        found = pairs_of(tmp_path / "store" / "train", nan_policy=policy)
        assert_same(batches(found), batches(expected))
    with pytest.raises(DataError, match=r"store/rec0_0\.mat \(split train\): .* 1 in aVR"):
        batches(dataset_of(tmp_path / "store" / "train"))


def test_a_wrong_rate_and_missing_leads_are_named(tmp_path):
    write_segment_files(tmp_path, {"train": [2]}, feats=np.ones((8, 40)))
    pack(tmp_path, tmp_path / "store")
    with pytest.raises(DataError, match=r"rec0_0\.mat .*has 8 leads, without V3"):
        batches(dataset_of(tmp_path / "store" / "train"))
    few = {"leads_to_load": [0, 1]}
    batches(dataset_of(tmp_path / "store" / "train", sample_rate=500, **few))
    with pytest.raises(DataError, match=r"sampled at 500 Hz, but task\.sample_rate is 250"):
        batches(dataset_of(tmp_path / "store" / "train", sample_rate=250, **few))


def test_what_a_store_lacks_is_named(store, tmp_path):
    with pytest.raises(DataError, match="has no split 'test'; it has train, valid"):
        dataset_of(store / "test")
    with pytest.raises(DataError, match="no recording remains"):
        dataset_of(store / "train", min_sample_size=41)
    with pytest.raises(DataError, match="path_dataset=false"):
        source_of(store / "train", of_records=True)
    write_segment_files(tmp_path, {"train": [1]}, idx=None, label=None)
    pack(tmp_path, tmp_path / "store")
    with pytest.raises(DataError, match="no recording of this split has two segments"):
        pairs_of(tmp_path / "store" / "train")
    with pytest.raises(DataError, match=r"rec0_0\.mat .*has no labels"):
        batches(dataset_of(tmp_path / "store" / "train", label=True))


def test_recordings_without_idx_are_distinguished_by_patient(tmp_path):
    write_segment_files(tmp_path / "one", {"train": [2]}, idx=None, patient_id=77)
    write_segment_files(tmp_path / "other", {"train": [2]}, idx=None)
    for name in ("one", "other"):
        pack(tmp_path / name, tmp_path / f"{name}_store")
    (batch,) = batches(pairs_of(tmp_path / "one_store" / "train"))
    assert batch["patient_id"].tolist() == [77, 77]
    with pytest.raises(DataError, match="has neither 'idx' nor 'patient_id'"):
        batches(pairs_of(tmp_path / "other_store" / "train"))


def test_names_and_pickles(store):
    dataset = pairs_of(store / "train", masking=MASKING)
    expected = batches(dataset)
    twin = pickle.loads(pickle.dumps(dataset))
    assert_same(batches(twin), expected)
    (name,) = twin.names([1])
    assert name == f"{store}/rec2_0.mat and {store}/rec2_1.mat"
