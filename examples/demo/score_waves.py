r"""Score the delineation of held-out recordings, of which it is known where the waves are.

    python score_waves.py delineation/checkpoint_last.pt --recordings recordings \
        --splits data/meta_split.csv

An onset or offset is found if the network has one of the same wave at most 150 ms from it.
"""

import argparse
import sys
from pathlib import Path

from label_samples import splits_of

from fairseq_ecg import load_model
from fairseq_ecg.ecg.wave_scores import PointScore, score_waves
from fairseq_ecg.prepare.sources.waves import class_samples, read_waves


def scores(checkpoint: Path, records: list[Path]) -> dict[str, PointScore]:
    """Delineate records, and compare with the annotations beside them.

    Args:
        checkpoint: of a network that delineates all leads together.
        records: paths without extension.

    Returns:
        The score of every kind of point, ``p_onset`` for instance.
    """
    model = load_model(checkpoint, device="cpu")
    found = model.segment([f"{record}.hea" for record in records])
    sums: dict[str, PointScore] = {}
    for record, mask in zip(records, found.masks.values(), strict=True):
        rate, (classes,) = mask.sample_rate, mask.classes
        waves = read_waves(record, "all", rate, rate)
        truth = class_samples(waves, len(classes))["segment_label"].ravel()
        for point, score in score_waves(truth, classes, sample_rate=rate).items():
            sums[point] = sums.get(point, PointScore()) + score
    return sums


def main() -> int:
    """Run the program; returns the exit status: 1 if the F1 is not above what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="of the network")
    parser.add_argument("--recordings", type=Path, required=True, help="folder of the records")
    parser.add_argument("--splits", type=Path, required=True, help="meta_split.csv")
    parser.add_argument("--require-f1", type=float, default=0.0, help="least F1 (default: 0)")
    arguments = parser.parse_args()
    splits = splits_of(arguments.splits)
    records = [arguments.recordings / name for name, split in splits.items() if split == "test"]
    found = scores(arguments.checkpoint, records)
    print(f"{'':12}{'F1':>8}{'error in ms':>18}")
    for point, score in found.items():
        print(f"{point:12}{score.f1:8.3f}{score.mean_ms:10.1f} \u00b1 {score.std_ms:5.1f}")
    f1 = sum(found.values(), PointScore()).f1
    print(f"F1 of all onsets and offsets on {len(records)} held-out recordings: {f1:.3f}")
    return 0 if f1 > arguments.require_f1 else 1


if __name__ == "__main__":
    sys.exit(main())
