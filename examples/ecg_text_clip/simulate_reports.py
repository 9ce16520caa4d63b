"""Write simulated ECGs with reports, and a small BERT to read them.

    python simulate_reports.py --out data --recordings 1200 --seed 1

OUT then holds a .mat file for each recording (feats, 12 leads of 10 s at 100 Hz, each standardised;
curr_sample_rate, idx, text), train.tsv, valid.tsv and test.tsv, which share no patient,
label_def.csv and y.npy, the labels that hold, and bert/, a vocab.txt of the words of the reports in
train.tsv and the config.json of a BERT of two layers. The same seed gives the same data.

A report names what is simulated in wordings of the labeler's vocabulary, drawn at random, among
statements that say nothing of the ECG.
"""

import argparse
import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from numpy.random import Generator, default_rng
from tqdm import tqdm

from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.labeler.label_table import LabelSet
from fairseq_ecg.labeler.prompts import prompts_of
from fairseq_ecg.labeler.vocabulary_files import DEFAULT, read_vocabulary

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))
import folders
import simulator

RATE = 100
"""In Hz; the simulator's is 500."""

NORMAL = "Normal sinus rhythm"
"""The simulator's label of recordings without any other, by the vocabulary ``Sinus rhythm``."""

LABELS = tuple(label for label in simulator.LABELS if label != NORMAL)

OTHERS = (
    "unconfirmed report",
    "clinical correlation is suggested",
    "compared with the previous tracing there is no significant change",
    "no previous tracing available for comparison",
    "standard calibration",
    "the patient was at rest",
)
"""Statements that say nothing of the ECG."""

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

BERT = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
}

SPLITS = {"train": 0.8, "valid": 0.1, "test": 0.1}
"""Shares of the patients."""


def wordings() -> dict[str, tuple[str, ...]]:
    """Return the wordings of each of the simulator's labels."""
    sources = {label: (label,) for label in LABELS} | {NORMAL: ("Sinus rhythm",)}
    return prompts_of(read_vocabulary(DEFAULT), LabelSet(sources))


def report(labels: Sequence[str], of_labels: Mapping[str, Sequence[str]], rng: Generator) -> str:
    """Write a report.

    Args:
        labels: that hold.
        of_labels: wordings of each.
        rng: random numbers.
    """
    findings = [str(rng.choice(of_labels[label])) for label in sorted(labels)]
    others = rng.choice(OTHERS, size=rng.integers(0, 3), replace=False).tolist()
    return ". ".join(rng.permutation([*findings, *others]).tolist())


def prepared(ecg: np.ndarray) -> np.ndarray:
    """Resample an ECG in mV to `RATE` and standardise each lead, ``(12, T)`` float32."""
    feats = resample(ecg, simulator.SAMPLE_RATE, RATE, "polyphase")
    scale = feats.std(axis=1, keepdims=True)
    return ((feats - feats.mean(axis=1, keepdims=True)) / scale).astype(np.float32)


def write_data(
    recordings: Sequence[simulator.Recording], seed: int, out: Path, folder: Path
) -> None:
    """Write files, manifests, labels and BERT.

    Args:
        recordings: what to write.
        seed: of the wordings and of the division into splits.
        out: the folder's name in the end, which manifests name.
        folder: an existing folder.
    """
    rng, of_labels = default_rng(seed), wordings()
    files = folder / "files"
    files.mkdir()
    lines, texts = defaultdict(list), defaultdict(list)
    split_of = _splits([recording.patient_id for recording in recordings], rng)
    for idx, recording in enumerate(tqdm(recordings, unit="recording")):
        split, text = split_of[recording.patient_id], report([*recording.labels], of_labels, rng)
        feats = prepared(recording.ecg)
        mat = {"feats": feats, "curr_sample_rate": RATE, "idx": idx, "text": text}
        scipy.io.savemat(files / f"{recording.name}.mat", mat)
        lines[split].append(f"{recording.name}.mat\t{feats.shape[1]}\n")
        texts[split].append(text)
    for split in SPLITS:
        listed = f"{out.resolve() / files.name}\n{''.join(lines[split])}"
        (folder / f"{split}.tsv").write_text(listed, encoding="utf-8")
    _write_labels(recordings, folder)
    _write_bert(texts["train"], folder / "bert")


def _splits(patients: Sequence[int], rng: Generator) -> dict[int, str]:
    """Divide patients at random."""
    order = rng.permutation(np.unique(patients))
    ends = np.round(np.cumsum([*SPLITS.values()]) * len(order)).astype(int)
    parts = np.split(order, ends[:-1])
    return {int(p): split for split, part in zip(SPLITS, parts, strict=True) for p in part}


def _write_labels(recordings: Sequence[simulator.Recording], folder: Path) -> None:
    holds = np.array([[label in one.labels for label in LABELS] for one in recordings])
    np.save(folder / "y.npy", holds.astype(float))
    with open(folder / "label_def.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([("name", "pos_count"), *zip(LABELS, holds.sum(axis=0), strict=True)])


def _write_bert(texts: Sequence[str], folder: Path) -> None:
    """Write the vocabulary of texts, words whole, and the configuration of a BERT of its size."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    folder.mkdir()
    vocabulary = [*SPECIAL, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = BERT | {"vocab_size": len(vocabulary)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--recordings", type=int, default=1200, help="how many (default: 1200)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    arguments = parser.parse_args()

    def write(folder: Path) -> None:
        recordings = [*simulator.recordings(arguments.recordings, arguments.seed)]
        write_data(recordings, arguments.seed, arguments.out, folder)

    return folders.create(arguments.out, write)


if __name__ == "__main__":
    sys.exit(main())
