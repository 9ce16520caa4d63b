"""Simulated ECGs with reports that say what is simulated, for tests of networks that read texts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io

from fairseq_ecg.data.text import Tokenizer

RATES = {
    "sinus bradycardia": ("SBRAD", 0.7),
    "sinus rhythm": ("SR", 1.2),
    "sinus tachycardia": ("STACH", 2.2),
}
"""Diagnosis and beats a second of each rhythm."""

FINDINGS = {
    "low qrs voltages in the limb leads": "LVOLT",
    "high qrs voltages": "HVOLT",
    "st elevation in anterior leads": "STE_",
    "inverted t waves": "INVT",
    "wandering baseline": "BASE",
}
"""Diagnosis of each finding."""

FIRST_WORD = 104
"""Id of the first word; special tokens are where bert-base-uncased has them."""


def write_vocabulary(path: Path) -> Path:
    """Write a vocabulary of the words of the reports."""
    words = sorted({word for text in (*RATES, *FINDINGS) for word in text.split()})
    split = {"bradycardia": ["brady", "##cardia"], "tachycardia": ["tachy", "##cardia"]}
    pieces = dict.fromkeys(piece for word in words for piece in split.get(word, [word]))
    special = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]"]
    path.write_text("\n".join([*special, "[MASK]", ".", *pieces]) + "\n", encoding="utf-8")
    assert Tokenizer.load(path).vocabulary[FIRST_WORD] == "."
    return path


def write_corpus(
    folder: Path,
    splits: Mapping[str, int],
    *,
    n_samples: int = 500,
    rate: int = 100,
    diagnoses: bool = True,
    seed: int = 0,
    texts: Mapping[int, str] | None = None,
) -> Path:
    """Write files of ECGs with ``text`` and ``diagnoses``, and the manifests of their splits.

    Args:
        folder: where to.
        splits: number of recordings by split.
        n_samples: of each ECG.
        rate: of these, in Hz.
        diagnoses: whether the files have them.
        seed: of what is drawn.
        texts: report of a recording by its number, in place of the one that is made.

    Returns:
        The vocabulary of the reports, ``vocab.txt``.
    """
    (folder / "files").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    number = 0
    for split, count in splits.items():
        lines = [str(folder / "files")]
        for _ in range(count):
            feats, text, codes = _recording(rng, n_samples, rate)
            mat = {
                "feats": feats,
                "curr_sample_rate": rate,
                "text": (texts or {}).get(number, text),
            }
            if diagnoses:
                mat["diagnoses"] = codes
            scipy.io.savemat(folder / "files" / f"{number:04d}.mat", mat)
            lines.append(f"{number:04d}.mat\t{n_samples}")
            number += 1
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return write_vocabulary(folder / "vocab.txt")


def _recording(
    rng: np.random.Generator, n_samples: int, rate: int
) -> tuple[np.ndarray, str, list[str]]:
    """Make an ECG ``(12, T)`` in mV, its report and its diagnoses."""
    rhythm = rng.choice(list(RATES))
    code, frequency = RATES[rhythm]
    names = list(FINDINGS)
    findings = [names[i] for i in sorted(rng.choice(len(names), rng.integers(1, 4), replace=False))]
    has = {FINDINGS[finding] for finding in findings}
    phase = (np.arange(n_samples) / rate * frequency + rng.random()) % 1

    def wave(center: float, width: float) -> np.ndarray:
        return np.exp(-(((phase - center) / width) ** 2))

    leads = rng.uniform(0.6, 1.4, size=(12, 1))
    feats = 0.1 * wave(0.25, 0.03) + (2.0 if "HVOLT" in has else 1.0) * wave(0.4, 0.015)
    feats = leads * (feats + (-0.3 if "INVT" in has else 0.3) * wave(0.65, 0.06))
    if "LVOLT" in has:
        feats[:6] *= 0.3
    if "STE_" in has:
        feats[6:10] += 0.4 * wave(0.52, 0.05)
    if "BASE" in has:
        feats += 0.5 * np.sin(2 * np.pi * 0.3 * np.arange(n_samples) / rate)
    feats += rng.normal(scale=0.02, size=feats.shape)
    return feats, ". ".join([rhythm, *findings]), [code, *(FINDINGS[each] for each in findings)]
