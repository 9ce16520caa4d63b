"""ECG-FM's vocabulary: its folder of JSON files, with the two tables of its preprocessing beside.

What its program does beyond these files is in ``compatible/rewriting.yaml``.
"""

from collections.abc import Iterator
from pathlib import Path

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.document import Items, read_document, read_records
from fairseq_ecg.labeler.entries import (
    by_name,
    read_attachments,
    read_mentions,
    read_travelling,
)
from fairseq_ecg.labeler.rules import read_rules
from fairseq_ecg.labeler.terms import (
    AFTER,
    BEFORE,
    CONNECTIVE,
    ENTITY,
    Compound,
    Descriptor,
    Entity,
    Pattern,
    Vocabulary,
)

ENTITIES = "entity_tem.json"
"""The file by which the folder is known."""

REWRITING = Path(__file__).with_name("compatible") / "rewriting.yaml"
CORRECTIONS = Path(__file__).with_name("compatible") / "corrections.yaml"
"""Overlay with what the default mode does not believe of this vocabulary."""

NEGATION = "Absence"
"""The descriptor that says that an entity is absent."""

CERTAIN = "Needs clinical correlation"
"""The entity that is certain whatever it comes with."""

_BEFORE_ITS_LENGTH = frozenset({"qrs axis", "tall r", "tall t"})
"""Patterns that ECG-FM's program looks for before others of their length.

It sorts by length with NumPy's quicksort, which leaves the order of equals to the machine. Of these
machines say the same, against the order of the file, which is kept otherwise.
"""

_SIDES = {"b": BEFORE, "a": AFTER}


def read_ecg_fm_vocabulary(folder: Path) -> Vocabulary:
    """Read ECG-FM's vocabulary.

    Args:
        folder: with ``entity_tem.json`` and its neighbours, ``replacements.json`` and
            ``conjunct_patterns.json``.

    Returns:
        The vocabulary, checked.

    Raises:
        DataError: naming file, line and fault.
    """
    vocabulary = Vocabulary(
        name="ECG-FM",
        entities=by_name(_entities(folder), "entity"),
        descriptors=by_name(_descriptors(folder), "descriptor"),
        patterns=(
            *sorted(
                _entity_patterns(folder), key=lambda pattern: pattern.text not in _BEFORE_ITS_LENGTH
            ),
            *_descriptor_patterns(folder),
            *_connectives(folder),
        ),
        compounds=tuple(_compounds(folder)),
        attachments=tuple(
            read_attachments(
                read_records(folder / "attached_desc_tem.json"),
                ("entity", "descriptor", "resulting_entity"),
            )
        ),
        travelling=tuple(read_travelling(read_records(folder / "traveling_desc_tem.json"))),
        rewriting=read_rules(REWRITING, tables=folder),
    )
    vocabulary.check()
    return vocabulary


def _entities(folder: Path) -> Iterator[Entity]:
    for row in read_records(folder / ENTITIES, required=True):
        if "name" not in row:
            raise DataError(f"{row.location()}: 'name' is missing")
        yield Entity(
            name=row.text("name"),
            parents=row.texts("sup"),
            aka=row.texts("aka"),
            requires_descriptors=row.flag("require_descriptors"),
            certain=row["name"] == CERTAIN,
            tags=row.texts("tags"),
            location=row.location(),
        )


def _descriptors(folder: Path) -> Iterator[Descriptor]:
    path = folder / "uncertainty_map.json"
    probabilities = (read_document(path) if path.is_file() else None) or {}
    unknown = set(probabilities)
    for row in read_records(folder / "desc_tem.json"):
        row.expect(("name",), ("category", "tags", "create_entities"))
        name = row.text("name")
        unknown.discard(name)
        yield Descriptor(
            name=name,
            category=row.get("category"),
            probability=probabilities.get(name),
            creates=row.texts("create_entities"),
            negates=name == NEGATION,
            tags=row.texts("tags"),
            location=row.location(),
        )
    for name in sorted(unknown):
        raise DataError(f"{probabilities.location(name)}: there is no descriptor {name!r}")


def _entity_patterns(folder: Path) -> Iterator[Pattern]:
    for row in read_records(folder / "entity_pat.json", required=True):
        row.expect(("pattern", "entities"))
        entities = read_mentions(row, "entities", "tem")
        yield Pattern(row.text("pattern"), ENTITY, entities=entities, location=row.location())


def _descriptor_patterns(folder: Path) -> Iterator[Pattern]:
    parts = {
        row.text("name"): row.texts("split") for row in read_records(folder / "split_desc_tem.json")
    }
    for row in read_records(folder / "desc_pat.json"):
        row.expect(("pattern", "descriptors"), ("before_after", "parse_before_entities"))
        side = row.get("before_after", "b")
        if side not in _SIDES:
            raise DataError(f"{row.location('before_after')}: before_after is {side!r}, not a or b")
        names = [mention.entity for mention in read_mentions(row, "descriptors", "tem")]
        yield Pattern(
            row.text("pattern"),
            _SIDES[side],
            descriptors=tuple(part for name in names for part in parts.get(name, (name,))),
            first=row.flag("parse_before_entities"),
            location=row.location(),
        )


def _connectives(folder: Path) -> Iterator[Pattern]:
    for row in read_records(folder / "connective.json"):
        row.expect(("pattern", "descriptors"), ("tags",))
        sides = row["descriptors"]
        if not isinstance(sides, Items) or len(sides) != 2:
            raise DataError(
                f"{row.location('descriptors')}: give a list for the left and the right"
            )
        text = row.text("pattern")
        yield Pattern(
            text,
            CONNECTIVE,
            left=tuple(sides[0]),
            right=tuple(sides[1]),
            # The file does not say which ones list things alike.
            coordinates=text in ("and", "or", "and/or"),
            location=row.location(),
        )


def _compounds(folder: Path) -> Iterator[Compound]:
    for row in read_records(folder / "compound_tem.json"):
        row.expect(("entity", "including", "excluding"))
        parts = (read_mentions(row, key, "tem") for key in ("including", "excluding"))
        yield Compound(row.text("entity"), *parts, row.location())
