"""Write what delineation is trained on: recordings with the class of each sample, and manifests.

    python label_samples.py --recordings recordings --splits data/meta_split.csv --out waves

OUT then holds a .mat file for each recording (feats in mV, curr_sample_rate, segment_label: 0 P
wave, 1 QRS complex, 2 T wave, 3 none of them) and train.tsv, valid.tsv and test.tsv, which divide
them as SPLITS does. Annotated archives are prepared by fairseq-ecg prepare, see LUDB there.
"""

import argparse
import csv
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import folders
import numpy as np
import scipy.io
from tqdm import tqdm

from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.formats import arrange, read_ecg
from fairseq_ecg.prepare.sources.waves import class_samples, read_waves

RATE = 250
"""In Hz: half that of the recordings makes training twice as fast."""


def labelled(record: Path) -> dict[str, np.ndarray]:
    """Read a record of twelve leads, and the annotations of its waves.

    Args:
        record: path without extension.

    Returns:
        Variables of a ``.mat`` file.
    """
    ecg = arrange(read_ecg(record))
    feats = resample(ecg.signal, ecg.sample_rate, RATE, "polyphase")
    waves = read_waves(record, "all", ecg.sample_rate, RATE)
    return {
        "feats": feats.astype(np.float32),
        "curr_sample_rate": np.array([[RATE]]),
        "segment_label": class_samples(waves, feats.shape[1])["segment_label"],
    }


def splits_of(table: Path) -> dict[str, str]:
    """Read which split each record is in, from the table that ``fairseq-ecg prepare`` writes."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["save_file"][len("simulated_") : -len(".mat")]: row["split"] for row in rows}


def write_data(recordings: Path, splits: Path, out: Path, folder: Path) -> None:
    """Write files and manifests.

    Args:
        recordings: folder of the records.
        splits: table of the split of each.
        out: the folder's name in the end, which manifests name.
        folder: an existing folder.
    """
    lines = defaultdict(list)
    for name, split in tqdm(splits_of(splits).items(), unit="recording"):
        mat = labelled(recordings / name)
        scipy.io.savemat(folder / f"{name}.mat", mat)
        lines[split].append(f"{name}.mat\t{mat['feats'].shape[1]}\n")
    for split, files in lines.items():
        manifest = f"{out.resolve()}\n{''.join(files)}"
        (folder / f"{split}.tsv").write_text(manifest, encoding="utf-8")


def main() -> int:
    """Run the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, required=True, help="folder of the records")
    parser.add_argument("--splits", type=Path, required=True, help="meta_split.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    arguments = parser.parse_args()
    write = partial(write_data, arguments.recordings, arguments.splits, arguments.out)
    return folders.create(arguments.out, write)


if __name__ == "__main__":
    sys.exit(main())
