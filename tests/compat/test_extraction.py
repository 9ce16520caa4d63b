import numpy as np
import pytest
import torch
from torch import nn

from fairseq_ecg.compat.extraction import Extraction, Observer, in_turns, parse_extracts
from fairseq_ecg.data import DataError
from fairseq_ecg.formats.stores import MemmapReader


class TwoHeads(nn.Module):
    """A model with the outputs and targets of a composite criterion."""

    def forward(self, source, padding_mask=None):
        return {"heads": [source.mean(dim=2)[:, :3], source.mean(dim=2)[:, :2] + 1]}

    def get_logits(self, net_output):
        return net_output["heads"]

    def get_targets(self, sample, net_output):
        return [sample["label"], 1 - sample["label"][:, :2]]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "id": torch.tensor([2, 0, 1]),
        "net_input": {"source": torch.randn(3, 12, 8, generator=generator)},
        "label": torch.randn(3, 3, generator=generator),
    }


def extraction(folder, n_rows, like):
    return Extraction(folder, "test", n_rows, like, "float32", "raw")


def stored(folder, name):
    return MemmapReader.from_header(folder / f"{name}.npy")[:]


def test_every_head_has_its_stores(batch, tmp_path):
    observer = Observer(TwoHeads(), ["output"], "two.pt")
    observer.run(batch)
    arrays = observer.arrays(batch, with_targets=True)
    with extraction(tmp_path, 3, arrays) as stores:
        stores.add(batch["id"], arrays)
        stores.finish()
    names = {path.name for path in tmp_path.glob("*.npy")}
    assert names == {f"{kind}_test_{i}.npy" for kind in ("outputs", "targets") for i in (0, 1)}
    source = batch["net_input"]["source"].mean(dim=2)
    order = torch.argsort(batch["id"])
    np.testing.assert_array_equal(stored(tmp_path, "outputs_test_0"), source[order, :3])
    np.testing.assert_array_equal(stored(tmp_path, "outputs_test_1"), source[order, :2] + 1)
    np.testing.assert_array_equal(stored(tmp_path, "targets_test_1"), 1 - batch["label"][order, :2])


@pytest.mark.parametrize(
    ("key", "message"),
    [("encoder_out", "Encoder extraction is not"), ("saliency", "Saliency extraction is not")],
)
def test_what_a_model_does_not_return(key, message, batch):
    observer = Observer(TwoHeads(), [key], "two.pt")
    observer.run(batch)
    with pytest.raises(DataError, match=rf"two\.pt: {message} supported for this model"):
        observer.arrays(batch, with_targets=False)


def test_targets_of_unequal_number_cannot_be_stored(batch):
    observer = Observer(TwoHeads(), ["output"], "two.pt")
    observer.run(batch)
    observer.model.get_targets = lambda sample, net_output: [torch.ones(2), torch.ones(1)]
    with pytest.raises(DataError, match="not one row per recording"):
        observer.arrays(batch, with_targets=True)


def test_missing_rows_leave_everything_as_it_was(tmp_path):
    rows = {"outputs": torch.ones(2, 3)}
    with extraction(tmp_path, 3, rows) as stores:
        stores.add(torch.tensor([0, 1]), rows)
        with pytest.raises(DataError, match="test: 2 of 3 recordings were extracted"):
            stores.finish()
    assert list(tmp_path.iterdir()) == []


def test_short_rows_are_filled_up(tmp_path):
    like = {
        "encoder_out": torch.ones(1, 4, 2),
        "padding_mask": torch.zeros(1, 4, dtype=torch.bool),
        "saliency": torch.ones(1, 1, 4, 4),
    }
    short = {
        "encoder_out": torch.ones(1, 2, 2),
        "padding_mask": torch.tensor([[False, True]]),
        "saliency": torch.ones(1, 1, 2, 2),
    }
    with extraction(tmp_path, 2, like) as stores:
        stores.add(torch.tensor([1]), short)
        stores.add(torch.tensor([0]), like)
        stores.finish()
    assert stored(tmp_path, "padding_mask_test").tolist() == [[0, 0, 0, 0], [0, 1, 1, 1]]
    assert stored(tmp_path, "encoder_out_test")[1].tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    assert stored(tmp_path, "saliency_test")[1].sum() == 4


def test_names_are_stripped_and_checked():
    assert parse_extracts([" output", "saliency "], "out") == ("output", "saliency")
    assert parse_extracts(None, None) == ()
    with pytest.raises(DataError, match="choose from output, encoder_out, saliency"):
        parse_extracts(["outputs"], "out")


def test_one_process_takes_its_turns_alone():
    assert in_turns([1, None, 3]) == [1, None, 3]


class Samples(nn.Module):
    """A model that classifies samples, and labels of recordings besides."""

    def forward(self, source, padding_mask=None):
        classes = torch.stack([source[:, 0], source[:, 1], -source[:, 0]], dim=2)
        return {"segment_out": classes, "labels": source.mean(dim=2)[:, :3], "encoder_out": source}

    def get_logits(self, net_output):
        return [net_output["segment_out"], net_output["labels"]]

    def get_targets(self, sample, net_output):
        mask = sample["segment_mask"]
        classes = sample["segment_label"]
        return [classes[~mask] if mask.any() else classes, sample["label"]]


@pytest.fixture
def labelled_samples(batch):
    classes = torch.arange(24).reshape(3, 8) % 4
    return batch | {"segment_label": classes, "segment_mask": classes == 3}


def test_classes_of_samples_are_stored_with_those_that_are_ignored(labelled_samples, tmp_path):
    observer = Observer(Samples(), ["output"], "waves.pt")
    observer.run(labelled_samples)
    arrays = observer.arrays(labelled_samples, with_targets=True)
    with extraction(tmp_path, 3, arrays) as stores:
        stores.add(labelled_samples["id"], arrays)
        stores.finish()
    names = {path.name for path in tmp_path.glob("*.npy")}
    of_heads = {f"{kind}_test_{i}.npy" for kind in ("outputs", "targets") for i in (0, 1)}
    assert names == of_heads | {"segment_mask_test.npy"}
    order = torch.argsort(labelled_samples["id"])
    source = labelled_samples["net_input"]["source"][order]
    assert stored(tmp_path, "outputs_test_0").shape == (3, 8, 3)
    np.testing.assert_array_equal(stored(tmp_path, "outputs_test_0")[..., 0], source[:, 0])
    classes = labelled_samples["segment_label"][order]
    np.testing.assert_array_equal(stored(tmp_path, "targets_test_0"), classes)
    np.testing.assert_array_equal(stored(tmp_path, "segment_mask_test"), classes == 3)
    np.testing.assert_array_equal(
        stored(tmp_path, "targets_test_1"), labelled_samples["label"][order]
    )


def test_no_mask_of_samples_is_kept_where_all_count(labelled_samples, tmp_path):
    labelled_samples["segment_mask"][:] = False
    observer = Observer(Samples(), ["output"], "waves.pt")
    observer.run(labelled_samples)
    arrays = observer.arrays(labelled_samples, with_targets=True)
    (tmp_path / "segment_mask_test.npy").write_bytes(b"of another extraction")
    with extraction(tmp_path, 3, arrays) as stores:
        stores.add(labelled_samples["id"], arrays)
        stores.finish()
    assert not list(tmp_path.glob("segment_mask*"))


def test_without_labels_padded_samples_are_ignored(batch):
    padding = torch.zeros(3, 12, 8, dtype=torch.bool)
    padding[1, :, 5:] = True
    batch["net_input"]["padding_mask"] = padding
    observer = Observer(Samples(), ["output"], "waves.pt")
    observer.run(batch)
    arrays = observer.arrays(batch, with_targets=False)
    assert set(arrays) == {"outputs_0", "outputs_1", "segment_mask"}
    assert torch.equal(arrays["segment_mask"], padding[:, 0])


def test_frames_of_a_model_that_classifies_samples_are_refused(labelled_samples):
    observer = Observer(Samples(), ["encoder_out"], "waves.pt")
    observer.run(labelled_samples)
    with pytest.raises(DataError, match=r"waves\.pt: Encoder extraction is not supported"):
        observer.arrays(labelled_samples, with_targets=True)


def test_frames_of_a_convnet_are_refused(batch):
    observer = Observer(TwoHeads(), ["encoder_out"], "convnet.pt")
    observer.net_output = {"x": torch.ones(3, 2), "encoder_out": torch.ones(3, 4, 2)}
    with pytest.raises(DataError, match=r"convnet\.pt: Encoder extraction is not supported"):
        observer.arrays(batch, with_targets=False)


class SomeOutputs(nn.Module):
    """A model of five outputs, of which recordings have targets for some."""

    def forward(self, source, padding_mask=None):
        return {"out": source.mean(dim=2)[:, :5]}

    def get_logits(self, net_output):
        return net_output["out"]

    def get_targets(self, sample, net_output):
        return sample["label"]


def test_targets_of_some_outputs_are_stored_where_these_are(batch):
    batch["label"] = [torch.tensor([1, 0]), torch.tensor([1]), torch.tensor([])]
    batch["target_idx"] = [torch.tensor([4, 1]), torch.tensor([0]), torch.tensor([]).long()]
    observer = Observer(SomeOutputs(), ["output"], "heads.pt")
    observer.run(batch)
    arrays = observer.arrays(batch, with_targets=True)
    nan = np.nan
    expected = [[nan, 0, nan, nan, 1], [1, nan, nan, nan, nan], [nan] * 5]
    np.testing.assert_array_equal(arrays["targets"], expected)
    assert arrays["outputs"].shape == (3, 5)
