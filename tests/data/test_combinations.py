"""Any source serves any view and target, and all sources make the same batches of them.

Those of questions are in ``test_questions.py``.
"""

import numpy as np
import pytest
import torch
import wfdb
from scipy.io import savemat

from fairseq_ecg.data import LEADS, SOURCES, TARGETS, VIEWS, DataError, ECGDataset
from fairseq_ecg.data.recording import read_wfdb
from fairseq_ecg.data.targets import HeadsTarget, StoredLabels
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.views import View
from fairseq_ecg.ops.augment import EMGNoise, RandomLeadsMask
from fairseq_ecg.prepare.pack import pack
from tests.data.store.test_store_source import MASKING, assert_same
from tests.ecg_texts import write_vocabulary

N_SAMPLES = 40
SOURCES = {name: each for name, each in SOURCES.items() if "question" not in name}
TARGETS = {name: each for name, each in TARGETS.items() if name != "questions"}
COUNTS = (2, 4, 1, 2)
"""Segments of each recording."""

TEXTS = ("sinus rhythm", "high qrs voltages. inverted t waves", "", "sinus tachycardia")
"""Of segments, one after another; the empty one is left out."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same recordings in ``files``, ``records`` and ``store``, and labels in ``y.npy``."""
    folder = tmp_path_factory.mktemp("combinations")
    rng = np.random.default_rng(0)
    for kind in ("files", "records"):
        (folder / kind / "cmsc").mkdir(parents=True)
    plain, pairs = [], []
    for number, count in enumerate(COUNTS):
        for segment in range(count):
            name = f"r{number}_{segment}"
            wfdb.wrsamp(
                name,
                fs=500,
                units=["mV"] * 12,
                sig_name=list(LEADS),
                p_signal=rng.normal(size=(N_SAMPLES, 12)),
                fmt=["16"] * 12,
                write_dir=str(folder / "records"),
            )
            recording = read_wfdb(str(folder / "records" / name), name)
            variables = {
                "idx": number,
                "patient_id": 10 + number,
                "label": [[number, segment]],
                "target_idx": [[segment, 3]],
                "attribute_id": [[7, number]],
                "segment_label": rng.integers(0, 4, N_SAMPLES),
                "text": TEXTS[len(plain) % len(TEXTS)],
                "diagnoses": ["SR", f"A{number}"],
            }
            if number != 1:  # without, no sample is ignored
                variables["segment_mask"] = rng.integers(0, 2, N_SAMPLES)
            else:  # the text itself is the diagnosis
                del variables["diagnoses"]
            ecg = {"feats": recording.feats, "curr_sample_rate": 500}
            savemat(folder / "files" / f"{name}.mat", ecg | variables)
            path = {"ecg_path": str(folder / "records" / name)}
            savemat(folder / "records" / f"{name}.mat", path | variables)
            plain.append(f"{name}.mat\t{N_SAMPLES}\t{number}\n")
        if count > 1:
            segments = ",".join(map(str, range(2)))
            pairs.append(f"r{number}\t{N_SAMPLES}\t0\t{segments}\n")
            if count > 2:
                pairs.append(f"r{number}\t{N_SAMPLES}\t0\t2,3\n")
    for kind in ("files", "records"):
        root = folder / kind
        (root / "train.tsv").write_text(f"{root}\n{''.join(plain)}")
        (root / "cmsc" / "train.tsv").write_text(f"{root}\nmat\n{''.join(pairs)}")
    np.save(folder / "y.npy", rng.normal(size=(len(COUNTS), 3)))
    write_vocabulary(folder / "vocab.txt")
    pack(folder / "files", folder / "store")
    return folder


@pytest.fixture
def dataset(folder):
    def make(source: str, view: type[View], target, **options) -> ECGDataset:
        path = folder / source / ("cmsc/train.tsv" if view.grouped else "train.tsv")
        if source == "store":
            path = folder / "store" / "train"
        options = {"masking": MASKING, "training": True, "seed": 3} | options
        augmentations = [EMGNoise(p=0.5), RandomLeadsMask()]
        return ECGDataset(
            path,
            view(),
            target,
            source=SOURCES[source],
            augmentations=augmentations,
            **options,
        )

    return make


ARGUMENTS = {
    "label file": lambda folder: (folder / "y.npy",),
    "heads": lambda _: (StoredLabels(),),
    "segmentation": lambda _: (StoredLabels(),),
    "text": lambda folder: (Tokenizer.load(folder / "vocab.txt"),),
}
OPTIONS = {"text": {"mlm_prob": 0.3, "negatives": True}}
COPIED = {name: view for name, view in VIEWS.items() if view.copies > 1}


def target_of(name, folder):
    return TARGETS[name](*ARGUMENTS.get(name, lambda _: ())(folder), **OPTIONS.get(name, {}))


def batches(dataset: ECGDataset, size: int = 3) -> list[dict]:
    numbers = range(len(dataset))
    chosen = [numbers[i : i + size] for i in range(0, len(dataset), size)]
    made = [dataset.collate(dataset.__getitems__(indices)) for indices in chosen]
    return [batch | {"augmented": dataset.augment(batch)} for batch in made]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("view", VIEWS)
def test_all_sources_make_the_same_batches(dataset, folder, view, target):
    if target == "patients" and VIEWS[view].grouped:
        pytest.skip("a manifest of pairs lists no classes")
    of_sources = [dataset(source, VIEWS[view], target_of(target, folder)) for source in SOURCES]
    expected = batches(of_sources[0])
    assert sum(len(batch["id"]) for batch in expected) > 0
    for one in of_sources[1:]:
        for found, batch in zip(batches(one), expected, strict=True):
            assert_same(without_arrays(found), without_arrays(batch))


def without_arrays(batch: dict) -> dict:
    """A batch, its lists of NumPy arrays as plain lists."""
    if "attribute_id" not in batch:
        return batch
    return batch | {"attribute_id": [ids.tolist() for ids in batch["attribute_id"]]}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["heads", "text"])
@pytest.mark.parametrize("view", VIEWS)
def test_items_join_to_the_batch_they_are_in(dataset, folder, source, view, target):
    one = dataset(source, VIEWS[view], target_of(target, folder))
    items = one.collate([one[i] for i in range(3)])
    together = one.collate(one.__getitems__(range(3)))
    assert_same(without_arrays(items), without_arrays(together))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("view", COPIED)
def test_copies_are_drawn_for_independently(dataset, source, view):
    one, copies = dataset(source, COPIED[view], None), COPIED[view].copies
    (batch, *_) = batches(one)
    assert batch["id"].tolist() == np.arange(3).repeat(copies).tolist()
    ecgs = batch["net_input"]["source"].unflatten(0, (3, copies))
    assert torch.equal(ecgs, ecgs[:, :1].expand_as(ecgs))
    assert [sample["position"] for sample in one[0]] == list(range(copies))
    for views in batch["augmented"].unflatten(0, (3, copies)):
        assert len(views.flatten(1).unique(dim=0)) == copies


def test_heads_that_must_be_there_are_asked_for(tmp_path):
    for name in ("a", "b"):
        variables = {"feats": np.zeros((12, N_SAMPLES)), "curr_sample_rate": 500, "label": [[1]]}
        savemat(tmp_path / f"{name}.mat", variables)
    lines = "".join(f"{name}.mat\t{N_SAMPLES}\n" for name in ("a", "b"))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{lines}")
    pack(tmp_path, tmp_path / "store")
    for path in (tmp_path / "train.tsv", tmp_path / "store" / "train"):
        (batch,) = batches(ECGDataset(path, target=HeadsTarget(StoredLabels())))
        assert batch["label"].tolist() == [[1], [1]]
        required = ECGDataset(path, target=HeadsTarget(StoredLabels(), required=True))
        with pytest.raises(DataError, match=r"a\.mat .*has no 'target_idx'\. Prepare the file"):
            batches(required)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("view", VIEWS)
def test_no_items_are_an_empty_batch(dataset, source, view):
    one = dataset(source, VIEWS[view], None)
    assert one.collate(one.__getitems__([])) == {}
