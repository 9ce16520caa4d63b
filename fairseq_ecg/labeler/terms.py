"""What a vocabulary consists of: entities, descriptors, patterns and rules that combine them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.rewriting import STATEMENT_END, Rule

ENTITY = "e"
BEFORE = "b"
AFTER = "a"
CONNECTIVE = "c"

DESCRIBED = " - "
"""Stands in labels between an entity and a descriptor of it."""


@dataclass(frozen=True)
class Entity:
    """A finding, or a more general notion that findings are kinds of.

    Attributes:
        name: as in labels.
        parents: entities that hold wherever this one does.
        codes: code of each coding system that has one, as ``{"snomed": ("164889003",)}``.
        aka: other names, for readers.
        requires_descriptors: it is no label by itself, as "Rhythm".
        certain: it holds for certain where it is mentioned, however uncertain what it comes with:
            "Needs clinical correlation".
        tags: for readers.
        location: file and line.
    """

    name: str
    parents: tuple[str, ...] = ()
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aka: tuple[str, ...] = ()
    requires_descriptors: bool = False
    certain: bool = False
    tags: tuple[str, ...] = ()
    location: str = ""


@dataclass(frozen=True)
class Descriptor:
    """What qualifies an entity: certainty, severity, location, time.

    Attributes:
        name: as in labels.
        category: of the descriptor, for readers.
        probability: of an entity that it describes; None where it says nothing of certainty.
        creates: entities that it brings with it, as "Rule out" brings "Needs clinical correlation".
        negates: the entity is said to be absent.
        of_phrase: said of all that is named, what stands "with" it included, as "has replaced".
        earlier: said of an earlier ECG, so that an entity that is there now is not denied.
        tags: for readers.
        location: file and line.
    """

    name: str
    category: str | None = None
    probability: float | None = None
    creates: tuple[str, ...] = ()
    negates: bool = False
    of_phrase: bool = False
    earlier: bool = False
    tags: tuple[str, ...] = ()
    location: str = ""


@dataclass(frozen=True)
class Mention:
    """An entity with descriptors, as patterns and rules name it."""

    entity: str
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """A piece of rewritten text and what it stands for.

    Attributes:
        text: in lower case, within one statement.
        kind: ``ENTITY``; ``BEFORE``, descriptors of the next entity; ``AFTER``, descriptors of the
            previous one; ``CONNECTIVE``.
        entities: that an ``ENTITY`` pattern stands for; none where the text only is to be consumed.
        descriptors: of ``BEFORE`` and ``AFTER``.
        left: descriptors that a connective gives the entity on its left.
        right: likewise on its right.
        coordinates: the connective lists things alike, as "or": negation and doubt go on behind it.
        accompanies: the connective names what comes with a finding, as "with".
        needs_object: a ``BEFORE`` that is said of nothing but what follows it, as "consider".
        of_all: an ``AFTER`` that is said of all of a list, as "are no longer present".
        first: a descriptor that is looked for before entities are.
        location: file and line.
    """

    text: str
    kind: str
    entities: tuple[Mention, ...] = ()
    descriptors: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    coordinates: bool = False
    accompanies: bool = False
    needs_object: bool = False
    of_all: bool = False
    first: bool = False
    location: str = ""


@dataclass(frozen=True)
class Compound:
    """An entity that holds where others are found together in a report."""

    entity: str
    including: tuple[Mention, ...]
    excluding: tuple[Mention, ...] = ()
    location: str = ""


@dataclass(frozen=True)
class Attachment:
    """An entity that holds where another one has a descriptor."""

    entity: str
    descriptor: str
    result: str
    location: str = ""


@dataclass(frozen=True)
class Travelling:
    """Descriptors that go up from kinds of an entity to their parents, as far as that entity."""

    entity: str
    descriptors: tuple[str, ...]
    location: str = ""


@dataclass(frozen=True)
class Listing:
    """How far doubt and denial go in lists; kinds of an entity are where the entity is.

    Attributes:
        stated: behind a comma it is stated, not denied, as a sinus rhythm.
        denied: groups of what commas alone deny together.
        doubted: groups of what commas alone doubt together, behind what needs an object.
        dependent: what is not there without the finding that it comes "with".
        independent: kinds of these that are.
        unfinished: words that a statement cannot end in, nor a line begin in, as "of".
    """

    stated: tuple[str, ...] = ()
    denied: tuple[tuple[str, ...], ...] = ()
    doubted: tuple[tuple[str, ...], ...] = ()
    dependent: tuple[str, ...] = ()
    independent: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Everything that a labeler knows of the language of reports.

    Attributes:
        name: of the vocabulary.
        entities: by name.
        descriptors: by name.
        patterns: in the order of their files.
        compounds: rules for entities found together.
        attachments: rules for an entity with a descriptor.
        travelling: rules for descriptors of parents.
        listing: how far doubt and denial go in lists.
        rewriting: what happens to a text before patterns are looked for, in this order.
        label_sets: lists of labels by name.
    """

    name: str
    entities: Mapping[str, Entity]
    descriptors: Mapping[str, Descriptor]
    patterns: tuple[Pattern, ...]
    compounds: tuple[Compound, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    travelling: tuple[Travelling, ...] = ()
    listing: Listing = Listing()
    rewriting: tuple[Rule, ...] = ()
    label_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self) -> None:
        """Check that all names are known and no two things contradict each other.

        Raises:
            DataError: naming file, line and name.
        """
        for entity in self.entities.values():
            if DESCRIBED in entity.name:
                raise DataError(
                    f"{entity.location}: entity {entity.name!r} must not have {DESCRIBED!r} in it, "
                    "which labels have between an entity and a descriptor"
                )
            for parent in entity.parents:
                self._known_entity(parent, entity.location, f"parent of {entity.name!r}")
        for descriptor in self.descriptors.values():
            for name in descriptor.creates:
                self._known_entity(name, descriptor.location, f"created by {descriptor.name!r}")
        self._check_patterns()
        for compound in self.compounds:
            self._known_entity(compound.entity, compound.location, "entity of a compound")
            for mention in compound.including + compound.excluding:
                self._known_mention(mention, compound.location, f"compound {compound.entity!r}")
        for rule in self.attachments:
            for name in (rule.entity, rule.result):
                self._known_entity(name, rule.location, "entity of an attachment")
            self._known_descriptors(
                (rule.descriptor,), rule.location, f"attached to {rule.entity!r}"
            )
        for rule in self.travelling:
            self._known_entity(rule.entity, rule.location, "entity of travelling descriptors")
            self._known_descriptors(
                rule.descriptors, rule.location, f"travelling in {rule.entity!r}"
            )

    def require_label(self, name: str, location: str) -> tuple[str, str]:
        """Take a label apart.

        Args:
            name: of an entity, or ``<Entity> - <Descriptor>``.
            location: where it stands, for the message.

        Returns:
            Entity and descriptor, the latter empty where there is none.

        Raises:
            DataError: There is no such entity or descriptor.
        """
        entity, _, descriptor = name.partition(DESCRIBED)
        self._known_entity(entity, location, f"label {name!r}")
        if descriptor:
            self._known_descriptors((descriptor,), location, f"label {name!r}")
        return entity, descriptor

    def _check_patterns(self) -> None:
        location_of: dict[str, str] = {}
        for pattern in self.patterns:
            text, location = pattern.text, pattern.location
            if text in location_of:
                raise DataError(f"{location}: pattern {text!r} is already in {location_of[text]}")
            location_of[text] = location
            if text != text.lower() or text != text.strip() or STATEMENT_END in text:
                raise DataError(
                    f"{location}: pattern {text!r} can never be found: write it in lower case, "
                    f"without blanks around it and without {STATEMENT_END!r}"
                )
            for mention in pattern.entities:
                self._known_mention(mention, location, f"pattern {text!r}")
            names = pattern.descriptors + pattern.left + pattern.right
            self._known_descriptors(names, location, f"pattern {text!r}")

    def _known_mention(self, mention: Mention, location: str, what: str) -> None:
        self._known_entity(mention.entity, location, what)
        self._known_descriptors(mention.descriptors, location, what)

    def _known_entity(self, name: str, location: str, what: str) -> None:
        if name not in self.entities:
            raise DataError(f"{location}: {what}: there is no entity {name!r}{self._like(name)}")

    def _known_descriptors(self, names: tuple[str, ...], location: str, what: str) -> None:
        for name in names:
            if name not in self.descriptors:
                raise DataError(f"{location}: {what}: there is no descriptor {name!r}")

    def _like(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, self.entities, n=1)
        return f"; is {close[0]!r} meant?" if close else ""
