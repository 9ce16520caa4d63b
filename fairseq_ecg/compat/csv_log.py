"""``common.log_format=csv``."""

import csv
from numbers import Number
from pathlib import Path

from fairseq.logging.meters import AverageMeter
from fairseq.logging.progress_bar import BaseProgressBar

from fairseq_ecg.jobs.files import open_replacing


class CsvLog(BaseProgressBar):
    """Around another progress bar, append statistics to ``<tag>.csv`` in the working directory.

    ``train_inner.csv`` gets a row each log interval, ``train.csv`` each epoch and
    ``<subset>.csv`` each validation. The first column is ``step``; the others are the statistics
    that are numbers. Files are never truncated: a resumed run goes on in them, and a statistic
    seen for the first time becomes a new last column, empty in older rows. The bar inside prints
    what belongs to steps that are a multiple of the log interval.

    Args:
        bar: what shows the progress.
        log_interval: updates between two printed lines.
    """

    def __init__(self, bar: BaseProgressBar, log_interval: int):
        self.wrapped_bar = bar
        self.log_interval = log_interval

    def __iter__(self):
        return iter(self.wrapped_bar)

    def __len__(self):
        return len(self.wrapped_bar)

    def log(self, stats, tag=None, step=None):
        """Write a row of statistics within an epoch."""
        self._write(stats, tag, step)
        self.wrapped_bar.log(stats, tag=tag, step=step)

    def print(self, stats, tag=None, step=None):
        """Write a row of statistics of an epoch."""
        self._write(stats, tag, step)
        if step is not None and step % self.log_interval == 0:
            self.wrapped_bar.print(stats, tag=tag, step=step)

    def update_config(self, config):
        """Pass the configuration on."""
        self.wrapped_bar.update_config(config)

    def _write(self, stats, tag: str | None, step: int | None) -> None:
        step = stats.get("num_updates", "") if step is None else step
        numbers = {
            key: value.val if isinstance(value, AverageMeter) else value
            for key, value in stats.items()
            if key != "num_updates" and isinstance(value, Number | AverageMeter)
        }
        append_row(Path(f"{tag or 'log'}.csv"), {"step": step, **numbers})


def append_row(path: Path, row: dict[str, object]) -> None:
    """Append one row to a CSV file, widening it for columns it does not have yet.

    Args:
        path: the file; made with a header if it does not exist.
        row: value by column.
    """
    header = []
    if path.exists():
        with path.open(newline="") as file:
            header = next(csv.reader(file), [])
    new = [key for key in row if key not in header]
    if new:
        older = []
        if header:
            with path.open(newline="") as file:
                older = list(csv.DictReader(file))
        header += new
        with open_replacing(path, newline="") as file:
            writer = csv.DictWriter(file, header, restval="")
            writer.writeheader()
            writer.writerows(older)
    with path.open("a", newline="") as file:
        csv.DictWriter(file, header, restval="").writerow(row)
