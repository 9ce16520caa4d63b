"""Simulated 12-lead ECGs with known labels.

The heart is one moving electric dipole. Each wave of a beat (P, Q, R, S, T) is a Gaussian in time
around the R peak, with a direction in space: the vectorcardiogram is the sum of these waves over
all beats. Eight independent leads are projections of the dipole; the other four follow from
Einthoven's and Goldberger's definitions. A label is therefore known by construction, and so is
where each P wave, QRS complex and T wave begins and ends.

What is simulated is what a reader looks at: rate, regularity, presence and timing of the P wave,
width and direction of QRS and T. It is no model of disease, and no substitute for recordings of
patients.

Sources:
    P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith, "A dynamical model for generating
    synthetic electrocardiogram signals", IEEE Trans. Biomed. Eng. 50 (2003) 289-294: a beat as a
    sum of Gaussians, heart rate with a respiratory and a Mayer-wave component.
    R. Sameni, G. D. Clifford, C. Jutten, M. B. Shamsollahi, "Multichannel ECG and noise modeling",
    EURASIP J. Adv. Signal Process. 2007, 043407: the same with a dipole in three dimensions.
    G. E. Dower, "A lead synthesizer for the Frank system to simulate the standard 12-lead
    electrocardiogram", J. Electrocardiol. 1 (1968) 101-116: the projection onto the leads.

Axes of the dipole (Frank): x to the patient's left, y to the feet, z to the back; all in mV.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter, not_

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from scipy.signal import butter, sosfiltfilt

SAMPLE_RATE = 500
"""Samples per second."""

DURATION = 10
"""Length of a recording in seconds."""

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

LABELS = (
    "Normal sinus rhythm",
    "Sinus bradycardia",
    "Sinus tachycardia",
    "Atrial fibrillation",
    "1st degree atrioventricular block",
    "Left bundle branch block",
    "Right bundle branch block",
    "Premature ventricular contraction",
)

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)
"""Dower's matrix, ``(8, 3)``: leads I, II, V1-V6 from the dipole's x, y, z."""

RESOLUTION = 0.001
"""Step in mV in which leads I, II and V1-V6 are quantised."""


@dataclass(frozen=True)
class Wave:
    """A Gaussian pulse of the dipole.

    Attributes:
        vector: x, y, z of the dipole at the peak, in mV.
        time: of the peak, in seconds after the R peak.
        width: standard deviation in seconds.
    """

    vector: tuple[float, float, float]
    time: float
    width: float


ATRIA = (
    Wave((0.05, 0.09, -0.06), -0.020, 0.020),  # right atrium first: forwards and down
    Wave((0.09, 0.07, 0.04), 0.020, 0.022),  # then the left one: leftwards and back
)
"""The P wave; times are relative to its centre."""

VENTRICLES = {
    "normal": (
        Wave((-0.18, -0.06, -0.32), -0.026, 0.008),  # septum, from left to right
        Wave((1.10, 0.85, 0.12), 0.000, 0.011),  # free walls
        Wave((0.08, -0.12, 0.85), 0.025, 0.011),  # base, last
    ),
    "left": (  # the septum from right to left, then the left ventricle slowly through muscle
        Wave((0.55, 0.30, 0.35), -0.030, 0.018),
        Wave((0.85, 0.25, 0.80), 0.012, 0.022),
        Wave((0.75, -0.05, 0.70), 0.060, 0.020),
    ),
    "right": (  # a normal left ventricle, then the right one slowly: rightwards and forwards
        Wave((-0.18, -0.06, -0.32), -0.026, 0.008),
        Wave((1.05, 0.80, 0.12), 0.000, 0.011),
        Wave((0.05, -0.10, 0.55), 0.025, 0.011),
        Wave((-0.55, -0.08, -0.85), 0.070, 0.022),
    ),
}
"""The QRS complex by conduction: normal, left or right bundle branch block."""

REPOLARISATION = {
    "normal": (Wave((0.16, 0.12, -0.10), 0.245, 0.048), Wave((0.24, 0.18, -0.15), 0.300, 0.034)),
    "left": (Wave((-0.18, -0.02, -0.20), 0.270, 0.050), Wave((-0.26, -0.02, -0.28), 0.325, 0.036)),
    "right": (Wave((0.16, 0.12, 0.04), 0.265, 0.048), Wave((0.24, 0.18, 0.06), 0.320, 0.034)),
}
"""The T wave at 60 beats/min; it opposes the last part of a QRS complex with a block."""

ECTOPIC_FOCI = (
    (0.90, 0.85, 0.75),  # right ventricular outflow tract: like a left block, downwards
    (0.95, -0.75, 0.70),  # right ventricular apex: like a left block, upwards
    (-0.85, 0.75, -0.85),  # left ventricle, upper: like a right block, downwards
    (-0.60, -0.95, -0.80),  # left ventricle, lower: like a right block, upwards
)
"""Directions in mV of the main QRS vector of premature ventricular beats."""


T_BEGINS = 0.15
"""Waves that come later than this many seconds after R are repolarisation; QRS ends before."""


LEAST_SHARE = 0.1
"""A wave of the ECG lasts as long as the dipole of its pulses exceeds this share of its peak."""


@dataclass(frozen=True, eq=False)
class Patient:
    """What stays the same in all recordings of one patient.

    Attributes:
        projection: of the dipole onto I, II, V1-V6, ``(8, 3)``: heart axis, build, electrodes.
        atria: waves of the P wave.
        conduction: ``normal``, ``left`` or ``right`` (bundle branch block).
        ventricles: waves of QRS and T at 60 beats/min.
        pr: time from the centre of the P wave to the R peak, in seconds.
        first_degree_block: whether ``pr`` is prolonged.
        ectopic: waves of a premature ventricular beat.
    """

    projection: np.ndarray
    atria: tuple[Wave, ...]
    conduction: str
    ventricles: tuple[Wave, ...]
    pr: float
    first_degree_block: bool
    ectopic: tuple[Wave, ...]


@dataclass(frozen=True)
class Limits:
    """Where a wave of the ECG is, in samples.

    Attributes:
        kind: ``p``, ``qrs`` or ``t``.
        onset: its first sample.
        peak: that at which its dipole is largest.
        offset: its last sample.
    """

    kind: str
    onset: int
    peak: int
    offset: int


@dataclass(frozen=True, eq=False)
class Recording:
    """One simulated recording.

    Attributes:
        name: of the record.
        patient_id: number of the patient, from 0.
        ecg: in mV, ``(12, n_samples)`` float64, leads in the order of ``LEADS``.
        labels: names out of ``LABELS`` that hold.
        waves: that are in it, in order of time; one that another runs into ends before that.
    """

    name: str
    patient_id: int
    ecg: np.ndarray
    labels: frozenset[str]
    waves: tuple[Limits, ...]


def recordings(count: int, seed: int) -> Iterator[Recording]:
    """Simulate recordings, patient after patient; six patients in ten have one, the others more.

    Every patient has a random stream of their own, so that the first recordings do not depend on
    how many follow.

    Args:
        count: number of recordings.
        seed: of the random numbers.

    Yields:
        ``count`` values of type ``Recording``.
    """
    done = 0
    patient_id = 0
    while done < count:
        rng = default_rng(SeedSequence([seed, patient_id]))
        patient = draw_patient(rng)
        for _ in range(min(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]), count - done)):
            yield Recording(f"sim{done:05d}", patient_id, *record(patient, rng))
            done += 1
        patient_id += 1


def draw_patient(rng: Generator) -> Patient:
    """Draw a patient.

    Args:
        rng: random numbers.

    Returns:
        The patient.
    """
    conduction = str(rng.choice(["normal", "left", "right"], p=[0.6, 0.2, 0.2]))
    first_degree_block = bool(rng.random() < 0.25)
    pr = rng.uniform(0.25, 0.33) if first_degree_block else rng.uniform(0.11, 0.16)
    size = np.exp(rng.normal(0.0, 0.15))
    axis = _rotation(rng.normal(0.0, np.radians([8.0, 10.0, 14.0])))
    placement = 1.0 + rng.normal(0.0, [0.0, 0.0, 0.1, 0.1, 0.1, 0.08, 0.06, 0.06])
    focus = np.array(ECTOPIC_FOCI[rng.integers(len(ECTOPIC_FOCI))])
    return Patient(
        projection=size * placement[:, None] * DOWER @ axis,
        atria=_vary(ATRIA, rng),
        conduction=conduction,
        ventricles=_vary(VENTRICLES[conduction], rng) + _vary(REPOLARISATION[conduction], rng),
        pr=pr,
        first_degree_block=first_degree_block,
        ectopic=_vary(
            (
                Wave(tuple(0.7 * focus), -0.035, 0.024),
                Wave(tuple(focus), 0.025, 0.028),
                Wave(tuple(-0.35 * focus), 0.330, 0.060),
            ),
            rng,
        ),
    )


def record(
    patient: Patient, rng: Generator
) -> tuple[np.ndarray, frozenset[str], tuple[Limits, ...]]:
    """Record a patient once.

    Args:
        patient: the patient.
        rng: random numbers.

    Returns:
        The ECG in mV, ``(12, DURATION * SAMPLE_RATE)`` float64, the labels that hold, and the
        waves.
    """
    rhythm = str(rng.choice(["sinus", "slow", "fast", "fibrillation"], p=[0.46, 0.17, 0.17, 0.2]))
    if rhythm == "fast" and patient.first_degree_block:
        rhythm = "sinus"  # a long PR would put P into the T wave before it, where nobody sees it
    bounds = {"sinus": (62, 88), "slow": (40, 55), "fast": (105, 145), "fibrillation": (60, 130)}
    rate = rng.uniform(*bounds[rhythm])
    fibrillates = rhythm == "fibrillation"
    premature = bool(rng.random() < 0.2)

    peaks = _irregular_peaks(rate, rng) if fibrillates else _sinus_peaks(rate, rng)
    ectopic = np.zeros(len(peaks), dtype=bool)
    if premature:
        peaks, ectopic = _insert_premature_beats(peaks, rng)

    dipole = np.zeros((3, DURATION * SAMPLE_RATE))
    found = []
    previous = np.concatenate([[peaks[0] - 60.0 / rate], peaks[:-1]])
    for peak, before, is_ectopic in zip(peaks, previous, ectopic, strict=True):
        waves = patient.ectopic if is_ectopic else patient.ventricles
        moved = _at_interval(waves, peak - before)
        _add_waves(dipole, moved, peak)
        of_qrs = [wave.time <= T_BEGINS for wave in waves]
        found.append(_limits("qrs", tuple(compress(moved, of_qrs)), peak))
        found.append(_limits("t", tuple(compress(moved, map(not_, of_qrs))), peak))
        if not (fibrillates or is_ectopic):
            _add_waves(dipole, patient.atria, peak - patient.pr)
            found.append(_limits("p", patient.atria, peak - patient.pr))
    if fibrillates:
        dipole += _fibrillatory_waves(rng)

    labels = {
        "Sinus bradycardia": rhythm == "slow",
        "Sinus tachycardia": rhythm == "fast",
        "Atrial fibrillation": fibrillates,
        "1st degree atrioventricular block": patient.first_degree_block and not fibrillates,
        "Left bundle branch block": patient.conduction == "left",
        "Right bundle branch block": patient.conduction == "right",
        "Premature ventricular contraction": premature,
    }
    present = frozenset(name for name, holds in labels.items() if holds)
    ecg = twelve_leads(patient.projection @ dipole + _noise(rng))
    return ecg, present or frozenset({"Normal sinus rhythm"}), _in_recording(found)


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """Complete the leads: III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.

    Args:
        independent: leads I, II, V1-V6 in mV, ``(8, n_samples)``.

    Returns:
        ``(12, n_samples)`` in mV in the order of ``LEADS``. The eight are quantised to
        ``RESOLUTION`` first, so that the relations hold in a file that keeps half of it.
    """
    eight = np.round(independent / RESOLUTION)
    i, ii = eight[0], eight[1]
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.concatenate([limb, eight[2:]]) * RESOLUTION


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Return the rotation about x, then y, then z by ``angles`` in radians, ``(3, 3)``."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _vary(waves: tuple[Wave, ...], rng: Generator) -> tuple[Wave, ...]:
    """Return the waves with the size, time and width that one patient has."""
    return tuple(
        Wave(
            vector=tuple(np.array(wave.vector) * np.exp(rng.normal(0.0, 0.15))),
            time=wave.time + rng.normal(0.0, 0.002),
            width=wave.width * np.exp(rng.normal(0.0, 0.06)),
        )
        for wave in waves
    )


def _at_interval(waves: tuple[Wave, ...], interval: float) -> tuple[Wave, ...]:
    """Move T to where it lies after an RR interval in seconds: QT grows as its root (Bazett)."""
    stretch = np.sqrt(np.clip(interval, 0.4, 1.4))
    return tuple(
        Wave(wave.vector, wave.time * stretch, wave.width * stretch)
        if wave.time > T_BEGINS
        else wave
        for wave in waves
    )


def _add_waves(dipole: np.ndarray, waves: tuple[Wave, ...], origin: float) -> None:
    """Add waves to ``dipole`` ``(3, n_samples)`` in place; ``origin`` in s is their time 0."""
    time = np.arange(dipole.shape[1]) / SAMPLE_RATE
    for wave in waves:
        centre = origin + wave.time
        first, last = np.searchsorted(time, [centre - 5 * wave.width, centre + 5 * wave.width])
        pulse = np.exp(-0.5 * ((time[first:last] - centre) / wave.width) ** 2)
        dipole[:, first:last] += np.outer(wave.vector, pulse)


def _limits(kind: str, waves: tuple[Wave, ...], origin: float) -> Limits:
    """Find where the wave of the ECG that some pulses make is; it may be outside the recording."""
    reach = max(abs(wave.time) + 5 * wave.width for wave in waves)
    first = round((origin - reach) * SAMPLE_RATE)
    times = np.arange(first, round((origin + reach) * SAMPLE_RATE) + 1) / SAMPLE_RATE - origin
    pulses = (
        np.outer(wave.vector, np.exp(-0.5 * ((times - wave.time) / wave.width) ** 2))
        for wave in waves
    )
    size = np.linalg.norm(sum(pulses), axis=0)
    onset, *_, offset = np.flatnonzero(size > LEAST_SHARE * size.max())
    return Limits(kind, int(first + onset), int(first + size.argmax()), int(first + offset))


def _in_recording(waves: list[Limits]) -> tuple[Limits, ...]:
    """Order waves by time, cut each off before the next one and at the ends of the recording."""
    ordered = sorted(waves, key=attrgetter("onset"))
    ends = [wave.onset - 1 for wave in ordered[1:]] + [DURATION * SAMPLE_RATE - 1]
    kept = []
    for wave, end in zip(ordered, ends, strict=True):
        end = min(end, DURATION * SAMPLE_RATE - 1, wave.offset)
        onset = max(wave.onset, 0)
        if onset <= end:
            kept.append(Limits(wave.kind, onset, min(max(wave.peak, onset), end), end))
    return tuple(kept)


def _sinus_peaks(rate: float, rng: Generator) -> np.ndarray:
    """Return times of R peaks in seconds, with respiratory and Mayer-wave variation of the rate."""
    respiratory, mayer = rng.uniform(0.005, 0.04), rng.uniform(0.005, 0.02)
    breath, phases = rng.uniform(0.2, 0.3), rng.uniform(0.0, 2 * np.pi, size=2)
    peak = rng.uniform(-1.0, 0.0)
    peaks = []
    while peak < DURATION + 1.0:
        peaks.append(peak)
        variation = respiratory * np.sin(2 * np.pi * breath * peak + phases[0])
        variation += mayer * np.sin(2 * np.pi * 0.1 * peak + phases[1])
        peak += 60.0 / rate * (1.0 + variation + rng.normal(0.0, 0.005))
    return np.array(peaks)


def _irregular_peaks(rate: float, rng: Generator) -> np.ndarray:
    """Return times of R peaks in seconds when the atria fibrillate: independent intervals."""
    spread = rng.uniform(0.18, 0.28)
    mean = 60.0 / rate
    peak = rng.uniform(-1.0, 0.0)
    peaks = []
    while peak < DURATION + 1.0:
        peaks.append(peak)
        peak += max(0.3, rng.gamma(spread**-2, mean * spread**2))
    return np.array(peaks)


def _insert_premature_beats(peaks: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Let every second to fourth beat come early, after which the next one is on time.

    Args:
        peaks: times of R peaks in seconds.
        rng: random numbers.

    Returns:
        Times of R peaks in seconds, and a bool array: True where the beat is premature.
    """
    period = rng.integers(2, 5)
    ectopic = (np.arange(len(peaks)) + rng.integers(period)) % period == 0
    ectopic[0] = False
    earlier = rng.uniform(0.28, 0.42) * np.diff(peaks, prepend=np.nan)
    return np.where(ectopic, peaks - earlier, peaks), ectopic


def _fibrillatory_waves(rng: Generator) -> np.ndarray:
    """Return f waves, ``(3, n_samples)`` in mV: 4-9 Hz, unsteady, largest in V1 (forwards)."""
    time = np.arange(DURATION * SAMPLE_RATE) / SAMPLE_RATE
    wander = np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * time + rng.uniform(0.0, 2 * np.pi))
    phase = 2 * np.pi * rng.uniform(5.0, 8.0) * time + 1.5 * wander
    size = rng.uniform(0.03, 0.08) * (1.0 + 0.3 * np.roll(wander, SAMPLE_RATE))
    wave = size * (np.sin(phase) + 0.3 * np.sin(2 * phase))
    return np.outer([0.2, 0.6, -0.9], wave)


def _noise(rng: Generator) -> np.ndarray:
    """Return noise of leads I, II, V1-V6, ``(8, n_samples)`` in mV: drift, muscle, power line."""
    samples = DURATION * SAMPLE_RATE
    time = np.arange(samples) / SAMPLE_RATE
    drift = np.zeros((8, samples))
    for frequency in rng.uniform(0.05, 0.4, size=3):
        phase = rng.uniform(0.0, 2 * np.pi)
        drift += rng.normal(0.0, 0.025, (8, 1)) * np.sin(2 * np.pi * frequency * time + phase)
    band = butter(2, [20.0, 150.0], "bandpass", fs=SAMPLE_RATE, output="sos")
    muscle = sosfiltfilt(band, rng.normal(0.0, rng.uniform(0.005, 0.02, (8, 1)), (8, samples)))
    hum = rng.uniform(0.0, 0.008, (8, 1)) * np.sin(2 * np.pi * rng.choice([50, 60]) * time)
    return drift + muscle + hum
