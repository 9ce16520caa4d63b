"""The six tasks of PTB-XL by which networks are compared.

The protocol is that of Strodthoff et al. (doi:10.1109/JBHI.2020.3022989) as later benchmarks of
foundation models keep it: PTB-XL 1.0.3; folds 1 to 8 train, 9 valid, 10 test; recordings without a
label of the task are left out; probabilities of segments are averaged over the recording; the
score is the macro AUROC on fold 10, with a 95 % interval of 1,000 bootstrap samples.
"""

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.metrics import RESAMPLES
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.probe.embedding import EmbeddingCache, Features
from fairseq_ecg.inference.probe.fitting import Fitting
from fairseq_ecg.inference.probe.running import of_test, run_probe
from fairseq_ecg.inference.probe.scoring import AREAS, MACRO, with_interval, write_json, write_whole
from fairseq_ecg.jobs.files import write_file
from fairseq_ecg.prepare.sources.ptb_xl import PTBXL

logger = logging.getLogger(__name__)

TASKS = {
    "all": "all",
    "diag": "diagnostic",
    "sub": "subdiagnostic",
    "super": "superdiagnostic",
    "form": "form",
    "rhythm": "rhythm",
}
"""Tasks by the names of the benchmark, and those of the source."""

FOLDS = {"train": range(1, 9), "valid": range(9, 10), "test": range(10, 11)}
DONE = "task.json"


def benchmark(
    raw_root: Path,
    model: ECGModel,
    out: Path,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    fitting: Fitting | None = None,
    sample_rate: int = 500,
    n_resamples: int = RESAMPLES,
    batch_size: int = 32,
    workers: int = 0,
    cache: Path | None = None,
    skip_errors: bool = False,
) -> pd.DataFrame:
    """Fit and score a linear probe for each task.

    Every recording is embedded once, for all tasks. A run that was killed goes on: embeddings that
    are there are not computed again, nor are tasks that are done with the same network, recordings
    and settings.

    Args:
        raw_root: folder of PTB-XL.
        model: whose embeddings are used.
        out: folder of ``results.csv``, ``results.md``, and for each task of what
            :func:`fairseq_ecg.inference.probe.running.run_probe` writes.
        tasks: some of :data:`TASKS`.
        fitting: how; None: the defaults.
        sample_rate: of the recordings that are read, 500 or 100 Hz.
        n_resamples: of the bootstrap.
        batch_size: in segments.
        workers: processes that read recordings; 0: none beside this one.
        cache: folder of the embeddings; None: ``embeddings`` in ``out``.
        skip_errors: whether recordings that cannot be used are left out, with a warning.

    Returns:
        A row for each task: ``task``, ``labels`` (those that have an AUROC on fold 10, of all),
        recordings of each split, ``macro_auroc`` and ``macro_auprc`` with their intervals.

    Raises:
        DataError: the archive is not as it should be, or a task is not known.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise DataError(f"task {unknown[0]!r}: the tasks are {', '.join(TASKS)}")
    fitting = fitting or Fitting()
    source = PTBXL(raw_root, sample_rate=sample_rate)
    records = source.records()
    records.insert(0, "idx", np.arange(len(records)))
    if records["strat_fold"].isna().any():
        raise DataError(f"{source.raw_root / 'ptbxl_database.csv'}: a recording has no strat_fold")
    store = EmbeddingCache(cache or out / "embeddings", model, batch_size, workers)
    paths = [str(source.raw_root / f"{path}.hea") for path in records["path"]]
    on_error = "skip" if skip_errors else "raise"
    every = store.of_recordings(paths, np.empty((len(paths), 0)), on_error)
    index_of = {path: number for number, path in enumerate(every.recordings)}
    records = records[[path in index_of for path in paths]].reset_index(drop=True)
    settings = {
        "fingerprint": store.fingerprint,
        "fitting": asdict(fitting),
        "n_resamples": n_resamples,
        "sample_rate": sample_rate,
    }
    rows = []
    for task in tasks:
        labels = PTBXL(raw_root, sample_rate=sample_rate, task=TASKS[task]).labels(records)
        rows.append(_task(task, labels, records, every, model, out / task, settings, fitting))
        results = pd.DataFrame(rows)
        write_whole(out / "results.csv", results)
        write_file(out / "results.md", as_markdown(results))
    return results


def _task(
    task: str,
    labels: pd.DataFrame,
    records: pd.DataFrame,
    every: Features,
    model: ECGModel,
    out: Path,
    settings: Mapping[str, Any],
    fitting: Fitting,
) -> dict[str, Any]:
    """Return the row of a task, of an earlier run if it is the same."""
    names = [str(name) for name in labels.columns[1:]]
    truth = labels[labels.columns[1:]].to_numpy(np.float64)
    labelled = truth.any(axis=1)
    # Rows of `records` and recordings of `every` are the same, and the index of neither is `idx`.
    row_of = pd.Index(records["idx"]).get_indexer(labels["idx"])
    folds = records["strat_fold"].to_numpy(int)[row_of]
    checksum = pd.util.hash_pandas_object(labels.assign(fold=folds), index=False).sum()
    key = json.loads(json.dumps({**settings, "labels": names, "checksum": str(checksum)}))
    done = out / DONE
    if done.is_file():
        try:
            found = json.loads(done.read_text(encoding="utf-8"))
            if found["key"] == key:
                return _row(found)
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is damaged, its task is scored anew", done)
    features = {}
    for split, wanted in FOLDS.items():
        chosen = labelled & np.isin(folds, list(wanted))
        if not chosen.any():
            raise DataError(
                f"{task}: no recording of folds {wanted[0]} to {wanted[-1]} has a label. The whole "
                "of PTB-XL has: look whether ptbxl_database.csv is complete"
            )
        order = np.flatnonzero(chosen)[np.argsort(row_of[chosen])]
        features[split] = every.of_recordings(row_of[order], truth[order])
    result = run_probe(
        features,
        names,
        out,
        fitting=fitting,
        model=model,
        model_fingerprint=settings["fingerprint"],
        n_resamples=settings["n_resamples"],
    )
    rows, macro = of_test(result.metrics), result.macro()
    scored = int(rows.loc[rows["label"] != MACRO, "auroc"].notna().sum())
    row = {"task": task, "labels": len(names), "scored_labels": scored}
    row |= {split: len(features[split].recordings) for split in FOLDS}
    for area in AREAS:
        names = (area, f"{area}_low", f"{area}_high")
        row |= {f"macro_{name}": float(macro[name]) for name in names}
    write_json(done, {"key": key, "row": row})
    return row


def _row(done: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a task that is done; JSON has no NaN."""
    return {key: np.nan if value is None else value for key, value in done["row"].items()}


def as_markdown(results: pd.DataFrame) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| task | labels scored | train | valid | test | macro AUROC (95 %) | macro AUPRC (95 %) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results.to_dict("records"):
        cells = [row["task"], f"{row['scored_labels']} of {row['labels']}"]
        cells += [f"{row[split]:,}" for split in FOLDS]
        cells += [with_interval(row, f"macro_{area}") for area in AREAS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def finetuning_commands(task: str, raw_root: Path, checkpoint: Path, out: Path) -> list[str]:
    """Return the shell commands that fine-tune a network on a task and score it.

    Args:
        task: one of :data:`TASKS`.
        raw_root: folder of PTB-XL.
        checkpoint: pre-trained network.
        out: folder for data and checkpoints.
    """

    def q(path: Path) -> str:
        return shlex.quote(str(path.absolute()))

    data, saved = out / "data", out / "checkpoints"
    labels = data / "labels"
    prepare = "fairseq-ecg prepare"
    return [
        f"{prepare} records --source ptb_xl --raw-root {q(raw_root)} "
        f"--processed-root {q(data)} --task {TASKS[task]}",
        f"{prepare} signals --processed-root {q(data)}",
        f"{prepare} splits --processed-root {q(data)} --strategy column "
        "--split-col strat_fold --split-values 1-8,9,10",
        f"{prepare} labels --output-dir {q(labels)} --labels {q(labels / 'labels.csv')} "
        f"--meta-splits {q(data / 'meta_split.csv')} "
        f"--segmented-splits {q(data / 'segmented_split.csv')} "
        f"--labeled-segmented-splits-save-file {q(data / 'labelled.csv')}",
        f"{prepare} manifests --save-dir {q(data / 'manifests')} "
        f"--split-file-paths {q(data / 'labelled.csv')}",
        "fairseq-hydra-train --config-name diagnosis common.user_dir=fairseq_ecg "
        f"task.data={q(data / 'manifests')} +task.label_file={q(labels / 'y.npy')} "
        f'"+criterion.pos_weight=$(cat {q(labels / "pos_weight.txt")})" '
        f"model.model_path={q(checkpoint)} "
        f"model.num_labels=$(($(wc -l < {q(labels / 'label_def.csv')}) - 1)) "
        "checkpoint.best_checkpoint_metric=macro_auroc "
        "checkpoint.maximize_best_checkpoint_metric=true "
        f"checkpoint.save_dir={q(saved)}",
        f"fairseq-ecg evaluate {q(saved / 'checkpoint_best.pt')} "
        f"--manifest {q(data / 'manifests' / 'test.tsv')} --labels {q(labels / 'y.npy')} "
        f"--label-def {q(labels / 'label_def.csv')}",
    ]
