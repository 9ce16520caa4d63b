"""``fairseq-ecg segment``."""

from pathlib import Path

from fairseq_ecg.cli.options import File, Folder
from fairseq_ecg.cli.outputs import output_files
from fairseq_ecg.cli.recordings import Checkpoint, Recording, WholeUse


def segment(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    out: File,
    measures: File | None = None,
    masks: Folder | None = None,
    annotations: Folder | None = None,
    use: WholeUse = WholeUse(),
) -> int:
    """Delineate the P waves, QRS complexes and T waves of recordings.

    The network is a segmentor, as the task ecg_segmentation trains one: of one lead, which is given
    every lead of a recording by itself, or of all leads together. Recordings may be of any length,
    at any rate; onsets and offsets are in their own time. A run that was interrupted goes on where
    it was.

    Args:
        out: table to write, a row for each wave of each lead, with its onset, offset and duration
            in seconds, and its first and last sample: .csv, .tsv, .parquet or .json
        measures: table to write, with the medians over beats of each lead, and of all: heart rate
            per minute, PR, QRS, QT and QTc in ms. They have not been validated clinically
        masks: in which every recording gets an .npz file with the class of each of its samples
        annotations: in which every recording gets WFDB annotations, a file for each lead with its
            name as extension, as LUDB has them
    """
    from fairseq_ecg.inference.annotations import write_annotations, write_mask

    files: dict[str, dict[str, Path]] = {}

    def announce(found) -> None:
        names = [str(recording.name) for recording in found]
        for key, folder, suffix in (("masks", masks, ".npz"), ("annotations", annotations, "")):
            paths = output_files(names, folder, suffix) if folder else []
            files[key] = dict(zip(names, paths, strict=False))

    def compute(model, recordings, options):
        delineation = model.segment(recordings, **options)
        for recording in recordings:
            if recording.name not in delineation.masks:
                continue
            mask = delineation.mask(recording.name)
            if masks:
                write_mask(mask, files["masks"][str(recording.name)])
            if annotations:
                record = files["annotations"][str(recording.name)]
                write_annotations(mask, recording.read(), record)
        tables = {"waves": delineation.columns(), "measures": delineation.measure_columns()}
        return tables, delineation.errors

    tables = {"waves": out, "measures": measures}
    settings = ("segment", masks, annotations)
    return use.run(checkpoint, recordings, tables, settings, compute, announce=announce)
