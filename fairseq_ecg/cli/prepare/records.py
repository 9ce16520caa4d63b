"""``fairseq-ecg prepare records``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import CycloptsError, Parameter

from fairseq_ecg.cli.options import CSV, NPY, File, Folder, Name, Seconds, Unit, Words
from fairseq_ecg.cli.prepare.options import ProcessedRoot, Seed

Source = Literal[
    "mimic_iv_ecg", "physionet2021", "code_15", "ptb_xl", "ludb", "ecg_id", "muse", "generic"
]


def _number(_: type, tokens: list) -> int | float:
    value = float(tokens[-1].value)
    return int(value) if value.is_integer() else value


Hertz = Annotated[int | float, Parameter(converter=_number, n_tokens=1, metavar="HZ")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What is to be said of some kinds of archives, see `sources_with`.

    Attributes:
        mimic_iv_root: mimic_iv_ecg: MIMIC-IV, for age, sex and dates of the patients
        weights_path: physionet2021: weights.csv of the challenge's evaluation, for labels
        weight_abbrev_path: physionet2021: weights_abbreviations.csv, names of the labels
        uncombined: physionet2021: a label for every code of classes that are scored as one
        task: ptb_xl: labels: all, diagnostic, subdiagnostic, superdiagnostic, form or rhythm
            (default: superdiagnostic)
        name: muse, generic: of the source (default: uhn, generic)
        sample_rate: ptb_xl, generic, ludb, ecg_id: of the files in Hz; 500 or 100 for ptb_xl
            (default: 500)
        resample: ludb, ecg_id: bring records of other rates to --sample-rate (default: skip them)
        separate_leads: ludb: a file for each lead, with the waves of that lead (default: a file for
            each record, with mean onsets and offsets of the leads)
        segment_seconds: ecg_id: length of a segment in seconds (default: 5)
        seed: ecg_id: of the starts of the segments (default: 42)
        table: generic: CSV or Parquet table of the records (default: all files)
        pattern: generic: files that are taken without a table, such as **/*.hea
        path_column: generic: names the file (default: path or record)
        patient_column: generic: names the patient, becomes patient_id
        dataset_column: generic: names the data set (default: that of --name)
        label_columns: generic: labels (default: columns of 0 and 1)
        array: generic: one array (records, leads, samples) in place of files
        row_column: generic: row of --array, from 0 (default: that of the table)
        format: generic: of files of which neither content nor extension say it
        leads: generic: names of the files' leads, in their order
        units: generic: of the files: mV, uV, V, nV or counts
        gain: generic: of the files: counts per mV
        format_column: generic: names the format of each file
        leads_column: generic: leads of each file, parted by commas or blanks
        sample_rate_column: generic: sampling rate of each file in Hz
        units_column: generic: units of each file
        gain_column: generic: counts per mV of each file
    """

    mimic_iv_root: Folder | None = None
    weights_path: CSV | None = None
    weight_abbrev_path: CSV | None = None
    uncombined: bool = False
    task: Name | None = None
    name: Name | None = None
    sample_rate: Hertz | None = None
    resample: bool = False
    separate_leads: bool = False
    segment_seconds: Seconds | None = None
    seed: Seed | None = None
    table: File | None = None
    pattern: Annotated[str | None, Parameter(metavar="GLOB")] = None
    path_column: Name | None = None
    patient_column: Name | None = None
    dataset_column: Name | None = None
    label_columns: Words | None = None
    array: NPY | None = None
    row_column: Name | None = None
    format: Name | None = None
    leads: Annotated[Words, Parameter(metavar="I,II")] | None = None
    units: Unit | None = None
    gain: Annotated[Hertz, Parameter(metavar="X")] | None = None
    format_column: Name | None = None
    leads_column: Name | None = None
    sample_rate_column: Name | None = None
    units_column: Name | None = None
    gain_column: Name | None = None

    def given(self, source: str) -> dict[str, object]:
        """Return the options that were given, by name.

        Args:
            source: kind of archive.

        Raises:
            CycloptsError: archives of this kind have no such option.
        """
        options = {k: v for k, v in vars(self).items() if v is not None and v is not False}
        for name in options:
            if source not in sources_with(name):
                needed = " or ".join(sources_with(name))
                raise CycloptsError(msg=f"--{name.replace('_', '-')} needs --source {needed}")
        return options


_NOT_ONLY_GENERIC = {
    "mimic_iv_root": ("mimic_iv_ecg",),
    "weights_path": ("physionet2021",),
    "weight_abbrev_path": ("physionet2021",),
    "uncombined": ("physionet2021",),
    "task": ("ptb_xl",),
    "name": ("muse", "generic"),
    "sample_rate": ("ptb_xl", "generic", "ludb", "ecg_id"),
    "resample": ("ludb", "ecg_id"),
    "separate_leads": ("ludb",),
    "segment_seconds": ("ecg_id",),
    "seed": ("ecg_id",),
}


def sources_with(option: str) -> tuple[str, ...]:
    """Name the kinds of archives that have an option."""
    return _NOT_ONLY_GENERIC.get(option, ("generic",))


def records(
    *,
    source: Source,
    raw_root: Folder,
    processed_root: ProcessedRoot,
    options: SourceOptions = SourceOptions(),
) -> int:
    """List the records of an archive in records.csv.

    They are listed with what is known of them before a signal is read.

    Args:
        source: kind of archive; generic for files of your own
        raw_root: folder of the archive
    """
    given = options.given(source)
    from fairseq_ecg.prepare.records import write_records

    table = write_records(source, raw_root, processed_root, given)
    for dataset, count in table.groupby("dataset", sort=False).size().items():
        print(f"{dataset}: {count} records")
    return 0
