"""Write simulated 12-lead ECGs as WFDB records, with their labels and waves.

    python simulate.py --out recordings --recordings 400 --seed 1

OUT then holds one record (.hea and .dat, 12 leads, 10 s, 500 Hz, mV, 16 bit) per recording, with
annotations (.all) of the onset, peak and offset of every wave, and labels.csv: record, patient_id,
and one column of 0 and 1 per label. The same seed gives the same bytes.
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import folders
import numpy as np
import simulator
import wfdb
from tqdm import tqdm

GAIN = round(2 / simulator.RESOLUTION)
"""Digital steps per mV: half the simulator's resolution, for the augmented leads."""


def write_records(recordings: Iterable[simulator.Recording], folder: Path) -> None:
    """Write recordings and labels.csv.

    Args:
        recordings: what to write.
        folder: an existing folder.
    """
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["record", "patient_id", *simulator.LABELS])
        for recording in recordings:
            wfdb.wrsamp(
                recording.name,
                fs=simulator.SAMPLE_RATE,
                units=["mV"] * len(simulator.LEADS),
                sig_name=list(simulator.LEADS),
                d_signal=np.round(recording.ecg.T * GAIN).astype(np.int64),
                fmt=["16"] * len(simulator.LEADS),
                adc_gain=[GAIN] * len(simulator.LEADS),
                baseline=[0] * len(simulator.LEADS),
                comments=["simulated, not a patient", *sorted(recording.labels)],
                write_dir=str(folder),
            )
            write_waves(recording, folder)
            holds = [int(label in recording.labels) for label in simulator.LABELS]
            table.writerow([recording.name, recording.patient_id, *holds])


def write_waves(recording: simulator.Recording, folder: Path) -> None:
    """Write the waves of a recording, which are those of all leads, as annotations like LUDB's."""
    peaks = {"p": "p", "qrs": "N", "t": "t"}
    wfdb.wrann(
        recording.name,
        "all",
        np.array([x for wave in recording.waves for x in (wave.onset, wave.peak, wave.offset)]),
        np.array([x for wave in recording.waves for x in ("(", peaks[wave.kind], ")")]),
        fs=simulator.SAMPLE_RATE,
        write_dir=str(folder),
    )


def main() -> int:
    """Run the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--recordings", type=int, default=400, help="how many (default: 400)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    arguments = parser.parse_args()

    def write(folder: Path) -> None:
        recordings = simulator.recordings(arguments.recordings, arguments.seed)
        write_records(tqdm(recordings, total=arguments.recordings, unit="recording"), folder)

    return folders.create(arguments.out, write)


if __name__ == "__main__":
    sys.exit(main())
