"""``fairseq-ecg prepare records``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.prepare.options import add_processed_root, words

SOURCES = ("mimic_iv_ecg", "physionet2021", "code_15", "ptb_xl", "muse", "generic")

GENERIC = "options of --source generic"
MIMIC = "options of --source mimic_iv_ecg"


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
    mimic = parser.add_argument_group(MIMIC)
    mimic.add_argument(
        "--mimic-iv-root",
        type=Path,
        metavar="DIR",
        help="folder of MIMIC-IV, for age, sex and dates of the patients",
    )
    generic = parser.add_argument_group(
        GENERIC,
        "What a file does not say is given, for all files or by a column of --table.",
    )
    for name, kind, metavar, text in _GENERIC_OPTIONS:
        generic.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    parser.set_defaults(run=run, parser=parser)


_GENERIC_OPTIONS = (
    ("name", str, "NAME", "of the source (default: generic)"),
    ("table", Path, "FILE", "CSV or Parquet table of the records (default: all files are taken)"),
    ("pattern", str, "GLOB", "of the files that are taken without a table, such as **/*.hea"),
    ("path-column", str, "NAME", "names the file below --raw-root (default: path or record)"),
    ("patient-column", str, "NAME", "names the patient, becomes patient_id"),
    ("dataset-column", str, "NAME", "names the data set (default: that of --name)"),
    ("label-columns", words, "A,B", "labels (default: columns of 0 and 1)"),
    ("array", Path, "NPY", "one array (records, leads, samples) in place of files"),
    ("row-column", str, "NAME", "row of --array, from 0 (default: that of the table)"),
    ("format", str, "NAME", "of the files, if neither content nor extension tell"),
    ("leads", words, "I,II", "names of the files' leads, in their order"),
    ("sample-rate", float, "HZ", "of the files in Hz"),
    ("units", str, "UNIT", "of the files: mV, uV, V, nV or counts"),
    ("gain", float, "X", "of the files: counts per mV"),
    ("format-column", str, "NAME", "names the format of each file"),
    ("leads-column", str, "NAME", "leads of each file, separated by commas or blanks"),
    ("sample-rate-column", str, "NAME", "sampling rate of each file in Hz"),
    ("units-column", str, "NAME", "units of each file"),
    ("gain-column", str, "NAME", "counts per mV of each file"),
)
"""Name, type, example and explanation."""


def run(arguments: argparse.Namespace) -> int:
    """List the records and say how many there are."""
    allowed = {
        "mimic_iv_ecg": ("mimic_iv_root",),
        "generic": tuple(name.replace("-", "_") for name, *_ in _GENERIC_OPTIONS),
    }
    options = {}
    for source, names in allowed.items():
        for name in names:
            value = getattr(arguments, name)
            if value is None:
                continue
            if source != arguments.source:
                arguments.parser.error(
                    f"--{name.replace('_', '-')} needs --source {source}, not {arguments.source}"
                )
            options[name] = value
    from fairseq_ecg.prepare.records import write_records

    records = write_records(arguments.source, arguments.raw_root, arguments.processed_root, options)
    for dataset, count in records.groupby("dataset", sort=False).size().items():
        print(f"{dataset}: {count} records")
    return 0
