"""What batches of ECGs and texts hold does not depend on workers, ranks or where they are read."""

import logging

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_ecg.data import DataError
from fairseq_ecg.prepare.pack import pack
from fairseq_ecg.tasks import ECGTextPretrainingTask
from fairseq_ecg.tasks.ecg_text_pretraining import ECGTextPretrainingConfig
from tests.data.store.test_store_source import assert_same
from tests.ecg_texts import write_corpus

N_RECORDS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    write_corpus(folder, {"train": N_RECORDS, "valid": 4}, texts={3: "", 5: "sinus rhythm"})
    pack(folder, folder / "store")
    return folder


@pytest.fixture
def task_of(folder):
    def make(data="", **options) -> ECGTextPretrainingTask:
        values = {
            "data": str(folder / data),
            "tokenizer": str(folder / "vocab.txt"),
            "criterion_name": "m3ae",
            "model_name": None,
            "seed": 7,
            "enable_padding": True,
            "compute_mlm_indices": True,
            "mlm_prob": 0.3,
            **options,
        }
        cfg = OmegaConf.merge(OmegaConf.structured(ECGTextPretrainingConfig), values)
        return ECGTextPretrainingTask.setup_task(cfg)

    return make


@pytest.fixture
def batches(task_of):
    def collect(workers=0, batch_size=4, ranks=1, epoch=1, split="train", **options) -> list[dict]:
        task = task_of(**options)
        task.load_dataset(split)
        found = []
        for rank in range(ranks):
            iterator = task.get_batch_iterator(
                task.datasets[split],
                max_sentences=batch_size,
                num_workers=workers,
                num_shards=ranks,
                shard_id=rank,
                epoch=epoch,
                disable_iterator_cache=True,
            )
            found += [task._augmented(batch) for batch in iterator.next_epoch_itr() if batch]
        return sorted(found, key=lambda batch: batch["id"].tolist())

    return collect


@pytest.mark.parametrize("form", ["corrected", "fairseq_signals"])
@pytest.mark.parametrize(
    "variant",
    [{"workers": 2}, {"ranks": 2}, {"ranks": 2, "workers": 1}, {"data": "store", "workers": 1}],
    ids=str,
)
def test_batches_do_not_depend_on_workers_ranks_and_where_they_are(batches, form, variant):
    augmented = {"perturbation_mode": ["emg_noise"], "text_collation": form}
    expected = batches(**augmented)
    assert sum(len(batch["id"]) for batch in expected) == N_RECORDS - (form == "corrected")
    assert_same(batches(**augmented, **variant), expected)


def by_record(batches: list[dict]) -> dict[int, tuple]:
    """Text and labels of each record, as long as it is."""
    rows = {}
    for batch in batches:
        net_input = batch["net_input"]
        names = net_input["text"], net_input["text_padding_mask"], batch["mlm_labels"]
        for record, text, mask, labels in zip(batch["id"].tolist(), *names, strict=True):
            rows[record] = text[~mask].tolist(), labels[~mask].tolist()
    return rows


def test_masks_of_a_record_do_not_depend_on_the_batch_it_is_in(batches):
    alone = {"criterion_name": "ecg_text_clip"}  # no text is another's
    expected = by_record(batches(**alone))
    assert by_record(batches(**alone, batch_size=8)) == expected
    assert by_record(batches(**alone, batch_size=1)) == expected
    assert by_record(batches(**alone, epoch=2)) != expected
    assert by_record(batches(**alone, seed=8)) != expected


def test_the_criterion_decides_whether_texts_are_exchanged(batches):
    (batch,) = batches(criterion_name="ecg_text_clip", batch_size=N_RECORDS)
    assert "is_aligned" not in batch
    (batch,) = batches(batch_size=N_RECORDS)
    assert 0 < batch["is_aligned"].sum() < len(batch["id"])


def test_without_padding_ecgs_are_cropped_and_without_a_mask(batches):
    for batch in batches(enable_padding=False, max_sample_size=300):
        assert batch["net_input"]["ecg"].shape[1:] == (12, 300)
        assert "ecg_padding_mask" not in batch["net_input"]


def test_without_labels_texts_are_read_as_they_are(task_of):
    task = task_of(medvill=True)
    task.load_dataset("valid", label=False)
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[i] for i in range(4)])
    assert batch.keys() == {"id", "net_input", "split"}
    assert len(batch["id"]) == 4


def test_a_rate_that_recordings_do_not_have_is_an_error(batches):
    batches(sample_rate=100)
    with pytest.raises(DataError, match=r"sampled at 100 Hz, but task\.sample_rate is 500"):
        batches(sample_rate=500)


def test_texts_that_are_cut_and_left_out_are_counted(batches, caplog):
    with caplog.at_level(logging.INFO):
        batches(medvill=True, max_text_size=14, batch_size=N_RECORDS)
    cut, short = caplog.messages[-2:]
    assert "have more than the 12 tokens that max_text_size=14 leaves them, and are cut" in cut
    assert "texts, " in cut
    assert "have no more than 10 tokens, and are left out" in short


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sep_token": 7}, r"task\.sep_token=7, and \[SEP\] has the id 102 .* set task.sep_token"),
        ({"tokenizer": "nowhere/vocab.txt"}, r"task\.tokenizer=nowhere.*: no such file"),
        ({"max_text_size": 4}, "leaves no word. Set it to 5 at least"),
        ({"mlm_prob": 0.0}, "mlm_prob=0.0: give a share of tokens"),
    ],
)
def test_what_cannot_be_is_refused(task_of, options, message):
    with pytest.raises((DataError, ValueError), match=message):
        task_of(**options).load_dataset("train")


def test_the_vocabulary_is_noted(task_of):
    task = task_of()
    task.load_dataset("train")
    (notes,) = task.state_dict().values()
    assert notes["vocabulary"] == task.tokenizer.vocabulary
    assert (notes["lower_case"], notes["max_text_size"]) == (True, 512)
    assert notes["sample_rate"] == 100


def test_a_vocabulary_that_the_model_does_not_know_is_an_error(task_of):
    task = task_of()
    task._limits = {"vocab_size": 50, "max_text_size": 20}
    assert task.max_text_size == 20
    with pytest.raises(DataError, match="tokens, and the model knows 50: choose the vocabulary"):
        task.load_dataset("train")


def test_all_texts_of_an_update_may_be_left_out(task_of):
    task = task_of(medvill=True)
    task.load_dataset("train")
    dataset = task.dataset("train")
    assert dataset.collater(dataset.__getitems__([3, 5])) == {}
    iterator = task.get_batch_iterator(dataset, max_sentences=1)
    assert len(iterator.first_batch["id"]) == 1
    assert torch.is_tensor(iterator.first_batch["net_input"]["text"])
