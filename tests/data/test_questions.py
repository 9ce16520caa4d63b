"""Questions about one ECG or two: from files that name records, and from stores, to batches."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from fairseq_ecg.data import VIEWS, ECGDataset
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import QuestionSource, QuestionStoreSource
from fairseq_ecg.data.store import Store
from fairseq_ecg.data.targets import QuestionTarget
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.views import QuestionView
from fairseq_ecg.prepare.pack import pack
from tests.data.store.test_store_source import assert_same, batches


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "golden" / "rest_text" / "preprocess"
    return json.loads((folder / "qa_batches.json").read_text())


@pytest.fixture(scope="module")
def ptb_xl(shared, tmp_path_factory) -> Path:
    """Questions about a small PTB-XL, as fairseq_signals prepared them: ``train.tsv``."""
    preprocess = shared / "golden" / "rest_text" / "preprocess"
    folder = tmp_path_factory.mktemp("ptb_xl")
    with tarfile.open(preprocess / "inputs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    out = folder / "prepared"
    for name, content in json.loads((preprocess / "expected.json").read_text()).items():
        if not name.startswith("qa_template/"):
            continue
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".mat"):
            scipy.io.savemat(path, {key: variable(of, folder) for key, of in content.items()})
        else:
            path.write_text("\n".join(content).replace("@OUT@", str(out)))
    return out / "qa_template"


def variable(recorded: dict, root: Path):
    if recorded["dtype"] == "str":
        return [text.replace("@ROOT@", str(root)) for text in recorded["value"]]
    return np.array(recorded["value"], recorded["dtype"]).reshape(recorded["shape"])


@pytest.fixture(scope="module")
def tokenizer(shared) -> Tokenizer:
    return Tokenizer.load(shared / "golden" / "rest_text" / "vocab.txt")


@pytest.fixture
def dataset(ptb_xl, tokenizer):
    def make(path=ptb_xl / "train.tsv", view=QuestionView, **options) -> ECGDataset:
        target = QuestionTarget(tokenizer, max_text_size=64)
        options = {"source": QuestionSource, "enable_padding": True} | options
        return ECGDataset(path, view(), target, **options)

    return make


def described(value, like):
    """What a recording says of a value: its numbers, or of ECGs and their masks sums of rows."""
    if isinstance(like, list):
        return [described(one, each) for one, each in zip(value, like, strict=True)]
    if not isinstance(like, dict):
        return value
    if "numpy" in like:
        return {"numpy": value.dtype.name[:3], "shape": [*value.shape], "value": value.tolist()}
    said = {"dtype": str(value.dtype).removeprefix("torch."), "shape": [*value.shape]}
    if "value" in like:
        return said | {
            "value": value.tolist() if value.dtype != torch.bool else value.int().tolist()
        }
    if "sum_per_row" in like:
        return said | {"sum_per_row": value.double().flatten(1).sum(dim=1).tolist()}
    return said | {"true_per_row": value.flatten(1).sum(dim=1).tolist()}


def assert_as_recorded(batch: dict, expected: dict):
    assert batch.keys() == expected.keys()
    assert batch["net_input"].keys() == expected["net_input"].keys()
    of_input = expected["net_input"]
    for name, value in (expected | of_input).items():
        if name == "net_input":
            continue
        found = batch["net_input"][name] if name in of_input else batch[name]
        assert described(found, value) == value, name


@pytest.mark.parametrize("number", range(3))
def test_batches_are_those_of_fairseq_signals(dataset, recorded, number):
    one, case = dataset(), recorded["batches"][number]
    assert_as_recorded(one.collate(one.__getitems__(case["rows"])), case["batch"])


def test_crops_are_those_of_fairseq_signals_where_its_numbers_are_drawn(
    dataset, recorded, monkeypatch
):
    """First all first ECGs, then the second ones: here each has a random state of its own."""
    one, case = dataset(max_sample_size=300), recorded["cropped_to_300_numpy_seed_3"]
    numbers = np.random.RandomState(3)
    monkeypatch.setattr(Draws, "of_row", lambda *_: numbers)
    assert_as_recorded(one.collate(one.__getitems__(case["rows"])), case["batch"])


def test_sizes_are_those_of_fairseq_signals(dataset, recorded):
    one = dataset()
    assert [one.size(index) for index in range(len(one))] == recorded["sizes"]


@pytest.fixture(scope="module")
def store(ptb_xl, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "store"
    pack(ptb_xl, folder)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_makes_the_same_batches(dataset, store, workers):
    of_files, of_store = dataset(), dataset(path=store / "train", source=QuestionStoreSource)
    assert len(of_files) == len(of_store) == 19
    assert [of_files.size(i) for i in range(19)] == [of_store.size(i) for i in range(19)]
    for one, other in zip(batches(of_files), batches(of_store, workers), strict=True):
        assert_same(plain(one), plain(other))


@pytest.mark.parametrize("view", [view for view in VIEWS.values() if not any(view.variables)])
def test_both_sources_serve_any_view(dataset, store, view):
    of_files = dataset(view=view)
    of_store = dataset(path=store / "train", source=QuestionStoreSource, view=view)
    for one, other in zip(batches(of_files), batches(of_store), strict=True):
        assert_same(plain(one), plain(other))


@pytest.mark.parametrize("source", [QuestionSource, QuestionStoreSource])
def test_items_join_to_the_batch_they_are_in(dataset, store, source, ptb_xl):
    path = ptb_xl / "train.tsv" if source is QuestionSource else store / "train"
    one = dataset(path=path, source=source, max_sample_size=300)
    rows = [0, 5, 11, 16, 17]
    items = one.collate([one[row] for row in rows])
    assert_same(plain(items), plain(one.collate(one.__getitems__(rows))))


@pytest.mark.parametrize("source", [QuestionSource, QuestionStoreSource])
def test_draws_do_not_depend_on_the_batch(dataset, store, source, ptb_xl):
    path = ptb_xl / "train.tsv" if source is QuestionSource else store / "train"
    one = dataset(path=path, source=source, max_sample_size=300)
    together = one.collate(one.__getitems__([0, 5, 16]))["net_input"]
    alone = one.collate(one.__getitems__([16]))["net_input"]
    assert torch.equal(together["ecg"][2], alone["ecg"][0])
    assert torch.equal(together["ecg_2"][2], alone["ecg_2"][0])


def plain(batch: dict) -> dict:
    return batch | {"question": batch["question"].tolist(), "ecg_id": list(batch["ecg_id"])}


def test_a_store_holds_each_ecg_once(store):
    segments = Store(store).segments()
    assert len(set(zip(segments.shard, segments.offset, strict=True))) == len(set(segments.paths))
    assert len(segments) < len(Store(store).questions("train").first)
