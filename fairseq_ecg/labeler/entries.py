"""Entries of a vocabulary as they stand in the files of this project's format."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.document import Fields, Items
from fairseq_ecg.labeler.terms import (
    AFTER,
    BEFORE,
    CONNECTIVE,
    ENTITY,
    Attachment,
    Compound,
    Descriptor,
    Entity,
    Listing,
    Mention,
    Pattern,
    Travelling,
    Vocabulary,
)

_SIDES = {"before": BEFORE, "after": AFTER}
_OF_ALL = "after_all"
_OBJECT = "before_object"


def by_name(items: Iterable[Any], kind: str) -> dict[str, Any]:
    """Collect entities or descriptors by name; DataError where two have the same."""
    found: dict[str, Any] = {}
    for item in items:
        if item.name in found:
            raise DataError(
                f"{item.location}: {kind} {item.name!r} is already in {found[item.name].location}"
            )
        found[item.name] = item
    return found


def _entity_patterns(row: Fields, name: str) -> Iterator[Pattern]:
    """Read the patterns of an entity: texts, or texts with descriptors."""
    listed = row.get("patterns")
    if listed is None:
        return
    if not isinstance(listed, Items):
        raise DataError(f"{row.location('patterns')}: patterns must be a list")
    for i, item in enumerate(listed):
        if isinstance(item, str) and item:
            yield Pattern(item, ENTITY, (Mention(name),), location=listed.location(i))
        elif isinstance(item, Fields):
            item.expect(("text", "descriptors"))
            mention = Mention(name, item.texts("descriptors"))
            yield Pattern(item.text("text"), ENTITY, (mention,), location=item.location())
        else:
            raise DataError(
                f"{listed.location(i)}: {item!r} must be text (quote it), or a mapping with text "
                "and descriptors"
            )


def _codes(row: Fields, key: str) -> dict[str, tuple[str, ...]]:
    """Read the codes of an entity, one or several per coding system."""
    codes = row.get(key)
    if codes is None:
        return {}
    if not isinstance(codes, Fields):
        raise DataError(f"{row.location(key)}: codes is a mapping of coding systems to codes")
    found = {}
    for system, value in codes.items():
        listed = value if isinstance(value, Items) else [value]
        # A SNOMED CT identifier needs no quotes: it has no leading zeros.
        found[system] = tuple(str(code) for code in listed if isinstance(code, str | int))
        if len(found[system]) != len(listed):
            raise DataError(f"{codes.location(system)}: {value!r} is no code")
    return found


def _probability(row: Fields, key: str) -> float | None:
    """Read the probability that goes with a descriptor."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f"{row.location(key)}: {value!r} is no probability, 0 to 1")
    return float(value)


def _descriptor_patterns(row: Fields, name: str) -> Iterator[Pattern]:
    """Read the patterns of a descriptor, for the entity or list that they stand beside."""
    for side, kind in _SIDES.items():
        for i, text in enumerate(row.texts(side)):
            yield Pattern(text, kind, descriptors=(name,), location=row[side].location(i))
    for i, text in enumerate(row.texts(_OF_ALL)):
        location = row[_OF_ALL].location(i)
        yield Pattern(text, AFTER, descriptors=(name,), of_all=True, location=location)
    for i, text in enumerate(row.texts(_OBJECT)):
        location = row[_OBJECT].location(i)
        yield Pattern(text, BEFORE, descriptors=(name,), needs_object=True, location=location)


@dataclass(frozen=True)
class Kind:
    """Entities or descriptors: what has a name, patterns and further values.

    Attributes:
        name: of one, in messages.
        section: of an overlay, and attribute of a `Vocabulary`, with all of them.
        type: of one.
        values: keys that a row may have, and what reads the value of each.
        pattern_keys: further keys, of its patterns.
        patterns: reads these of a row, for the name of the entity or descriptor.
    """

    name: str
    section: str
    type: type
    values: Mapping[str, Callable[[Fields, str], Any]]
    pattern_keys: tuple[str, ...]
    patterns: Callable[[Fields, str], Iterator[Pattern]]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that a row may have beside ``name``."""
        return (*self.values, *self.pattern_keys)

    def values_of(self, row: Fields) -> dict[str, Any]:
        """Read what a row says, and where it stands; what it leaves out has its default."""
        said = {key: read(row, key) for key, read in self.values.items() if key in row}
        return said | {"location": row.location()}

    def read(self, rows: Iterable[Fields], patterns: list[Pattern]) -> dict[str, Any]:
        """Read entities or descriptors by name, and add their patterns to a list."""
        found = []
        for row in rows:
            row.expect(("name",), self.keys)
            name = row.text("name")
            patterns += self.patterns(row, name)
            found.append(self.type(name, **self.values_of(row)))
        return by_name(found, self.name)


ENTITIES = Kind(
    "entity",
    "entities",
    Entity,
    {
        "parents": Fields.texts,
        "codes": _codes,
        "aka": Fields.texts,
        "requires_descriptors": Fields.flag,
        "certain": Fields.flag,
        "tags": Fields.texts,
    },
    ("patterns",),
    _entity_patterns,
)
DESCRIPTORS = Kind(
    "descriptor",
    "descriptors",
    Descriptor,
    {
        "category": Fields.get,
        "probability": _probability,
        "creates": Fields.texts,
        "negates": Fields.flag,
        "of_phrase": Fields.flag,
        "earlier": Fields.flag,
        "tags": Fields.texts,
    },
    (*_SIDES, _OF_ALL, _OBJECT),
    _descriptor_patterns,
)


def read_patterns(rows: Iterable[Fields]) -> Iterator[Pattern]:
    """Read patterns of several entities, of none, or of several descriptors."""
    for row in rows:
        if "entities" in row:
            row.expect(("text", "entities"))
            mentions = read_mentions(row, "entities")
            yield Pattern(row.text("text"), ENTITY, mentions, location=row.location())
            continue
        row.expect(("text", "descriptors", "side"), ("first",))
        if row["side"] not in _SIDES:
            raise DataError(f"{row.location('side')}: side is {row['side']!r}, not before or after")
        yield Pattern(
            row.text("text"),
            _SIDES[row["side"]],
            descriptors=row.texts("descriptors"),
            first=row.flag("first"),
            location=row.location(),
        )


def read_mentions(row: Fields, key: str, entity_key: str = "entity") -> tuple[Mention, ...]:
    """Read entities, each a name, or a mapping with ``entity_key`` and ``descriptors``."""
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, Items):
        raise DataError(f"{row.location(key)}: {key} must be a list")
    mentions = []
    for i, item in enumerate(value):
        if isinstance(item, Fields):
            item.expect((entity_key,), ("descriptors",))
            mentions.append(Mention(item.text(entity_key), item.texts("descriptors")))
        elif isinstance(item, str) and item:
            mentions.append(Mention(item))
        else:
            raise DataError(
                f"{value.location(i)}: {item!r} must be a name, or a mapping with {entity_key}"
            )
    return tuple(mentions)


def read_connectives(rows: Iterable[Fields]) -> Iterator[Pattern]:
    """Read connectives."""
    for row in rows:
        row.expect(("text",), ("left", "right", "coordinates", "accompanies"))
        yield Pattern(
            row.text("text"),
            CONNECTIVE,
            left=row.texts("left"),
            right=row.texts("right"),
            coordinates=row.flag("coordinates"),
            accompanies=row.flag("accompanies"),
            location=row.location(),
        )


def read_compounds(rows: Iterable[Fields]) -> Iterator[Compound]:
    """Read rules for entities found together."""
    for row in rows:
        row.expect(("entity", "including"), ("excluding",))
        including = read_mentions(row, "including")
        if not including:
            raise DataError(f"{row.location('including')}: a compound includes something")
        yield Compound(
            row.text("entity"), including, read_mentions(row, "excluding"), row.location()
        )


def read_attachments(
    rows: Iterable[Fields], keys: tuple[str, str, str] = ("entity", "descriptor", "result")
) -> Iterator[Attachment]:
    """Read rules for an entity with a descriptor; ``keys`` of a row in the order of the values."""
    for row in rows:
        row.expect(keys)
        yield Attachment(*map(row.text, keys), row.location())


def read_travelling(rows: Iterable[Fields]) -> Iterator[Travelling]:
    """Read rules for descriptors that go up to parents."""
    for row in rows:
        row.expect(("entity", "descriptors"))
        yield Travelling(row.text("entity"), row.texts("descriptors"), row.location())


def read_listing(document: Fields, entities: Mapping[str, Entity]) -> Listing:
    """Read how far doubt and denial go in lists of entities."""

    def names(fields: Fields, key: str) -> tuple[str, ...]:
        for i, name in enumerate(fields.texts(key)):
            if name not in entities:
                raise DataError(f"{fields[key].location(i)}: {key}: there is no entity {name!r}")
        return fields.texts(key)

    def groups(key: str) -> tuple[tuple[str, ...], ...]:
        found = []
        for row in document.records(key):
            row.expect(("name", "entities"))
            found.append(names(row, "entities"))
        return tuple(found)

    return Listing(
        stated=names(document, "stated"),
        denied=groups("denied"),
        doubted=groups("doubted"),
        dependent=names(document, "dependent"),
        independent=names(document, "independent"),
        unfinished=document.texts("unfinished"),
    )


def read_label_sets(document: Fields) -> dict[str, tuple[str, ...]]:
    """Read lists of labels by name."""
    sets = document.get("labels")
    if sets is None:
        return {}
    if not isinstance(sets, Fields):
        raise DataError(f"{document.location('labels')}: labels is a mapping of names to lists")
    return {name: sets.texts(name) for name in sets}


def check_label_sets(document: Fields, vocabulary: Vocabulary) -> None:
    """Raise DataError, naming file and line, if a list of labels has a name that is unknown."""
    for name, labels in read_label_sets(document).items():
        for i, label in enumerate(labels):
            vocabulary.require_label(label, document["labels"][name].location(i))
