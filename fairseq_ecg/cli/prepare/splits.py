"""``fairseq-ecg prepare splits``."""

from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import mutually_exclusive

from fairseq_ecg.cli.options import CSV, DefaultInHelp, Name, Words
from fairseq_ecg.cli.prepare.options import ProcessedRoot, Seed

Strategy = Literal["random", "grouped", "temporal", "grouped_temporal", "stratified", "column"]
TRUE = ("true", "True", "t", "T")
FALSE = ("false", "False", "f", "F")

_SEGMENTS = Parameter(group=Group("segments, one or the other", validator=mutually_exclusive))


def _filter_strategy(_: type, tokens: list) -> bool | str:
    text = tokens[-1].value
    return True if text in TRUE else False if text in FALSE else text


FilterStrategy = Annotated[
    str, Parameter(converter=_filter_strategy, n_tokens=1, metavar="true|false|SPLIT")
]


def splits(
    *,
    strategy: Strategy,
    processed_root: ProcessedRoot,
    meta_file: Name = "meta.csv",
    segmented_file: Annotated[Name, _SEGMENTS] = "segmented.csv",
    no_segmented: Annotated[bool, _SEGMENTS] = False,
    save_files_suffix: Annotated[str, Parameter(metavar="TEXT")] = "_split",
    fractions: Annotated[str, Parameter(metavar="X,Y,Z")] = "0.8,0.1,0.1",
    split_labels: Annotated[Words, Parameter(metavar="A,B,C")] = ("train", "valid", "test"),
    seed: Seed = 1,
    group_col: Name | None = None,
    date_col: Name | None = None,
    patient_col: Name | None = None,
    patients_may_overlap: bool = False,
    grouped_temporal_filter_strategy: FilterStrategy = "train",
    stratify_by: CSV | None = None,
    stratify_columns: Words | None = None,
    split_col: Name | None = None,
    split_values: Annotated[Words | None, Parameter(metavar="V,W,X")] = None,
    filter_cols: Annotated[Words, DefaultInHelp] = (),
    dataset_subset: Words | None = None,
    keep_cols: Annotated[Words, DefaultInHelp] = (),
) -> int:
    """Divide recordings into training, validation and test.

    Their segments are divided with them. A patient in two splits is an error, whatever the
    strategy.

    Args:
        strategy: random: recording by recording; grouped: by --group-col, such as the patient;
            temporal: by --date-col, the latest to the last split; grouped_temporal: by date, then
            each group to the split that has most of it; stratified: by patient, each label of
            --stratify-by as frequent in every split; column: as --split-col says
        meta_file: recordings
        segmented_file: segments
        no_segmented: there are no segments, only recordings
        save_files_suffix: of the names of the written tables
        fractions: of the recordings, or of the groups, in each split; what is missing to 1 is one
            fraction more, what is above is divided by the sum
        split_labels: names of the splits, one for each fraction
        seed: of all drawing
        group_col: column of what stays together; needed by grouped and grouped_temporal
        date_col: column of numbers, or dates such as 2015-09-01, which are sorted as text; needed
            by temporal and grouped_temporal
        patient_col: column that names the patient (default: patient_id or subject_id where there is
            one)
        patients_may_overlap: warn of patients in two splits, where that is an error by default
        grouped_temporal_filter_strategy: which recordings of grouped_temporal to keep: true: those
            whose date and group agree on the split (so does the option without a value); false:
            all; a split: those where both or neither say this split
        stratify_by: labels by idx or save_file, labels/labels.csv; needed by stratified
        stratify_columns: labels of --stratify-by to balance (default: all)
        split_col: column that says the split; needed by column
        split_values: values of --split-col for each split, such as 1-8,9,10 for PTB-XL's
            strat_fold, or 1|3 (default: --split-labels)
        filter_cols: drop recordings where one of these columns is true, such as
            nan_any,constant_leads_any (default: none)
        dataset_subset: keep only recordings whose column dataset says one of these (default: all)
        keep_cols: further columns for the written tables (default: none)
    """
    from fairseq_ecg.prepare.labels import read_positive_labels
    from fairseq_ecg.prepare.splits import Division, parse_fractions, write_splits

    division = Division(
        strategy=strategy,
        fractions=parse_fractions(fractions),
        labels=split_labels,
        seed=seed,
        group_column=group_col,
        date_column=date_col,
        patient_column=patient_col,
        filter_strategy=grouped_temporal_filter_strategy,
        filter_columns=filter_cols,
        dataset_subset=dataset_subset,
        keep_columns=keep_cols,
        stratify_by=stratify_by and read_positive_labels(stratify_by, stratify_columns),
        split_column=split_col,
        split_values=split_values,
        patients_may_overlap=patients_may_overlap,
    )
    summary = write_splits(
        processed_root,
        division,
        meta_file=meta_file,
        segmented_file=None if no_segmented else segmented_file,
        suffix=save_files_suffix,
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
