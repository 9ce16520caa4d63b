"""The graph of entities: parents, and what else follows from what."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.terms import Mention, Vocabulary


class KnowledgeGraph:
    """Which entity is a kind of which, and which follows from others.

    Args:
        vocabulary: with entities, attachments and compounds.

    Raises:
        DataError: Some entities are kinds of each other; the message names them and where they are.
    """

    def __init__(self, vocabulary: Vocabulary):
        entities = vocabulary.entities
        self.parents = {name: entity.parents for name, entity in entities.items()}
        self.children: dict[str, list[str]] = {name: [] for name in entities}
        for name, parents in self.parents.items():
            for parent in parents:
                self.children[parent].append(name)
        try:
            TopologicalSorter(self.parents).prepare()
        except CycleError as error:
            cycle = error.args[1]
            locations = ", ".join(f"{name!r} in {entities[name].location}" for name in cycle[1:])
            raise DataError(
                f"parents form a cycle, {' -> '.join(cycle)}: remove one of them ({locations})"
            ) from None

        self.rules: dict[str, list[str]] = {name: [] for name in entities}
        for rule in vocabulary.attachments:
            self._add_rule(rule.result, f"{rule.entity} [{rule.descriptor}]")
        for rule in vocabulary.compounds:
            without = "".join(f" without {_shown(mention)}" for mention in rule.excluding)
            self._add_rule(rule.entity, " + ".join(map(_shown, rule.including)) + without)

    def _add_rule(self, name: str, rule: str) -> None:
        if rule not in self.rules[name]:
            self.rules[name].append(rule)

    def follows_from(self, name: str) -> list[str]:
        """Return the rules by which an entity is attached to another, or is a compound of others.

        Args:
            name: of an entity.

        Returns:
            Such as ``Infarction [Anterior]`` and ``Right bundle branch block + Fascicular block``.
        """
        self._require(name)
        return self.rules[name]

    def ancestors(self, name: str) -> list[str]:
        """Return everything that a finding is a kind of, nearest first.

        Args:
            name: of an entity.

        Raises:
            DataError: There is no such entity.
        """
        return self._reached(name, self.parents)

    def descendants(self, name: str) -> list[str]:
        """Return all kinds of an entity, nearest first; DataError if there is no such entity."""
        return self._reached(name, self.children)

    def paths(self, name: str, ancestor: str) -> list[tuple[str, ...]]:
        """Return every way up from an entity to one of its ancestors, shortest first.

        Args:
            name: of an entity.
            ancestor: of another, or of the same.

        Returns:
            Names from ``name`` to ``ancestor``; none where it is no ancestor.
        """
        self._require(ancestor)
        towards = {ancestor, *self.descendants(ancestor)}
        finished, growing = [], [(name,)] if name in towards else []
        while growing:
            path = growing.pop(0)
            if path[-1] == ancestor:
                finished.append(path)
                continue
            growing += [(*path, parent) for parent in self.parents[path[-1]] if parent in towards]
        return finished

    def _reached(self, name: str, neighbours: Mapping[str, Iterable[str]]) -> list[str]:
        self._require(name)
        reached: dict[str, None] = {}
        waiting = [*neighbours[name]]
        for other in waiting:
            if other not in reached:
                reached[other] = None
                waiting += neighbours[other]
        return list(reached)

    def _require(self, name: str) -> None:
        if name not in self.parents:
            raise DataError(f"there is no entity {name!r} in the vocabulary")


def _shown(mention: Mention) -> str:
    described = f" [{', '.join(mention.descriptors)}]" if mention.descriptors else ""
    return mention.entity + described
