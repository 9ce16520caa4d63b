"""``fairseq-ecg prepare records``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_processed_root, words

SOURCES = ("mimic_iv_ecg", "physionet2021", "code_15", "ptb_xl", "muse", "generic")


def add(commands) -> None:
    """Add the step."""
    parser = commands.add_parser(
        "records",
        help="list the records of an archive in records.csv",
        description="List the records of an archive in records.csv, with what is known of them "
        "before a signal is read.",
    )
    parser.add_argument(
        "--source",
        required=True,
        choices=SOURCES,
        help="kind of archive; generic for files of your own",
    )
    parser.add_argument(
        "--raw-root", type=Path, required=True, metavar="DIR", help="folder of the archive"
    )
    add_processed_root(parser)
    for name, kind, metavar, text, sources in _OPTIONS:
        kinds = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": metavar}
        parser.add_argument(f"--{name}", **kinds, help=f"{', '.join(sources)}: {text}")
    parser.set_defaults(run=run, parser=parser)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


_GENERIC = ("generic",)

_OPTIONS = (
    (
        "mimic-iv-root",
        Path,
        "DIR",
        "MIMIC-IV, for age, sex and dates of the patients",
        ("mimic_iv_ecg",),
    ),
    (
        "weights-path",
        Path,
        "CSV",
        "weights.csv of the challenge's evaluation, for labels",
        ("physionet2021",),
    ),
    (
        "weight-abbrev-path",
        Path,
        "CSV",
        "weights_abbreviations.csv, names of the labels",
        ("physionet2021",),
    ),
    (
        "uncombined",
        bool,
        None,
        "a label for every code of classes that are scored as one",
        ("physionet2021",),
    ),
    (
        "task",
        str,
        "NAME",
        "labels: all, diagnostic, subdiagnostic, superdiagnostic, form or rhythm (default: "
        "superdiagnostic)",
        ("ptb_xl",),
    ),
    ("name", str, "NAME", "of the source (default: uhn, generic)", ("muse", "generic")),
    (
        "sample-rate",
        _number,
        "HZ",
        "of the files in Hz; 500 or 100 for ptb_xl (default: 500)",
        ("ptb_xl", "generic"),
    ),
    ("table", Path, "FILE", "CSV or Parquet table of the records (default: all files)", _GENERIC),
    ("pattern", str, "GLOB", "files that are taken without a table, such as **/*.hea", _GENERIC),
    ("path-column", str, "NAME", "names the file (default: path or record)", _GENERIC),
    ("patient-column", str, "NAME", "names the patient, becomes patient_id", _GENERIC),
    ("dataset-column", str, "NAME", "names the data set (default: that of --name)", _GENERIC),
    ("label-columns", words, "A,B", "labels (default: columns of 0 and 1)", _GENERIC),
    ("array", Path, "NPY", "one array (records, leads, samples) in place of files", _GENERIC),
    ("row-column", str, "NAME", "row of --array, from 0 (default: that of the table)", _GENERIC),
    ("format", str, "NAME", "of files of which neither content nor extension tell", _GENERIC),
    ("leads", words, "I,II", "names of the files' leads, in their order", _GENERIC),
    ("units", str, "UNIT", "of the files: mV, uV, V, nV or counts", _GENERIC),
    ("gain", _number, "X", "of the files: counts per mV", _GENERIC),
    ("format-column", str, "NAME", "names the format of each file", _GENERIC),
    ("leads-column", str, "NAME", "leads of each file, parted by commas or blanks", _GENERIC),
    ("sample-rate-column", str, "NAME", "sampling rate of each file in Hz", _GENERIC),
    ("units-column", str, "NAME", "units of each file", _GENERIC),
    ("gain-column", str, "NAME", "counts per mV of each file", _GENERIC),
)
"""Name, type, example, explanation, and the sources that have it."""


def run(arguments: argparse.Namespace) -> int:
    """List the records and say how many there are."""
    options = {}
    for name, *_, sources in _OPTIONS:
        value = getattr(arguments, name.replace("-", "_"))
        if value is None or value is False:
            continue
        if arguments.source not in sources:
            arguments.parser.error(f"--{name} needs --source {' or '.join(sources)}")
        options[name.replace("-", "_")] = value
    from fairseq_ecg.prepare.records import write_records

    records = write_records(arguments.source, arguments.raw_root, arguments.processed_root, options)
    for dataset, count in records.groupby("dataset", sort=False).size().items():
        print(f"{dataset}: {count} records")
    return 0
