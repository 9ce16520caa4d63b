"""What is done to an ECG before a network reads it, kept with the network."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from fairseq_ecg.ecg.arrangement import derive_limb_leads
from fairseq_ecg.ecg.blocks import mapped
from fairseq_ecg.ecg.conditioning import Conditioning, LeadStatistics
from fairseq_ecg.ecg.leads import LEADS, lead_indices
from fairseq_ecg.ecg.pipeline import Pipeline
from fairseq_ecg.ecg.recording import ECG, Recording
from fairseq_ecg.ecg.resampling import RESAMPLERS, interpolated
from fairseq_ecg.ecg.standardisation import layer_normalisation
from fairseq_ecg.ecg.units import check_millivolts
from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.limits import check_limit, check_rate

QUICKSTART_EPSILON = 1e-8
"""What ECG-FM's quick start adds to the standard deviation, and the data preparation does not."""

MISSING_LEADS = ("derive", "zero", "error")
SHORT = ("error", "pad", "reflect")
TAILS = ("drop", "overlap")
NAN_POLICIES = ("error", "interpolate")

WHOLE_TASKS = ("ecg_segmentation",)
WHOLE_CRITERIONS = ("simclr", "3kg")
"""Of ``cfg.task``, the tasks and the values of ``criterion_name`` that read recordings whole: rows
as they are stored, ``normalize`` a layer norm over all samples of a recording."""

TEXT_TASKS = ("ecg_text_pretraining", "ecg_question_answering")
"""Tasks that read recordings with texts: in mV, as their records or prepared files hold them."""

WHOLE_SECONDS = 10.0
"""Length of a segment, in seconds, of a network for delineation or texts that notes none: that of
LUDB, PTB-XL and MIMIC-IV-ECG."""

_KINDS = {
    bool: bool,
    float: float | int,
    str: str,
    tuple: list | tuple,
    type(None): list | tuple | None,
}
"""Of what type a stored value is, by the type of its default."""


@dataclass(frozen=True)
class Preprocessing:
    """From a recording in mV to the segments that a network reads.

    In this order, as ECG-FM's quick start: leads are arranged, the recording is resampled, every
    lead standardised over the whole recording, segments are cut; then each segment is filtered and
    normalised where the network was trained on such. A network that was trained on whole recordings
    is given them normalised before they are cut.

    Args:
        sample_rate: of the segments in Hz.
        segment_seconds: length of a segment in seconds.
        leads: that the network reads, in the order of its rows.
        pad_leads: whether the network has twelve rows, zeros in place of leads it does not read.
        resampler: how the rate is changed, see :func:`fairseq_ecg.ecg.resampling.resample`.
        standardise: whether every lead of a recording gets mean 0 and standard deviation 1; a flat
            lead becomes 0. Otherwise the network reads mV.
        epsilon: added to the standard deviation, in mV; 0: as the data preparation.
        filter: whether every row of a segment is cleaned by ``neurokit2.ecg_clean``.
        mean: of each of the twelve leads, with which segments are normalised. None: not at all.
        std: standard deviation of each of the twelve leads.
        missing_leads: what becomes of a lead that a recording lacks: ``derive`` computes limb
            leads from two others where these are there, and makes the rest zeros; ``zero`` makes
            all of them zeros; ``error`` refuses the recording.
        keep_single: whether float32 samples are standardised in float32, as the data preparation
            does; otherwise in float64.
        layer_norm: whether a recording is normalised by the mean and the biased variance of all
            samples of the rows that the network reads, before segments are cut.
        each_lead: whether the network reads one lead: segments are those of every lead that the
            recording has of ``leads``, one lead after the other. A flat lead has none.

    Raises:
        DataError: a value that is none of these.
    """

    sample_rate: float = 500.0
    segment_seconds: float = 5.0
    leads: tuple[str, ...] = LEADS
    pad_leads: bool = False
    resampler: str = "linear"
    standardise: bool = True
    epsilon: float = QUICKSTART_EPSILON
    filter: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    missing_leads: str = "derive"
    keep_single: bool = False
    layer_norm: bool = False
    each_lead: bool = False

    def __post_init__(self) -> None:
        for name in ("sample_rate", "segment_seconds"):
            if not 0 < getattr(self, name) < np.inf:
                raise DataError(f"preprocessing: {name}={getattr(self, name)} must be positive")
        check_rate("preprocessing", self.sample_rate)
        check_limit("preprocessing", "segment", self.segment_seconds * self.sample_rate)
        check_choice("missing_leads", self.missing_leads, MISSING_LEADS)
        check_choice("resampler", self.resampler, RESAMPLERS)
        if not 0 <= self.epsilon < np.inf:
            raise DataError(f"preprocessing: epsilon={self.epsilon} must not be negative")
        if (self.mean is None) != (self.std is None):
            raise DataError("preprocessing: mean and std need each other")
        if self.mean is not None:
            self._statistics()
        try:
            lead_indices(self.leads)
        except ValueError as error:
            raise DataError(f"preprocessing: {error}") from error
        if self.segment_samples < 1:
            raise DataError("preprocessing: a segment is shorter than one sample")
        if self.each_lead and self.pad_leads:
            raise DataError("preprocessing: each_lead gives one row, which pad_leads cannot pad")

    @classmethod
    def of_task(
        cls,
        task: Mapping[str, Any],
        recorded: Mapping[str, Any] | None = None,
        statistics: LeadStatistics | None = None,
        n_rows: int | None = None,
    ) -> "Preprocessing":
        """Infer it from the configuration of the task that trained a network.

        Args:
            task: ``cfg.task`` of a checkpoint of fairseq_signals or of this package. Files that it
                names are not opened.
            recorded: what the training of this package noted of its data, see
                `fairseq_ecg.compat.checkpoint.NOTES`; None of a checkpoint of fairseq_signals, for
                which 500 Hz and 5 s are taken where ``task.sample_rate`` and
                ``task.max_sample_size`` say nothing else.
            statistics: with which leads are normalised, in place of those noted.
            n_rows: that the network reads; None: as the task says. It matters where recordings are
                taken whole, for there the task selects no leads.

        Raises:
            DataError: the network has no one input, or its statistics are not there, or are given
                although it was trained without.
        """
        is_delineation = task.get("_name") in WHOLE_TASKS
        if is_delineation or task.get("criterion_name") in WHOLE_CRITERIONS:
            return cls._of_whole_task(task, recorded or {}, statistics, n_rows, is_delineation)
        if task.get("leads_bucket"):
            raise DataError(
                "the network was trained on leads drawn at random (task.leads_bucket), "
                "so that there is no one input to give it"
            )
        known = {key: value for key, value in (recorded or {}).items() if value}
        has_texts = task.get("_name") in TEXT_TASKS
        default = WHOLE_SECONDS if has_texts else cls.segment_seconds
        rate, seconds = _rate_and_seconds(task, known, default)
        mean: tuple[float, ...] | None = None
        std: tuple[float, ...] | None = None
        if task.get("normalize"):
            if statistics is not None:
                given = statistics.mean, statistics.std
            elif "mean" in known and "std" in known:
                given = known["mean"], known["std"]
            else:
                raise DataError(
                    "the network was trained on leads normalised by statistics that the checkpoint "
                    "does not hold, and no file is opened because a checkpoint names it "
                    f"({shortened(task.get('mean_path'))}, {shortened(task.get('std_path'))}). "
                    "Give both files: --mean-path and --std-path, in Python mean_path= and "
                    "std_path="
                )
            mean, std = (tuple(map(float, values)) for values in given)
        elif statistics is not None:
            raise DataError(
                "the network was trained on leads that were not normalised: leave out mean_path "
                "and std_path"
            )
        return cls(
            sample_rate=rate,
            segment_seconds=seconds,
            leads=tuple(LEADS[lead] for lead in lead_indices(task.get("leads_to_load"))),
            pad_leads=bool(task.get("enable_padding_leads")),
            # Records with texts, and those that files of a path data set name, are in mV.
            standardise=not (task.get("path_dataset") or has_texts),
            filter=bool(task.get("filter")),
            mean=mean,
            std=std,
        )

    @classmethod
    def _of_whole_task(
        cls,
        task: Mapping[str, Any],
        recorded: Mapping[str, Any],
        statistics: LeadStatistics | None,
        n_rows: int | None,
        is_delineation: bool,
    ) -> "Preprocessing":
        """Infer it of a task that takes recordings whole, see :meth:`of_task`."""
        if statistics is not None:
            raise DataError(
                "the network was trained on recordings that no statistics of leads normalise: "
                "leave out mean_path and std_path"
            )
        if n_rows not in (None, 1, len(LEADS)):
            raise DataError(
                f"the network reads {n_rows} leads, and the checkpoint does not say which. Give "
                "load_model a preprocessing"
            )
        default = WHOLE_SECONDS if is_delineation else cls.segment_seconds
        known = {key: value for key, value in recorded.items() if value}
        rate, seconds = _rate_and_seconds(task, known, default)
        return cls(
            sample_rate=rate,
            segment_seconds=seconds,
            # Recordings with waves are in mV.
            standardise=not is_delineation and not task.get("path_dataset"),
            layer_norm=bool(task.get("normalize")),
            each_lead=n_rows == 1,
        )

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Make it of what :meth:`to_json` returned.

        Raises:
            DataError: a key that is not known here, or a value of another type.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise DataError(
                f"preprocessing: {', '.join(unknown)} is not known here. The network was saved by "
                "another version of fairseq-ecg: install a newer one"
            )
        for field in fields(cls):
            value, kind = values.get(field.name, field.default), _KINDS[type(field.default)]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise DataError(
                    f"preprocessing: {field.name}={shortened(value)} is of a wrong type"
                )
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def to_json(self) -> dict[str, Any]:
        """Return plain values by name; those that few have only where they are set."""
        values = asdict(self)
        for name in ("keep_single", "layer_norm", "each_lead"):
            if not values[name]:
                del values[name]
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }

    @property
    def segment_samples(self) -> int:
        """Length of a segment in samples."""
        return round(self.segment_seconds * self.sample_rate)

    @property
    def n_rows(self) -> int:
        """Rows of a segment."""
        if self.each_lead:
            return 1
        return len(LEADS) if self.pad_leads else len(self.leads)

    @property
    def pipeline(self) -> Pipeline:
        """What is done to a signal before it is conditioned."""
        return Pipeline(
            leads=tuple(LEADS[lead] for lead in lead_indices(self.leads)),
            sample_rate=self.sample_rate,
            segment_samples=self.segment_samples,
            resampler=self.resampler,
            standardise=self.standardise,
            epsilon=self.epsilon,
            zero_gaps=True,
            keep_single=self.keep_single,
        )

    def conditioning(self) -> Conditioning:
        """Return what is done to a segment that is standardised and cut already."""
        return Conditioning(
            pad_leads=self.pad_leads,
            sample_rate=self.sample_rate,
            filter=self.filter,
            statistics=None if self.mean is None else self._statistics(),
        )

    def _statistics(self) -> LeadStatistics:
        return LeadStatistics(np.array(self.mean), np.array(self.std))

    def segments(
        self,
        ecg: ECG,
        *,
        short: str = "error",
        tail: str = "drop",
        nan_policy: str = "error",
        missing_leads: str | None = None,
        overlap: float = 0.0,
    ) -> "Segments":
        """Prepare a recording.

        Args:
            ecg: the recording.
            short: what becomes of a recording shorter than a segment: ``error``; ``pad``, which
                fills it up with zeros that attention and pooling leave out; or ``reflect``, which
                fills it up with its own reflection at its end, and calls none of it padding.
            tail: what becomes of the samples behind the last whole segment: ``drop``, as in
                training, or ``overlap``, one more segment that ends with the recording.
            nan_policy: what becomes of samples without a value in a lead that has others:
                ``error``, or ``interpolate``, linearly between their neighbours. A lead without
                any value is a missing one.
            missing_leads: in place of the own :attr:`missing_leads`.
            overlap: which share of a segment the next one repeats. If it is not 0, segments cover
                the whole recording, whatever ``tail`` says: the last one ends with it.

        Returns:
            Its segments, which are computed as they are asked for.

        Raises:
            DataError: the recording is empty, in other units than mV by its magnitude, flat in
                all leads, has samples without a value, lacks leads, or is too short, and the
                policy is not to accept that.
        """
        check_choice("short", short, SHORT)
        check_choice("tail", tail, TAILS)
        check_choice("nan_policy", nan_policy, NAN_POLICIES)
        if missing_leads not in (None, self.missing_leads):
            return replace(self, missing_leads=missing_leads).segments(
                ecg, short=short, tail=tail, nan_policy=nan_policy, overlap=overlap
            )
        ecg = self._with_values(ecg, nan_policy)
        check_millivolts(ecg)
        missing = tuple(lead for lead in self.leads if lead not in ecg.leads)
        return Segments(self, self._with_leads(ecg, missing), missing, short, tail, overlap)

    def _with_values(self, ecg: ECG, nan_policy: str) -> ECG:
        """Leave out leads without any value, and fill gaps in the others."""
        signal = np.asarray(ecg.signal)
        if signal.ndim != 2 or not signal.size:
            raise DataError(f"{ecg.where}: no samples (its shape is {signal.shape})")
        if not 0 < ecg.sample_rate < np.inf:
            raise DataError(f"{ecg.where}: {ecg.sample_rate} is no sampling rate in Hz")
        check_rate(ecg.where, ecg.sample_rate)
        finite = np.isfinite(signal)
        if finite.all():
            return ecg
        kept = np.flatnonzero(finite.any(axis=1))
        if not kept.size:
            raise DataError(f"{ecg.where}: no sample has a value (all are NaN or infinite)")
        leads = tuple(ecg.leads[row] for row in kept)
        signal, finite = signal[kept], finite[kept]
        counts = (~finite).sum(axis=1)
        if counts.any() and nan_policy == "error":
            found = ", ".join(
                f"{count} in {lead}" for lead, count in zip(leads, counts, strict=True) if count
            )
            raise DataError(
                f"{ecg.where}: of {signal.shape[1]} samples, NaN or infinite are {found}. Leave "
                "the recording out, or say nan_policy='interpolate'"
            )
        if counts.any():
            signal = interpolated(signal, finite)
        return replace(ecg, signal=signal, leads=leads)

    def _with_leads(self, ecg: ECG, missing: tuple[str, ...]) -> ECG:
        """Add the leads that can be derived, if that is the policy."""
        if missing and self.missing_leads == "error" and not self.each_lead:
            raise DataError(
                f"{ecg.where}: lacks lead {', '.join(missing)} (it has {', '.join(ecg.leads)}). "
                "Give all leads that the network reads, or say missing_leads='derive' or 'zero'"
            )
        if len(missing) == len(self.leads):
            raise DataError(
                f"{ecg.where}: has none of the leads that the network reads "
                f"({', '.join(self.leads)}), but {', '.join(ecg.leads)}"
            )
        return derive_limb_leads(ecg) if missing and self.missing_leads == "derive" else ecg


class Segments:
    """Segments of one recording, computed as they are asked for.

    Args:
        preprocessing: how.
        ecg: recording, with any leads.
        missing: leads that it lacked.
        short: see :meth:`Preprocessing.segments`.
        tail: as for :meth:`Preprocessing.segments`.
        overlap: as for :meth:`Preprocessing.segments`.

    Attributes:
        starts: first sample, at the network's rate, of each segment of the leads that go together.
        length: of the recording in samples at the network's rate.
        leads: those of which each has segments of its own, in their order; empty: they go together.
        padded: samples behind the recording in its only segment.
        missing_leads: leads that the recording lacked, derived ones included.
        flat_leads: other leads that are constant; they are zero.
        seconds: length of the recording.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        ecg: ECG,
        missing: tuple[str, ...],
        short: str,
        tail: str,
        overlap: float = 0.0,
    ):
        self.preprocessing = preprocessing
        self.ecg = ecg
        self.missing_leads = missing
        self.seconds = ecg.seconds
        pipeline = preprocessing.pipeline
        signal = pipeline.resampled(pipeline.arranged(ecg), ecg.sample_rate)
        width, length = preprocessing.segment_samples, signal.shape[1]
        self.length = length
        self._lacking = max(width - length, 0)
        self.padded = 0 if short == "reflect" else self._lacking
        if self._lacking and (short == "error" or length < 2):
            raise DataError(
                f"{ecg.where}: {ecg.seconds:.3g} s, shorter than one segment of "
                f"{preprocessing.segment_seconds:g} s. Leave the recording out"
                + (", or say short='pad'" if length > 1 else "")
            )
        step = max(width - round(overlap * width), 1)
        self.starts = list(range(0, max(length - width, 0) + 1, step))
        if (tail == "overlap" or overlap) and self.starts[-1] + width < length:
            self.starts.append(length - width)
        found = pipeline.standardisation(signal)
        flat = found.flat[:, 0]
        if flat.all():
            raise DataError(f"{ecg.where}: no signal, all leads are flat")
        by_lead = dict(zip(preprocessing.leads, flat, strict=True))
        self.flat_leads = tuple(
            lead for lead, is_flat in by_lead.items() if is_flat and lead not in missing
        )
        self.leads = tuple(lead for lead, is_flat in by_lead.items() if not is_flat)
        if not preprocessing.each_lead:
            self.leads = ()
        self._signal = pipeline.standardised(signal, found)
        if preprocessing.layer_norm:
            normalised = layer_normalisation(self._signal, together=not preprocessing.each_lead)
            dtype = np.dtype(np.float64)
            self._signal = mapped(self._signal, normalised, len(flat), dtype)
        self._conditioning = preprocessing.conditioning()

    def __len__(self) -> int:
        return len(self.starts) * max(len(self.leads), 1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield every segment, ``(rows, segment_samples)`` float32."""
        together: list[tuple[str, ...]] = [self.preprocessing.leads]
        for leads in [(lead,) for lead in self.leads] or together:
            for start in self.starts:
                yield self._segment(leads, start)

    def _segment(self, leads: tuple[str, ...], start: int) -> torch.Tensor:
        """Return the segment of some leads that begins at a sample."""
        rows = [self.preprocessing.leads.index(lead) for lead in leads]
        samples = self._signal[:, start : min(start + self._width, self.length)]
        if self._lacking and not self.padded:
            samples = np.pad(samples, ((0, 0), (0, self._lacking)), mode="reflect")
        positions = lead_indices(leads)
        feats = np.zeros((len(LEADS), samples.shape[1]))
        feats[positions] = samples[rows]
        recording = Recording(self.ecg.where, feats, self.preprocessing.sample_rate)
        segment = self._conditioning(recording, positions).float()
        return torch.nn.functional.pad(segment, (0, self.padded))

    @property
    def _width(self) -> int:
        return self.preprocessing.segment_samples

    def span(self, number: int) -> tuple[float, float]:
        """Return where a segment starts and ends in the recording, in seconds."""
        rate = self.preprocessing.sample_rate
        start = self.starts[number % len(self.starts)] / rate
        return start, min(start + self._width / rate, self.seconds)


def _rate_and_seconds(
    task: Mapping[str, Any], known: Mapping[str, Any], default: float
) -> tuple[float, float]:
    """Return the rate of segments in Hz and their length in seconds, see `of_task`."""
    rate = float(task.get("sample_rate") or known.get("sample_rate", Preprocessing.sample_rate))
    seconds = float(known.get("segment_seconds", default))
    if task.get("max_sample_size"):
        seconds = min(seconds, task["max_sample_size"] / rate)
    return rate, seconds


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise DataError if a value is none of the choices."""
    if value not in choices:
        raise DataError(f"{name}={value!r}: choose from {', '.join(choices)}")
