"""``fairseq-ecg label reports``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.label.options import LabelerOptions
from fairseq_ecg.cli.options import Folder, Integer, Name, Probability, SeveralValues


def reports(
    reports: Path,
    /,
    *,
    text_column: Annotated[tuple[str, ...], SeveralValues],
    id_column: Name | None = None,
    out: Folder,
    labels: Annotated[str | None, Parameter(metavar="SET")] = None,
    codes: Annotated[str | None, Parameter(metavar="SYSTEM")] = None,
    threshold: Probability | None = None,
    workers: Integer | None = None,
    labeling: LabelerOptions = LabelerOptions(),
) -> int:
    """Label a table of reports.

    Writes labels.csv (idx and a column of 0 and 1 per label), findings.jsonl (everything found),
    statements.csv (statements by how often they occur, with what was not understood) and
    coverage.json. A run that was interrupted goes on where it was.

    Args:
        reports: CSV or Parquet file
        text_column: column of the reports; several are joined by '; '
        id_column: column that becomes idx (default: the number of the row, from 0)
        out: folder to write to
        labels: columns of labels.csv: a set of labels of the vocabulary, or a CSV file with the
            column name, as label_def.csv, and perhaps label, what the name becomes (default: the
            vocabulary's first set, or all its entities)
        codes: name the columns of labels.csv by codes: snomed, as in CinC 2021, scp, as in
            PTB-XL, or aha, the statements of AHA, ACC and HRS; all that there are, or those of
            --labels
        threshold: a label holds from this probability on; 0: wherever it is mentioned (default:
            0.6, with --mode compatible or mended 0)
        workers: processes (default: one per core)
    """
    import joblib

    from fairseq_ecg.labeler.label_table import THRESHOLD, read_code_set, read_label_set
    from fairseq_ecg.labeler.reports import label_reports

    labeler = labeling.labeler()
    if codes is None:
        columns = read_label_set(labels, labeler.vocabulary)
    else:
        columns = read_code_set(codes, labeler.vocabulary, labels)
    if threshold is None:
        threshold = THRESHOLD if labeling.mode == "default" else 0.0
    coverage = label_reports(
        reports,
        out,
        labeler,
        columns,
        text_columns=list(text_column),
        id_column=id_column,
        threshold=threshold,
        workers=workers or joblib.cpu_count(),
        progress=True,
    )
    print(
        f"{coverage.reports} reports, {coverage.empty_reports} of them empty, "
        f"{coverage.reports_with_unmatched_words} with words that were not understood"
    )
    print(
        f"{coverage.statements} statements, in {coverage.unmatched_statements} of them "
        f"({coverage.unmatched_statements / max(coverage.statements, 1):.1%}) nothing was found"
    )
    for text, count in coverage.frequent_unmatched.items():
        print(f"  {count} x {text[:100]!r}")
    for language, count in coverage.languages.items():
        print(f"language {language}: {count} reports")
    if coverage.refused_reports:
        print(
            f"{coverage.refused_reports} reports are in a language that is not read: nothing was "
            "found in them, which denies nothing"
        )
    for name, counts in coverage.labels.items():
        if any(counts.values()):
            print(f"{name}: {counts['positive']} positive, {counts['uncertain']} uncertain")
    return 0
