"""``fairseq-ecg prepare grounding``."""

from fairseq_ecg.cli.prepare.options import ECGQAFolders, ProcessedRoot, Work
from fairseq_ecg.cli.prepare.outcome import left_out


def grounding(
    *,
    folders: ECGQAFolders,
    processed_root: ProcessedRoot,
    work: Work = Work(),
) -> int:
    """Make labels of the questions of ECG-QA, for a classifier.

    Writes train/, valid/, test/, files that name a record, leads of it and labels for some of the
    classes (task.path_dataset=true), a manifest of each, and grounding_class.csv. Started again, a
    run that was ended goes on where it was. Exits with status 3 where ECGs could not be used, and
    left them out: quarantine.csv says why.
    """
    from fairseq_ecg.prepare.ecg_qa.grounding import prepare_grounding

    with work.workers():
        written = prepare_grounding(
            folders.raw_root,
            processed_root,
            ecg_root=folders.ecg_root,
            strict=work.strict,
            again=work.again,
        )
    for split, count in written.counts.items():
        print(f"{split}: {count} samples")
    if written.left_out:
        print(f"left out: {written.left_out} samples of records that cannot be used")
    return left_out(written.quarantine, processed_root / "quarantine.csv")
