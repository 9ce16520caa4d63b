"""The three stages of one record, and their ``.mat`` files.

``org`` is the signal in mV with the wanted leads, ``preprocessed`` is resampled and standardised,
``segmented`` is cut. Stages that are skipped are read from the files of an earlier run.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairseq_ecg.data.recording import read_integer, read_mat, recording_from_mat
from fairseq_ecg.data.segment_files import segment_file
from fairseq_ecg.ecg import blocks
from fairseq_ecg.ecg.blocks import Signal
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.pipeline import Pipeline
from fairseq_ecg.ecg.recording import DOUBTS, check_doubts
from fairseq_ecg.ecg.resampling import RESAMPLERS
from fairseq_ecg.ecg.standardisation import (
    CONSTANT_LEAD_STRATEGIES,
    statistics,
)
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.chunks import ChunkedSignal
from fairseq_ecg.formats.location import LocalFile
from fairseq_ecg.formats.mat_files import part_long_matrices
from fairseq_ecg.limits import check_limit, check_rate
from fairseq_ecg.prepare.mat import write_mat
from fairseq_ecg.prepare.sources import Source

STAGES = ("org", "preprocessed", "segmented")

NAN_POLICIES = ("drop", "zero", "keep")

TOO_SHORT = "shorter than a segment"
NAN = "samples without a value"


@dataclass(frozen=True)
class Settings:
    """How records are prepared.

    Args:
        sample_rate: of the segments in Hz.
        segment_seconds: length of a segment in seconds.
        leads: standard positions of the leads, in standard order.
        standardise: whether to give every lead mean 0 and standard deviation 1.
        constant_lead_strategy: what becomes of flat leads, see `fairseq_ecg.ecg.standardisation`.
        nan_policy: of recordings with missing leads or samples without a value: ``drop``, no
            segments are made; ``zero``, these samples are 0 in the segments and left out of mean
            and standard deviation; ``keep``, the lead becomes NaN as a whole (fairseq_signals).
        resampler: see `fairseq_ecg.ecg.resampling`.
        skip: stages that are not run.
        discard: of ``org`` and ``preprocessed``, those whose files are not written.

    Raises:
        DataError: a setting has no meaning, or settings contradict each other.
    """

    sample_rate: int = 500
    segment_seconds: float = 5.0
    leads: tuple[int, ...] = tuple(range(len(LEADS)))
    standardise: bool = True
    constant_lead_strategy: str = "zero"
    nan_policy: str = "drop"
    resampler: str = "linear"
    skip: tuple[str, ...] = ()
    discard: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise DataError(f"a sampling rate of {self.sample_rate} Hz: give one above 0")
        if not math.isfinite(self.segment_seconds) or self.segment_samples < 1:
            raise DataError(f"{self.segment_seconds} s at {self.sample_rate} Hz make no segment")
        check_rate("--sample-rate", self.sample_rate)
        check_limit("--segment-seconds", "samples", self.segment_samples)
        for name, value, choices in (
            ("constant_lead_strategy", self.constant_lead_strategy, CONSTANT_LEAD_STRATEGIES),
            ("nan_policy", self.nan_policy, NAN_POLICIES),
            ("resampler", self.resampler, RESAMPLERS),
            *(("skip", stage, STAGES) for stage in self.skip),
            *(("discard", stage, STAGES[:2]) for stage in self.discard),
        ):
            if value not in choices:
                raise DataError(f"{name} {value!r}: not one of {', '.join(choices)}")

    @property
    def segment_samples(self) -> int:
        """Length of a segment in samples."""
        return round(self.segment_seconds * self.sample_rate)

    @property
    def lead_names(self) -> list[str]:
        """Names of the leads."""
        return [LEADS[lead] for lead in self.leads]

    @property
    def pipeline(self) -> Pipeline:
        """What is done to a signal."""
        return Pipeline(
            leads=tuple(self.lead_names),
            sample_rate=self.sample_rate,
            segment_samples=self.segment_samples,
            resampler=self.resampler,
            standardise=self.standardise,
            constant_lead_strategy=self.constant_lead_strategy,
            zero_gaps=self.nan_policy == "zero",
            keep_single=True,
        )

    def written(self, stage: str) -> bool:
        """Whether the files of a stage are written."""
        return stage not in self.skip and stage not in self.discard

    def check_has_no_part(self, source: Source) -> None:
        """Refuse settings where a source makes its files itself.

        Args:
            source: that `makes_segments`.

        Raises:
            DataError: a setting is not the default.
        """
        names = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        if names:
            raise DataError(
                f"{source.name}: its files are made by the options of the step 'records'. Leave "
                f"out {', '.join(names)}"
            )

    def fingerprint(self) -> dict[str, Any]:
        """Return what the files of a record depend on, as JSON can hold it."""
        return asdict(self) | {name: list(getattr(self, name)) for name in ("leads", "skip")}


@dataclass(frozen=True)
class Outcome:
    """What became of a record.

    Attributes:
        idx: its id.
        entry: what was found, as the journal holds it; empty when it could not be prepared.
        reason: why it could not be prepared.
        step: in which stage that was.
    """

    idx: int
    entry: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    step: str = ""


def prepare_record(
    source: Source, settings: Settings, folder: Path, record: Mapping[str, Any]
) -> Outcome:
    """Run the stages for one record; called in worker processes.

    Args:
        source: its archive.
        settings: how.
        folder: parent of the folders of the stages.
        record: its row of the table of records, with ``idx`` and ``save_file``.

    Returns:
        What became of it. That a record cannot be used is noted there, not raised.
    """
    idx, save_file = record["idx"], record["save_file"]
    step = "segmented" if source.makes_segments else "org"
    try:
        # What is read is read by `_read` and as DataErrors: OSErrors are those of writing.
        with as_data_error(f"{record['path']}: cannot be prepared", but=(OSError,)):
            if source.makes_segments:
                return Outcome(idx, _segment(source, folder / step / save_file, record))
            variables, entry = _org(source, settings, folder, record)
            if variables["idx"] != idx:
                raise DataError(
                    f"{folder / step / save_file}: has id {variables['idx']}, not {idx}. "
                    "Do not skip the stage"
                )
            step = "preprocessed"
            if step in settings.skip:
                if "segmented" not in settings.skip:
                    variables = _load(folder / step / save_file)
            else:
                variables = _preprocess(variables, settings)
                if settings.written(step):
                    write_mat(folder / step / save_file, variables)
            step = "segmented"
            if step in settings.skip:
                entry |= {"n_segments": 0, "dropped": ""}
            elif settings.nan_policy == "drop" and entry["features"]["nan_any"]:
                entry |= {"n_segments": 0, "dropped": NAN}
            else:
                entry |= _cut(variables, settings, folder / step, save_file)
    except DataError as error:
        return Outcome(idx, reason=str(error), step=step)
    return Outcome(idx, entry)


def _org(
    source: Source, settings: Settings, folder: Path, record: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables of the first stage, and what they say of the record."""
    path = folder / "org" / record["save_file"]
    if "org" not in settings.skip:
        ecg = _read(source, record)
        where, wanted = ecg.where, settings.lead_names
        available = [lead for lead in wanted if lead in ecg.leads]
        if not available:
            there = ", ".join(ecg.leads)
            raise DataError(f"{where}: has none of the leads {', '.join(wanted)}: {there}")
        rate = _number(ecg.sample_rate)
        variables = {
            "org_sample_rate": rate,
            "curr_sample_rate": rate,
            "org_sample_size": ecg.n_samples,
            "curr_sample_size": ecg.n_samples,
            "feats": settings.pipeline.arranged(ecg),
            "idx": record["idx"],
        }
        if settings.written("org"):
            write_mat(path, variables)
        metadata, tables = _split_tables(ecg.metadata)
        doubts = list(ecg.doubts)
    else:
        if "preprocessed" in settings.skip:
            path = folder / "preprocessed" / record["save_file"]
        variables, where = _load(path), str(path)
        available, metadata, tables, doubts = settings.lead_names, {}, {}, []
        n_leads = variables["feats"].shape[0]
        if n_leads != len(available):
            raise DataError(f"{path}: has {n_leads} leads, not the {len(available)} of --leads")
    entry = {
        "sample_rate": variables["org_sample_rate"],
        "sample_size": variables["org_sample_size"],
        "metadata": metadata,
        "features": _features(variables["feats"], settings.lead_names, available, where),
        "tables": tables,
        "single_precision": np.dtype(variables["feats"].dtype) == np.float32,
        **_verification(source, doubts),
    }
    return variables, entry


def _segment(source: Source, path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the file that a source makes of a record itself; return what it says of the record."""
    ecg = _read(source, record)
    variables = source.segment(record, ecg)
    write_mat(path, variables)
    metadata, tables = _split_tables(ecg.metadata)
    leads = list(ecg.leads)
    return {
        "sample_rate": _number(ecg.sample_rate),
        "sample_size": ecg.n_samples,
        "metadata": metadata,
        "features": _features(ecg.signal, leads, leads, ecg.where),
        "tables": tables,
        "single_precision": False,
        **_verification(source, list(ecg.doubts)),
        "n_segments": 1,
        "dropped": "",
        "segment_samples": variables["feats"].shape[1],
    }


def _verification(source: Source, doubts: list[str]) -> dict[str, Any]:
    return {
        **({"doubts": doubts} if doubts else {}),
        **({"verified": True} if source.verify else {}),
    }


def _read(source: Source, record: Mapping[str, Any]) -> ECG:
    with as_data_error(f"{source.locate(str(record['path']))}: cannot be read"):
        ecg = source.read(record)
    if source.verify:
        check_doubts(ecg.where, ecg.doubts)
    if not ecg.n_samples:
        raise DataError(f"{ecg.where}: has no samples")
    if not 0 < ecg.sample_rate < np.inf:
        raise DataError(f"{ecg.where}: has a sampling rate of {ecg.sample_rate} Hz")
    check_rate(ecg.where, ecg.sample_rate)
    return ecg


def _number(value: float) -> int | float:
    """Return an int where it says the same."""
    return int(value) if value == int(value) else float(value)


def _split_tables(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[dict]]]:
    """Part metadata but for doubts into columns and tables, in types that JSON has."""
    columns, tables = {}, {}
    for name, value in metadata.items():
        if isinstance(value, pd.DataFrame):
            rows = value.to_dict("records")
            tables[name] = [{key: _plain(cell) for key, cell in row.items()} for row in rows]
        elif name != DOUBTS:
            columns[name] = _plain(value)
    return columns, tables


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)


def _features(feats: Signal, leads: list[str], available: list[str], where: str) -> dict[str, Any]:
    """Return columns of ``meta.csv`` that describe the signal."""
    found = statistics(feats)
    for lead, std, is_missing in zip(leads, found.std, found.missing, strict=True):
        if not (is_missing or np.isfinite(std)):
            raise DataError(f"{where}: samples of lead {lead} are too large for mV: it is damaged")
    empty, flat = (list(compress(leads, which)) for which in (found.empty, found.flat))
    return {
        "avail_leads": str(available),
        "nan_any": bool(found.missing.any()),
        "nan_leads_any": bool(empty),
        "nan_leads": str(empty),
        "constant_leads_any": bool(flat),
        "constant_leads": str(flat),
        **{f"mean_{i}": float(mean) for i, mean in enumerate(found.mean)},
        **{f"std_{i}": float(std) for i, std in enumerate(found.std)},
    }


def _load(path: Path) -> dict[str, Any]:
    """Read the file of a stage that is skipped."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Run the stage instead of skipping it")
    numbers = ("org_sample_rate", "curr_sample_rate", "org_sample_size", "curr_sample_size")
    where = str(path)
    content, stored = part_long_matrices(LocalFile(path), where, 8 * blocks.at_once())
    required = [name for name in (*numbers, "feats", "idx") if name not in stored]
    mat = read_mat(io.BytesIO(content), where, required=required, optional=("mean", "std"))
    feats = recording_from_mat(mat | stored, where).feats
    if stored:
        feats = ChunkedSignal(list(feats), [1.0] * len(feats), where)
        feats = feats if blocks.is_long(feats.shape[1]) else feats[:, :]
        feats = blocks.mapped(feats, np.asfortranarray, feats.shape[0], feats.dtype)
    variables = {name: _number(mat[name].item()) for name in numbers}
    variables |= {"feats": feats, "idx": read_integer(mat, "idx", where)}
    return variables | {name: mat[name] for name in ("mean", "std") if name in mat}


def _preprocess(org: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Variables of the second stage."""
    pipeline = settings.pipeline
    ecg = pipeline.resampled(org["feats"], org["curr_sample_rate"])
    found = pipeline.standardisation(ecg)
    return {
        **org,
        "curr_sample_rate": settings.sample_rate,
        "curr_sample_size": ecg.shape[1],
        "feats": pipeline.standardised(ecg, found),
        "mean": found.mean,
        "std": found.std,
    }


def _cut(
    preprocessed: Mapping[str, Any], settings: Settings, folder: Path, save_file: str
) -> dict[str, Any]:
    """Write the segments; return how many there are, and if none why."""
    rate, feats = preprocessed["curr_sample_rate"], preprocessed["feats"]
    if rate != settings.sample_rate:
        raise DataError(
            f"{save_file}: preprocessed to {rate} Hz, segments are to have "
            f"{settings.sample_rate} Hz. Do not skip the stage 'preprocessed'"
        )
    if feats.shape[1] < settings.segment_samples:
        return {"n_segments": 0, "dropped": TOO_SHORT}
    n_segments = 0
    for i, ecg in enumerate(settings.pipeline.segments(feats)):
        variables = {**preprocessed, "curr_sample_size": ecg.shape[1], "feats": ecg}
        write_mat(folder / segment_file(save_file, i), variables | {"segment_i": i})
        n_segments = i + 1
    return {"n_segments": n_segments, "dropped": ""}
