"""Judge the labeler on statements of public material that a person has read.

``python -m benchmarks.labels --public FILE`` runs it. The file has a row for each finding:
``statement``, ``expected`` (names joined by ``|``, any of which will do), ``status`` (``positive``,
``uncertain``, ``denied``, ``positive or uncertain``, ``either``: not judged, ``none``: the
statement has no finding) and ``source``.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import THRESHOLD

KINDS = {"positive": "positive", "uncertain": "uncertain", "denied": "negated"}
"""Kinds of findings, by the status that the file gives them."""

_EITHER_KIND = "positive or uncertain"

_NO_FINDING = frozenset({"Needs clinical correlation"})


@dataclass(frozen=True)
class PublicStatement:
    """A statement of public material and what a reader found in it.

    Attributes:
        text: as it was published.
        source: where.
        expected: by kind, one set of names for each finding, any of which will do.
        perhaps_uncertain: names among the positive ones that may be uncertain as well.
        unjudged: names that a reader could give or leave out.
    """

    text: str
    source: str
    expected: Mapping[str, Sequence[frozenset[str]]]
    perhaps_uncertain: frozenset[str]
    unjudged: frozenset[str]


def read_public_statements(path: Path) -> list[PublicStatement]:
    """Read a CSV file of findings: ``statement``, ``expected``, ``status`` and ``source``.

    Args:
        path: a row for each finding; ``expected`` has names joined by ``|``, ``status`` is
            ``positive``, ``uncertain``, ``denied``, ``positive or uncertain``, ``either`` (not
            judged) or ``none`` (the statement has no finding).
    """
    rows_of: dict[str, list[dict[str, str]]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows_of.setdefault(row["statement"], []).append(row)
    statements = []
    for text, rows in rows_of.items():
        names = [(row["status"], frozenset(row["expected"].split("|"))) for row in rows]
        perhaps = frozenset().union(*(listed for status, listed in names if status == _EITHER_KIND))
        names = [(status.replace(_EITHER_KIND, "positive"), listed) for status, listed in names]
        statements.append(
            PublicStatement(
                text,
                rows[0]["source"],
                {
                    kind: [listed for status, listed in names if status == written]
                    for written, kind in KINDS.items()
                },
                perhaps,
                frozenset().union(*(listed for status, listed in names if status == "either")),
            )
        )
    return statements


def judge(
    labeler: Labeler, item: PublicStatement, known: frozenset[str] = frozenset()
) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by kind, the findings of a statement that were missed and what was found in error.

    A name is in error if it is neither expected nor unjudged, nor follows from one that is. What
    follows from several names together (a compound) is not judged.

    Args:
        labeler: whose findings are judged.
        item: the statement.
        known: names that the readers used; of another one it is enough that it is a kind of one
            that is expected or unjudged.
    """
    finding = labeler.find(item.text)
    probabilities = finding.labels_flat
    positive = {name for name, p in probabilities.items() if p >= THRESHOLD}
    uncertain = set(probabilities) - positive
    negated = {mention.entity for mention in finding.mentions if mention.negated}
    named = {
        row.name
        for _, block in finding.blocks
        for row in block.entities
        if row.source == "text" or row.source.startswith(("attached", "desc_create"))
    }
    present = {
        "positive": positive | (uncertain & item.perhaps_uncertain),
        "uncertain": uncertain,
        "negated": negated,
    }
    found = {
        "positive": named & positive,
        "uncertain": (named & uncertain) - item.perhaps_uncertain,
        "negated": negated,
    }
    judged = {}
    for kind, expected in item.expected.items():
        allowed = set(item.unjudged).union(*expected)
        implied = {parent for name in allowed for parent in labeler.graph.ancestors(name)}
        missed = ["|".join(sorted(names)) for names in expected if not names & present[kind]]
        wrong = {
            name
            for name in found[kind] - allowed - implied - _NO_FINDING
            if not known or name in known or allowed.isdisjoint(labeler.graph.ancestors(name))
        }
        judged[kind] = missed, sorted(wrong)
    return judged


def names_in(statements: Iterable[PublicStatement]) -> frozenset[str]:
    """Return all names that the readers of statements used."""
    return frozenset(
        name
        for item in statements
        for names in (item.unjudged, *chain.from_iterable(item.expected.values()))
        for name in names
    )


def states_something(item: PublicStatement) -> bool:
    """Return whether a statement has a finding at all."""
    return any(item.expected.values())


def gives_nothing(labeler: Labeler, text: str) -> bool:
    """Return whether the labeler finds nothing in a text, present, doubted or denied."""
    finding = labeler.find(text)
    return not (set(finding.labels_flat) - _NO_FINDING or any(m.negated for m in finding.mentions))


def summary(labeler: Labeler, statements: Iterable[PublicStatement]) -> list[dict[str, object]]:
    """Return a row for each source and for all: precision and recall by kind, and coverage.

    Args:
        labeler: to judge.
        statements: of one or several sources.
    """
    statements = list(statements)
    by_source: dict[str, list[PublicStatement]] = {}
    for item in statements:
        by_source.setdefault(item.source.partition(":")[0].partition(" ")[0], []).append(item)
        by_source.setdefault("all", []).append(item)
    known = names_in(statements)
    return [_row(labeler, name, items, known) for name, items in sorted(by_source.items())]


def _row(
    labeler: Labeler, source: str, items: Sequence[PublicStatement], known: frozenset[str]
) -> dict[str, object]:
    judged = [judge(labeler, item, known) for item in items]
    row: dict[str, object] = {"source": source, "statements": len(items)}
    for kind in KINDS.values():
        expected = sum(len(item.expected[kind]) for item in items)
        missed = sum(len(kinds[kind][0]) for kinds in judged)
        wrong = sum(len(kinds[kind][1]) for kinds in judged)
        right = expected - missed
        row |= {
            f"{kind}_expected": expected,
            f"{kind}_wrong": wrong,
            f"{kind}_precision": right / (right + wrong) if right + wrong else float("nan"),
            f"{kind}_recall": right / expected if expected else float("nan"),
        }
    stated = [item for item in items if states_something(item)]
    row["stated"] = len(stated)
    row["stated_without_label"] = sum(gives_nothing(labeler, item.text) for item in stated)
    return row
