"""From recordings to a page."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from fairseq_ecg.data.names import in_one_line, printable
from fairseq_ecg.ecg.quality import DOUBTED
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.formats import ECG
from fairseq_ecg.formats.location import Location
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.picture import paper
from fairseq_ecg.inference.picture.recording import read_shown, unit_of
from fairseq_ecg.inference.picture.waves import STYLE, Waves, WavesOf, segmented_waves
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.report.embedding_map import map_embeddings
from fairseq_ecg.inference.report.packing import pack_saliency, pack_signal
from fairseq_ecg.inference.results import END, START
from fairseq_ecg.inference.thresholds import DEFAULT, thresholds_of
from fairseq_ecg.jobs.progress import progress_bar

EMBEDDED_SECONDS = 60.0
SALIENCY_RATE = 100.0
"""In Hz; several for each frame of a network."""
DIGITS = 4
SALIENCY_NAMES = {"attention": "attention of the last layer", "rollout": "attention rollout"}


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes:
        html: the page, which needs nothing but itself.
        errors: why a recording was left out, by its name.
    """

    html: str
    errors: Mapping[str, str]


def report(
    recordings: Sequence[NamedRecording | ECG],
    model: ECGModel,
    *,
    title: str = "ECG report",
    model_name: str = "",
    thresholds: float | Path = DEFAULT,
    start: float = 0.0,
    length: float = EMBEDDED_SECONDS,
    saliency_method: str = "attention",
    seed: int = 42,
    progress: bool | None = None,
    waves_of: WavesOf | None = None,
) -> Report:
    """Make a page of recordings.

    Probabilities and embeddings are of whole segments, as :meth:`ECGModel.predict` cuts them; the
    saliency also covers the rest behind the last whole segment, by one more that ends with the
    recording. Nothing that a file says of the patient gets onto the page.

    Args:
        recordings: what :func:`fairseq_ecg.inference.recordings.recordings_in` lists, or ECGs.
        model: what is asked.
        title: of the page.
        model_name: of the model, as the page shows it.
        thresholds: see :func:`fairseq_ecg.inference.thresholds.thresholds_of`.
        start: of what is shown, in seconds from the start of a recording.
        length: of what is shown of a recording, in seconds.
        saliency_method: see :meth:`ECGModel.saliencies`.
        seed: of the map.
        progress: whether to show a progress bar; None: where there is a terminal.
        waves_of: finds the waves of a recording, which are painted. None: those that the model
            delineates, if it is a segmentor.

    Returns:
        The page. Recordings that cannot be used are left out, which it says.

    Raises:
        DataError: no recording can be used, or a threshold has no label.
    """
    labels = model.labels
    if waves_of is None and model.wave_classes:
        waves_of = segmented_waves(model)
    limits = thresholds_of(() if model.scale else labels, thresholds)
    entries, errors, segments = [], {}, []
    sources: list[str] = []
    for recording in progress_bar(recordings, "recordings", "recording", show=progress):
        name = printable(recording.where) if isinstance(recording, ECG) else str(recording.name)
        try:
            with as_data_error(f"{name}: cannot be shown"):
                is_read = isinstance(recording, ECG)
                ecg, asked = (recording, recording) if is_read else read_shown(recording)
                entry, embeddings = _entry(ecg, asked, name, model, start, length, saliency_method)
                if waves_of is not None:
                    waves = waves_of(recording, ecg, asked)
                    sources.append(waves.source)
                    entry["waves"] = _waves(waves, start, start + length)
                json.dumps(entry, allow_nan=False)
                if not np.isfinite(embeddings).all():
                    raise ValueError("its embedding is not finite")
        except DataError as error:
            errors[name] = in_one_line(str(error))
            continue
        segments += [(len(entries), number, row) for number, row in enumerate(embeddings)]
        entries.append(entry)
    if not entries:
        raise DataError(f"no recording can be used. {next(iter(errors.values()), '')}".strip())
    drawn = map_embeddings(np.stack([row for _, _, row in segments]), seed)
    content = {
        "labels": list(labels),
        "thresholds": list(limits.values()),
        "targets": model.scale and model.scale.known(),
        "aggregation": [model.aggregation[label] for label in labels],
        "recordings": entries,
        "errors": [[name, error] for name, error in errors.items()],
        "map": {
            "method": drawn.method,
            "points": [
                [recording, segment, *_rounded(position)]
                for (recording, segment, _), position in zip(segments, drawn.positions, strict=True)
            ],
        },
        "model": _model_facts(model, model_name, saliency_method),
        "paper": _paper_facts(),
        "waves": STYLE | {"source": sources[0]} if sources else None,
    }
    return Report(_page(title, content), errors)


def _entry(
    ecg: ECG,
    asked: ECG | NamedRecording,
    name: str,
    model: ECGModel,
    start: float,
    length: float,
    method: str,
) -> tuple[dict, np.ndarray]:
    """Return what the page shows of a recording, and the embeddings of its segments.

    ``ecg`` is drawn, from ``start`` on for ``length`` seconds; the network is given ``asked``.
    """
    part = paper.shown(ecg, start, length)
    if model.labels:
        prediction, embeddings = model.predict_and_embed(asked)
    else:
        prediction, embeddings = None, model.embed(asked)
    facts = embeddings.recordings.iloc[0]
    spans = embeddings.segments[[START, END]].to_numpy()
    packed, step = pack_signal(part.ecg.signal)
    entry = {
        "name": Location.of(name).stem or name,
        "path": name,
        "rate": ecg.sample_rate,
        "unit": unit_of(ecg),
        "start": start,
        "whole": ecg.seconds,
        "samples": part.ecg.n_samples,
        "leads": list(part.ecg.leads),
        "derived": list(part.derived),
        "missing": facts["missing_leads"],
        "flat": facts["flat_leads"],
        "doubts": facts["doubts"],
        "quality": float(facts["quality"]),
        "doubted": bool(facts["quality"] < DOUBTED),
        "reasons": facts["quality_reasons"],
        "signal": packed,
        "step": step,
        "layouts": _layouts(part),
        "segments": [_rounded(span) for span in spans],
        "saliency": _saliency(ecg, asked, part, model, method),
        "outputs": [],
        "ofSegments": [],
    }
    if prediction is not None:
        of_segments = prediction.segments[list(model.labels)].to_numpy()
        rounded = _to_digits if model.scale else _rounded
        entry["outputs"] = rounded(prediction.table.iloc[0])
        entry["ofSegments"] = [rounded(row) for row in of_segments]
    return entry, embeddings.segments.drop(columns=[START, END]).to_numpy(dtype=np.float64)


def _waves(waves: Waves, start: float, stop: float) -> dict[str, list[list]]:
    """Return the waves that are shown, with times from the start of what is shown."""
    return {
        lead: [
            [kind, *_rounded([onset - start, offset - start])]
            for kind, onset, offset in waves.between(lead, start, stop)
        ]
        for lead in waves.of_leads
    }


def _kind(model: ECGModel) -> str:
    if model.wave_classes:
        return "segmentor"
    if model.scale:
        return "fine-tuned regression"
    return "fine-tuned classifier" if model.labels else "pre-trained encoder"


def _layouts(part: paper.Shown) -> list[dict]:
    """Return where every strip goes, for each layout that makes sense of the leads."""
    window = min(part.ecg.seconds, paper.SHOWN_SECONDS)
    leads, whole = part.ecg.leads, part.ecg.seconds
    found = []
    if set(paper.LEADS) <= set(leads):
        for name, title in (("3x4", "3 x 4 + II"), ("6x2", "6 x 2")):
            found.append(_layout(part, title, paper.layout_of(leads, name), window))
    found.append(_layout(part, "one below the other", paper.layout_of(leads, leads=leads), whole))
    return found


def _layout(part: paper.Shown, title: str, layout: paper.Layout, seconds: float) -> dict:
    sheet = paper.Paper(layout.n_rows, seconds)
    strips = list(layout.strips(seconds))
    return {
        "name": title,
        "width": sheet.width,
        "height": sheet.height,
        "seconds": seconds,
        "gain": part.gain(strips),
        "bases": [sheet.base_line(row) for row in range(sheet.n_rows)],
        "strips": [
            [part.ecg.leads.index(strip.lead), strip.row, strip.start, strip.stop]
            for strip in strips
        ],
    }


def _saliency(
    ecg: ECG, asked: ECG | NamedRecording, part: paper.Shown, model: ECGModel, method: str
) -> dict | None:
    """Return what is painted of the saliency; None of a network that has none."""
    if not model.network.encoder.has_attention:
        return None
    found = model.saliency(asked, method=method, tail="overlap")
    values = found.on_signal(found.recordings.index[0])
    first = round(part.start * ecg.sample_rate)
    times = np.arange(0, part.ecg.seconds, 1 / SALIENCY_RATE)
    indices = np.minimum(first + np.round(times * ecg.sample_rate).astype(int), len(values) - 1)
    least, largest = float(np.nanmin(values)), float(np.nanmax(values))
    return {
        "rate": SALIENCY_RATE,
        "values": pack_saliency(values[indices], least, largest),
        "least": float(f"{least:.3g}"),
        "largest": float(f"{largest:.3g}"),
    }


def _model_facts(model: ECGModel, name: str, method: str) -> list[list[str]]:
    """Return what there is to say of the model and its preprocessing, row by row."""
    from fairseq_ecg import __version__

    preprocessing = model.preprocessing
    n_parameters = sum(parameter.numel() for parameter in model.network.parameters())
    scale = "mV"
    if preprocessing.standardise:
        scale = f"each lead to mean 0, standard deviation 1 (+ {preprocessing.epsilon:g} mV)"
    rows = [
        ("Model", name),
        ("Kind", _kind(model)),
        ("Parameters", f"{n_parameters:,}"),
        ("Embedding", f"{model.embed_dim} channels, mean over the frames of a segment"),
        ("Saliency", model.network.encoder.has_attention and SALIENCY_NAMES[method]),
        ("Computed in", f"{str(model.dtype).removeprefix('torch.')} on {model.device.type}"),
        ("Leads", ", ".join(preprocessing.leads)),
        ("Missing leads", preprocessing.missing_leads),
        ("Rate", f"{preprocessing.sample_rate:g} Hz, resampled by {preprocessing.resampler}"),
        ("Segments", f"{preprocessing.segment_seconds:g} s"),
        ("Scale", scale),
        ("Filter", "neurokit2.ecg_clean" if preprocessing.filter else "none"),
        ("Normalised", "by statistics of its training data" if preprocessing.mean else "no"),
        ("Made by", f"fairseq-ecg {__version__}"),
    ]
    return [[key, value] for key, value in rows if value]


def _paper_facts() -> dict:
    return {
        "left": paper.TRACE_LEFT,
        "speed": paper.MM_PER_SECOND,
        "background": paper.BACKGROUND,
        "fine": paper.FINE_GRID,
        "coarse": paper.COARSE_GRID,
        "trace": paper.TRACE,
        "ramp": list(paper.SALIENCY_RAMP),
    }


def _rounded(values: Sequence[float] | np.ndarray | pd.Series) -> list[float]:
    return [round(float(value), DIGITS) for value in values]


def _to_digits(values: Sequence[float] | np.ndarray | pd.Series) -> list[float]:
    """Round to significant digits: an estimate may be of any magnitude."""
    return [float(f"{value:.{DIGITS + 1}g}") for value in values]


def _page(title: str, content: Mapping) -> str:
    folder = files("fairseq_ecg.inference.report")
    # A script ends at the first </script>, whatever stands around it.
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(printable(title)),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        data=data,
    )
