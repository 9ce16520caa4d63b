"""Measure what a network loses with leads that are missing, by each policy.

    python -m benchmarks.missing_leads FINE_TUNED FOLDER [--pretrained PRE_TRAINED]

Takes leads from the recordings of a folder, all of which have twelve, and compares probabilities
and embeddings of their segments with those of all leads. Prints the rows of the table in
``fairseq_ecg/inference/README.md``; nothing is timed.
"""

import argparse
import warnings
from dataclasses import replace

import numpy as np
from tabulate import tabulate

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.formats import ECG, arrange
from fairseq_ecg.inference import ECGModel, load_model
from fairseq_ecg.inference.recordings import Description, recordings_in

LEAD_SETS = {
    "I, II, V1-V6": ("I", "II", *LEADS[6:]),
    "I, II": ("I", "II"),
    "I, II, V1": ("I", "II", "V1"),
    "I, II, V2": ("I", "II", "V2"),
    "V1-V6": LEADS[6:],
    "II": ("II",),
    "I": ("I",),
}
POLICIES = ("derive", "zero")


def of_segments(use, ecgs: list[ECG], policy: str) -> np.ndarray:
    """Probabilities or embeddings of all segments."""
    return use(ecgs, missing_leads=policy).segments.drop(columns=["start", "end"]).to_numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between rows."""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def losses(model: ECGModel, encoder: ECGModel, ecgs: list[ECG]) -> list[list]:
    """Compare every set of leads and policy with all leads."""
    probabilities = of_segments(model.predict, ecgs, "error")
    embeddings = of_segments(encoder.embed, ecgs, "error")
    rows = []
    for name, leads in LEAD_SETS.items():
        fewer = [arrange(ecg, leads) for ecg in ecgs]
        for policy in POLICIES:
            change = np.abs(of_segments(model.predict, fewer, policy) - probabilities)
            alike = cosine(of_segments(encoder.embed, fewer, policy), embeddings)
            rows.append([name, policy, change.mean(), change.max(), alike.mean()])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="fine-tuned network")
    parser.add_argument("folder", help="of recordings with twelve leads")
    parser.add_argument("--pretrained", help="network for the embeddings; the same if not given")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = load_model(arguments.checkpoint)
    encoder = load_model(arguments.pretrained or arguments.checkpoint)
    recordings = recordings_in(arguments.folder, Description())
    ecgs = [replace(recording.read(), where=str(recording.name)) for recording in recordings]
    header = ["leads", "policy", "mean change", "largest change", "cosine"]
    rows = losses(model, encoder, ecgs)
    print(tabulate(rows, headers=header, floatfmt=".3f", tablefmt="github"))


if __name__ == "__main__":
    main()
