"""``fairseq-ecg label``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

MODES = ("default", "compatible", "mended")
BELOW = ("reports", "graph", "why", "codes")
"""Commands below; the first is meant where none is named."""


def add(commands) -> None:
    """Add the command and those below it."""
    parser = commands.add_parser(
        "label",
        help="find labels in the free text of reports",
        description="Find labels in the free text of ECG reports.",
    )
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_reports(below)
    _add_graph(below)
    _add_why(below)
    _add_codes(below)


def spelled_out(argv: Sequence[str]) -> list[str]:
    """Insert what goes without saying: ``label REPORTS`` means ``label reports REPORTS``."""
    words = list(argv)
    if words[:1] == ["label"] and len(words) > 1 and words[1] not in (*BELOW, "-h", "--help"):
        words.insert(1, BELOW[0])
    return words


def _add_vocabulary_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocabulary",
        default="default",
        metavar="DIR",
        help="folder of a vocabulary, or of ECG-FM's JSON files (default: the package's own)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="default",
        help="compatible: what ECG-FM's labeler does; mended: without its faults of attribution",
    )
    parser.add_argument(
        "--semantics",
        nargs="+",
        default=(),
        metavar="NAME=VALUE",
        help="choices made otherwise than in the mode, such as negation=nearest",
    )
    parser.add_argument(
        "--corrections",
        action=argparse.BooleanOptionalAction,
        help="mend what is wrong in ECG-FM's vocabulary (default: in the default mode)",
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="YAML", help="file of changes to the vocabulary"
    )


def _labeler(arguments: argparse.Namespace):
    from fairseq_ecg.labeler import Labeler
    from fairseq_ecg.labeler.semantics import choose

    return Labeler.from_vocabulary(
        arguments.vocabulary,
        mode=arguments.mode,
        semantics=choose(arguments.mode, arguments.semantics),
        corrected=arguments.corrections,
        overlay=arguments.overlay,
    )


def _add_reports(below) -> None:
    parser = below.add_parser(
        "reports",
        help="label a table of reports",
        description="Label a table of reports. Writes labels.csv (idx and a column of 0 and 1 per "
        "label), findings.jsonl (everything found), statements.csv (statements by how often they "
        "occur, with what was not understood) and coverage.json. A run that was interrupted goes "
        "on where it was.",
    )
    parser.add_argument("reports", type=Path, metavar="REPORTS", help="CSV or Parquet file")
    parser.add_argument(
        "--text-column",
        nargs="+",
        required=True,
        metavar="NAME",
        help="column of the reports; several are joined by '; '",
    )
    parser.add_argument(
        "--id-column",
        metavar="NAME",
        help="column that becomes idx (default: the number of the row, from 0)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    _add_vocabulary_options(parser)
    parser.add_argument(
        "--labels",
        metavar="SET",
        help="columns of labels.csv: a set of labels of the vocabulary, or a CSV file with the "
        "column name, as label_def.csv, and perhaps label, what the name becomes (default: the "
        "vocabulary's first set, or all its entities)",
    )
    parser.add_argument(
        "--codes",
        metavar="SYSTEM",
        help="name the columns of labels.csv by codes: snomed, as in CinC 2021, or scp, as in "
        "PTB-XL; all that there are, or those of --labels",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="a label holds from this probability on; 0: wherever it is mentioned (default: 0.6, "
        "with --mode compatible or mended 0)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core)"
    )
    parser.set_defaults(run=run_reports)


def run_reports(arguments: argparse.Namespace) -> int:
    """Label and say how much was understood."""
    import joblib

    from fairseq_ecg.labeler.label_table import THRESHOLD, read_code_set, read_label_set
    from fairseq_ecg.labeler.reports import label_reports

    labeler = _labeler(arguments)
    if arguments.codes is None:
        labels = read_label_set(arguments.labels, labeler.vocabulary)
    else:
        labels = read_code_set(arguments.codes, labeler.vocabulary, arguments.labels)
    threshold = arguments.threshold
    if threshold is None:
        threshold = THRESHOLD if arguments.mode == "default" else 0.0
    coverage = label_reports(
        arguments.reports,
        arguments.out,
        labeler,
        labels,
        text_columns=arguments.text_column,
        id_column=arguments.id_column,
        threshold=threshold,
        workers=arguments.workers or joblib.cpu_count(),
        progress=True,
    )
    print(
        f"{coverage.reports} reports, {coverage.empty_reports} of them empty, "
        f"{coverage.reports_with_unmatched_words} with words that were not understood"
    )
    print(
        f"{coverage.statements} statements, in {coverage.unmatched_statements} of them nothing "
        "was found"
    )
    for name, counts in coverage.labels.items():
        if any(counts.values()):
            print(f"{name}: {counts['positive']} positive, {counts['uncertain']} uncertain")
    return 0


def _add_graph(below) -> None:
    parser = below.add_parser(
        "graph",
        help="draw what an entity is a kind of, and its kinds",
        description="Draw an entity with all that it is a kind of, and with all its kinds.",
    )
    parser.add_argument("--entity", required=True, metavar="NAME", help="an entity")
    parser.add_argument("--out", type=Path, required=True, metavar="SVG", help="file to write")
    _add_vocabulary_options(parser)
    parser.set_defaults(run=run_graph)


def run_graph(arguments: argparse.Namespace) -> int:
    """Draw, and print the names."""
    from fairseq_ecg.labeler.drawing import draw_graph

    graph = _labeler(arguments).graph
    draw_graph(graph, arguments.entity, arguments.out)
    print(f"a kind of: {', '.join(graph.ancestors(arguments.entity)) or 'nothing'}")
    print(f"kinds: {', '.join(graph.descendants(arguments.entity)) or 'none'}")
    for rule in graph.follows_from(arguments.entity):
        print(f"follows from: {rule}")
    return 0


def _add_why(below) -> None:
    parser = below.add_parser(
        "why",
        help="explain a label of a text",
        description="Print every way from a text to a label.",
    )
    parser.add_argument("text", metavar="TEXT", help="a report")
    parser.add_argument("label", metavar="LABEL", help="an entity, or 'Entity - Descriptor'")
    _add_vocabulary_options(parser)
    parser.set_defaults(run=run_why)


def run_why(arguments: argparse.Namespace) -> int:
    """Print the ways."""
    ways = _labeler(arguments).why(arguments.text, arguments.label)
    print("\n".join(ways) or f"{arguments.label} does not hold")
    return 0


def _add_codes(below) -> None:
    parser = below.add_parser(
        "codes",
        help="print which codes entities have",
        description="Print the codes of entities as CSV: name, system (snomed, scp) and code.",
    )
    _add_vocabulary_options(parser)
    parser.set_defaults(run=run_codes)


def run_codes(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from fairseq_ecg.labeler.label_table import code_table

    print(code_table(_labeler(arguments).vocabulary).to_csv(index=False), end="")
    return 0
