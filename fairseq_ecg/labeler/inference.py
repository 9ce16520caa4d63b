"""From what a report mentions to what holds: parents, attached entities, compounds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fairseq_ecg.labeler.knowledge_graph import KnowledgeGraph
from fairseq_ecg.labeler.mentions import Mentioned
from fairseq_ecg.labeler.semantics import Semantics
from fairseq_ecg.labeler.terms import Mention, Travelling, Vocabulary


@dataclass(frozen=True, slots=True)
class EntityRow:
    """An entity that holds.

    Attributes:
        number: within its block.
        name: of the entity.
        source: how it was found; ``text`` where the report mentions it.
        origin: number of the entity that it follows from; None for ``text`` and compounds.
        probability: in 0 to 1.
    """

    number: int
    name: str
    source: str
    origin: int | None
    probability: float


@dataclass(frozen=True, slots=True)
class DescriptorRow:
    """A descriptor of an entity; attributes as those of ``EntityRow``."""

    number: int
    name: str
    source: str
    origin: int | None


@dataclass(frozen=True)
class Block:
    """All that follows from one mention, or from one compound.

    Attributes:
        entities: rows, the mention first.
        descriptors: rows, in the order of the entities that they belong to.
        labels: rows of ``(name, probability, kind)``: entities that are labels by themselves, then
            entities with descriptors.
        met: positions of the conditions of compounds that hold here, with the probability that
            they do.
    """

    entities: tuple[EntityRow, ...]
    descriptors: tuple[DescriptorRow, ...]
    labels: tuple[tuple[str, float, str], ...]
    met: dict[int, float]

    def with_descriptors(self, described: Sequence[DescriptorRow]) -> "Block":
        """Return the block with labels for descriptors of its first entity that stand elsewhere."""
        name = self.entities[0].name
        labels = [(f"{name} - {item.name}", 1.0, "descriptor") for item in described]
        return replace(self, labels=(*self.labels, *labels)) if labels else self

    @cached_property
    def flat(self) -> dict[str, float]:
        """The highest probability of each label."""
        highest: dict[str, float] = {}
        for name, probability, _ in self.labels:
            if probability > highest.get(name, -1.0):
                highest[name] = probability
        return highest


class Inference:
    """Draws conclusions.

    Args:
        vocabulary: with the rules for them.
        semantics: how far they go.
    """

    def __init__(self, vocabulary: Vocabulary, semantics: Semantics):
        self.graph = KnowledgeGraph(vocabulary)
        self._vocabulary = vocabulary
        self._semantics = semantics
        self._ancestors = {
            name: frozenset(self.graph.ancestors(name)) for name in vocabulary.entities
        }
        self._conditions = list(
            dict.fromkeys(
                condition
                for compound in vocabulary.compounds
                for condition in compound.including + compound.excluding
            )
        )
        position = {condition: i for i, condition in enumerate(self._conditions)}
        self._requirements = [
            tuple(
                frozenset(position[condition] for condition in conditions)
                for conditions in (compound.including, compound.excluding)
            )
            for compound in vocabulary.compounds
        ]
        self._blocks: dict[tuple[str, tuple[str, ...]], Block] = {}
        self._held: dict[frozenset[tuple[int, float]], list[Block]] = {}
        self._compounds: dict[tuple[int, float], Block] = {}

    def block(self, mentioned: Mentioned) -> Block:
        """Return what follows from an entity and its descriptors."""
        key = mentioned.entity, mentioned.descriptors
        block = self._blocks.get(key)
        if block is None:
            block = self._build(*key)
            # Of endless chains of descriptors, which no report has, none is remembered.
            if len(mentioned.descriptors) <= _MANY and len(self._blocks) < _REMEMBERED:
                self._blocks[key] = block
        return block

    def compounds(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the compounds that hold in a report.

        Args:
            blocks: of what the report mentions.
        """
        met: dict[int, float] = {}
        for block in blocks:
            for condition, probability in block.met.items():
                met[condition] = max(met.get(condition, 0.0), probability)
        if not met:
            return []
        key = frozenset(met.items())
        held = self._held.get(key)
        if held is None:
            held = self._compounds_of(met)
            if len(self._held) < _REMEMBERED:
                self._held[key] = held
        return held

    def _compounds_of(self, met: dict[int, float]) -> list[Block]:
        """Return the compounds of conditions that hold, with their probabilities."""
        return [
            self._compound(
                i,
                1.0 if self._semantics.certain_compounds else min(map(met.__getitem__, including)),
            )
            for i, (including, excluding) in enumerate(self._requirements)
            if including <= met.keys() and excluding.isdisjoint(met)
        ]

    def _compound(self, i: int, probability: float) -> Block:
        block = self._compounds.get((i, probability))
        if block is None:
            compound = self._vocabulary.compounds[i]
            source = f"compound - {compound.entity} (+ {_named(compound.including)})"
            if compound.excluding:
                source += f" (- {_named(compound.excluding)})"
            rows = [EntityRow(0, compound.entity, source, None, probability)]
            self._add_parents(rows, rows)
            block = self._compounds[i, probability] = self._finished(rows, [])
        return block

    def _build(self, entity: str, names: tuple[str, ...]) -> Block:
        descriptors = [self._vocabulary.descriptors[name] for name in names]
        probability = min(
            (item.probability for item in descriptors if item.probability is not None), default=1.0
        )
        rows = [EntityRow(0, entity, "text", None, probability)]
        created = [name for item in descriptors for name in item.creates]
        for name in created:
            source = f"desc_create_entities - {entity}"
            rows.append(EntityRow(len(rows), name, source, 0, probability))
        rows = [
            EntityRow(row.number, row.name, row.source, row.origin, 1.0)
            if self._vocabulary.entities[row.name].certain
            else row
            for row in rows
        ]
        described = [
            DescriptorRow(0, item.name, "text", None) for item in descriptors if not item.negates
        ]
        if not self._semantics.every_path:
            described = list(dict.fromkeys(described))
        if self._semantics.negation == "nearest" and any(item.negates for item in descriptors):
            # Descriptors of what is not there stay; nothing is made of them.
            del rows[0]
        self._add_parents(rows, rows)
        for rule in self._vocabulary.travelling:
            described += self._travelled(rule, rows, described)
        described.sort(key=lambda row: row.number)
        self._add_attached(rows, described)
        return self._finished(rows, described)

    def _add_parents(self, rows: list[EntityRow], children: Sequence[EntityRow]) -> None:
        """Add the parents of some rows, then theirs, level by level."""
        every_path, gain = self._semantics.every_path, self._semantics.parent_gain
        highest: dict[str, float] = {}
        for row in rows:
            highest[row.name] = max(highest.get(row.name, 0.0), row.probability)
        number = rows[-1].number if rows else 0
        level = [(row.name, row.probability, row) for row in children]
        while level:
            above = []
            for name, probability, child in level:
                raised = probability + (1 - probability) * gain
                for parent in self.graph.parents[name]:
                    if not every_path:
                        if raised <= highest.get(parent, -1.0):
                            continue
                        highest[parent] = raised
                    number += 1
                    source = f"sup - {child.name}"
                    rows.append(EntityRow(number, parent, source, child.number, raised))
                    above.append((parent, raised, child))
            level = above

    def _travelled(
        self, rule: Travelling, rows: Sequence[EntityRow], described: Sequence[DescriptorRow]
    ) -> list[DescriptorRow]:
        name_of = {row.number: row.name for row in rows}
        found = []
        for item in described:
            name = name_of.get(item.number)
            if item.name not in rule.descriptors or name is None:
                continue
            if name != rule.entity and rule.entity not in self._ancestors[name]:
                continue
            for row in rows:
                if row.name in self._ancestors[name] and (
                    row.name == rule.entity or rule.entity in self._ancestors[row.name]
                ):
                    source = f"propagated - {name}"
                    found.append(DescriptorRow(row.number, item.name, source, item.number))
        return found

    def _add_attached(self, rows: list[EntityRow], described: Sequence[DescriptorRow]) -> None:
        of_row = Counter((item.number, item.name) for item in described)
        if not of_row:
            return
        number = rows[-1].number if rows else 0
        highest = {row.name: row.probability for row in rows}
        added = []
        for rule in self._vocabulary.attachments:
            for row in rows:
                times = of_row[row.number, rule.descriptor] if row.name == rule.entity else 0
                if not times:
                    continue
                if not self._semantics.every_path:
                    if highest.get(rule.result, -1.0) >= row.probability:
                        continue
                    highest[rule.result] = row.probability
                source = f"attached - {rule.entity} - {rule.descriptor}"
                for _ in range(times if self._semantics.every_path else 1):
                    number += 1
                    new = EntityRow(number, rule.result, source, row.number, row.probability)
                    added.append(new)
        rows += added
        self._add_parents(rows, added)

    def _finished(self, rows: list[EntityRow], described: list[DescriptorRow]) -> Block:
        entities = self._vocabulary.entities
        rows = [replace(row, probability=round(row.probability, _DECIMALS)) for row in rows]
        labels = [
            (row.name, row.probability, "entity")
            for row in rows
            if not entities[row.name].requires_descriptors
        ]
        row_of = {row.number: row for row in rows}
        for item in described:
            row = row_of.get(item.number)
            if row is not None:
                probability = 1.0 if self._semantics.certain_descriptors else row.probability
                labels.append((f"{row.name} - {item.name}", probability, "descriptor"))
        met: dict[int, float] = {}
        for i, condition in enumerate(self._conditions):
            found = {row.number: row.probability for row in rows if row.name == condition.entity}
            names = {
                item.name
                for item in described
                if self._semantics.kinds_in_compounds or item.number in found
            }
            if found and names.issuperset(condition.descriptors):
                met[i] = max(found.values())
        return Block(tuple(rows), tuple(described), tuple(labels), met)


_MANY = 20
_REMEMBERED = 100_000
_DECIMALS = 6


def _named(conditions: Sequence[Mention]) -> str:
    return ", ".join(condition.entity for condition in conditions)
