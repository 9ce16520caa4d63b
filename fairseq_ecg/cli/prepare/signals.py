"""``fairseq-ecg prepare signals``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT, add_segment_options, add_verify
from fairseq_ecg.cli.prepare.options import add_processed_root, words


def add(commands) -> None:
    """Add the step."""
    parser = commands.add_parser(
        "signals",
        help="make segments of the records of records.csv",
        description="Resample, standardise and cut the records of records.csv. Started again, a "
        "run that was ended goes on where it was. Exits with status 3 where records could not be "
        "used: quarantine.csv says why.",
    )
    add_processed_root(parser)
    parser.add_argument(
        "--raw-root",
        type=Path,
        metavar="DIR",
        help="folder of the archive (default: the one that the step 'records' was given)",
    )
    parser.add_argument(
        "--manifest-file",
        type=Path,
        metavar="CSV",
        help="manifest of all sources, which holds the ids: the same file for every source "
        "(default: manifest.csv in --processed-root)",
    )
    parser.add_argument(
        "--results-suffix",
        default="",
        metavar="TEXT",
        help="of the names of the tables, meta<TEXT>.csv (default: nothing)",
    )
    parser.add_argument(
        "--labels-path",
        type=Path,
        metavar="CSV",
        help="for the labels that the archive itself has (default: labels/labels<TEXT>.csv in "
        "--processed-root)",
    )
    parser.add_argument(
        "--dataset-subset",
        type=words,
        metavar="A,B",
        help="records of these data sets only (default: all)",
    )
    add_segment_options(parser)
    parser.add_argument(
        "--no-standardization",
        action="store_true",
        help="leave the signals in mV",
    )
    parser.add_argument(
        "--leads",
        type=_leads,
        default=tuple(range(12)),
        metavar="I,II",
        help="names of leads, or their numbers from 0 to 11; files have them in standard order "
        "(default: all)",
    )
    parser.add_argument(
        "--constant-lead-strategy",
        choices=["zero", "nan", "constant"],
        default="zero",
        help="what becomes of a lead without any signal: 0, NaN, or the lead less its mean "
        "(default: zero)",
    )
    parser.add_argument(
        "--nan-policy",
        choices=["drop", "zero", "keep"],
        default="drop",
        help="what becomes of recordings with missing leads or samples: no segments, 0 in place "
        "of these samples, or NaN in the whole lead (default: drop)",
    )
    parser.add_argument(
        "--resampler",
        choices=["linear", "polyphase"],
        default="linear",
        help="linear interpolation as in fairseq_signals, or a filter that keeps out what is "
        "above half of the rate (default: linear)",
    )
    parser.add_argument(
        "--skip",
        type=words,
        default=(),
        metavar="STAGE,STAGE",
        help="of org, preprocessed and segmented, stages of which the files are there (default: "
        "none)",
    )
    parser.add_argument(
        "--discard",
        type=words,
        default=(),
        metavar="STAGE,STAGE",
        help="of org and preprocessed, stages of which no files are written (default: none)",
    )
    parser.add_argument(
        "--jobs",
        "--nb-workers",
        type=int,
        default=1,
        metavar="N",
        help="processes; -1 for all processors (default: 1)",
    )
    parser.add_argument(
        "--backend",
        choices=["loky", "dask", "ray"],
        default="loky",
        help="where they run: on this machine, or on a cluster (default: loky, this machine)",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the cluster (default: one on this machine)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first record that cannot be used"
    )
    add_verify(parser)
    parser.add_argument(
        "--again", action="store_true", help="prepare also what an earlier run has prepared"
    )
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="DIR",
        help="draw durations, sampling rates, missing leads and labels there",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prepare the signals and say what became of the records."""
    from fairseq_ecg.jobs.pool import workers
    from fairseq_ecg.prepare.archive import prepare_signals
    from fairseq_ecg.prepare.records import read_source
    from fairseq_ecg.prepare.stages import Settings

    settings = Settings(
        sample_rate=arguments.sample_rate,
        segment_seconds=arguments.segment_seconds,
        leads=arguments.leads,
        standardise=not arguments.no_standardization,
        constant_lead_strategy=arguments.constant_lead_strategy,
        nan_policy=arguments.nan_policy,
        resampler=arguments.resampler,
        skip=arguments.skip,
        discard=arguments.discard,
    )
    source = read_source(arguments.processed_root, arguments.raw_root)
    source.verify = arguments.verify
    with workers(arguments.jobs, arguments.backend, arguments.scheduler):
        prepared = prepare_signals(
            source,
            arguments.processed_root,
            settings,
            manifest=arguments.manifest_file,
            datasets=arguments.dataset_subset,
            suffix=arguments.results_suffix,
            labels_path=arguments.labels_path,
            strict=arguments.strict,
            again=arguments.again,
        )
    if arguments.plots:
        from fairseq_ecg.prepare.plots import draw

        draw(
            arguments.processed_root,
            arguments.plots,
            arguments.results_suffix,
            arguments.labels_path,
        )
    print(prepared.summary.to_string(index=False))
    if len(prepared.doubts):
        print(
            f"{prepared.doubts['record'].nunique()} records are doubtful, see "
            f"{arguments.processed_root / f'doubts{arguments.results_suffix}.csv'}; the first: "
            f"{prepared.doubts['doubt'].iloc[0]}"
        )
    if not len(prepared.quarantine):
        return 0
    print(
        f"{len(prepared.quarantine)} records cannot be used, see "
        f"{arguments.processed_root / f'quarantine{arguments.results_suffix}.csv'}; the first: "
        f"{prepared.quarantine['reason'].iloc[0]}"
    )
    return EXIT_SOME_LEFT_OUT


def _leads(text: str) -> tuple[int, ...]:
    from fairseq_ecg.ecg.leads import lead_indices

    leads = [int(lead) if lead.isdecimal() else lead for lead in words(text)]
    try:
        return tuple(sorted({lead_indices([lead])[0] for lead in leads}))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
