"""From probabilities of labels to the table of zeros and ones that training reads."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from fairseq_ecg.data.width import check_width
from fairseq_ecg.errors import DataError, as_data_error
from fairseq_ecg.labeler.results import LabelerResults
from fairseq_ecg.labeler.terms import Vocabulary

IDX = "idx"
"""Column that names the recording."""

THRESHOLD = 0.6
"""Between "possible" (0.5) and "probable" (0.7)."""


def check_threshold(threshold: float) -> None:
    """Raise DataError if a threshold is no probability."""
    if not 0 <= threshold <= 1:
        raise DataError(f"threshold {threshold:g}: give a probability, 0 to 1")


@dataclass(frozen=True)
class LabelSet:
    """Which labels a table has, and what counts as each.

    Attributes:
        sources: for each label the names that it stands for; one of them is enough.
    """

    sources: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the order of the columns."""
        return tuple(self.sources)

    def hot(self, probabilities: Mapping[str, float], threshold: float) -> list[int]:
        """Return 0 or 1 for each label.

        Args:
            probabilities: of names in one report; those that are missing do not hold.
            threshold: a label holds from this probability on, and never at 0.
        """
        row = [0] * len(self.sources)
        threshold = max(threshold, _LEAST)
        for name, probability in probabilities.items():
            if probability >= threshold:
                for column in self._columns.get(name, ()):
                    row[column] = 1
        return row

    def mentioned(self, probabilities: Mapping[str, float]) -> set[int]:
        """Return the columns of labels that have a probability at all."""
        return {i for name in probabilities for i in self._columns.get(name, ())}

    @cached_property
    def _columns(self) -> dict[str, list[int]]:
        columns: dict[str, list[int]] = {}
        for i, names in enumerate(self.sources.values()):
            for name in names:
                columns.setdefault(name, []).append(i)
        return columns


_LEAST = 1e-9


def read_label_set(source: str | None, vocabulary: Vocabulary) -> LabelSet:
    """Read a set of labels.

    Args:
        source: name of a set of the vocabulary; CSV file with a column ``name`` (as in
            ``label_def.csv``), and perhaps ``label``, the label that it becomes: several names may
            become one. None: the first set of the vocabulary, or all its entities that are labels.
        vocabulary: that knows the names.

    Returns:
        The set.

    Raises:
        DataError: There is no such set or file, or a name is not in the vocabulary.
    """
    if source is None and vocabulary.label_sets:
        source = next(iter(vocabulary.label_sets))
    if source is None:
        entities = vocabulary.entities.values()
        names = [entity.name for entity in entities if not entity.requires_descriptors]
        return LabelSet({name: (name,) for name in names})
    if source in vocabulary.label_sets:
        rows = [(source, name, name) for name in vocabulary.label_sets[source]]
    else:
        rows = list(_read_rows(Path(source), vocabulary))
    sources: dict[str, list[str]] = {}
    for location, name, label in rows:
        vocabulary.require_label(name, location)
        sources.setdefault(label, []).append(name)
    if not sources:
        raise DataError(f"{source}: names no label")
    return LabelSet({label: tuple(names) for label, names in sources.items()})


def code_table(vocabulary: Vocabulary) -> pd.DataFrame:
    """List the codes of entities.

    Args:
        vocabulary: with the entities.

    Returns:
        A row for every code: ``name``, ``system`` and ``code``, in the order of the vocabulary.
    """
    rows = [
        (entity.name, system, code)
        for entity in vocabulary.entities.values()
        for system, codes in entity.codes.items()
        for code in codes
    ]
    return pd.DataFrame(rows, columns=["name", "system", "code"], dtype=object)


def read_code_set(system: str, vocabulary: Vocabulary, source: str | None = None) -> LabelSet:
    """Read a set of labels that are codes, so that they join data sets that use these.

    Args:
        system: of the codes: ``snomed`` as in CinC 2021, ``scp`` as in PTB-XL, ``aha`` for the
            numbered statements of AHA, ACC and HRS (Mason et al., 2007).
        vocabulary: that knows the codes.
        source: set of labels, see ``read_label_set``, of which to take the codes; labels without
            a code are left out. None: all entities.

    Returns:
        The codes, each holding where an entity that has it holds.

    Raises:
        DataError: There is no such coding system, or none of the labels has a code.
    """
    table = code_table(vocabulary)
    systems = table["system"].drop_duplicates().tolist()
    if system not in systems:
        raise DataError(
            f"no codes of {system!r} in vocabulary {vocabulary.name}; it has "
            f"{', '.join(systems) or 'none'}"
        )
    table = table[table["system"] == system]
    if source is not None:
        names = [
            name for names in read_label_set(source, vocabulary).sources.values() for name in names
        ]
        table = table[table["name"].isin(names)]
    if table.empty:
        raise DataError(f"{source}: none of the labels has a code of {system!r}")
    return LabelSet({code: tuple(rows) for code, rows in table.groupby("code", sort=False)["name"]})


def _read_rows(path: Path, vocabulary: Vocabulary) -> Iterable[tuple[str, str, str]]:
    if not path.is_file():
        sets = ", ".join(vocabulary.label_sets) or "none"
        raise DataError(f"{path}: no such file, nor a set of labels of the vocabulary ({sets})")
    with (
        as_data_error(f"{path}: is no CSV file in UTF-8"),
        open(path, newline="", encoding="utf-8-sig") as file,
    ):
        check_width(path)
        reader = csv.DictReader(file)
        if "name" not in (reader.fieldnames or ()):
            raise DataError(f"{path}: no column 'name' with the labels")
        for row in reader:
            label = row.get("label") or row["name"]
            yield f"{path}, line {reader.line_num}", row["name"], label


def label_table(
    results: LabelerResults, labels: LabelSet, threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Make the table of zeros and ones.

    Args:
        results: of the labeler; the index of its texts becomes ``idx``.
        labels: which columns there are.
        threshold: a label holds from this probability on.

    Returns:
        A row for every text, those without labels included; a column of 0 and 1 for every label.

    Raises:
        DataError: The threshold is no probability.
    """
    check_threshold(threshold)
    rows = [labels.hot(finding.labels_flat, threshold) for finding in results.findings]
    index = results.texts.index.rename(IDX)
    return pd.DataFrame(rows, index=index, columns=list(labels.names), dtype="int64")


def label_array(
    labels_flat: pd.DataFrame, names: Sequence[str], samples: Sequence[object]
) -> pd.DataFrame:
    """Make the table of probabilities.

    Args:
        labels_flat: of ``LabelerResults``.
        names: labels, in the order of the columns.
        samples: in the order of the rows.

    Returns:
        ``(n_samples, n_labels)`` of float64, 0 where a label does not hold.
    """
    wide = labels_flat[labels_flat["name"].isin(names)].set_index("name", append=True)["prob"]
    return wide.unstack("name").reindex(index=samples, columns=names).fillna(0.0)
