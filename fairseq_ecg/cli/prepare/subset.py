"""``fairseq-ecg prepare subset``."""

from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import CSV, Folder, Name
from fairseq_ecg.cli.prepare.options import Seed
from fairseq_ecg.errors import DataError


def subset(
    *,
    manifest_dir: Folder,
    percent: Annotated[str, Parameter(metavar="P")],
    save_dir: Folder | None = None,
    seed: Seed = 1,
    meta_splits: CSV | None = None,
    patient_col: Name | None = None,
) -> int:
    """Take a part of the training recordings.

    Writes manifests whose train.tsv, plain or CMSC, has a part of the recordings, each with all its
    segments; the other manifests are copied.

    Args:
        manifest_dir: folder of manifests
        percent: fraction of the recordings to keep, a decimal such as 0.1
        save_dir: folder to write to, which must not exist (default: P in the folder of manifests,
            0.5 for 0.50)
        seed: of the drawing; with the same one a larger part holds a smaller one
        meta_splits: recordings with the column --patient-col: draw patients in place of recordings
        patient_col: column of --meta-splits that names the patient
    """
    from fairseq_ecg.prepare.subset import write_subset

    try:
        fraction = float(percent)
    except ValueError:
        raise DataError(f"--percent {percent}: give a decimal such as 0.1") from None
    counts = write_subset(
        manifest_dir,
        fraction,
        save_dir or manifest_dir / str(fraction),
        seed=seed,
        meta_splits=meta_splits,
        patient_column=patient_col,
    )
    for name, count in counts.items():
        print(f"{name}: {count} lines")
    return 0
