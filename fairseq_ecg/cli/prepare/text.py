"""``fairseq-ecg prepare text``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import Folder, Probability, Verification
from fairseq_ecg.cli.prepare.options import ProcessedRoot, Seed, Work
from fairseq_ecg.cli.prepare.outcome import said


def text(
    *,
    source: Literal["ptb_xl", "mimic_iv_ecg"],
    raw_root: Folder,
    processed_root: ProcessedRoot,
    exclude: Annotated[Path, Parameter(metavar="TSV")] | None = None,
    valid_percent: Probability = 0.1,
    seed: Seed = 42,
    work: Work = Work(),
    verification: Verification = Verification(),
) -> int:
    """Make files of recordings with their reports, for pre-training on both.

    Recordings stay as the archive has them, in mV. Writes segmented/, manifests/ (train.tsv,
    valid.tsv and test.tsv), and the tables that 'signals' writes. Started again, a run that was
    ended goes on where it was. Exits with status 3 where recordings could not be used:
    quarantine.csv says why.

    Args:
        source: archive with reports; those of PTB-XL are taken from ptbxl_database_translated.csv
            where that is there
        raw_root: folder of the archive
        exclude: lines whose second column, after a tab, is the ecg_id or study_id of a recording to
            leave out
        valid_percent: fraction of the recordings for validation, and as many for testing
        seed: of the drawing
    """
    from fairseq_ecg.prepare.reports import SOURCES, prepare_reports, read_excluded

    excluded = read_excluded(exclude) if exclude else ()
    archive = SOURCES[source](raw_root, exclude=excluded)
    archive.verify = verification.verify
    with work.workers():
        prepared = prepare_reports(
            archive,
            processed_root,
            valid_fraction=valid_percent,
            seed=seed,
            strict=work.strict,
            again=work.again,
        )
    return said(prepared, processed_root)
