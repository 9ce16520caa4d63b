"""What a typical beat says of polarity, direction of time and sampling rate."""

from collections.abc import Sequence

import numpy as np

from fairseq_ecg.ecg.quality.beats import Beat
from fairseq_ecg.ecg.quality.chunk import RATE

_UPRIGHT = {"I": 1.0, "II": 1.0, "V4": 1.0, "V5": 1.0, "V6": 1.0, "aVR": -1.0}
"""Where the waves of a heart in its place mostly point; in V1 the QRS complex points down."""


def polarity(leads: Sequence[str], beat: Beat) -> float | None:
    """Return whether waves point where they do in nearly everybody.

    Args:
        leads: names of the rows of the beat.
        beat: a typical one.

    Returns:
        From 4 (all upright) to -4 (all upside down); None where leads are missing for it.
    """
    if not {"I", "II", "aVR", "aVF", "V1", "V5", "V6"} <= set(leads):
        return None
    row = {lead: number for number, lead in enumerate(leads)}
    chosen = [lead for lead in _UPRIGHT if lead in row]
    rows, signs = [row[lead] for lead in chosen], np.array([_UPRIGHT[lead] for lead in chosen])

    def up(samples: np.ndarray) -> np.ndarray:
        """Return of each row how much larger its positive peak is than its negative one."""
        span = np.maximum(np.ptp(samples, axis=1), 1e-12)
        return (samples.max(axis=1) + samples.min(axis=1)) / span

    def above(samples: np.ndarray) -> np.ndarray:
        return samples.mean(axis=1) / np.maximum(np.abs(samples).mean(axis=1), 1e-12)

    qrs = up(beat.qrs())
    scale = np.sqrt(beat.interval)
    t_wave = above(beat.part(0.16 * scale, 0.40 * scale)[rows])
    p_wave = beat.part(-0.22, -0.09)[[row["II"], row["aVF"]]]
    p_wave = p_wave - np.linspace(p_wave[:, 0], p_wave[:, -1], p_wave.shape[1]).T
    return float(
        1.5 * (signs * qrs[rows]).mean()
        + (signs * t_wave).mean()
        + above(p_wave).mean()
        - 0.5 * qrs[row["V1"]]
    )


def backwards(beat: Beat) -> float | None:
    """Return whether a beat looks reversed in time: with its T wave before the QRS complex.

    Three differences between the time after the QRS complex and the time before it: how much
    moves there, when, and how large it is. A logistic regression of beats against the same beats
    reversed weighs them; without offset, for a beat reversed has the opposite value.

    Returns:
        Log odds; None where nothing but the QRS complex can be seen.
    """
    before, after, guard = beat.sides()
    if after.shape[1] < 6:
        return None
    speed = [(np.diff(side, axis=1) ** 2).sum(axis=0) + 1e-12 for side in (before, after)]
    times = (guard + np.arange(len(speed[0])) / RATE) / np.sqrt(beat.interval)
    motion = np.log(speed[1].sum() / speed[0].sum())
    when = [(times * one).sum() / one.sum() for one in speed]
    size = [(np.ptp(side, axis=1) ** 2).sum() + 1e-12 for side in (before, after)]
    return float(1.0 * motion - 3.6 * (when[1] - when[0]) - 3.5 * np.log(size[1] / size[0]))


def haste(beat: Beat) -> float:
    """Return how fast the QRS complex is for the heart rate.

    Returns:
        Frequency of the QRS complex in Hz, reduced to 60 beats per minute: fast hearts have
        somewhat shorter complexes.
    """
    return float(beat.frequency / beat.interval**0.35)
