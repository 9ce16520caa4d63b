"""Changes to a vocabulary, a user's or shipped; ``README.md`` describes the format."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import entries
from fairseq_ecg.labeler.document import Fields, read_document
from fairseq_ecg.labeler.rules import read_rules_in
from fairseq_ecg.labeler.terms import Entity, Pattern, Vocabulary

_ABOUT = "about"
_SECTIONS = (
    _ABOUT,
    "entities",
    "descriptors",
    "patterns",
    "connectives",
    "compounds",
    "attachments",
    "travelling",
    "rewriting",
    "labels",
)

_FOLDER = Path(__file__).with_name("overlays")


def shipped_overlays() -> Mapping[str, str]:
    """Return the overlays that come with the package: by name what each does."""
    return {path.stem: read_document(path)[_ABOUT] for path in sorted(_FOLDER.glob("*.yaml"))}


def overlay_file(overlay: Path | str) -> Path:
    """Return the file of an overlay.

    Args:
        overlay: name of one that comes with the package, or a file.

    Raises:
        DataError: It is neither.
    """
    shipped = _FOLDER / f"{overlay}.yaml"
    if Path(overlay).name == str(overlay) and shipped.is_file():
        return shipped
    if not Path(overlay).is_file():
        raise DataError(
            f"overlay {overlay}: no such file, nor one that comes with the package "
            f"({', '.join(shipped_overlays())})"
        )
    return Path(overlay)


def overlaid(vocabulary: Vocabulary, path: Path) -> Vocabulary:
    """Change a vocabulary.

    Args:
        vocabulary: to change.
        path: YAML or JSON file with what to add, to change and to remove.

    Returns:
        The changed vocabulary, checked.

    Raises:
        DataError: naming file, line and name: something to add is there already, something to
            change or to remove is not, or the result refers to what is no longer there.
    """
    document = read_document(path)
    if document is None:
        return vocabulary
    if not isinstance(document, Fields):
        raise DataError(f"{path}: must be a mapping with some of {', '.join(_SECTIONS)}")
    document.expect((), _SECTIONS)
    if _ABOUT in document:
        document.text(_ABOUT)
    vocabulary = _with_entities(vocabulary, document)
    vocabulary = _with_descriptors(vocabulary, document)
    removed = _removed_texts(vocabulary, document)
    added = [
        *entries.read_patterns(_section(document, "patterns").records("add")),
        *entries.read_connectives(_section(document, "connectives").records("add")),
    ]
    kept = [pattern for pattern in vocabulary.patterns if pattern.text not in removed]
    rules = {
        "compounds": (entries.read_compounds, lambda rule: rule.entity),
        "attachments": (entries.read_attachments, lambda rule: rule.result),
        "travelling": (entries.read_travelling, lambda rule: rule.entity),
    }
    changed = {
        key: _with_rules(getattr(vocabulary, key), _section(document, key), read, name_of)
        for key, (read, name_of) in rules.items()
    }
    vocabulary = replace(
        vocabulary,
        patterns=(*kept, *added),
        rewriting=(
            *vocabulary.rewriting,
            *read_rules_in(document.get("rewriting"), path, tables=path.parent),
        ),
        label_sets={**vocabulary.label_sets, **entries.read_label_sets(document)},
        **changed,
    )
    vocabulary.check()
    entries.check_label_sets(document, vocabulary)
    return vocabulary


def _section(document: Fields, name: str, also: tuple[str, ...] = ()) -> Fields:
    section = document.get(name)
    if section is None:
        return Fields()
    if not isinstance(section, Fields):
        raise DataError(f"{document.location(name)}: {name} is a mapping with add or remove")
    section.expect((), ("add", *also, "remove"))
    return section


def _removals(section: Fields, there: Iterable[str], kind: str) -> set[str]:
    there = set(there)
    removed = set(section.texts("remove"))
    for i, name in enumerate(section.texts("remove")):
        if name not in there:
            location = section["remove"].location(i)
            raise DataError(f"{location}: there is no {kind} {name!r} to remove")
    return removed


def _changes(section: Fields, there: Iterable[str], removed: set[str], kind: str) -> Iterator:
    there, seen = set(there), set()
    for row in section.records("change"):
        if "name" not in row:
            raise DataError(f"{row.location()}: 'name' is missing")
        name = row.text("name")
        if name in removed:
            raise DataError(f"{row.location()}: {kind} {name!r} is both changed and removed")
        if name not in there:
            raise DataError(f"{row.location()}: there is no {kind} {name!r} to change; add it")
        if name in seen:
            raise DataError(f"{row.location()}: {kind} {name!r} is changed twice")
        seen.add(name)
        yield name, row


def _check_additions(added: dict, there: dict, removed: set[str], kind: str) -> None:
    for name, item in added.items():
        if name in removed:
            raise DataError(
                f"{item.location}: {kind} {name!r} is both added and removed; change it instead"
            )
        if name in there:
            raise DataError(
                f"{item.location}: {kind} {name!r} is already in {there[name].location}; change it "
                "instead"
            )


def _changed(
    vocabulary: Vocabulary,
    document: Fields,
    kind: entries.Kind,
    changes_of: Callable[[Any, Fields], dict[str, Any]],
    only_in_changes: tuple[str, ...] = (),
) -> tuple[dict[str, Any], list[Pattern], set[str]]:
    """Change entities or descriptors.

    Args:
        vocabulary: that has them.
        document: the overlay.
        kind: which of the two.
        changes_of: values that a row gives one that is there.
        only_in_changes: keys that such a row may have besides.

    Returns:
        All by name, with those to be removed; all patterns, theirs included; and the names of those
        to be removed.
    """
    section = _section(document, kind.section, ("change",))
    there = dict(getattr(vocabulary, kind.section))
    patterns = list(vocabulary.patterns)
    removed = _removals(section, there, kind.name)
    for name, row in _changes(section, there, removed, kind.name):
        row.expect(("name",), (*kind.keys, *only_in_changes))
        patterns += kind.patterns(row, name)
        there[name] = replace(there[name], **changes_of(there[name], row))
    added = kind.read(section.records("add"), patterns)
    _check_additions(added, there, removed, kind.name)
    return there | added, patterns, removed


def _with_entities(vocabulary: Vocabulary, document: Fields) -> Vocabulary:
    entities, patterns, removed = _changed(
        vocabulary, document, entries.ENTITIES, _entity_changes, ("add_parents", "remove_parents")
    )
    entities = {
        name: _without_parents(entity, vocabulary.entities, removed)
        for name, entity in entities.items()
        if name not in removed
    }
    patterns = [pattern for pattern in patterns if not _only_mentions(pattern, removed)]
    return replace(vocabulary, entities=entities, patterns=tuple(patterns))


def _entity_changes(entity: Entity, row: Fields) -> dict[str, Any]:
    if "parents" in row and ("add_parents" in row or "remove_parents" in row):
        raise DataError(
            f"{row.location('parents')}: parents says all of them; it contradicts add_parents and "
            "remove_parents"
        )
    changes = entries.ENTITIES.values_of(row)
    parents = changes.get("parents", entity.parents)
    for i, name in enumerate(row.texts("remove_parents")):
        if name not in parents:
            location = row["remove_parents"].location(i)
            raise DataError(f"{location}: {name!r} is no parent of {entity.name!r}")
        parents = tuple(parent for parent in parents if parent != name)
    for i, name in enumerate(row.texts("add_parents")):
        if name in parents:
            location = row["add_parents"].location(i)
            raise DataError(f"{location}: {name!r} is already a parent of {entity.name!r}")
        parents = (*parents, name)
    return changes | {"parents": parents, "codes": {**entity.codes, **changes.get("codes", {})}}


def _without_parents(entity: Entity, there: dict[str, Entity], removed: set[str]) -> Entity:
    """Put the parents of parents that are removed in their place."""
    parents = list(entity.parents)
    while gone := [name for name in parents if name in removed]:
        i = parents.index(gone[0])
        parents[i : i + 1] = [name for name in there[gone[0]].parents if name not in parents]
    return replace(entity, parents=tuple(parents)) if tuple(parents) != entity.parents else entity


def _only_mentions(pattern: Pattern, removed: set[str]) -> bool:
    names = {mention.entity for mention in pattern.entities}
    return bool(names) and names <= removed


def _with_descriptors(vocabulary: Vocabulary, document: Fields) -> Vocabulary:
    descriptors, patterns, removed = _changed(
        vocabulary, document, entries.DESCRIPTORS, lambda _, row: entries.DESCRIPTORS.values_of(row)
    )
    descriptors = {k: v for k, v in descriptors.items() if k not in removed}
    patterns = [
        pattern
        for pattern in patterns
        if not pattern.descriptors or not removed.issuperset(pattern.descriptors)
    ]
    return replace(vocabulary, descriptors=descriptors, patterns=tuple(patterns))


def _removed_texts(vocabulary: Vocabulary, document: Fields) -> set[str]:
    there = [pattern.text for pattern in vocabulary.patterns]
    removed = _removals(_section(document, "patterns"), there, "pattern")
    return removed | _removals(_section(document, "connectives"), there, "connective")


def _with_rules(
    rules: tuple, section: Fields, read: Callable[[Iterable[Fields]], Iterator], name_of: Callable
) -> tuple:
    """Add and remove rules, which go by the entity that they are about."""
    removed = _removals(section, map(name_of, rules), "rule for")
    kept = [rule for rule in rules if name_of(rule) not in removed]
    return (*kept, *read(section.records("add")))
