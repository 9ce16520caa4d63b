"""Made ECGs whose waves are known, in files as those of LUDB are prepared."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

P, QRS, T, NONE = range(4)
WAVES = {P: (-0.17, 0.020, 0.15), QRS: (0.0, 0.014, 1.0), T: (0.28, 0.040, 0.3)}
"""Centre after R and width in seconds, and size in mV, of each wave: a Gaussian."""

HALF_LENGTH = 2.5
"""Of a wave, in its widths."""


def made_ecg(
    rng: np.random.Generator, n_leads: int, n_samples: int, sample_rate: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An ECG ``(L, T)`` in mV, the class of each sample, and which are ignored, ``(T,)``.

    Beats that the recording cuts are not annotated, as in LUDB: samples there are ignored.
    """
    time = np.arange(n_samples) / sample_rate
    ecg = rng.normal(0, 0.02, (n_leads, n_samples))
    labels, ignored = np.full(n_samples, NONE), np.ones(n_samples, bool)
    sizes = rng.uniform(0.7, 1.3, (n_leads, len(WAVES)))
    peak = rng.uniform(-0.6, 0.2)
    annotated = []
    while peak < time[-1] + 0.3:
        beat = np.full(n_samples, NONE)
        for wave, (centre, width, size) in WAVES.items():
            distance = np.abs(time - peak - centre) / width
            ecg += size * sizes[:, [wave]] * np.exp(-0.5 * distance**2)
            beat[distance <= HALF_LENGTH] = wave
        if set(beat) == {P, QRS, T, NONE} and beat[0] == beat[-1] == NONE:
            labels = np.minimum(labels, beat)
            annotated += np.flatnonzero(beat != NONE).tolist()
        peak += rng.uniform(0.65, 0.95)
    ignored[min(annotated) : max(annotated) + 1] = False
    return ecg, labels, ignored


def write_wave_files(
    folder: Path,
    splits: Mapping[str, int],
    *,
    n_leads: int = 1,
    n_samples: int = 800,
    shorter: int = 0,
    sample_rate: int = 200,
    n_labels: int = 0,
    seed: int = 0,
) -> None:
    """Write files and a manifest of each split.

    Args:
        folder: where to.
        splits: number of files, by split.
        n_leads: of each.
        n_samples: length of the longest.
        shorter: by how many samples each is shorter than the one before, every fourth as long as
            the longest.
        sample_rate: in Hz.
        n_labels: of whole recordings; 0: files have none.
        seed: of the random numbers.
    """
    (folder / "mat").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for split, count in splits.items():
        lines = [f"{folder / 'mat'}"]
        for number in range(count):
            length = n_samples - shorter * (number % 4)
            ecg, labels, ignored = made_ecg(rng, n_leads, length, sample_rate)
            variables = {
                "feats": ecg,
                "curr_sample_rate": sample_rate,
                "segment_label": labels,
                "segment_mask": ignored.astype(np.uint8),
            }
            if n_labels:
                variables["label"] = rng.integers(0, 2, (1, n_labels))
            scipy.io.savemat(folder / "mat" / f"{split}{number}.mat", variables)
            lines.append(f"{split}{number}.mat\t{length}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
