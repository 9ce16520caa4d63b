"""``fairseq-ecg prepare labels``."""

from fairseq_ecg.cli.options import CSV, Folder, Words

SHOWN = 5
"""Recordings without labels that are named."""


def labels(
    *,
    output_dir: Folder,
    labels: CSV,
    meta_splits: CSV,
    columns: Words | None = None,
    segmented_splits: CSV | None = None,
    labeled_meta_splits_save_file: CSV | None = None,
    labeled_segmented_splits_save_file: CSV | None = None,
) -> int:
    """Make label files of a table of labels.

    Writes y.npy, label_def.csv and pos_weight.txt, which fine-tuning reads, of a table of labels
    and of the recordings' splits.

    Args:
        output_dir: folder to write to
        labels: column idx or save_file, and one column of 0 and 1, False and True, or numbers
            between for each label
        meta_splits: recordings and their splits, meta_split.csv
        columns: the labels, in the order of the network's outputs (default: all columns of --labels
            but idx and save_file)
        segmented_splits: segments and their splits, segmented_split.csv, for
            --labeled-segmented-splits-save-file
        labeled_meta_splits_save_file: also write there the rows of --meta-splits that have all
            labels
        labeled_segmented_splits_save_file: also write there the rows of --segmented-splits that
            have all labels
    """
    from fairseq_ecg.prepare.labels import prepare_labels

    summary = prepare_labels(
        labels,
        meta_splits,
        output_dir,
        columns=columns,
        segmented_splits=segmented_splits,
        labeled_meta_splits=labeled_meta_splits_save_file,
        labeled_segmented_splits=labeled_segmented_splits_save_file,
    )
    print(
        f"{len(summary.names)} labels of {summary.labelled} recordings; "
        f"y.npy has {summary.rows} rows"
    )
    if summary.unlabelled:
        first = ", ".join(map(str, summary.unlabelled[:SHOWN]))
        more = ", ..." if len(summary.unlabelled) > SHOWN else ""
        print(f"{len(summary.unlabelled)} recordings lack labels: idx {first}{more}")
        if labeled_segmented_splits_save_file is None:
            print(
                "fine-tuning would take what they lack for 0: leave them out by manifests of the "
                "table that --labeled-segmented-splits-save-file writes"
            )
    if summary.unknown:
        print(f"{summary.unknown} lines of {labels} are of recordings in no split")
    for label in summary.untrainable:
        print(
            f"warning: {label!r} holds in no recording of the training split, so that its "
            "pos_weight is infinite: leave it out (--columns) or choose other fractions"
        )
    return 0
