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
