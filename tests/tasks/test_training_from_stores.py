"""``task.data`` takes a store as it takes manifests, with the same batches bit by bit."""

import itertools

import fsspec
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fairseq_ecg.data import DataError
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.tasks import ECGDiagnosisTask, ECGPretrainingTask
from fairseq_ecg.tasks.ecg_classification import ECGDiagnosisConfig
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingConfig
from tests.conftest import TINY_CMSC_MODEL, TINY_ENCODER, TINY_MODEL, USER_DIR
from tests.segment_files import write_segment_files

RECIPE = [
    "powerline_noise",
    "emg_noise",
    "baseline_shift",
    "baseline_wander",
    "random_leads_masking",
]
KINDS = {
    "single segments": ("", {"criterion_name": "wav2vec2"}),
    "pairs": (
        "cmsc",
        {"criterion_name": "wav2vec2_with_cmsc", "perturbation_mode": RECIPE, "p": [0.7]},
    ),
    "two views": (
        "",
        {
            "criterion_name": "simclr",
            "perturbation_mode": RECIPE,
            "p": [0.7],
            "normalize": True,
            "max_sample_size": 300,
        },
    ),
    "vectorcardiograms": ("", {"criterion_name": "3kg", "inferred_3kg_config": {"angle": 30}}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    counts = {"train": [2, 2, 4, 3, 1, 2, 2], "valid": [2, 2]}
    write_segment_files(folder, counts, lambda segment: 500)
    np.save(folder / "y.npy", np.arange(27.0).reshape(9, 3))
    pack(folder, folder / "store", shard_bytes=5 * 12 * 500 * 4)
    return folder


def batches_of(task, split, workers) -> list[dict]:
    iterator = task.get_batch_iterator(
        task.dataset(split),
        max_sentences=4,
        required_batch_size_multiple=1,
        num_workers=workers,
        epoch=2,
        disable_iterator_cache=True,
    )
    batches = list(iterator.next_epoch_itr())
    return [task._augmented(batch) for batch in batches]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[key], value)
        elif isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_pretraining(folder, kind, workers):
    manifests, options = KINDS[kind]
    collected = []
    for data in (folder / manifests, folder / "store", f"file://{folder}/store"):
        values = {"data": str(data), "seed": 7, "enable_padding": True, **options}
        cfg = OmegaConf.merge(OmegaConf.structured(ECGPretrainingConfig), values)
        task = ECGPretrainingTask.setup_task(cfg)
        task.build_model(OmegaConf.create(TINY_CMSC_MODEL))
        task.load_dataset("train")
        task.load_dataset("valid")
        collected.append(
            [batch for split in ("train", "valid") for batch in batches_of(task, split, workers)]
        )
    expected = collected[0]
    assert any("masked_frames" in batch["net_input"] for batch in expected)
    for found in collected[1:]:
        for one, other in itertools.zip_longest(found, expected):
            assert_same(one, other)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("labels", ["of a file", "of the recordings"])
def test_classification(folder, workers, labels):
    collected = []
    for data in (folder, folder / "store"):
        values = {"data": str(data), "seed": 7}
        if labels == "of a file":
            values["label_file"] = str(folder / "y.npy")
        cfg = OmegaConf.merge(OmegaConf.structured(ECGDiagnosisConfig), values)
        task = ECGDiagnosisTask.setup_task(cfg)
        task.load_dataset("train")
        collected.append(batches_of(task, "train", workers))
    for one, other in itertools.zip_longest(*collected):
        assert_same(one, other)
        assert one["label"].shape[1] == 3


def test_a_store_elsewhere_is_streamed(folder):
    files = fsspec.filesystem("memory")
    files.put(str(folder / "store"), "/elsewhere", recursive=True)
    cfg = OmegaConf.structured(ECGPretrainingConfig)
    collected = []
    for data in (str(folder / "store"), "memory://elsewhere"):
        cfg.data, cfg.seed, cfg.criterion_name = data, 7, "cmsc"
        task = ECGPretrainingTask.setup_task(cfg)
        task.load_dataset("train")
        collected.append(batches_of(task, "train", 1))
    for one, other in itertools.zip_longest(*collected):
        assert_same(one, other)


def test_checksums_are_compared_on_request(folder, tmp_path):
    pack(folder, tmp_path / "store")
    shard = tmp_path / "store" / "shard-000000.npy"
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    cfg = OmegaConf.structured(ECGPretrainingConfig)
    cfg.data, cfg.seed, cfg.criterion_name = str(tmp_path / "store"), 7, "wav2vec2"
    for verify in (False, True):
        cfg.verify_store = verify
        task = ECGPretrainingTask.setup_task(cfg)
        task.load_dataset("valid")
        if verify:
            with pytest.raises(DataError, match=r"shard-000000\.npy: the checksum of rec8_1\.mat"):
                batches_of(task, "valid", 0)
        else:
            batches_of(task, "valid", 0)


def test_path_data_sets_are_no_stores(folder):
    values = {"data": str(folder / "store"), "path_dataset": True}
    cfg = OmegaConf.merge(OmegaConf.structured(ECGDiagnosisConfig), values)
    with pytest.raises(DataError, match="path_dataset=false"):
        ECGDiagnosisTask.setup_task(cfg).load_dataset("train")


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ("w2v_cmsc_rlm", TINY_MODEL),
        ("simclr_augs", TINY_ENCODER),
        ("3kg", TINY_ENCODER),
        ("cmsc_rlm", TINY_ENCODER),
    ],
)
def test_published_configurations_train_from_a_store(config, model, folder, hydra_train, tmp_path):
    hydra_train(
        f"--config-name={config}",
        USER_DIR,
        *model,
        f"task.data={folder / 'store'}",
        "dataset.batch_size=4",
        "dataset.num_workers=0",
        "distributed_training.distributed_world_size=1",
        "optimization.max_update=1",
        f"checkpoint.save_dir={tmp_path}",
        cwd=tmp_path,
    ).check()
    assert (tmp_path / "checkpoint_last.pt").exists()
