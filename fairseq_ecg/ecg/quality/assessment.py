"""From a recording to its quality."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np

from fairseq_ecg.ecg.leads import LEADS, LIMB_LEADS
from fairseq_ecg.ecg.quality.beats import Beat, Beats
from fairseq_ecg.ecg.quality.chunk import Chunk, Spectrum
from fairseq_ecg.ecg.quality.leads import (
    INDEPENDENT,
    MISTAKES,
    dipole_residual,
    doubles,
    law_residual,
    limb_explanation,
)
from fairseq_ecg.ecg.quality.reasons import Reason, listed
from fairseq_ecg.ecg.quality.timing import backwards, haste, polarity
from fairseq_ecg.ecg.recording import ECG

DOUBTED = 0.5
"""A recording of less quality is doubted."""

CHUNK_SECONDS = 10.0
MOST_CHUNKS = 12
"""That are looked at; of a longer recording they are spread evenly over it."""

LEAST_SECONDS = 2.0
LEAST_RATE = 40.0
"""In Hz; below its double a QRS complex of 10 to 20 Hz cannot be told from others."""

OFFSET_MILLIVOLTS = 500.0
"""Electrodes have up to 300 mV between them (IEC 60601-2-25)."""
LAW_OF_BEATS, LAW_OF_SAMPLES = 0.12, 0.5
"""Residual of Einthoven's and Goldberger's laws over the size of the limb leads, in the mean beat
and in all samples. Recordings have 0.03 at most in the beat; leads that were filtered or rounded
each by itself have more in the samples."""
CLEAR = 0.5
"""Correlation of its beats from which on a lead has beats."""
WIDE_SECONDS = 0.13
PREMATURE = 0.85
"""Of the interval after a beat; a beat that comes earlier is ectopic."""
HASTE = (2.8, 22.0)
"""In Hz, see `haste`. Recordings have 7 to 20, simulated bundle branch blocks 4."""
RATES = (20.0, 300.0)
"""Beats per minute that hearts have."""


@dataclass(frozen=True)
class Quality:
    """How much a recording looks like an ECG that was recorded as it says.

    Attributes:
        score: 1 where there is no reason for doubt, 0 where there is nothing of an ECG; the
            product of the factors of reasons, averaged over chunks of the recording.
        reasons: why it is not 1, the weightiest first.
    """

    score: float
    reasons: tuple[Reason, ...] = ()

    @property
    def is_doubted(self) -> bool:
        """Whether the score is below `DOUBTED`."""
        return self.score < DOUBTED

    @property
    def text(self) -> str:
        """All reasons in a line; empty if there are none."""
        return "; ".join(reason.text for reason in self.reasons)


def quality(ecg: ECG) -> Quality:
    """Judge the quality of a recording, from its samples, its names of leads and its rate.

    Args:
        ecg: the recording, as it was read: in mV, gaps as NaN, any leads. Up to two minutes are
            looked at, in chunks of about 10 s.

    Returns:
        The quality.
    """
    return _assessed(_chunks(ecg.signal, ecg.sample_rate), ecg.leads, ecg.sample_rate, False)


def quality_of_standardised(
    segments: Sequence[np.ndarray], leads: Sequence[str], sample_rate: float
) -> Quality:
    """Judge a recording whose leads have been standardised, each by itself.

    Amplitudes and sums of leads mean nothing then, and are not looked at.

    Args:
        segments: of the recording, ``(n_leads, n_samples)`` each. Leads of zeros count as missing:
            that is what the data preparation makes of leads that are not there.
        leads: name of each row.
        sample_rate: in Hz.

    Returns:
        The quality.
    """
    there = [row for row in range(len(leads)) if any(one[row].any() for one in segments)]
    few = {round(position) for position in np.linspace(0, len(segments) - 1, MOST_CHUNKS)}
    chunks = (
        chunk for number in sorted(few) for chunk in _chunks(segments[number][there], sample_rate)
    )
    return _assessed(chunks, [leads[row] for row in there], sample_rate, True)


def _assessed(
    chunks: Iterable[np.ndarray], leads: Sequence[str], rate: float, is_standardised: bool
) -> Quality:
    found = [list(_reasons(Chunk(one, leads, rate), is_standardised)) for one in chunks]
    score = float(np.mean([np.prod([reason.factor for reason in one]) for one in found]))
    return Quality(round(score, 3), _merged(found))


def _chunks(signal: np.ndarray, rate: float) -> Iterator[np.ndarray]:
    """Yield what is looked at of a signal, ``(n_leads, n)`` each."""
    n_samples = signal.shape[1]
    count = max(ceil(n_samples / rate / CHUNK_SECONDS - 0.5), 1)
    width = n_samples / count
    if count > MOST_CHUNKS:
        count, width = MOST_CHUNKS, CHUNK_SECONDS * rate
    for start in np.linspace(0, n_samples - width, count):
        yield signal[:, round(start) : round(start + width)]


def _merged(found: Sequence[Sequence[Reason]]) -> tuple[Reason, ...]:
    """Put the same reasons of several chunks together, the weightiest first."""
    of_kind: dict[str, list[Reason]] = {}
    for one in found:
        for reason in one:
            of_kind.setdefault(reason.kind, []).append(reason)
    merged = []
    for kind, reasons in of_kind.items():
        text = min(reasons, key=lambda reason: reason.factor).text
        if len(reasons) < len(found):
            text = f"in {len(reasons)} of {len(found)} chunks: {text}"
        clear = len(found) - len(reasons)
        factor = (sum(reason.factor for reason in reasons) + clear) / len(found)
        merged.append(Reason(kind, text, round(factor, 3)))
    return tuple(sorted(merged, key=lambda reason: reason.factor))


class _Seen:
    """A chunk with what is computed of it when a rule asks."""

    def __init__(self, chunk: Chunk, is_standardised: bool):
        self.chunk = chunk
        self.is_standardised = is_standardised
        self.kept = np.flatnonzero(chunk.moving)
        self.leads = [chunk.leads[row] for row in self.kept]

    @cached_property
    def spectrum(self) -> Spectrum:
        return Spectrum(self.chunk.samples[self.kept], self.chunk.rate)

    @cached_property
    def beats(self) -> Beats:
        return Beats(self.spectrum)

    @cached_property
    def beat(self) -> Beat:
        return self.beats.typical

    def rows(self, leads: Sequence[str]) -> list[int] | None:
        """Return where leads are; None unless all of them are there."""
        if not set(leads) <= set(self.leads):
            return None
        return [self.leads.index(lead) for lead in leads]


def _reasons(chunk: Chunk, is_standardised: bool) -> Iterator[Reason]:
    if not chunk.leads:
        yield Reason("missing", "no sample has a value", 0.0)
        return
    if chunk.seconds < LEAST_SECONDS:
        yield Reason("short", f"{chunk.seconds:.2g} s are too short to see beats in", 0.2)
        return
    if chunk.rate < LEAST_RATE:
        yield Reason("rate", f"{chunk.rate:g} Hz are too slow a rate for QRS complexes", 0.1)
        return
    seen = _Seen(chunk, is_standardised)
    for rule in SAMPLE_RULES:
        yield from rule(seen)
    if not len(seen.kept):
        return
    no_beats = list(_beats(seen))
    yield from no_beats
    if not no_beats:
        for rule in BEAT_RULES:
            yield from rule(seen)


def _missing(seen: _Seen) -> Iterator[Reason]:
    share = float(seen.chunk.missing.mean())
    if share > 0.01:
        yield Reason("missing", f"{share:.0%} of the samples have no value", 1 - share)
    if seen.chunk.infinite:
        yield Reason("infinite", "infinite values, as where a number overflows", 0.3)
    straight = float(seen.chunk.straight.mean())
    if straight > 0.1:
        text = f"{straight:.0%} of the samples lie on straight lines between others"
        yield Reason("straight", text, 1 - straight)
    if seen.chunk.empty:
        text = f"{listed(seen.chunk.empty)} without any value"
        yield Reason("empty", text, 0.95)


def _flat(seen: _Seen) -> Iterator[Reason]:
    flat = seen.chunk.flat
    share = float(flat.mean())
    if share <= 0.01:
        return
    whole = [lead for lead, one in zip(seen.chunk.leads, flat, strict=True) if one == 1]
    text = f"{share:.0%} of the samples are flat"
    if whole:
        text += f" (all of {listed(whole)})"
    yield Reason("flat", text, 1 - share)


def _clipped(seen: _Seen) -> Iterator[Reason]:
    chunk = seen.chunk
    coarse = chunk.moving & (chunk.steps < chunk.FEW_VALUES)
    clipped = chunk.moving & (chunk.clipped > 0.1) & ~coarse
    for kind, which, what in (
        ("coarse", coarse, "has less than 10 different values"),
        ("clipped", clipped, "rests on its largest and least value"),
    ):
        names = [lead for lead, one in zip(chunk.leads, which, strict=True) if one]
        if names:
            share = len(names) / len(chunk.leads)
            yield Reason(kind, f"{listed(names)}: {what}", 1 - min(1.0, 2 * share) * 0.8)


def _wild(seen: _Seen) -> Iterator[Reason]:
    chunk = seen.chunk
    wild = [lead for lead, one in zip(chunk.leads, chunk.wild, strict=True) if one]
    if wild:
        yield Reason("amplitude", f"{listed(wild)}: beyond what is recorded, over 10 V", 0.2)
    offset = float(np.abs(chunk.offset).max())
    if not seen.is_standardised and offset > OFFSET_MILLIVOLTS:
        text = f"offset of {offset:.3g} mV, more than electrodes have"
        yield Reason("offset", text, 0.3)


def _frequencies(seen: _Seen) -> Iterator[Reason]:
    if not len(seen.kept):
        return
    spectrum = seen.spectrum
    whole = spectrum.energy(0.67, np.inf) + 1e-300
    mains = sum(spectrum.energy(line - 1, line + 1) for line in (50.0, 60.0)) / whole
    fast = spectrum.energy(40, np.inf) / whole - mains
    share = float(np.median(mains))
    if share > 0.2:
        factor = 0.4 if share > 0.5 else 0.8
        yield Reason("hum", f"{share:.0%} of the energy is hum of the mains", factor)
    share = float(np.median(fast))
    if share > 0.3:
        factor = 0.3 if share > 0.65 else 0.8
        yield Reason("noise", f"{share:.0%} of the energy is above 40 Hz", factor)


def _beats(seen: _Seen) -> Iterator[Reason]:
    beats, spectrum = seen.beats, seen.spectrum
    count = len(beats.peaks)
    in_band = float(np.median(spectrum.energy(5, 25) / (spectrum.energy(0.67, 25) + 1e-300)))
    if count < 2:
        what = "no beats" if count == 0 else "only one beat"
        yield Reason("beats", f"{what} in {seen.chunk.seconds:.3g} s", 0.0)
    elif in_band < 0.005 or beats.contrast < 1.15:
        yield Reason("beats", "no beats that stand out", 0.0)
    elif np.isnan(beats.agreement):
        yield Reason("beats", "no two whole beats to compare", 0.3)
    elif beats.agreement < (0.6 if beats.contrast > 2.5 else 0.9):
        text = f"what looks like beats is not alike (correlation {beats.agreement:.2f})"
        yield Reason("beats", text, 0.2)
    else:
        rate = 60 / beats.interval
        if not RATES[0] <= rate <= RATES[1]:
            yield Reason("beats", f"{rate:.0f} beats per minute", 0.2)


def _noisy_leads(seen: _Seen) -> Iterator[Reason]:
    likeness = seen.beats.likeness
    noisy = [lead for lead, one in zip(seen.leads, likeness, strict=True) if one < CLEAR]
    if noisy:
        factor = 1 - len(noisy) / len(seen.leads)
        yield Reason("leads", f"{listed(noisy)}: no clear beats", max(factor, 0.2))


def _amplitude(seen: _Seen) -> Iterator[Reason]:
    if seen.is_standardised:
        return
    span = seen.beat.span
    largest, middle = float(span.max()), float(np.median(span))
    high = [lead for lead, one in zip(seen.leads, span, strict=True) if one > 12]
    if high and len(high) < len(span):
        yield Reason("amplitude", f"{listed(high)}: QRS complexes of {largest:.3g} mV", 0.2)
    elif largest > 10 or (len(span) >= len(LEADS) and middle > 5):
        yield Reason("amplitude", f"QRS complexes of {largest:.3g} mV are too large", 0.3)
    elif (middle < 0.15 and len(span) > 2) or largest < 0.1:
        yield Reason("amplitude", f"QRS complexes of {middle:.2g} mV are too small", 0.4)


def _laws(seen: _Seen) -> Iterator[Reason]:
    rows = [row for row, lead in enumerate(seen.leads) if lead in LIMB_LEADS]
    if seen.is_standardised or len(rows) < 3:
        return
    leads, beat = [seen.leads[row] for row in rows], seen.beat.around_mean(rows)
    all_of_it = seen.chunk.samples[seen.kept[rows]]
    if law_residual(leads, beat) > LAW_OF_BEATS or law_residual(leads, all_of_it) > LAW_OF_SAMPLES:
        what = limb_explanation(leads, beat, LAW_OF_BEATS)
        text = "limb leads do not obey Einthoven's and Goldberger's laws"
        yield Reason("limb", f"{text}: {what}" if what else text, 0.3)


def _same(seen: _Seen) -> Iterator[Reason]:
    rows = np.flatnonzero(seen.beats.likeness >= CLEAR)
    leads = [seen.leads[row] for row in rows]
    names = doubles(leads, seen.chunk.samples[seen.kept[rows]], 1 - 1e-6)
    if names:
        yield Reason("same", f"{listed(names)}: the same as another lead", 0.3)


def _mistaken(seen: _Seen) -> Iterator[Reason]:
    rows = seen.rows(INDEPENDENT)
    if seen.is_standardised or rows is None or (seen.beats.likeness[rows] < CLEAR).any():
        return
    beat = seen.beat.around_mean(rows)
    plain = dipole_residual(beat)
    if plain < 0.06:
        return
    residuals = {text: dipole_residual(beat, undo) for text, undo in MISTAKES.items()}
    best = min(residuals, key=residuals.__getitem__)
    if residuals[best] < 0.75 * plain:
        yield Reason("electrodes", best, 0.4)


def _upside_down(seen: _Seen) -> Iterator[Reason]:
    value = polarity(seen.leads, seen.beat)
    # Beats that start in the ventricles may point anywhere: they are wide, early or fast.
    if (
        value is not None
        and value < -1
        and seen.beat.duration < WIDE_SECONDS
        and seen.beat.interval > 0.5
        and seen.beat.prematurity > PREMATURE
    ):
        yield Reason("inverted", "all leads look upside down", 0.4)


def _backwards(seen: _Seen) -> Iterator[Reason]:
    beat = seen.beat
    odds = backwards(beat) if seen.rows(LEADS) else None
    # In fast rhythms P and T waves lie on each other; premature beats follow on a T wave.
    if odds is not None and odds > 2 and beat.interval > 0.55 and beat.prematurity > PREMATURE:
        yield Reason("backwards", "beats look reversed in time", 0.4)


def _rate(seen: _Seen) -> Iterator[Reason]:
    value = haste(seen.beat)
    if value > HASTE[1]:
        text = "QRS complexes are too short for the heart rate: is the sampling rate too high?"
        yield Reason("rate", text, 0.4)
    elif value < HASTE[0]:
        text = "QRS complexes are too long for the heart rate: is the sampling rate too low?"
        yield Reason("rate", text, 0.4)


_Rules = tuple[Callable[[_Seen], Iterator[Reason]], ...]

SAMPLE_RULES: _Rules = (_missing, _flat, _clipped, _wild, _frequencies)
"""That look at samples alone."""

BEAT_RULES: _Rules = (
    *(_noisy_leads, _amplitude, _laws, _same),
    *(_mistaken, _upside_down, _backwards, _rate),
)
"""That need beats."""
