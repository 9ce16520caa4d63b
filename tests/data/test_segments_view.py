import itertools
import os
import pickle

import numpy as np
import pytest
import scipy.io
import torch
from torch.utils.data import DataLoader

from fairseq_ecg.data import DataError
from fairseq_ecg.ops.augment import EMGNoise
from tests.ecg_datasets import pairs_of

PAIRED_EXAMS = (1594286, 270272, 2969044, 975093)


@pytest.fixture
def manifest(write_ecg, write_cmsc_manifest):
    """Recording ``a`` of two segments and ``b`` of four, 20 samples each."""
    for name, n_segments, idx in (("a", 2, 5), ("b", 4, 8)):
        for segment in range(n_segments):
            write_ecg(f"{name}_{segment}.mat", idx=idx)
    return write_cmsc_manifest(("a", 20, "0,1"), ("b", 20, "0,1,2,3"))


def batch_of(dataset):
    return dataset.collate([dataset[i] for i in range(len(dataset))])


def test_an_item_holds_the_segments_of_a_recording(manifest):
    first, second = pairs_of(manifest)[0]
    assert first.keys() == {"id", "position", "segment", "patient_id", "source", "sample_rate"}
    assert (first["id"], first["segment"], first["patient_id"]) == (0, 0, 5)
    assert (second["id"], second["segment"], second["patient_id"]) == (0, 1, 5)
    expected = 100.0 * torch.arange(12)[:, None] + torch.arange(20)
    assert torch.equal(first["source"], expected)


def test_a_batch_holds_all_segments_in_order(manifest):
    batch = batch_of(pairs_of(manifest, enable_padding=True))
    assert batch["id"].tolist() == [0, 0, 1, 1, 1, 1]
    assert batch["patient_id"].tolist() == [5, 5, 8, 8, 8, 8]
    assert batch["segment"].tolist() == [0, 1, 0, 1, 0, 1]
    assert batch["patient_id"].dtype == batch["segment"].dtype == torch.int32
    assert batch["net_input"]["source"].shape == (6, 12, 20)
    assert not batch["net_input"]["padding_mask"].any()


def test_no_samples_are_an_empty_batch(manifest):
    assert pairs_of(manifest).collate([]) == {}


def test_segments_are_cropped_independently(manifest):
    dataset = pairs_of(manifest, max_sample_size=4)
    starts = []
    for epoch in range(1, 11):
        dataset.set_epoch(epoch)
        source = batch_of(dataset)["net_input"]["source"]
        assert source.shape == (6, 12, 4)
        assert torch.equal(source[:, 2], source[:, 0] + 200)
        starts.append(source[:, 0, 0].tolist())
    for one, other in itertools.combinations(np.array(starts).T, 2):
        assert (one != other).any()
    alone = dataset.collate([dataset[1]])["net_input"]["source"]
    assert torch.equal(alone, source[2:])


def test_segments_are_augmented_independently(manifest):
    dataset = pairs_of(manifest, augmentations=[EMGNoise()], training=True)
    sources = dataset.augment(dataset.collate([dataset[1]]))
    for one, other in itertools.combinations(sources, 2):
        assert not torch.equal(one, other)
    assert torch.equal(dataset.augment(dataset.collate([dataset[1]])), sources)


def test_recordings_without_idx_are_distinguished_by_patient(write_ecg, write_cmsc_manifest):
    for segment in (0, 1):
        write_ecg(f"a_{segment}.mat", idx=None, patient_id=77)
    manifest = write_cmsc_manifest(("a", 20, "0,1"))
    assert batch_of(pairs_of(manifest))["patient_id"].tolist() == [77, 77]
    write_ecg("a_1.mat", idx=None)
    message = rf"a_1.mat \({manifest}, line 3\): has neither 'idx' nor 'patient_id'"
    with pytest.raises(DataError, match=message):
        pairs_of(manifest)[0]


def test_labels(manifest, write_ecg, tmp_path):
    np.save(tmp_path / "y.npy", np.arange(18.0).reshape(9, 2))
    dataset = pairs_of(manifest, label=True, label_file=tmp_path / "y.npy")
    labels = batch_of(dataset)["label"]
    assert labels.tolist() == [[10, 11]] * 2 + [[16, 17]] * 4


def test_a_missing_segment_is_named(manifest, tmp_path):
    (tmp_path / "b_2.mat").unlink()
    with pytest.raises(DataError, match=rf"b_2.mat \({manifest}, line 4\): no such file"):
        pairs_of(manifest)[1]


def test_segments_may_have_other_lengths_than_their_row(write_ecg, write_cmsc_manifest):
    """A row gives the length of the recording's last segment, which may lie in another row."""
    write_ecg("a_0.mat", 20)
    write_ecg("a_1.mat", 15)
    dataset = pairs_of(write_cmsc_manifest(("a", 18, "0,1")), enable_padding=True)
    padding_mask = batch_of(dataset)["net_input"]["padding_mask"]
    assert padding_mask[:, 0].sum(dim=1).tolist() == [0, 5]


def test_transposed_segments_are_refused(write_ecg, write_cmsc_manifest):
    write_ecg("a_0.mat", 20)
    write_ecg("a_1.mat", 20)
    dataset = pairs_of(write_cmsc_manifest(("a", 12, "0,1")), enable_padding=True)
    with pytest.raises(DataError, match=r"a_0.mat .* looks transposed"):
        dataset[0]


def test_names_list_the_segments(manifest, tmp_path):
    names = pairs_of(manifest).names([1, 0])
    assert names == [os.path.join(tmp_path, name) for name in ("b_{0,1,2,3}.mat", "a_{0,1}.mat")]


def test_segments_that_disagree_are_named(write_ecg, write_cmsc_manifest):
    write_ecg("a_0.mat", label=[[1, 0]])
    write_ecg("a_1.mat", label=[[1, 0, 1]])
    dataset = pairs_of(write_cmsc_manifest(("a", 20, "0,1")), label=True)
    with pytest.raises(DataError, match=r"a_\{0,1\}.mat has 3 labels, but"):
        batch_of(dataset)


def test_data_sets_pickle(manifest):
    dataset = pairs_of(manifest, augmentations=[EMGNoise()], training=True)
    twin = pickle.loads(pickle.dumps(dataset))
    expected = dataset.augment(batch_of(dataset))
    assert torch.equal(twin.augment(batch_of(twin)), expected)


def real_manifest(path, root, n_samples=2500):
    rows = "".join(f"code_15_{exam}\t{n_samples}\t0\t0,1\n" for exam in PAIRED_EXAMS)
    path.write_text(f"{root}\nmat\n{rows}")
    return path


def test_real_pairs_are_those_of_fairseq_signals(shared, tmp_path):
    root = shared / "ecg" / "code_15" / "segmented"
    dataset = pairs_of(real_manifest(tmp_path / "train.tsv", root), sample_rate=500)
    loader = DataLoader(dataset, batch_size=4, collate_fn=dataset.collate)
    (batch,) = loader
    recorded = np.load(shared / "golden" / "pretrain_small.npz")
    np.testing.assert_array_equal(batch["net_input"]["source"], recorded["source"])
    np.testing.assert_array_equal(batch["patient_id"], recorded["patient_id"])
    np.testing.assert_array_equal(batch["segment"], recorded["segment"])


def test_real_pairs_are_padded_as_by_fairseq_signals(shared, tmp_path):
    shortened = {"code_15_270272_1.mat": 1800, "code_15_975093_0.mat": 2100}
    for exam, segment in itertools.product(PAIRED_EXAMS, (0, 1)):
        name = f"code_15_{exam}_{segment}.mat"
        mat = scipy.io.loadmat(shared / "ecg" / "code_15" / "segmented" / name)
        kept = {key: mat[key] for key in ("curr_sample_rate", "idx")}
        scipy.io.savemat(
            tmp_path / name, {"feats": mat["feats"][:, : shortened.get(name, 2500)], **kept}
        )
    dataset = pairs_of(real_manifest(tmp_path / "train.tsv", tmp_path), enable_padding=True)
    net_input = batch_of(dataset)["net_input"]
    recorded = np.load(shared / "golden" / "pretrain_small_padded.npz")
    np.testing.assert_array_equal(net_input["source"], recorded["source"])
    np.testing.assert_array_equal(net_input["padding_mask"], recorded["padding_mask"])
