import csv

import pytest
from fairseq.logging.meters import AverageMeter
from fairseq.logging.progress_bar import SimpleProgressBar

from fairseq_ecg.compat.csv_log import CsvLog


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return CsvLog(SimpleProgressBar(range(4), epoch=1, log_interval=2), log_interval=2)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_named_after_tags(log, tmp_path):
    for step, _ in enumerate(log, start=1):
        log.log({"loss": 1.0}, tag="train_inner", step=step)
    log.print({"loss": 2.0}, tag="valid", step=4)
    log.print({"loss": 2.0}, step=4)
    assert [row["step"] for row in rows(tmp_path / "train_inner.csv")] == ["1", "2", "3", "4"]
    assert (tmp_path / "valid.csv").read_bytes() == b"step,loss\r\n4,2.0\r\n"
    assert (tmp_path / "log.csv").exists()


def test_only_numbers_are_written(log, tmp_path):
    meter = AverageMeter()
    meter.update(3.0)
    meter.update(5.0)
    list(log)
    log.print({"loss": meter, "name": "x", "num_updates": 7, "lr": 0.1}, tag="train")
    assert rows(tmp_path / "train.csv") == [{"step": "7", "loss": "5.0", "lr": "0.1"}]


def test_new_columns_come_last_and_old_rows_are_padded(log, tmp_path):
    list(log)
    log.print({"loss": 1}, tag="valid", step=2)
    log.print({"auroc": 0.5}, tag="valid", step=4)
    log.print({"loss": 3}, tag="valid")
    assert (tmp_path / "valid.csv").read_text().splitlines() == [
        "step,loss,auroc",
        "2,1,",
        "4,,0.5",
        ",3,",
    ]


def test_resumed_runs_append(log, tmp_path):
    list(log)
    log.print({"loss": 1}, tag="train", step=2)
    log.print({"loss": 2}, tag="train", step=4)
    again = CsvLog(SimpleProgressBar(range(1), log_interval=2), log_interval=2)
    list(again)
    again.print({"loss": 3}, tag="train", step=6)
    assert [row["loss"] for row in rows(tmp_path / "train.csv")] == ["1", "2", "3"]


def test_lines_are_printed_at_log_intervals(log, caplog):
    caplog.set_level("INFO")
    for step, _ in enumerate(log, start=1):
        log.log({"loss": step}, tag="train_inner", step=step)
        log.print({"loss": step}, tag="train", step=step)
    assert [record.getMessage().split()[-1] for record in caplog.records] == [
        "loss=2",
        "2",
        "loss=4",
        "4",
    ]
