"""From the records of an archive to segments, and to the tables that describe them."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from fairseq_ecg.data.cells import as_cells
from fairseq_ecg.data.names import in_one_line
from fairseq_ecg.data.segment_files import recording_of_segment, segment_file
from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import remove_unfinished, replacing
from fairseq_ecg.jobs.journal import Journal, checksum
from fairseq_ecg.jobs.locks import locked
from fairseq_ecg.jobs.pool import in_parallel
from fairseq_ecg.jobs.progress import progress_bar
from fairseq_ecg.prepare.ids import allot_ids, enter_prepared
from fairseq_ecg.prepare.records import read_records, write_tables
from fairseq_ecg.prepare.sources import Source
from fairseq_ecg.prepare.sources.source import PATIENT
from fairseq_ecg.prepare.stages import (
    STAGES,
    TOO_SHORT,
    Outcome,
    Settings,
    prepare_record,
)

JOURNAL = ".signals.journal"

KEPT, QUARANTINED = "kept", "quarantined"

_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Prepared:
    """What was prepared of an archive.

    Attributes:
        summary: columns ``source``, ``dataset``, ``outcome`` (`KEPT`, why not, or `QUARANTINED`),
            ``records``, ``segments``.
        quarantine: columns ``source``, ``record``, ``reason``, ``step``.
        doubts: columns ``source``, ``record``, ``doubt``; of records that were used all the same.
    """

    summary: pd.DataFrame
    quarantine: pd.DataFrame
    doubts: pd.DataFrame


def prepare_signals(
    source: Source,
    folder: Path,
    settings: Settings,
    *,
    manifest: Path | None = None,
    datasets: Sequence[str] | None = None,
    suffix: str = "",
    labels_path: Path | None = None,
    strict: bool = False,
    again: bool = False,
) -> Prepared:
    """Make the segments of the records that ``records.csv`` lists.

    Written to ``folder`` are ``org/``, ``preprocessed/`` and ``segmented/`` with ``.mat`` files,
    then ``meta.csv``, ``labels/labels.csv``, ``segmented.csv``, tables of the source's own,
    ``summary.csv``, ``quarantine.csv`` if a record could not be used, and ``doubts.csv`` if there
    is reason to doubt one that was. A run that was ended at any point is gone on with, and ends
    with the same bytes. Records are prepared where :func:`fairseq_ecg.jobs.pool.workers` says.

    Args:
        source: the archive. Where its ``verify`` is set, records that an earlier run did not
            verify are prepared again.
        folder: that holds ``records.csv``.
        settings: how records are prepared.
        manifest: of all sources, which holds the ids; ``manifest.csv`` in ``folder`` if None.
        datasets: take records of these only; ids are those of a run on all of them.
        suffix: of the names of tables.
        labels_path: file for the labels that the archive itself has; ``labels/labels.csv`` in
            ``folder`` if None.
        strict: stop at the first record that cannot be used.
        again: prepare everything again, also what an earlier run did.

    Returns:
        What was prepared.

    Raises:
        DataError: tables are not as they should be, another run works on ``folder``, or with
            ``strict`` a record cannot be used.
    """
    folder = folder.absolute()
    manifest = (manifest or folder / "manifest.csv").absolute()
    labels_path = labels_path or folder / "labels" / f"labels{suffix}.csv"
    if source.makes_segments:
        settings.check_has_no_part(source)
    run = _Run(source, folder, settings, suffix, labels_path)
    records = read_records(folder / "records.csv")
    with locked(folder / "signals", wait=False):
        folders = [folder, *(folder / stage for stage in STAGES)]
        remove_unfinished(*folders)
        remove_unfinished(labels_path.parent, names=(labels_path.name,))
        records.insert(0, "idx", allot_ids(manifest, records))
        records = _of_datasets(records, datasets, folder / "records.csv")
        how = settings.fingerprint() | source.fingerprint()
        with Journal(folder / JOURNAL, how, again) as journal:
            failures = run.prepare(records, journal, strict)
            remove_unfinished(*folders)  # of workers that outlived an earlier run
            journal.tidy()
            positions = {idx: position for idx, (_, position) in journal.positions().items()}
            failed = {failure.idx: failure for failure in failures}
            prepared = records[~records["idx"].isin(failed)]
            positions = [positions[idx] for idx in prepared["idx"]]
            quarantine = run.write_quarantine(records, failed)
            if not positions:
                raise DataError(f"none of {len(records)} records can be used: {failures[0].reason}")
            found = _read_journal(journal, positions)
            summary = run.write_summary(records, prepared, found)
            doubts = run.write_doubts(prepared, found)
            run.remove_stale_files(records, prepared, found)
            prepared = prepared.reset_index(drop=True)
            located = [source.locate(path) for path in prepared["path"]]
            if "org" not in settings.skip or not run.path("meta").is_file():
                run.write_meta(prepared, located, found)
                if found.tables:
                    run.write_others(journal, prepared, positions)
            if "segmented" not in settings.skip:
                run.write_segmented(prepared, found)
        size = found.meta[["sample_rate", "sample_size"]]
        ids = prepared[["idx", "source", "save_file"]].assign(source_path=located)
        enter_prepared(manifest, pd.concat([ids, size], axis=1))
    return Prepared(summary, quarantine, doubts)


def _of_datasets(records: pd.DataFrame, datasets: Sequence[str] | None, path: Path) -> pd.DataFrame:
    if datasets is None:
        return records
    there = sorted(set(records["dataset"]))
    for dataset in datasets:
        if dataset not in there:
            raise DataError(f"{path}: no record of data set {dataset!r} (of {', '.join(there)})")
    return records[records["dataset"].isin(datasets)].reset_index(drop=True)


def _rows(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = list(records)
    for values in records.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


@dataclass(frozen=True)
class _Found:
    """What the journal says of the prepared records, a row for each.

    Attributes:
        counts: columns ``n_segments`` and ``dropped``, and ``segment_samples`` of a source that
            makes its segments itself.
        meta: columns for ``meta.csv``.
        tables: whether a record has rows of tables of the source's own.
        doubts: reasons to doubt a record, by its row.
    """

    counts: pd.DataFrame
    meta: pd.DataFrame
    tables: bool
    doubts: dict[int, list[str]]


def _read_journal(journal: Journal, positions: list[int]) -> _Found:
    groups: dict[str, list] = {name: [] for name in ("counts", "size", "metadata", "features")}
    single, tables, doubts, n_read = [], False, {}, 0
    entries = journal.entries(positions)
    while part := list(islice(entries, _ROWS_AT_ONCE)):
        for entry in part:
            entry["counts"] = {
                name: entry[name]
                for name in ("n_segments", "dropped", "segment_samples")
                if name in entry
            }
            entry["size"] = {name: entry[name] for name in ("sample_rate", "sample_size")}
            # A few texts, said of every record.
            for feature, value in entry["features"].items():
                if isinstance(value, str):
                    entry["features"][feature] = sys.intern(value)
        for group, frames in groups.items():
            frames.append(pd.DataFrame([entry[group] for entry in part], index=range(len(part))))
        single.append(all(entry["single_precision"] for entry in part))
        tables = tables or any(entry["tables"] for entry in part)
        doubts |= {
            n_read + row: entry["doubts"] for row, entry in enumerate(part) if "doubts" in entry
        }
        n_read += len(part)
    counts, *columns = (pd.concat(frames, ignore_index=True) for frames in groups.values())
    meta = pd.concat(columns, axis=1)
    if all(single):
        numbers = [name for name in columns[-1] if name.startswith(("mean_", "std_"))]
        meta = meta.astype(dict.fromkeys(numbers, "float32"))
    return _Found(counts, meta, tables, doubts)


@dataclass(frozen=True)
class _Run:
    """Prepares the records of an archive, and writes its tables."""

    source: Source
    folder: Path
    settings: Settings
    suffix: str
    labels_path: Path

    def prepare(self, records: pd.DataFrame, journal: Journal, strict: bool) -> list[Outcome]:
        """Prepare what the journal does not have; return what could not be prepared."""
        done = self._done(records, journal)
        checksums: dict[int, str] = {}

        def arguments() -> Iterator[tuple]:
            for row in _rows(records):
                if row["idx"] not in done:
                    checksums[row["idx"]] = checksum(row)
                    yield self.source, self.settings, self.folder, row

        failures = []
        with progress_bar(
            len(records), f"{self.source.name}: signals", "record", show=True, initial=len(done)
        ) as bar:
            for outcome in in_parallel(prepare_record, arguments()):
                checked = checksums.pop(outcome.idx)
                if outcome.reason:
                    if strict:
                        raise DataError(outcome.reason)
                    failures.append(outcome)
                else:
                    journal.add(outcome.idx, checked, outcome.entry)
                bar.update()
        return failures

    def _done(self, records: pd.DataFrame, journal: Journal) -> frozenset[int]:
        """Ids of records that need not be prepared: all their files are there, and verified."""
        positions = journal.positions()
        if not positions:
            return frozenset()
        names = {
            stage: frozenset(os.listdir(path) if (path := self.folder / stage).is_dir() else ())
            for stage in self._written()
        }
        rows = (
            row for row in _rows(records) if positions.get(row["idx"], ("",))[0] == checksum(row)
        )
        done = []
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            entries = journal.entries(positions[row["idx"]][1] for row in part)
            for row, entry in zip(part, entries, strict=True):
                save_file = row["save_file"]
                files = {stage: [save_file] for stage in names}
                if "segmented" in names:
                    files["segmented"] = self._segment_files(save_file, entry["n_segments"])
                is_verified = entry.get("verified", False) or not self.source.verify
                if is_verified and all(names[stage].issuperset(files[stage]) for stage in names):
                    done.append(row["idx"])
        return frozenset(done)

    def _written(self) -> list[str]:
        """Stages whose files are written."""
        if self.source.makes_segments:
            return ["segmented"]
        return [stage for stage in STAGES if self.settings.written(stage)]

    def _segment_files(self, save_file: str, n_segments: int) -> list[str]:
        """Names of the files of the segments of a record."""
        if self.source.makes_segments:
            return [save_file] * n_segments
        return [segment_file(save_file, i) for i in range(n_segments)]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}{self.suffix}.csv"

    def _write(self, name: str, table: pd.DataFrame) -> None:
        with replacing(self.path(name)) as path:
            table.to_csv(path, index=False)

    def write_meta(self, prepared: pd.DataFrame, located: list[str], found: _Found) -> None:
        """Write ``meta.csv``: of every prepared record what was known and what was found.

        Labels that the archive itself has go to ``labels_path``.
        """
        makes_segments = self.source.makes_segments
        known = prepared.assign(
            path=located,
            save_path=f"{self.folder}/{'segmented' if makes_segments else 'org'}/"
            + prepared["save_file"],
            lead_order=found.meta["avail_leads"]
            if makes_segments
            else str(self.settings.lead_names),
        )
        clash = sorted(set(known) & set(found.meta))
        if clash:
            raise DataError(
                f"{self.folder / 'records.csv'}: columns {', '.join(clash)} are found in the "
                "signals too: rename them"
            )
        meta = self.source.describe(pd.concat([known, found.meta], axis=1))
        self._write("meta", meta)
        labels = self.source.labels(meta)
        if labels is not None:
            with replacing(self.labels_path) as path:
                labels.to_csv(path, index=False)

    def write_others(self, journal: Journal, prepared: pd.DataFrame, positions: list[int]) -> None:
        """Write the tables of the source's own, a record at a time."""
        entries = journal.entries(positions)
        records = zip(prepared["save_file"], prepared["idx"], entries, strict=True)
        write_tables(
            (self.path(name), pd.DataFrame(rows).assign(save_file=save_file, idx=idx))
            for save_file, idx, entry in records
            for name, rows in entry["tables"].items()
            if rows
        )

    def write_segmented(self, prepared: pd.DataFrame, found: _Found) -> None:
        """Write ``segmented.csv``, by path in the order of texts.

        A recording that is too short has a line without path, as fairseq_signals writes it. The
        segments that a source makes itself are in the order of the records, with the patient.
        """
        folder = self.folder / "segmented"
        if self.source.makes_segments:
            rows = prepared[["save_file", PATIENT]]
            rows.insert(0, "path", f"{folder}/" + rows["save_file"])
            rows.insert(2, "sample_size", found.counts["segment_samples"])
            self._write("segmented", rows)
            return
        names = sorted(
            segment_file(save_file, i)
            for save_file, n_segments in zip(
                prepared["save_file"], found.counts["n_segments"], strict=True
            )
            for i in range(n_segments)
        )
        too_short = int((found.counts["dropped"] == TOO_SHORT).sum())
        rows = {
            "path": [f"{folder}/{name}" for name in names] + [None] * too_short,
            "save_file": [recording_of_segment(name) for name in names] + [None] * too_short,
            "sample_size": self.settings.segment_samples,
        }
        self._write("segmented", pd.DataFrame(rows))

    def write_quarantine(self, records: pd.DataFrame, failed: dict[int, Outcome]) -> pd.DataFrame:
        """Write ``quarantine.csv``, or remove that of an earlier run."""
        columns = ["source", "record", "reason", "step"]
        rows = []
        for row in _rows(records[records["idx"].isin(failed)]):
            outcome = failed[row["idx"]]
            reason = in_one_line(outcome.reason)
            rows.append((row["source"], row["path"], reason, outcome.step))
        table = pd.DataFrame(rows, columns=columns)
        self._write_or_remove("quarantine", table)
        return table

    def write_doubts(self, prepared: pd.DataFrame, found: _Found) -> pd.DataFrame:
        """Write ``doubts.csv``, or remove that of an earlier run; they are found in ``org``."""
        doubtful = _rows(prepared.iloc[list(found.doubts)])
        rows = [
            (row["source"], row["path"], doubt)
            for row, doubts in zip(doubtful, found.doubts.values(), strict=True)
            for doubt in doubts
        ]
        table = pd.DataFrame(rows, columns=["source", "record", "doubt"])
        if "org" not in self.settings.skip:
            self._write_or_remove("doubts", table)
        return table

    def _write_or_remove(self, name: str, table: pd.DataFrame) -> None:
        if len(table):
            self._write(name, as_cells(table))
        else:
            self.path(name).unlink(missing_ok=True)

    def write_summary(
        self, records: pd.DataFrame, prepared: pd.DataFrame, found: _Found
    ) -> pd.DataFrame:
        """Write ``summary.csv``: of every data set how many records became what."""
        outcomes = pd.DataFrame(
            {
                "outcome": found.counts["dropped"].replace("", KEPT).to_numpy(),
                "segments": found.counts["n_segments"].to_numpy(),
            },
            index=prepared.index,
        ).reindex(records.index)
        outcomes["outcome"] = outcomes["outcome"].fillna(QUARANTINED)
        outcomes["segments"] = outcomes["segments"].fillna(0).astype(int)
        table = (
            pd.concat([records[["source", "dataset"]], outcomes], axis=1)
            .groupby(["source", "dataset", "outcome"], as_index=False)
            .agg(records=("segments", "size"), segments=("segments", "sum"))
        )
        self._write("summary", table)
        return table

    def remove_stale_files(
        self, records: pd.DataFrame, prepared: pd.DataFrame, found: _Found
    ) -> None:
        """Remove what an earlier run, with other settings or files, left of these records."""
        n_segments = dict(zip(prepared["save_file"], found.counts["n_segments"], strict=True))
        are_numbered = not self.source.makes_segments
        for stage in self._written():
            if stage != "segmented" or not are_numbered:
                for save_file in set(records["save_file"]) - n_segments.keys():
                    (self.folder / stage / save_file).unlink(missing_ok=True)
        segmented = self.folder / "segmented"
        if not are_numbered or "segmented" in self.settings.skip or not segmented.is_dir():
            return
        recordings = frozenset(records["save_file"])
        for name in os.listdir(segmented):
            save_file = recording_of_segment(name)
            if save_file in recordings:
                i = int(name[len(save_file) - len(".mat") + 1 : -len(".mat")])
                if i >= n_segments.get(save_file, 0):
                    (segmented / name).unlink()
