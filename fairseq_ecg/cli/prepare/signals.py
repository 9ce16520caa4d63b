"""``fairseq-ecg prepare signals``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import (
    CSV,
    DefaultInHelp,
    Folder,
    Integer,
    Seconds,
    Verification,
    Words,
    words,
)
from fairseq_ecg.cli.prepare.options import ProcessedRoot, Work
from fairseq_ecg.cli.prepare.outcome import said


def _leads(_: type, tokens: list) -> tuple[int, ...]:
    from fairseq_ecg.ecg.leads import lead_indices

    leads = [int(lead) if lead.isdecimal() else lead for lead in words(_, tokens)]
    return tuple(sorted({lead_indices([lead])[0] for lead in leads}))


LeadIndices = Annotated[
    tuple[int, ...], Parameter(converter=_leads, n_tokens=1, metavar="I,II"), DefaultInHelp
]
Stages = Annotated[Words, Parameter(metavar="STAGE,STAGE")]


def signals(
    *,
    processed_root: ProcessedRoot,
    raw_root: Folder | None = None,
    manifest_file: CSV | None = None,
    results_suffix: Annotated[str, Parameter(metavar="TEXT")] = "",
    labels_path: CSV | None = None,
    dataset_subset: Words | None = None,
    sample_rate: Annotated[Integer, Parameter(metavar="HZ")] = 500,
    segment_seconds: Seconds = 5.0,
    no_standardization: bool = False,
    leads: LeadIndices = tuple(range(12)),
    constant_lead_strategy: Literal["zero", "nan", "constant"] = "zero",
    nan_policy: Literal["drop", "zero", "keep"] = "drop",
    resampler: Literal["linear", "polyphase"] = "linear",
    skip: Stages = (),
    discard: Stages = (),
    work: Work = Work(),
    verification: Verification = Verification(),
    plots: Folder | None = None,
) -> int:
    """Make segments of the records of records.csv.

    Resamples, standardises and cuts the records. Started again, a run that was ended goes on where
    it was. Exits with status 3 where records could not be used: quarantine.csv says why.

    Args:
        raw_root: folder of the archive (default: the one that the step 'records' was given)
        manifest_file: manifest of all sources, which holds the ids: the same file for every source
            (default: manifest.csv in --processed-root)
        results_suffix: of the names of the tables, meta<TEXT>.csv (default: nothing)
        labels_path: for the labels that the archive itself has (default: labels/labels<TEXT>.csv in
            --processed-root)
        dataset_subset: records of these data sets only (default: all)
        sample_rate: of the segments that the network reads, in Hz
        segment_seconds: length of these segments in seconds
        no_standardization: leave the signals in mV
        leads: names of leads, or their numbers from 0 to 11; files have them in standard order
            (default: all)
        constant_lead_strategy: what becomes of a lead without any signal: 0, NaN, or the lead less
            its mean
        nan_policy: what becomes of recordings with missing leads or samples: no segments, 0 in
            place of these samples, or NaN in the whole lead
        resampler: linear interpolation as in fairseq_signals, or a filter that keeps out what is
            above half of the rate
        skip: of org, preprocessed and segmented, stages of which the files are there (default:
            none)
        discard: of org and preprocessed, stages of which no files are written (default: none)
        plots: draw durations, sampling rates, missing leads and labels there
    """
    from fairseq_ecg.prepare.archive import prepare_signals
    from fairseq_ecg.prepare.records import read_source
    from fairseq_ecg.prepare.stages import Settings

    settings = Settings(
        sample_rate=sample_rate,
        segment_seconds=segment_seconds,
        leads=leads,
        standardise=not no_standardization,
        constant_lead_strategy=constant_lead_strategy,
        nan_policy=nan_policy,
        resampler=resampler,
        skip=skip,
        discard=discard,
    )
    source = read_source(processed_root, raw_root)
    source.verify = verification.verify
    with work.workers():
        prepared = prepare_signals(
            source,
            processed_root,
            settings,
            manifest=manifest_file,
            datasets=dataset_subset,
            suffix=results_suffix,
            labels_path=labels_path,
            strict=work.strict,
            again=work.again,
        )
    if plots:
        from fairseq_ecg.prepare.plots import draw

        draw(processed_root, plots, results_suffix, labels_path)
    return said(prepared, processed_root, results_suffix)
