"""Questions whose answers follow from simulated signals, for tests of learning."""

from pathlib import Path

import numpy as np
import scipy.io
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from tests.ecg_qa import SPECIAL

ANSWERS = ("no", "yes", "fast", "slow")
WORDS = ("is", "this", "ecg", "tall", "which", "rate", "the", "second", "faster", "?")
N_SAMPLES, RATE = 240, 100


def write_simulated_questions(folder: Path, splits: dict[str, int]) -> None:
    """Write records, files of three questions for each, manifests and ``vocab.txt``.

    Beats are tall or not, and fast or slow; half of the ECGs are either. A third question compares
    an ECG with the one before.

    Args:
        folder: where to.
        splits: number of ECGs by split.
    """
    rng = np.random.default_rng(0)
    (folder / "records").mkdir(parents=True)
    specials = [SPECIAL.get(number, f"[unused{number}]") for number in range(max(SPECIAL) + 1)]
    (folder / "vocab.txt").write_text("\n".join([*specials, *WORDS]) + "\n")
    (folder / "label_def.csv").write_text("\n".join(["name", *ANSWERS]) + "\n")
    for split, n_ecgs in splits.items():
        (folder / split).mkdir()
        shown = rng.permutation(np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (n_ecgs // 4, 1)))
        rows = []
        for number, (tall, fast) in enumerate(shown):
            record = _write_record(folder / "records" / f"{split}_{number}", tall, fast, rng)
            before = folder / "records" / f"{split}_{max(number - 1, 0)}"
            faster = int(fast > shown[max(number - 1, 0)][1])
            for text, records, right, valid in (
                ("Is this ECG tall?", [record], tall, (0, 1)),
                ("Which rate?", [record], 2 + (not fast), (2, 3)),
                ("Is the second ECG faster?", [str(before), record], faster, (0, 1)),
            ):
                name = f"{len(rows)}.mat"
                content = {
                    **{"ecg_path": records, "question": text, "valid_classes": [valid]},
                    **{"answer": np.eye(len(ANSWERS), dtype=np.int64)[[right]]},
                    **{"question_type1": len(records) - 1, "question_type2": right // 2},
                    **{"question_type3": 0, "attribute_id": -1},
                }
                scipy.io.savemat(folder / split / name, content)
                lengths = "\t".join([str(N_SAMPLES)] * len(records))
                rows.append(f"{name}\t{lengths}\t{len(text.split()) + 3}")
        (folder / f"{split}.tsv").write_text("\n".join([str(folder / split), *rows]) + "\n")


def _write_record(path: Path, tall: int, fast: int, rng: np.random.Generator) -> str:
    time = np.arange(N_SAMPLES) / RATE
    beats = np.exp(-((((time * (1 + 2 * fast) + rng.uniform()) % 1) - 0.5) ** 2) * 300)
    ecg = (0.5 + tall) * rng.uniform(0.8, 1.2, (12, 1)) * beats
    ecg += 0.03 * rng.standard_normal(ecg.shape)
    wfdb.wrsamp(
        path.name, fs=RATE, units=["mV"] * 12, sig_name=list(LEADS), p_signal=ecg.T,
        fmt=["16"] * 12, write_dir=str(path.parent),
    )  # fmt: skip
    return str(path)
