"""Count what the package's vocabulary understands of statements whose findings are known.

    python -m benchmarks.labels [--upstream cases_original.json] [--public FILE]

Nothing is timed.
``tests/labeler/statements.yaml`` was written before the vocabulary, ``statements_later.yaml``
after it, ``statements_last.yaml`` when what the former had shown was corrected,
``statements_over_reads.yaml``, ``statements_odd.yaml`` and, when these had been corrected too,
``statements_check.yaml`` later still; findings are complete with regard to the labels that occur in
any of them. ``statements_faults.yaml`` (what is easily reversed or missed),
``statements_cardiologists.yaml``, ``statements_reports.yaml`` (whole reports) and
``statements_languages.yaml`` followed; their findings are complete with regard to the labels of all
files. A label is positive from a probability of 0.6 on, uncertain below. Precision and recall of
each label go to ``results/labels.csv``, statements that are understood otherwise are printed with
the section of their file.

With recorded cases of ECG-FM's labeler, ``results/labels_upstream.csv`` says for each published
label in how many cases both have it (there at any probability, as it was published), and which
ones only one has.

With statements of public material that a person has read (``public_labels.py`` has the format),
``results/labels_public.csv`` says by source how many findings are right, and how many statements
give nothing.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks import common, public_labels
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import THRESHOLD

STATEMENTS = common.ROOT / "tests" / "labeler"
SETS = {
    "before": "statements.yaml",
    "after": "statements_later.yaml",
    "last": "statements_last.yaml",
    "over-reads": "statements_over_reads.yaml",
    "odd": "statements_odd.yaml",
    "check": "statements_check.yaml",
    "faults": "statements_faults.yaml",
    "cardiologists": "statements_cardiologists.yaml",
    "reports": "statements_reports.yaml",
    "languages": "statements_languages.yaml",
    "fresh": "statements_fresh.yaml",
    "second": "statements_second.yaml",
}
"""Files of statements, by when they were written: before the vocabulary or after it, or by what
they are about."""

LAST_OF_THE_FIRST = "check"
"""Up to this file, findings are complete with regard to the labels of these files only; from the
next on, with regard to those of all."""

OF_THEIR_OWN = ("fresh", "second")
"""The findings of each of these files are complete with regard to its own labels."""

KINDS = ("positive", "uncertain", "negated")
PUBLISHED = "mimic_iv_ecg"


@dataclass(frozen=True)
class Statement:
    """A text and its findings.

    Attributes:
        section: of the file.
        text: as in a report.
        findings: names of labels by kind.
    """

    section: str
    text: str
    findings: Mapping[str, frozenset[str]]


def read_statements(path: Path) -> list[Statement]:
    """Read a file of statements: a list per section, of ``text`` and names by kind."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Statement(
            section, row["text"], {kind: frozenset(map(str, row.get(kind, ()))) for kind in KINDS}
        )
        for section, rows in document.items()
        for row in rows
    ]


def all_statements() -> dict[str, list[Statement]]:
    """Read all files of statements."""
    return {name: read_statements(STATEMENTS / file) for name, file in SETS.items()}


def labels_in(statements: Iterable[Statement]) -> frozenset[str]:
    """Return the labels that occur in statements."""
    return frozenset(
        label for item in statements for names in item.findings.values() for label in names
    )


def judged_labels(sets: Mapping[str, Sequence[Statement]]) -> dict[str, frozenset[str]]:
    """Return, for each file of statements, the labels that its findings are complete for."""
    names = list(sets)
    first = names[: names.index(LAST_OF_THE_FIRST) + 1]
    of_first = labels_in(item for name in first for item in sets[name])
    of_all = labels_in(item for name in names if name not in OF_THEIR_OWN for item in sets[name])
    judged = {name: of_first if name in first else of_all for name in names}
    return {**judged, **{name: labels_in(sets[name]) for name in OF_THEIR_OWN}}


def understood(labeler: Labeler, text: str, labels: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return what the labeler finds of some labels in a text, by kind."""
    finding = labeler.find(text)
    probabilities = {k: p for k, p in finding.labels_flat.items() if k in labels}
    return {
        "positive": frozenset(k for k, p in probabilities.items() if p >= THRESHOLD),
        "uncertain": frozenset(k for k, p in probabilities.items() if p < THRESHOLD),
        "negated": frozenset(
            mention.entity
            for mention in finding.mentions
            if mention.negated and mention.entity in labels
        ),
    }


def count(
    statements: Sequence[Statement], found: Sequence[Mapping[str, frozenset[str]]]
) -> list[dict[str, object]]:
    """Return a row per label and kind: statements that have it, right and wrong finds.

    Args:
        statements: with what is in them.
        found: what was found in each.
    """
    rows = []
    for label in sorted(labels_in(statements)):
        for kind in KINDS:
            pairs = [
                (label in item.findings[kind], label in names[kind])
                for item, names in zip(statements, found, strict=True)
            ]
            right = pairs.count((True, True))
            missed = pairs.count((True, False))
            wrong = pairs.count((False, True))
            if right or missed or wrong:
                rows.append(
                    {
                        "label": label,
                        "kind": kind,
                        "statements": right + missed,
                        "right": right,
                        "missed": missed,
                        "wrong": wrong,
                        "precision": right / (right + wrong) if right + wrong else float("nan"),
                        "recall": right / (right + missed) if right + missed else float("nan"),
                    }
                )
    return rows


def differences(
    item: Statement, found: Mapping[str, frozenset[str]]
) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by kind, the labels that were missed and those that were found in error."""
    return {
        kind: (sorted(item.findings[kind] - found[kind]), sorted(found[kind] - item.findings[kind]))
        for kind in KINDS
        if item.findings[kind] != found[kind]
    }


def listed(kinds: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    """Write the labels of each kind that were missed (-) and found in error (+)."""
    return "; ".join(
        f"{kind}: {', '.join([f'-{k}' for k in missed] + [f'+{k}' for k in wrong])}"
        for kind, (missed, wrong) in kinds.items()
        if missed or wrong
    )


def compare_with_upstream(labeler: Labeler, cases: Path) -> list[dict[str, object]]:
    """Return a row per published label: recorded cases that both, or one of the two, has.

    Args:
        labeler: of this package.
        cases: ``cases_original.json``, a list of texts with the output of ECG-FM's labeler.
    """
    labels = labeler.vocabulary.label_sets[PUBLISHED]
    recorded = [
        (case["text"], frozenset(case["output"]["labels_flat"]))
        for case in json.loads(cases.read_text(encoding="utf-8"))
    ]
    here = [understood(labeler, text, frozenset(labels))["positive"] for text, _ in recorded]
    rows = []
    for label in labels:
        only_here, only_upstream = (
            [text for (text, there), ours in zip(recorded, here, strict=True) if rule(there, ours)]
            for rule in (
                lambda there, ours: label in ours - there,  # noqa: B023
                lambda there, ours: label in there - ours,  # noqa: B023
            )
        )
        rows.append(
            {
                "label": label,
                "both": sum(
                    label in ours & there for (_, there), ours in zip(recorded, here, strict=True)
                ),
                "only_here": len(only_here),
                "only_upstream": len(only_upstream),
                "cases": len(recorded),
                "texts_only_here": " | ".join(only_here),
                "texts_only_upstream": " | ".join(only_upstream),
            }
        )
    return rows


def main() -> None:
    """Count, print what is understood otherwise, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=Path, help="recorded cases of ECG-FM's labeler")
    parser.add_argument("--public", type=Path, help="findings of public statements")
    parser.add_argument("--out", type=Path, default=common.RESULTS)
    arguments = parser.parse_args()
    labeler = Labeler.from_vocabulary()
    sets = all_statements()
    labels = judged_labels(sets)
    rows = []
    for name, statements in sets.items():
        found = [understood(labeler, item.text, labels[name]) for item in statements]
        rows += [{"written": name, **row} for row in count(statements, found)]
        others = [
            (item, differences(item, names))
            for item, names in zip(statements, found, strict=True)
            if differences(item, names)
        ]
        print(f"{len(statements) - len(others)} of {len(statements)} statements ({name})")
        for item, kinds in others:
            print(f"  {item.section}: {item.text!r}: {listed(kinds)}")
    published = labeler.vocabulary.label_sets[PUBLISHED]
    columns = [column for column in rows[0] if column != "kind"]
    common.show(
        [row for row in rows if row["kind"] == "positive" and row["label"] in published], columns
    )
    common.write_csv(rows, arguments.out / "labels.csv")
    if arguments.upstream:
        rows = compare_with_upstream(labeler, arguments.upstream)
        common.show(rows, [column for column in rows[0] if not column.startswith("texts")])
        common.write_csv(rows, arguments.out / "labels_upstream.csv")
    if arguments.public:
        judge_public(labeler, arguments.public, arguments.out / "labels_public.csv")


def judge_public(labeler: Labeler, path: Path, out: Path) -> None:
    """Print what is misread of public statements, and write the counts by source."""
    public = public_labels.read_public_statements(path)
    known = public_labels.names_in(public)
    for item in public:
        kinds = public_labels.judge(labeler, item, known)
        if any(missed or wrong for missed, wrong in kinds.values()):
            print(f"  {item.text!r}: {listed(kinds)}")
    rows = public_labels.summary(labeler, public)
    common.show(rows, list(rows[0]))
    common.write_csv(rows, out)


if __name__ == "__main__":
    main()
