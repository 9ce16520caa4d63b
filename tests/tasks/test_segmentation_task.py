"""The task of segmentation: what its batches hold, in which order, and what it logs of waves."""

import pytest
import torch
from fairseq.logging import metrics
from omegaconf import OmegaConf

from fairseq_ecg.ecg.wave_scores import PointScore, points_of, score_waves
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.tasks import ECGSegmentationTask
from fairseq_ecg.tasks.ecg_segmentation import FIELDS, ECGSegmentationConfig
from tests.tasks.test_batches import VARIANTS
from tests.wave_files import write_wave_files

N_RECORDINGS = 16
RECIPE = ["powerline_noise", "emg_noise", "baseline_shift", "baseline_wander"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    counts = {"train": N_RECORDINGS, "valid": 5}
    write_wave_files(folder, counts, n_samples=500, shorter=7, n_labels=3)
    pack(folder, folder / "store")
    return folder


def task_of(data, split="train", shuffle=True, **options) -> ECGSegmentationTask:
    values = {
        "data": str(data),
        "seed": 7,
        "criterion_name": "cross_entropy",
        "perturbation_mode": RECIPE,
        "p": [0.7],
        "dependency": False,
        **options,
    }
    cfg = OmegaConf.merge(OmegaConf.structured(ECGSegmentationConfig), values)
    task = ECGSegmentationTask.setup_task(cfg)
    task.load_dataset(split, shuffle=shuffle)
    return task


def batches_of(task, split="train", workers=0, batch_size=4, ranks=1, **options):
    for rank in range(ranks):
        iterator = task.get_batch_iterator(
            task.datasets[split],
            max_sentences=batch_size,
            num_workers=workers,
            num_shards=ranks,
            shard_id=rank,
            disable_iterator_cache=True,
            **options,
        )
        yield from iterator.next_epoch_itr(shuffle=False)


def contents(task, **options) -> dict[int, tuple[torch.Tensor, ...]]:
    """ECG, classes and mask of each recording, as the model gets them."""
    rows = {}
    for batch in batches_of(task, **options):
        source = task._augmented(batch)["net_input"]["source"]
        labels, masks = batch["segment_label"], batch["segment_mask"]
        rows |= dict(
            zip(batch["id"].tolist(), zip(source, labels, masks, strict=True), strict=True)
        )
    assert len(rows) == N_RECORDINGS
    return rows


@pytest.mark.parametrize("source", ["", "store"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_content_does_not_depend_on_workers_batch_size_and_ranks(folder, source, variant):
    cropped = {"max_sample_size": 300, "enable_padding": True}
    expected = contents(task_of(folder, **cropped))
    found = contents(task_of(folder / source, **cropped), **variant)
    for index, row in expected.items():
        for one, other in zip(row, found[index], strict=True):
            assert torch.equal(one, other)


def test_epochs_draw_anew(folder):
    task = task_of(folder, max_sample_size=300)
    first, second = contents(task, epoch=1), contents(task, epoch=2)
    assert not any(torch.equal(row[0], second[index][0]) for index, row in first.items())
    assert not all(torch.equal(row[1], second[index][1]) for index, row in first.items())


def test_evaluation_is_in_the_order_of_the_manifest(folder):
    for shuffle in (True, False):
        task = task_of(folder, "valid", shuffle=shuffle)
        ids = [i for batch in batches_of(task, "valid") for i in batch["id"].tolist()]
        assert (ids == list(range(5))) is not shuffle


def test_recordings_are_augmented_in_training_alone(folder):
    for batch in batches_of(task_of(folder, "valid"), "valid"):
        assert "augmentation" not in batch
    for batch in batches_of(task_of(folder)):
        assert "augmentation" in batch


def test_labels_of_recordings_are_read_on_request(folder):
    for apply_cgm in (False, True):
        (batch, *_) = batches_of(task_of(folder, apply_cgm=apply_cgm))
        assert ("label" in batch) is apply_cgm
    assert batch["label"].shape == (4, 3)
    assert batch["label"].dtype == torch.int64


class ShiftedModel:
    """A model that finds all waves late by some samples, and says P in what is padded."""

    def __init__(self, batch, shift):
        classes = batch["segment_label"].roll(shift, dims=1)
        padding = batch["net_input"]["padding_mask"][:, 0]
        classes = classes.masked_fill(padding, 0)
        self.out = torch.nn.functional.one_hot(classes, 4).float()

    def eval(self):
        return self

    def __call__(self, **net_input):
        return {"segment_out": self.out}


class Criterion:
    """Runs a model and logs nothing, as one of others may."""

    def __call__(self, model, sample):
        model(**sample["net_input"])
        return torch.tensor(0.0), 1, {"loss": 0.0}

    @staticmethod
    def reduce_metrics(logs):
        pass


def test_sums_of_scores_are_logged_and_reduced(folder):
    task = task_of(folder, "valid", enable_padding=True)
    logs, expected = [], {point: PointScore() for point in points_of()}
    for batch in batches_of(task, "valid", batch_size=3):
        logs.append(task.valid_step(batch, ShiftedModel(batch, 2), Criterion())[2])
        for row in range(len(batch["id"])):
            n_samples = int((~batch["net_input"]["padding_mask"][row, 0]).sum())
            classes = batch["segment_label"][row, :n_samples].numpy()
            found = batch["segment_label"][row].roll(2)[:n_samples].numpy()
            ignored = batch["segment_mask"][row, :n_samples].numpy()
            scores = score_waves(classes, found, ignored, sample_rate=200)
            expected = {point: expected[point] + scores[point] for point in scores}
    assert set(logs[0]) == {"loss"} | {f"{p}_{name}" for p in points_of() for name in FIELDS}
    for order in (logs, logs[::-1]):  # of batches, or of processes
        with metrics.aggregate(new_root=True) as found:
            for log in order:
                task.reduce_metrics([log], Criterion())
        values = found.get_smoothed_values()
        for point, score in expected.items():
            assert values[f"{point}_se"] == round(score.se, 5) == 1
            assert values[f"{point}_ppv"] == round(score.ppv, 5) == 1
            assert values[f"{point}_mean_ms"] == 10
            assert values[f"{point}_std_ms"] == 0
        assert values["waves_f1"] == 1


def test_training_logs_nothing_of_waves(folder):
    with metrics.aggregate(new_root=True) as found:
        task_of(folder).reduce_metrics([{"loss": 0.0}], Criterion())
    assert not found.get_smoothed_values()


def test_a_skipped_batch_counts_nowhere(folder):
    task = task_of(folder, "valid", enable_padding=True)
    (batch, *_) = batches_of(task, "valid", batch_size=5)

    class Skipping(Criterion):
        def __call__(self, model, sample):
            return *super().__call__(model, sample)[:2], {"skipped": 1}

    assert task.valid_step(batch, ShiftedModel(batch, 0), Skipping())[2] == {"skipped": 1}
