"""``fairseq-ecg prepare identification``."""

from pathlib import Path
from typing import Literal

from fairseq_ecg.cli.options import Folder, Name, Probability
from fairseq_ecg.cli.prepare.options import Seed, SplitFiles


def identification(
    *,
    files: SplitFiles,
    patient_col: Name,
    strategy: Literal["recordings", "files"] = "recordings",
    dest: Folder = Path("."),
    valid_percent: Probability = 0.2,
    seed: Seed = 1,
) -> int:
    """List segments for the identification of patients.

    Writes identify/train.tsv, and for patients of whom there are two recordings and who are drawn
    for validation identify/valid_gallery.tsv and identify/valid_probe.tsv. Rows are path, length
    and number of the patient.

    Args:
        patient_col: column of the tables that names the patient
        strategy: recordings: patients with two recordings are drawn, and the first segments of
            these are gallery and probe; files: patients are drawn, the first two files are gallery
            and probe, and who has one is left out, as in fairseq_signals
        dest: folder for the folder identify
        valid_percent: probability of a patient to be drawn for validation
        seed: of the drawing
    """
    from fairseq_ecg.prepare.identification import write_identification_manifests

    counts = write_identification_manifests(
        files.split_file_paths,
        dest,
        patient_column=patient_col,
        strategy=strategy,
        valid_fraction=valid_percent,
        seed=seed,
        root=files.root,
    )
    for name, patients in counts.items():
        print(f"{name}: {patients} patients")
    return 0
