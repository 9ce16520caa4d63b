"""``fairseq-ecg prepare splits``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_processed_root, add_seed, words

STRATEGIES = ("random", "grouped", "temporal", "grouped_temporal", "stratified", "column")
TRUE = ("true", "True", "t", "T")
FALSE = ("false", "False", "f", "F")


def add(steps) -> None:
    """Add the step."""
    parser = steps.add_parser(
        "splits",
        help="divide recordings into training, validation and test",
        description="Divide recordings, and with them their segments, into splits. A patient in "
        "two splits is an error, whatever the strategy.",
    )
    parser.add_argument(
        "--strategy",
        required=True,
        choices=STRATEGIES,
        help="random: recording by recording; grouped: by --group-col, such as the patient; "
        "temporal: by --date-col, the latest to the last split; grouped_temporal: by date, then "
        "each group to the split that has most of it; stratified: by patient, each label of "
        "--stratify-by as frequent in every split; column: as --split-col says",
    )
    add_processed_root(parser)
    parser.add_argument(
        "--meta-file",
        default="meta.csv",
        metavar="NAME",
        help="recordings (default: meta.csv)",
    )
    segments = parser.add_mutually_exclusive_group()
    segments.add_argument(
        "--segmented-file",
        default="segmented.csv",
        metavar="NAME",
        help="segments (default: segmented.csv)",
    )
    segments.add_argument(
        "--no-segmented", action="store_true", help="there are no segments, only recordings"
    )
    parser.add_argument(
        "--save-files-suffix",
        default="_split",
        metavar="TEXT",
        help="of the names of the written tables (default: _split)",
    )
    parser.add_argument(
        "--fractions",
        default="0.8,0.1,0.1",
        metavar="X,Y,Z",
        help="of the recordings, or of the groups, in each split; what is missing to 1 is one "
        "fraction more, what is above is divided by the sum (default: 0.8,0.1,0.1)",
    )
    parser.add_argument(
        "--split-labels",
        type=words,
        default=("train", "valid", "test"),
        metavar="A,B,C",
        help="names of the splits, one for each fraction (default: train,valid,test)",
    )
    add_seed(parser, "of all drawing")
    parser.add_argument(
        "--group-col",
        metavar="NAME",
        help="column of what stays together; needed by grouped and grouped_temporal",
    )
    parser.add_argument(
        "--date-col",
        metavar="NAME",
        help="column of numbers, or dates such as 2015-09-01, which are sorted as text; needed by "
        "temporal and grouped_temporal",
    )
    parser.add_argument(
        "--patient-col",
        metavar="NAME",
        help="column that names the patient (default: patient_id or subject_id where there is one)",
    )
    parser.add_argument(
        "--patients-may-overlap",
        action="store_true",
        help="warn of patients in two splits, where that is an error by default",
    )
    parser.add_argument(
        "--grouped-temporal-filter-strategy",
        type=_filter_strategy,
        nargs="?",
        const=True,
        default="train",
        metavar="true|false|SPLIT",
        help="which recordings of grouped_temporal to keep: true: those whose date and group agree "
        "on the split (so does the option without a value); false: all; a split: those where both "
        "or neither say this split (default: train)",
    )
    parser.add_argument(
        "--stratify-by",
        type=Path,
        metavar="CSV",
        help="labels by idx or save_file, labels/labels.csv; needed by stratified",
    )
    parser.add_argument(
        "--stratify-columns",
        type=words,
        metavar="A,B",
        help="labels of --stratify-by to balance (default: all)",
    )
    parser.add_argument(
        "--split-col", metavar="NAME", help="column that says the split; needed by column"
    )
    parser.add_argument(
        "--split-values",
        type=words,
        metavar="V,W,X",
        help="values of --split-col for each split, such as 1-8,9,10 for PTB-XL's strat_fold, or "
        "1|3 (default: --split-labels)",
    )
    parser.add_argument(
        "--filter-cols",
        type=words,
        default=(),
        metavar="A,B",
        help="drop recordings where one of these columns is true, such as "
        "nan_any,constant_leads_any (default: none)",
    )
    parser.add_argument(
        "--dataset-subset",
        type=words,
        metavar="A,B",
        help="keep only recordings whose column dataset says one of these (default: all)",
    )
    parser.add_argument(
        "--keep-cols",
        type=words,
        default=(),
        metavar="A,B",
        help="further columns for the written tables (default: none)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Divide and say what was divided."""
    from fairseq_ecg.prepare.labels import read_positive_labels
    from fairseq_ecg.prepare.splits import Division, parse_fractions, write_splits

    stratify_by = None
    if arguments.stratify_by is not None:
        stratify_by = read_positive_labels(arguments.stratify_by, arguments.stratify_columns)
    division = Division(
        strategy=arguments.strategy,
        fractions=parse_fractions(arguments.fractions),
        labels=arguments.split_labels,
        seed=arguments.seed,
        group_column=arguments.group_col,
        date_column=arguments.date_col,
        patient_column=arguments.patient_col,
        filter_strategy=arguments.grouped_temporal_filter_strategy,
        filter_columns=arguments.filter_cols,
        dataset_subset=arguments.dataset_subset,
        keep_columns=arguments.keep_cols,
        stratify_by=stratify_by,
        split_column=arguments.split_col,
        split_values=arguments.split_values,
        patients_may_overlap=arguments.patients_may_overlap,
    )
    summary = write_splits(
        arguments.processed_root,
        division,
        meta_file=arguments.meta_file,
        segmented_file=None if arguments.no_segmented else arguments.segmented_file,
        suffix=arguments.save_files_suffix,
    )
    for label, recordings in summary.recordings.items():
        line = f"{label}: {recordings} recordings"
        if summary.segments is not None:
            line += f", {summary.segments[label]} segments"
        if label in summary.dates:
            line += ", from {} to {}".format(*summary.dates[label])
        print(line)
    for reason, count in summary.dropped.items():
        print(f"{count} recordings dropped: {reason}")
    return 0


def _filter_strategy(text: str) -> bool | str:
    if text in TRUE:
        return True
    return False if text in FALSE else text
