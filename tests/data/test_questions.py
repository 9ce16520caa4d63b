"""Questions about one ECG or two: from files that name records, and from stores, to batches."""

import json
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import scipy.io
import torch

from fairseq_ecg.data import VIEWS, DataError, ECGDataset, read_question_manifest
from fairseq_ecg.data.randomness import Draws
from fairseq_ecg.data.sources import QuestionSource, QuestionStoreSource
from fairseq_ecg.data.store import Store
from fairseq_ecg.data.targets import QuestionTarget
from fairseq_ecg.data.targets.question import attribute_names, write_attribute_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.views import QuestionView
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import describe, unpack, verify
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


def test_packing_again_adds_nothing_and_other_questions_stay(ptb_xl, store, tmp_path):
    again = tmp_path / "store"
    shutil.copytree(store, again)
    packed = pack(ptb_xl, again)
    assert (sum(packed.added.values()), sum(packed.questions.values())) == (0, 0)
    before = Store(store).questions("train").question.to_pylist()
    more = tmp_path / "more"
    more.mkdir()
    lines = (ptb_xl / "valid.tsv").read_text().splitlines()
    (more / "train.tsv").write_text("\n".join([lines[0], *lines[3:5]]) + "\n")
    assert pack(more, again).questions == {"train": 2}
    assert pack(more, again).questions == {"train": 0}
    after = Store(again).questions("train").question.to_pylist()
    assert after[:-2] == before
    assert verify(again) == []


def test_a_store_has_the_names_of_attributes(ptb_xl, tmp_path):
    store, manifests = tmp_path / "store", tmp_path / "manifests"
    manifests.mkdir()
    for split, name in (("valid", "noise"), ("train", "noise"), ("train", "rate")):
        shutil.copy(ptb_xl / f"{split}.tsv", manifests)
        write_attribute_names(manifests, {split: {0: name}})
        if name == "noise":
            pack(manifests, store)
        (manifests / f"{split}.tsv").unlink()
    assert attribute_names(store) == {"valid": {0: "noise"}, "train": {0: "noise"}}
    shutil.copy(ptb_xl / "train.tsv", manifests)
    with pytest.raises(DataError, match=r"attributes.csv: attribute 0 of train is 'rate', .* own"):
        pack(manifests, store)


def test_a_killed_pack_goes_on(ptb_xl, store, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr("fairseq_ecg.prepare.pack._Run.publish", _killed)
        with pytest.raises(KeyboardInterrupt):
            pack(ptb_xl, folder)
    pack(ptb_xl, folder)
    for split in ("train", "valid", "test"):
        columns = [Store(path).questions(split) for path in (store, folder)]
        assert columns[0].question.equals(columns[1].question)
        assert (columns[0].first == columns[1].first).all()


def _killed(*_):
    raise KeyboardInterrupt


def test_a_moved_archive_is_said_and_a_store_needs_it_no_more(ptb_xl, tmp_path, tokenizer):
    root = tmp_path / "data"
    shutil.copytree(ptb_xl.parents[1], root)
    manifests = root / "prepared" / "qa_template"
    for split in ("train", "valid", "test"):
        path = manifests / f"{split}.tsv"
        path.write_text(path.read_text().replace(str(ptb_xl), str(manifests)))
        for file in (manifests / split).glob("*.mat"):
            mat = {k: v for k, v in scipy.io.loadmat(file).items() if not k.startswith("__")}
            mat["ecg_path"] = [
                p.replace(str(ptb_xl.parents[1]), str(root)) for p in mat["ecg_path"]
            ]
            scipy.io.savemat(file, mat)
    pack(manifests, tmp_path / "store")
    (root / "ptbxl").rename(root / "elsewhere")
    target = QuestionTarget(tokenizer)
    of_files = ECGDataset(manifests / "train.tsv", target=target, source=QuestionSource)
    with pytest.raises(DataError, match=r"00001_hr.*prepare the questions again.*store pack"):
        of_files[0]
    of_store = ECGDataset(tmp_path / "store" / "train", target=target, source=QuestionStoreSource)
    assert of_store[0]["ecg"].shape == (12, 500)


FAULTS = {
    "about a segment that there is not": ("first", 10_000),
    "about a segment that there is not (": ("second", -2),
    "has no position": ("item", -1),
    "has no answers": ("n_answers", 0),
    "names an answer that there is not": ("answer", [200]),
    "names an answer that there is not (": ("valid_classes", [-1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_refers_to_what_is_not_there(store, tmp_path, fault):
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    description = json.loads((folder / "store.json").read_text())
    path = folder / description["questions"]
    rows = pyarrow.parquet.read_table(path)
    name, value = FAULTS[fault]
    changed = rows.to_pylist()
    changed[3][name] = value
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(changed, rows.schema), path)
    with pytest.raises(DataError, match="checksum"):
        Store(folder).questions("train")
    description["questions_crc32"] = zlib.crc32(path.read_bytes())
    (folder / "store.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=fault.rstrip(" (")):
        Store(folder).questions("train")
    assert any(fault.rstrip(" (") in each for each in verify(folder))


def test_questions_are_not_unpacked(store, tmp_path):
    with pytest.raises(DataError, match="Prepare the questions again"):
        unpack(store, tmp_path)
    assert "train: 4 segments, 0 pairs, 19 questions" in describe(store)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ""}, "has no 'question'"),
        ({"question": ["one", "two"]}, "holds 2 texts"),
        ({"answer": [[0, 2]]}, "'answer' must be 0 or 1"),
        (
            {"valid_classes": [[0, 9]]},
            r"'valid_classes' must be numbers of its 2 answers.*\[0, 9\]",
        ),
        ({"ecg_path": ["a", "b", "c"]}, "must be 1 to 2 paths"),
        ({"ecg_path": ["s3://a/b"]}, "is the URL"),
        ({"question_type1": 0.5}, "'question_type1' must be one integer"),
        ({"ecg_path": "twice"}, "names 2 records, and its line has the length of 1"),
    ],
)
def test_files_that_cannot_be_used(ptb_xl, tokenizer, tmp_path, changes, message):
    (record,) = scipy.io.loadmat(ptb_xl / "train" / "0.mat")["ecg_path"]
    variables = {
        "ecg_path": [record], "question": "What leads?", "answer": [[0, 1]],
        "valid_classes": [[0, 1]], "question_type1": 0, "question_type2": 0,
        "question_type3": 0, "attribute_id": -1, **changes,
    }  # fmt: skip
    if variables["ecg_path"] == "twice":
        variables["ecg_path"] = [record, record]
    scipy.io.savemat(tmp_path / "0.mat", variables)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n0.mat\t500\t5\n")
    one = ECGDataset(
        tmp_path / "train.tsv", QuestionView(), QuestionTarget(tokenizer), source=QuestionSource
    )
    with pytest.raises(DataError, match=message):
        one[0]


def test_questions_without_answers_that_could_be_right(ptb_xl, tokenizer, tmp_path):
    mat = scipy.io.loadmat(ptb_xl / "train" / "0.mat")
    kept = {key: value for key, value in mat.items() if not key.startswith("__")}
    scipy.io.savemat(tmp_path / "0.mat", kept | {"valid_classes": np.empty((0, 0))})
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n0.mat\t500\t5\n")
    pack(tmp_path, tmp_path / "store")
    for path, source in (
        (tmp_path / "train.tsv", QuestionSource),
        (tmp_path / "store" / "train", QuestionStoreSource),
    ):
        one = ECGDataset(path, QuestionView(), QuestionTarget(tokenizer), source=source)
        assert [len(c) for c in one.collate([one[0]])["valid_classes"]] == [0]


def test_without_answers_none_are_read(ptb_xl, tokenizer, tmp_path):
    (record,) = scipy.io.loadmat(ptb_xl / "train" / "0.mat")["ecg_path"]
    scipy.io.savemat(tmp_path / "0.mat", {"ecg_path": [record], "question": "What leads?"})
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n0.mat\t500\t5\n")
    target = QuestionTarget(tokenizer, labelled=False)
    one = ECGDataset(tmp_path / "train.tsv", QuestionView(), target, source=QuestionSource)
    batch = one.collate([one[0]])
    assert batch.keys() == {"id", "net_input", "question", "ecg_id"}
    assert (batch["ecg_id"], batch["question"].tolist()) == ([[1]], ["What leads?"])


@pytest.mark.parametrize("line", ["0.mat\t500", "0.mat\t1\t2\t3\t4", "0.mat\t0\t5", "0.mat\t5\tx"])
def test_lines_of_manifests_that_cannot_be_used(tmp_path, line):
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{line}\n")
    with pytest.raises(DataError, match=r"train\.tsv, line 2: .*(3 or 4 tab|positive integer)"):
        read_question_manifest(tmp_path / "train.tsv")


def test_the_shorter_ecg_decides_what_is_dropped(ptb_xl):
    listed = read_question_manifest(ptb_xl / "train.tsv")
    assert listed.sizes.tolist()[15:19] == [450, 500, 450, 500]
    assert listed.lengths.tolist()[15:19] == [[450, 0], [500, 500], [450, 500], [500, 500]]
    assert 450 not in read_question_manifest(ptb_xl / "train.tsv", 451).sizes
