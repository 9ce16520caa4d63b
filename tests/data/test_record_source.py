import numpy as np
import pytest
import torch
import wfdb

from fairseq_ecg.data import LEADS, DataError
from fairseq_ecg.ops.augment import EMGNoise
from tests.ecg_datasets import records_of

N_SAMPLES, RATE = 40, 250


@pytest.fixture
def record(tmp_path) -> str:
    """A WFDB record of which lead l is l hundredths of a millivolt."""
    signals = np.tile(np.arange(1, 13) / 100, (N_SAMPLES, 1))
    signals[0] = 0
    wfdb.wrsamp(
        "record",
        fs=RATE,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        p_signal=signals,
        fmt=["16"] * 12,
        write_dir=str(tmp_path),
    )
    return str(tmp_path / "record")


@pytest.fixture
def make(write_ecg, write_manifest, record):
    """Data set of files that name the record and hold the variables given for each."""

    def make(*files: dict, n_samples: int = N_SAMPLES, **settings) -> records_of:
        names = [f"{i}.mat" for i in range(len(files))]
        for name, variables in zip(names, files, strict=True):
            defaults = {"feats": None, "curr_sample_rate": None, "ecg_path": record}
            write_ecg(name, **{**defaults, **variables})
        manifest = write_manifest(*((name, n_samples) for name in names))
        return records_of(manifest, **settings)

    return make


def batch_of(dataset):
    return dataset.collate([dataset[i] for i in range(len(dataset))])


def leads_of(source):
    return (source[:, 1] * 100).round().int().tolist()


def test_a_record_is_read_in_millivolts(make):
    dataset = make({}, sample_rate=RATE)
    item = dataset[0]
    assert item.keys() == {"id", "source", "sample_rate"}
    assert item["source"].shape == (12, N_SAMPLES)
    # 16 bits over 0.12 mV resolve 2e-6 mV.
    np.testing.assert_allclose(item["source"][:, 1], np.arange(1, 13) / 100, rtol=0, atol=2e-6)


def test_the_rate_of_the_record_counts(make):
    with pytest.raises(
        DataError, match=r"record \(named by .*0.mat .*line 2\)\): is sampled at 250"
    ):
        make({}, sample_rate=500)[0]


def test_leads_of_the_file_come_before_those_of_the_settings(make):
    dataset = make({"lead": [[1, 6]]}, {}, leads_to_load="[0]")
    assert leads_of(dataset[0]["source"]) == [2, 7]
    assert leads_of(dataset[1]["source"]) == [1]
    with pytest.raises(DataError, match=r"1.mat has 1 leads, but .*0.mat of the same batch has 2"):
        batch_of(dataset)


def test_leads_of_the_file_can_be_padded(make):
    dataset = make({"lead": [[1, 6]]}, {"lead": [[3]]}, enable_padding_leads=True)
    assert leads_of(dataset[0]["source"]) == [0, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]
    assert batch_of(dataset)["net_input"]["source"].shape == (2, 12, N_SAMPLES)


@pytest.mark.parametrize(
    ("lead", "settings", "message"),
    [
        ([[12]], {}, "unknown lead 12"),
        ([[1, 1]], {}, "names a lead twice"),
        ([[0]], {"leads_bucket": "[1]"}, "leads_bucket holds II"),
        ([[2]], {"augmentations": [EMGNoise()], "training": True}, "Load I and II as well"),
    ],
)
def test_leads_that_cannot_be_used_are_refused(make, lead, settings, message):
    dataset = make({"lead": lead}, **settings)
    with pytest.raises(
        DataError, match=rf"0.mat .*line 2\): its 'lead' cannot be used: .*{message}"
    ):
        dataset[0]


def test_labels_are_stacked(make):
    dataset = make({"label": [[0, 1]]}, {"label": [[1, 1]]}, label=True)
    assert batch_of(dataset)["label"].tolist() == [[0, 1], [1, 1]]


def test_labels_by_idx(make, tmp_path):
    np.save(tmp_path / "y.npy", np.eye(3))
    dataset = make({"idx": 2}, label=True, label_file=tmp_path / "y.npy")
    assert batch_of(dataset)["label"].tolist() == [[0, 0, 1]]


def test_labels_of_single_outputs_are_lists(make):
    first = {"label": [[0, 1]], "target_idx": [[3, 4]], "attribute_id": [[7, 8]]}
    second = {"label": [[1]], "target_idx": [[2]], "attribute_id": [[9]]}
    batch = batch_of(make(first, second, label=True))
    assert [label.tolist() for label in batch["label"]] == [[0, 1], [1]]
    assert [target.tolist() for target in batch["target_idx"]] == [[3, 4], [2]]
    assert all(target.dtype == torch.int64 for target in batch["target_idx"])
    assert [attribute.tolist() for attribute in batch["attribute_id"]] == [[7, 8], [9]]
    assert isinstance(batch["attribute_id"][0], np.ndarray)


@pytest.mark.parametrize("order", [1, -1])
def test_files_that_disagree_about_targets_are_named(make, order):
    files = [{"label": [[1]], "target_idx": [[3]]}, {"label": [[1]]}][::order]
    with pytest.raises(
        DataError, match=r"mat has no 'target_idx', but .*mat of the same batch has"
    ):
        batch_of(make(*files, label=True))


def test_the_length_of_the_record_counts(make):
    with pytest.raises(DataError, match="has 40 samples, the manifest says 30"):
        make({}, n_samples=30)[0]


def test_a_record_of_nowhere_is_named(make):
    with pytest.raises(DataError, match=r"/no/such/r \(named by .*0.mat .*: no such WFDB record"):
        make({"ecg_path": "/no/such/r"})[0]


@pytest.mark.parametrize("path", [["a", "b"], 3])
def test_what_is_no_path_is_refused(make, path):
    with pytest.raises(DataError, match="'ecg_path' must be one path"):
        make({"ecg_path": path})[0]


def test_files_of_the_other_kind_are_refused_with_the_remedy(make):
    with pytest.raises(DataError, match=r"has no 'ecg_path'.*set task.path_dataset=false"):
        make({"ecg_path": None})[0]
