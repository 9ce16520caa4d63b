"""Validation of the task of identification: probes among a gallery."""

import numpy as np
import pytest
import scipy.io
import torch
from fairseq.criterions import build_criterion
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.criterions.meters import VERIFICATION
from fairseq_ecg.data import DataError
from fairseq_ecg.ecg.verification import verification
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.prepare.unpack import unpack
from fairseq_ecg.tasks import ECGIdentificationTask
from fairseq_ecg.tasks.ecg_identification import ECGIdentificationConfig
from tests.conftest import TINY_CMSC_MODEL
from tests.patients import write_patients

MODEL = TINY_CMSC_MODEL | {"_name": "arcface", "num_labels": 3, "apply_mask": False}
COUNTS = {"train": (3, 2), "valid_gallery": (5, 2), "valid_probe": (5, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    write_patients(folder, COUNTS, n_samples=400)
    return folder


def task_of(data, **options) -> ECGIdentificationTask:
    values = {"data": str(data), "seed": 1, "criterion_name": "arcface"} | options
    cfg = OmegaConf.merge(OmegaConf.structured(ECGIdentificationConfig), values)
    return ECGIdentificationTask.setup_task(cfg)


def network_of(task, **options):
    torch.manual_seed(0)
    return task.build_model(OmegaConf.create(MODEL | options)).eval()


def criterion_of(task):
    return build_criterion(OmegaConf.create({"_name": "arcface"}), task)


def batches_of(task, split, size=3) -> list[dict]:
    iterator = task.get_batch_iterator(task.dataset(split), max_sentences=size)
    return list(iterator.next_epoch_itr(shuffle=False))


def validated(task, model, subset="valid", size=3):
    """Log and meters of a validation."""
    criterion, logs = criterion_of(task), []
    with metrics.aggregate(new_root=True) as meters:
        for batch in batches_of(task, subset, size):
            loss, sample_size, log = task.valid_step(batch, model, criterion)
            assert (loss, sample_size) == (0, len(batch["id"]))
            logs.append(log)
            task.reduce_metrics([log], criterion)
        stats = meters.get_smoothed_values()
        task.post_validate(model, stats | {"num_updates": 7}, meters)
    return stats, meters, logs


@pytest.mark.parametrize("matching", ["embeddings", "classes"])
def test_recorded_gallery_and_probes(matching, shared, tmp_path):
    recorded = np.load(shared / "golden" / "rest" / "arcface.npz")
    suffix = {"embeddings": "", "classes": "_head"}[matching]
    for part in ("gallery", "probe"):
        rows = [str(tmp_path)]
        sources = zip(recorded[f"{part}_source"], recorded[f"{part}_patient_id"], strict=True)
        for number, (source, patient) in enumerate(sources):
            variables = {"feats": source, "curr_sample_rate": 400, "patient_id": patient}
            scipy.io.savemat(tmp_path / f"{part}_{number}.mat", variables)
            class_index = recorded[f"{part}_label"][number, 0]
            rows.append(f"{part}_{number}.mat\t{source.shape[1]}\t{class_index}")
        (tmp_path / f"valid_{part}.tsv").write_text("\n".join(rows) + "\n")
    path = shared / "golden" / "rest" / "arcface.pt"
    stored = load_checkpoint(path)["cfg"]["task"] | {"data": str(tmp_path), "matching": matching}
    task = ECGIdentificationTask.setup_task(
        OmegaConf.merge(
            OmegaConf.structured(ECGIdentificationConfig),
            {key: value for key, value in stored.items() if key != "_name"},
        )
    )
    model = build_model_from_checkpoint(path)
    task.load_dataset("valid", shuffle=False)
    (batch,) = batches_of(task, "valid", 5)
    _, _, log = task.valid_step(batch, model, criterion_of(task))
    gallery = task._galleries["valid"]
    close = {"rtol": 0, "atol": 2e-6}
    np.testing.assert_allclose(gallery.vectors, recorded[f"gallery_feats{suffix}"], **close)
    ((_, patients, similarity, of_gallery),) = task._compared
    np.testing.assert_allclose(similarity, recorded[f"cos_sims{suffix}"], **close)
    found = of_gallery[similarity.argmax(1)]
    assert found.tolist() == recorded[f"pred_patient_id{suffix}"].tolist()
    assert patients.tolist() == recorded["probe_patient_id"].tolist()
    expected = {key: int(recorded[f"valid_log/{key}"]) for key in log}
    assert log == expected
    assert log.keys() == {"loss", "nsignals", "sample_size", "correct", "count"}


def test_batches_have_classes_and_patients(folder):
    task = task_of(folder, enable_padding=True)
    task.load_dataset("train")
    data = task.dataset("train")
    batch = data.collater([data[i] for i in range(6)])
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert (batch["label"].dtype, batch["patient_id"].dtype) == (torch.int64, torch.int32)
    task.load_dataset("valid")
    assert {len(task.dataset(name)) for name in ("valid", "valid_gallery")} == {5, 10}
    assert task.dataset("valid")[3]["patient_id"] == 1003


def test_probes_find_the_patient_of_the_most_similar_recording(folder):
    task = task_of(folder)
    task.load_dataset("valid")
    model = network_of(task)
    stats, meters, logs = validated(task, model)
    embedded = {}
    for part in ("valid", "valid_gallery"):
        items = [task.dataset(part)[i] for i in range(len(task.dataset(part)))]
        source = torch.stack([item["source"] for item in items])
        with torch.no_grad():
            out = model(source)["out"].numpy()
        embedded[part] = out, np.array([item["patient_id"] for item in items])
    similarity = embedded["valid"][0] @ embedded["valid_gallery"][0].T
    patients, of_gallery = embedded["valid"][1], embedded["valid_gallery"][1]
    expected = (of_gallery[similarity.argmax(1)] == patients).mean()
    assert stats["accuracy"] == pytest.approx(expected)
    assert (stats["loss"], sum(log["count"] for log in logs)) == (0.0, 5)
    measured = verification(similarity, patients, of_gallery)
    assert stats["eer"] == pytest.approx(measured.equal_error_rate, abs=1e-9)
    assert stats["eer_threshold"] == pytest.approx(measured.threshold, abs=1e-6)
    assert stats["verification_auroc"] == pytest.approx(measured.auroc, abs=1e-9)
    assert VERIFICATION in meters


def test_the_first_maximum_counts(folder):
    task = task_of(folder)
    task.load_dataset("valid", shuffle=False)
    model = network_of(task)
    model.get_logits = lambda net_output: torch.ones_like(net_output["out"])
    stats, *_ = validated(task, model, size=5)
    assert stats["accuracy"] == 0.2
    assert stats["eer"] == pytest.approx(0.5)


def test_the_gallery_is_embedded_once_in_a_validation(folder):
    task = task_of(folder, batch_size_valid=4)
    task.load_dataset("valid")
    model = network_of(task)
    sizes = []
    model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(len(given["source"])), with_kwargs=True
    )
    for _ in range(2):
        task.begin_valid_epoch(1, model)
        validated(task, model, size=2)
        assert sizes == [4, 4, 2, 2, 2, 1]
        assert task._galleries == {}
        sizes.clear()


def test_subsets_have_galleries_of_their_own(folder, tmp_path):
    for name in ("gallery", "probe"):
        text = (folder / f"valid_{name}.tsv").read_text()
        (tmp_path / f"valid_{name}.tsv").write_text(text)
        head = text.splitlines()[:3]
        (tmp_path / f"test_{name}.tsv").write_text("\n".join(head) + "\n")
    task = task_of(tmp_path)
    for subset in ("valid", "test"):
        task.load_dataset(subset)
    model = network_of(task)
    _, first, _ = validated(task, model)
    _, second, _ = validated(task, model, "test")
    assert first[VERIFICATION].similarity.shape == (5, 10)
    assert second[VERIFICATION].similarity.shape == (2, 2)


def test_stores_hold_the_classes_of_each_split(folder, tmp_path):
    pack(folder, tmp_path / "store", shard_bytes=2**16)
    unpack(tmp_path / "store", tmp_path / "unpacked")
    found = []
    for data in (folder, tmp_path / "store", tmp_path / "unpacked" / "manifests"):
        task = task_of(data)
        task.load_dataset("train")
        task.load_dataset("valid")
        model = network_of(task)
        (batch, *_) = batches_of(task, "train", 6)
        stats, *_ = validated(task, model)
        found.append((batch, stats))
    (expected, stats), *others = found
    for batch, other in others:
        for key in ("id", "label", "patient_id"):
            assert torch.equal(batch[key], expected[key])
        assert torch.equal(batch["net_input"]["source"], expected["net_input"]["source"])
        assert other == stats


def test_a_store_is_added_to_with_classes_and_without(folder, tmp_path):
    """Rows of manifests without classes have none, beside rows that have."""
    plain = tmp_path / "plain"
    plain.mkdir()
    rows = (folder / "train.tsv").read_text().splitlines()
    (plain / "other.tsv").write_text("\n".join(row.rpartition("\t")[0] or row for row in rows))
    pack(plain, tmp_path / "store")
    pack(folder, tmp_path / "store")
    task = task_of(tmp_path / "store")
    task.load_dataset("train")
    assert task.dataset("train")[5]["label"] == 2
    task.parts_of = lambda split: {split: split}
    task.load_dataset("other")
    with pytest.raises(DataError, match=r"lists no class of the patient\. Point task\.data"):
        task.dataset("other")[0]


def test_pictures_are_written_where_they_are_asked_for(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgs").mkdir()
    task = task_of(folder, visualize=True)
    task.load_dataset("valid")
    validated(task, network_of(task))
    names = sorted(path.name for path in (tmp_path / "imgs").iterdir())
    assert names == ["valid_7.png", "valid_7_roc.png"]
    assert all((tmp_path / "imgs" / name).read_bytes()[:4] == b"\x89PNG" for name in names)
    task_of(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    task_of(folder)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_leads_in_buckets_and_augmentations_have_no_effect(folder):
    task = task_of(
        folder, leads_bucket="[0, 1]", perturbation_mode=["random_leads_masking"], p=[1.0]
    )
    task.load_dataset("train")
    plain = task_of(folder)
    plain.load_dataset("train")
    one, other = (batches_of(each, "train")[0] for each in (task, plain))
    assert torch.equal(one["net_input"]["source"], other["net_input"]["source"])
    assert torch.equal(task._augmented(one)["net_input"]["source"], other["net_input"]["source"])


def test_mistakes_of_users(folder, tmp_path, caplog):
    task = task_of(folder)
    network_of(task, num_labels=2)
    with pytest.raises(DataError, match=r"up to 2, but model\.num_labels=2: set it to 3"):
        task.load_dataset("train")
    with pytest.raises(DataError, match=r"valid_probe_probe\.tsv: no such manifest"):
        task.load_dataset("valid_probe")
    assert "name it without 'probe' or 'gallery'" in caplog.text
    with pytest.raises(DataError, match="choose arcface, or another encoder with the head"):
        network_of(task, _name="ecg_transformer_classifier")
    text = (folder / "train.tsv").read_text()
    for name, changed, message in (
        ("a", text.replace("\t2\n", "\ttwo\n"), "line 6: expected the class of the patient"),
        ("b", text.replace("\t2\n", "\n"), "line 6: expected 3 tab-separated columns"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text(changed)
        with pytest.raises(DataError, match=message):
            task_of(tmp_path / name).load_dataset("train")


def test_embeddings_that_are_not_finite_are_named(folder):
    task = task_of(folder)
    task.load_dataset("valid", shuffle=False)
    model = network_of(task)
    with torch.no_grad():
        model.encoder.layer_norm.weight[0] = torch.nan
    with pytest.raises(DataError, match=r"valid_gallery_1000_0_0\.mat.*NaN or infinite"):
        validated(task, model)


@pytest.mark.parametrize("name", ["cross_entropy", "simclr"])
def test_criterions_that_learn_no_patients_are_refused(name, folder):
    task = task_of(folder, criterion_name=name)
    with pytest.raises(DataError, match=f"criterion._name={name} learns no classes of patients"):
        task.build_criterion(OmegaConf.create({"_name": name}))


def test_one_patient_alone_is_refused(tmp_path):
    write_patients(tmp_path, {"train": (1, 2)}, n_samples=400)
    task = task_of(tmp_path)
    network_of(task)
    with pytest.raises(DataError, match="train lists one patient alone"):
        task.load_dataset("train")
