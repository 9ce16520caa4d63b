"""Labels of samples are cropped and padded as the signal is, and refused where they do not fit."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fairseq_ecg.data import DataError, ECGDataset
from fairseq_ecg.data.targets import SegmentationTarget, StoredLabels
from fairseq_ecg.data.views import WholeRecordingView
from fairseq_ecg.ops.augment import BaselineWander, RandomLeadsMask
from fairseq_ecg.prepare.pack import pack

LENGTHS = (20, 30, 25)
RECIPE = [BaselineWander(dependency=False)]


def labels(n_samples):
    """Class of a sample by its position, so that it says where it came from."""
    return np.arange(n_samples) % 4


@pytest.fixture(params=["files", "store"])
def dataset(request, tmp_path, write_ecg, write_manifest):
    """Makes the data set of files with these variables, or of the store they are packed into."""

    def make(target=None, n_leads=1, changes=(), **options) -> ECGDataset:
        for i, n_samples in enumerate(LENGTHS):
            mask = np.arange(n_samples) < 3
            variables = {"segment_label": labels(n_samples), "segment_mask": mask.astype(np.uint8)}
            variables |= {"label": [[i, 1]], **dict(changes).get(i, {})}
            write_ecg(f"{i}.mat", n_samples, n_leads=n_leads, **variables)
        path = write_manifest(*((f"{i}.mat", n) for i, n in enumerate(LENGTHS)))
        if request.param == "store":
            pack(tmp_path, tmp_path / "store")
            path = tmp_path / "store" / "train"
        target = target or SegmentationTarget()
        return ECGDataset(path, WholeRecordingView(), target, shuffle=False, **options)

    return make


def test_an_item(dataset):
    item = dataset(SegmentationTarget(StoredLabels()))[1]
    assert item["source"].shape == (1, 30)
    assert item["source"].dtype == torch.float32
    assert item["segment_label"].dtype == torch.int64
    assert item["segment_label"].tolist() == labels(30).tolist()
    assert item["segment_mask"].dtype == torch.bool
    assert item["segment_mask"].nonzero().ravel().tolist() == [0, 1, 2]
    assert item["label"].tolist() == [1, 1]


def test_padding_is_of_no_wave_and_ignored(dataset):
    one = dataset(SegmentationTarget(none=2), enable_padding=True)
    batch = one.collate(one.__getitems__(range(3)))
    assert "label" not in batch
    assert batch["sample_rate"].tolist() == [500.0] * 3
    for i, n_samples in enumerate(LENGTHS):
        assert batch["segment_label"][i].tolist() == [*labels(n_samples), *[2] * (30 - n_samples)]
        ignored = [t < 3 or t >= n_samples for t in range(30)]
        assert batch["segment_mask"][i].tolist() == ignored
        assert batch["net_input"]["padding_mask"][i, 0].tolist() == [
            t >= n_samples for t in range(30)
        ]


def test_crops_take_labels_where_they_take_the_signal(dataset):
    one = dataset(max_sample_size=9, augmentations=RECIPE, training=True)
    starts = set()
    for epoch in range(1, 6):
        one.set_epoch(epoch)
        batch = one.collate(one.__getitems__(range(3)))
        for i in range(3):
            start = int(batch["net_input"]["source"][i, 0, 0])  # sample t holds t
            starts.add(start)
            assert batch["segment_label"][i].tolist() == [(start + t) % 4 for t in range(9)]
            assert batch["segment_mask"][i].tolist() == [start + t < 3 for t in range(9)]
        assert not torch.equal(one.augment(batch), batch["net_input"]["source"])
    assert len(starts) > 3


def test_without_padding_long_ones_are_cropped_to_the_shortest(dataset):
    one = dataset()
    batch = one.collate(one.__getitems__(range(3)))
    start = batch["net_input"]["source"][:, 0, :1].long()
    assert torch.equal(batch["segment_label"], (start + torch.arange(20)) % 4)


def test_no_sample_is_ignored_without_a_mask(dataset):
    one = dataset(changes={i: {"segment_mask": None} for i in range(3)})
    assert not one.collate(one.__getitems__(range(3)))["segment_mask"].any()


def test_normalize_is_the_layer_norm_of_the_whole_recording(dataset):
    plain, normal = dataset(n_leads=2)[1]["source"], dataset(n_leads=2, normalize=True)[1]["source"]
    expected = (plain - plain.mean()) / (plain.var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(normal, expected)
    torch.testing.assert_close(normal, F.layer_norm(plain, plain.shape))


@pytest.mark.parametrize("key", ["leads_to_load", "leads_bucket", "enable_padding_leads", "filter"])
def test_options_of_leads_have_no_effect(dataset, key):
    value = {"leads_to_load": "[V1]", "leads_bucket": "[V1]"}.get(key, True)
    assert torch.equal(dataset(**{key: value})[0]["source"], dataset()[0]["source"])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"segment_label": None}, "has no 'segment_label'"),
        ({"segment_label": labels(29)}, r"'segment_label' must be numbers of shape \(1, 30\)"),
        ({"segment_label": labels(30)[:, None]}, r"'segment_label' .* found .* \(30, 1\)"),
        ({"segment_label": labels(30) + 1}, "'segment_label' must be classes 0 to 3, found 1 to 4"),
        ({"segment_label": labels(30) / 2}, "'segment_label' must be classes 0 to "),
        ({"segment_label": labels(30) - 1}, "'segment_label' must be classes 0 to "),
        ({"segment_mask": np.ones(31)}, r"'segment_mask' must be numbers of shape \(1, 30\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(dataset, variables, message):
    with pytest.raises(DataError, match=rf"1\.mat .*{message}.*[Pp]repare"):
        dataset(changes={1: variables})[1]


def test_limb_leads_cannot_be_recomputed_without_twelve_leads(dataset):
    recipe = {"augmentations": [BaselineWander(dependency=True)], "training": True}
    one = dataset(**recipe)
    with pytest.raises(DataError, match=r"0\.mat .*is of 1 leads, .*Set task\.dependency=false"):
        one.__getitems__([0])
    dataset(augmentations=RECIPE, training=True).__getitems__([0])


def test_limb_leads_of_twelve_are_recomputed(dataset):
    one = dataset(n_leads=12, augmentations=[BaselineWander(dependency=True)], training=True)
    ecg = one.augment(one.collate(one.__getitems__([0])))[0]
    torch.testing.assert_close(ecg[2], ecg[1] - ecg[0])


def test_leads_that_cannot_be_masked(dataset):
    recipe = [RandomLeadsMask(mask_leads_selection="conditional")]
    one = dataset(augmentations=recipe, training=True)
    with pytest.raises(DataError, match=r"0\.mat .*cannot be augmented: .*'random'"):
        one.__getitems__([0])


def test_recordings_of_other_leads_do_not_join(dataset):
    feats = np.zeros((2, 30))
    one = dataset(changes={1: {"feats": feats}}, enable_padding=True)
    with pytest.raises(DataError, match=r"has 2 leads, .* in a manifest of their own"):
        one.collate(one.__getitems__([0, 1]))
