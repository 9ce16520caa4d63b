"""Rewriting rules as they stand in files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.document import Fields, Items, read_document, records
from fairseq_ecg.labeler.phrase_spelling import PhraseSpelling
from fairseq_ecg.labeler.rewriting import (
    Append,
    Cut,
    Family,
    LeadList,
    Lower,
    Measurement,
    Regex,
    Replace,
    Rule,
    SharedNoun,
    Spelling,
    compiled,
)


def read_rules(path: Path, tables: Path) -> tuple[Rule, ...]:
    """Read ``rewriting.yaml``.

    Args:
        path: the file.
        tables: folder of the files that it refers to.

    Returns:
        The rules in their order.

    Raises:
        DataError: naming file, line and fault.
    """
    rules = read_rules_in(read_document(path), path, tables)
    kinds = [isinstance(rule, Cut) for rule in rules]
    if kinds != sorted(kinds, reverse=True):
        raise DataError(f"{path}: 'cut' after other rules; a report is cut off before all else")
    return rules


def read_rules_in(value: object, path: Path, tables: Path) -> tuple[Rule, ...]:
    """Read rules that stand in a larger file; see ``read_rules``."""
    return tuple(_rule(fields, tables) for fields in records(value, str(path)))


def _rule(fields: Fields, tables: Path) -> Rule:
    kind = next((key for key in fields if key not in ("names", "where")), None)
    if kind not in _KINDS:
        raise DataError(
            f"{fields.location(kind)}: {kind!r} is no rule; its first key is one of "
            f"{', '.join(_KINDS)}"
        )
    return _KINDS[kind](fields, tables)


def _cut(fields: Fields, tables: Path) -> Rule:
    fields.expect(("cut",))
    return Cut(tuple(sorted(fields.texts("cut"), key=len, reverse=True)))


def _replace(fields: Fields, tables: Path) -> Rule:
    fields.expect(("replace",), ("bordered", "ignore_case", "longest_first"))
    table = _table(fields, "replace", tables)
    if fields.flag("longest_first"):
        table = tuple(sorted(table, key=lambda row: -len(row[0])))
    return Replace(
        table,
        bordered="bordered" not in fields or fields.flag("bordered"),
        ignore_case=fields.flag("ignore_case"),
    )


def _lower(fields: Fields, tables: Path) -> Rule:
    fields.expect(("lower",))
    return Lower()


def _append(fields: Fields, tables: Path) -> Rule:
    fields.expect(("append", "endings"))
    return Append(fields.texts("endings"), fields.text("append"))


def _regex(fields: Fields, tables: Path) -> Rule:
    fields.expect(("regex",), ("names", "where"))
    names = _names(fields)
    where = _where(fields, names)
    table = []
    for written, replacement in _table(fields, "regex", tables):
        location = fields["regex"].location(written) if isinstance(fields["regex"], Fields) else ""
        regex = names(written)
        table.append((regex, replacement))
        _check_regex(regex, location or fields.location("regex"))
        try:
            re.sub(regex, replacement, "")
        except (re.error, IndexError) as error:
            raise DataError(f"{location}: replacement {replacement!r}: {error}") from None
    return Regex(tuple(table), where)


def _where(fields: Fields, names: Callable[[str], str]) -> str:
    """Read ``where``: a regular expression, or a list of texts of which one must be there."""
    if isinstance(fields.get("where"), Items):
        return "|".join(map(re.escape, fields.texts("where")))
    where = names(fields.text("where")) if "where" in fields else ""
    _check_regex(where, fields.location("where"))
    return where


def _names(fields: Fields) -> Callable[[str], str]:
    """Read ``names``: what names in upper case stand for in the regular expressions of a rule.

    Returns:
        What replaces the names in a regular expression.
    """
    named = fields.get("names", {})
    if not isinstance(named, dict):
        raise DataError(f"{fields.location('names')}: names are a mapping")
    resolved: dict[str, str] = {}

    def replaced(regex: str) -> str:
        return _NAME.sub(lambda match: resolved.get(match.group(), match.group()), regex)

    for name in named:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise DataError(
                f"{named.location(name)}: {name!r} must be two upper-case letters or more"
            )
        regex = replaced(named.text(name))
        _check_regex(regex, named.location(name))
        resolved[name] = f"(?:{regex})"
    return replaced


_NAME = re.compile(r"(?<![A-Za-z\\])[A-Z]{2,}(?![A-Za-z])")


def _spelling(fields: Fields, tables: Path) -> Rule:
    fields.expect(("spelling",), ("keep",))
    for key in fields:
        for i, word in enumerate(fields.texts(key)):
            if not (word.isascii() and word.isalpha() and word.islower() and len(word) >= 5):
                location = fields[key].location(i)
                raise DataError(f"{location}: {word!r} must be five lower-case letters or more")
    return Spelling(fields.texts("spelling"), fields.texts("keep"))


def _phrase_spelling(fields: Fields, tables: Path) -> Rule:
    fields.expect(("phrase_spelling",), ("keep",))
    for i, phrase in enumerate(fields.texts("phrase_spelling")):
        words = phrase.split(" ")
        if len(words) != 2 or not all(word.isalnum() and word.islower() for word in words):
            location = fields["phrase_spelling"].location(i)
            raise DataError(f"{location}: {phrase!r} must be two words in lower case")
    return PhraseSpelling(fields.texts("phrase_spelling"), fields.texts("keep"))


def _lead_list(fields: Fields, tables: Path) -> Rule:
    fields.expect(("lead_list", "before"), ("after",))
    before, after = _context(fields, "before")
    each = fields.text("lead_list")
    if "{lead}" not in each:
        raise DataError(f"{fields.location('lead_list')}: {each!r} lacks {{lead}}")
    return LeadList(before, after, each)


def _measurement(fields: Fields, tables: Path) -> Rule:
    fields.expect(("measurement", "ranges"), ("after",))
    before, after = _context(fields, "measurement")
    ranges = []
    for row in fields.records("ranges"):
        row.expect(("text",), ("from", "below"))
        low, high = row.get("from", float("-inf")), row.get("below", float("inf"))
        if not all(isinstance(limit, int | float) for limit in (low, high)) or low >= high:
            raise DataError(
                f"{row.location()}: 'from' and 'below' must be numbers, the lower first"
            )
        ranges.append((low, high, row.text("text")))
    return Measurement(before, after, tuple(ranges))


def _family(fields: Fields, tables: Path) -> Rule:
    reference = fields["family"]
    if not isinstance(reference, Fields):
        raise DataError(f"{fields.location()}: a family is a mapping with groups and templates")
    if "file" in reference:
        reference.expect(("file", "groups", "templates"))
        groups, templates = _referred(reference, ("groups", "templates"), tables)
        location = f"{tables / reference['file']}, {reference['groups']}"
    else:
        reference.expect(("groups", "templates"))
        groups, templates = reference["groups"], reference["templates"]
        location = reference.location("groups")
    if not isinstance(groups, Items) or not isinstance(templates, Fields):
        raise DataError(f"{location}: groups are a list, templates a mapping")
    words = tuple(_group(group, location) for group in groups)
    for template, replacement in templates.items():
        slots = [int(slot) for slot in re.findall(r"\[(\d+)\]", template)]
        indices = [int(index) for index in re.findall(r"\[(\d+)\]", replacement)]
        if any(slot >= len(words) for slot in slots) or any(k >= len(slots) for k in indices):
            raise DataError(
                f"{templates.location(template)}: {template!r} -> {replacement!r} has a number "
                "for which there is no group, or no slot"
            )
    return Family(words, tuple(templates.items()))


def _shared_noun(fields: Fields, tables: Path) -> Rule:
    fields.expect(("shared_noun", "words"), ("before",))
    return SharedNoun(*(fields.texts(key) for key in ("shared_noun", "words", "before")))


def _group(group: object, location: str) -> dict[str, str]:
    if isinstance(group, Items):
        return {word: word for word in group}
    if not isinstance(group, Fields):
        raise DataError(f"{location}: a group is a list of words, or a mapping to what they become")
    return dict(group)


def _table(fields: Fields, key: str, tables: Path) -> tuple[tuple[str, str], ...]:
    """Read a table: a mapping, a list of pairs, or a reference to one in another file."""
    table = fields[key]
    if isinstance(table, Fields) and "file" in table:
        table.expect(("file", "key"))
        (table,) = _referred(table, ("key",), tables)
    if isinstance(table, Fields):
        rows = [(table.location(phrase), phrase, text) for phrase, text in table.items()]
    elif isinstance(table, Items) and all(
        isinstance(row, Items) and len(row) == 2 for row in table
    ):
        rows = [(table.location(i), *row) for i, row in enumerate(table)]
    else:
        raise DataError(f"{fields.location(key)}: {key} is a mapping or a list of pairs")
    for location, phrase, text in rows:
        if not (isinstance(phrase, str) and phrase and isinstance(text, str)):
            raise DataError(f"{location}: {phrase!r} and {text!r} must be text (quote them)")
    return tuple((phrase, text) for _, phrase, text in rows)


def _referred(reference: Fields, keys: tuple[str, ...], tables: Path) -> list[Any]:
    """Return what stands in another file under the names that a reference has for some keys."""
    path = tables / reference.text("file")
    document = read_document(path)
    if not isinstance(document, Fields):
        raise DataError(f"{path}: must be a mapping")
    for key in keys:
        if reference[key] not in document:
            raise DataError(f"{reference.location(key)}: {path} has no {reference[key]!r}")
    return [document[reference[key]] for key in keys]


def _context(fields: Fields, before: str) -> tuple[str, str]:
    """Read the regular expressions of what precedes and what follows a piece of text."""
    context = fields.text(before), fields.text("after") if "after" in fields else ""
    for regex in context:
        _check_regex(regex, fields.location())
    return context


def _check_regex(regex: str, location: str) -> None:
    try:
        compiled(regex)
    except re.error as error:
        raise DataError(f"{location}: {regex!r} is no regular expression: {error}") from None


_KINDS: dict[str, Callable[[Fields, Path], Rule]] = {
    "cut": _cut,
    "replace": _replace,
    "lower": _lower,
    "append": _append,
    "regex": _regex,
    "spelling": _spelling,
    "phrase_spelling": _phrase_spelling,
    "lead_list": _lead_list,
    "measurement": _measurement,
    "family": _family,
    "shared_noun": _shared_noun,
}
