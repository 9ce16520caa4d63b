"""The labeler in ECG-FM's formulation: one pass over all texts for every phrase, tables joined.

Every replacement and every pattern is one vectorised operation of pandas on all texts; entities are
rows of a table, and what follows from them is found by joins. It is the baseline of
``benchmarks.labeler`` and what the tests compare the labeler with: it shares the vocabulary's rules
with it, and no code that applies them.
"""

import re

import numpy as np
import pandas as pd

from fairseq_ecg.labeler import rewriting
from fairseq_ecg.labeler.terms import AFTER, BEFORE, CONNECTIVE, ENTITY, Vocabulary

KEYS = ["sample", "pattern", "entity"]
FIRST_ID = 0x4E00  # letters that no report has, one for each pattern
GAIN = 0.3  # of certainty with every step to a parent


def bordered(phrase: str, border: bool = True) -> str:
    """Write a phrase as a regular expression that finds it at the borders of words."""
    left = r"(?<!\w)" if border and phrase[0].isalnum() else ""
    right = r"(?!\w)" if border and phrase[-1].isalnum() else ""
    return left + re.escape(phrase) + right


def rewrite(texts: pd.Series, vocabulary: Vocabulary) -> pd.Series:
    """Apply the rules of a vocabulary, one phrase after another."""
    for rule in vocabulary.rewriting:
        texts = _apply(rule, texts)
        if isinstance(rule, rewriting.Cut):
            texts = texts.str.strip()
    return texts.str.strip()


def _apply(rule: rewriting.Rule, texts: pd.Series) -> pd.Series:
    match rule:
        case rewriting.Cut():
            for phrase in rule.phrases:
                regex = re.compile(f"{re.escape(phrase)}.*", re.IGNORECASE | re.DOTALL)
                texts = texts.str.replace(regex, "", regex=True)
        case rewriting.Replace():
            flags = re.IGNORECASE if rule.ignore_case else 0
            for phrase, new in rule.table:
                regex = re.compile(bordered(phrase, rule.bordered), flags)
                texts = texts.str.replace(regex, lambda _, new=new: new, regex=True)
        case rewriting.Lower():
            texts = texts.str.lower()
        case rewriting.Append():
            texts = texts.where(~texts.str.endswith(rule.endings), texts + rule.text)
        case rewriting.Regex():
            for regex, new in rule.table:
                texts = texts.str.replace(regex, new, regex=True)
        case rewriting.LeadList():
            texts = texts.map(lambda text: _leads(rule, text))
        case rewriting.Family():
            new = list(rule.table.values())
            for i, phrase in enumerate(rule.table):
                texts = texts.str.replace(bordered(phrase), chr(FIRST_ID + i), regex=True)
            ids = f"[{chr(FIRST_ID)}-{chr(FIRST_ID + len(new))}]"
            texts = texts.str.replace(
                ids, lambda match: new[ord(match.group()) - FIRST_ID], regex=True
            )
        case _:
            raise TypeError(f"{type(rule).__name__} is no rule of ECG-FM's")
    return texts


def _leads(rule: rewriting.LeadList, text: str) -> str:
    lead = "(?:iii|ii|i|avr|avl|avf|v[1-6])"
    regex = rf"({rule.before}({lead}(?:[ ,]+{lead})*)(?!\w){rule.after})"
    lists = re.findall(regex, text)
    leads = [lead for _, listed in lists for lead in listed.replace(",", " ").split()]
    for whole, _ in lists:
        text = text.replace(whole, "; ".join(rule.each.format(lead=lead) for lead in leads))
    return text


def find_patterns(texts: pd.Series, vocabulary: Vocabulary) -> tuple[pd.DataFrame, pd.Series]:
    """Find patterns in rewritten texts.

    Returns:
        ``sample``, ``idx``, ``id`` (position in the vocabulary) and ``type``; and what is left.
    """
    patterns = vocabulary.patterns
    batches = [
        [i for i, pattern in enumerate(patterns) if pattern.kind == ENTITY],
        [i for i, pattern in enumerate(patterns) if pattern.kind in (BEFORE, AFTER)],
        [i for i, pattern in enumerate(patterns) if pattern.kind == CONNECTIVE],
    ]
    for batch in batches:
        for i in sorted(batch, key=lambda i: -len(patterns[i].text)):
            texts = texts.str.replace(bordered(patterns[i].text), chr(FIRST_ID + i), regex=True)
    ids = f"[{chr(FIRST_ID)}-{chr(FIRST_ID + len(patterns))}]"
    found = texts.str.findall(ids).explode().dropna().map(lambda char: ord(char) - FIRST_ID)
    table = pd.DataFrame({"sample": found.index, "id": found.to_numpy().astype("int64")})
    table.insert(1, "idx", table.groupby("sample").cumcount())
    table["type"] = [patterns[i].kind for i in table["id"]]
    return table, texts.str.replace(ids, "", regex=True)


def attribute(
    table: pd.DataFrame, vocabulary: Vocabulary, only_with_connective: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make entities and descriptors of patterns."""
    entities, descriptors = [], []
    for sample, rows in table.groupby("sample", sort=False):
        ids, kinds = rows["id"].tolist(), rows["type"].tolist()
        given: dict[int, list[str]] = {i: [] for i, kind in enumerate(kinds) if kind == ENTITY}
        for i, kind in enumerate(kinds):
            pattern = vocabulary.patterns[ids[i]]
            left = max((j for j in given if j < i), default=None)
            right = min((j for j in given if j > i), default=None)
            if only_with_connective and CONNECTIVE not in kinds:
                continue
            if kind in (BEFORE, CONNECTIVE) and right is not None:
                given[right] += pattern.descriptors if kind == BEFORE else pattern.right
            if kind in (AFTER, CONNECTIVE) and left is not None:
                given[left] += pattern.descriptors if kind == AFTER else pattern.left
        number = 0
        for i, names in given.items():
            for mention in vocabulary.patterns[ids[i]].entities:
                entities.append((sample, number, 0, mention.entity, "text"))
                descriptors += [
                    (sample, number, 0, name, "text") for name in (*mention.descriptors, *names)
                ]
                number += 1
    return (
        pd.DataFrame(entities, columns=[*KEYS, "name", "source"]),
        pd.DataFrame(descriptors, columns=[*KEYS, "name", "source"]),
    )


def infer(
    entities: pd.DataFrame, descriptors: pd.DataFrame, vocabulary: Vocabulary, negation: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add what follows: probabilities, parents, travelling descriptors, compounds and the rest."""
    known = vocabulary.descriptors
    probability = {n: d.probability for n, d in known.items() if d.probability is not None}
    lowest = (
        descriptors.assign(prob=descriptors["name"].map(probability)).groupby(KEYS)["prob"].min()
    )
    entities = entities.join(lowest, on=KEYS).fillna({"prob": 1.0})

    created = descriptors.assign(new=[list(known[name].creates) for name in descriptors["name"]])
    created = created.explode("new").dropna(subset=["new"])
    created = created[[*KEYS, "new"]].merge(entities, on=KEYS)
    created["source"] = _origins("desc_create_entities - " + created["name"], created)
    created["name"] = created.pop("new")
    entities = _append(entities, created)
    certain = {name for name, entity in vocabulary.entities.items() if entity.certain}
    entities.loc[entities["name"].isin(certain), "prob"] = 1.0

    negating = descriptors["name"].isin([name for name, item in known.items() if item.negates])
    if negation:
        denied = pd.MultiIndex.from_frame(descriptors.loc[negating, KEYS])
        entities = entities[~pd.MultiIndex.from_frame(entities[KEYS]).isin(denied)]
    descriptors = descriptors[~negating]

    entities = _append(entities, _parents(entities, vocabulary))
    for rule in vocabulary.travelling:
        descriptors = pd.concat([descriptors, _travelled(rule, entities, descriptors, vocabulary)])
    added = [
        entities[entities["name"] == rule.entity]
        .merge(descriptors.loc[descriptors["name"] == rule.descriptor, KEYS], on=KEYS)
        .assign(result=rule.result, descriptor=rule.descriptor)
        for rule in vocabulary.attachments
    ]
    attached = pd.concat(added, ignore_index=True)
    attached["source"] = _origins(
        "attached - " + attached["name"] + " - " + attached.pop("descriptor"), attached
    )
    attached["name"] = attached.pop("result")
    before = len(entities)
    entities = _append(entities, attached)
    entities = _append(entities, _parents(entities.iloc[before:], vocabulary))
    compounds = _compounds(entities, descriptors, vocabulary)
    entities = pd.concat([entities, compounds], ignore_index=True)
    entities = _append(entities, _parents(compounds, vocabulary))
    entities["prob"] = entities["prob"].round(6)
    return entities, descriptors.sort_values(KEYS, kind="stable", ignore_index=True)


def _origins(source: pd.Series, rows: pd.DataFrame) -> list[str]:
    keys = zip(rows["sample"], rows["pattern"], rows["entity"], strict=True)
    return [f"{text} [{key!r}]" for text, key in zip(source, keys, strict=True)]


def _append(entities: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Append rows, numbered behind those of their patterns."""
    if rows.empty:
        return entities
    last = entities.groupby(KEYS[:2])["entity"].max().rename("last")
    rows = rows.join(last, on=KEYS[:2])
    number = rows.groupby(KEYS[:2]).cumcount()
    rows["entity"] = rows.pop("last").fillna(-1).astype("int64") + 1 + number
    return pd.concat([entities, rows[entities.columns]], ignore_index=True)


def _parents(entities: pd.DataFrame, vocabulary: Vocabulary) -> pd.DataFrame:
    edges = pd.DataFrame(
        [(name, up) for name, entity in vocabulary.entities.items() for up in entity.parents],
        columns=["name", "parent"],
    )
    if entities.empty:
        return entities
    level = entities.assign(source=_origins("sup - " + entities["name"], entities))
    levels = []
    while len(level):
        level = level.merge(edges, on="name")
        level["name"] = level.pop("parent")
        level["prob"] += GAIN * (1 - level["prob"])
        levels.append(level)
    return pd.concat(levels, ignore_index=True)


def _above(vocabulary: Vocabulary, name: str) -> set[str]:
    found: set[str] = set()
    for parent in vocabulary.entities[name].parents:
        found |= {parent} | _above(vocabulary, parent)
    return found


def _travelled(rule, entities, descriptors, vocabulary: Vocabulary) -> pd.DataFrame:
    inside = {n for n in vocabulary.entities if rule.entity in {n} | _above(vocabulary, n)}
    here = entities.loc[entities["name"].isin(inside), [*KEYS, "name"]]
    given = descriptors.loc[descriptors["name"].isin(rule.descriptors), [*KEYS, "name"]]
    given = given.merge(here, on=KEYS, suffixes=("", "_of"))
    pairs = given.merge(here, on=KEYS[:2], suffixes=("", "_to"))
    above = {name: _above(vocabulary, name) for name in inside}
    upwards = [up in above[n] for n, up in zip(pairs["name_of"], pairs["name_to"], strict=True)]
    pairs = pairs[np.array(upwards, dtype=bool)]
    source = _origins("propagated - " + pairs["name_of"], pairs)
    return pairs.assign(entity=pairs["entity_to"], source=source)[descriptors.columns]


def _compounds(entities, descriptors, vocabulary: Vocabulary) -> pd.DataFrame:
    def samples(mention) -> set:
        rows = entities.loc[entities["name"] == mention.entity, KEYS]
        if not mention.descriptors:
            return set(rows["sample"])
        names = rows.merge(descriptors, on=KEYS).groupby(KEYS[:2])["name"].agg(set)
        return {key[0] for key, found in names.items() if found.issuperset(mention.descriptors)}

    last = entities.groupby("sample")["pattern"].max()
    rows = []
    for rule in vocabulary.compounds:
        found = set.intersection(*map(samples, rule.including))
        found -= set().union(*map(samples, rule.excluding))
        source = f"compound - {rule.entity} (+ {', '.join(m.entity for m in rule.including)})"
        if rule.excluding:
            source += f" (- {', '.join(m.entity for m in rule.excluding)})"
        for sample in sorted(found):
            last[sample] += 1
            row = (sample, last[sample], 0, rule.entity, f"{source} [{sample}]", 1.0)
            rows.append(row)
    return pd.DataFrame(rows, columns=[*KEYS, "name", "source", "prob"]).astype(
        {"pattern": "int64", "entity": "int64", "prob": "float64"}
    )


def flat_labels(
    entities: pd.DataFrame, descriptors: pd.DataFrame, vocabulary: Vocabulary
) -> pd.DataFrame:
    """Return the highest probability of each label: ``sample``, ``name`` and ``prob``."""
    labels = [e.name for e in vocabulary.entities.values() if not e.requires_descriptors]
    plain = entities.loc[entities["name"].isin(labels), ["sample", "name", "prob"]]
    pairs = descriptors.merge(entities[[*KEYS, "name"]], on=KEYS, suffixes=("_d", ""))
    pairs = pairs.assign(name=pairs["name"] + " - " + pairs["name_d"], prob=1.0)
    both = pd.concat([plain, pairs[["sample", "name", "prob"]]])
    return both.groupby(["sample", "name"], as_index=False)["prob"].max()


def label(
    texts: pd.Series, vocabulary: Vocabulary, mended: bool = False
) -> tuple[pd.Series, pd.DataFrame, pd.Series, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Label texts.

    Args:
        texts: reports, by ``sample``.
        vocabulary: ECG-FM's, as ``Labeler`` reads it in compatible mode.
        mended: without the two faults of attribution.

    Returns:
        The rewritten texts, patterns, unmatched text, entities, descriptors and labels.
    """
    rewritten = rewrite(texts, vocabulary)
    patterns, unmatched = find_patterns(rewritten, vocabulary)
    return rewritten, patterns, unmatched, *conclude(patterns, vocabulary, mended)


def conclude(
    patterns: pd.DataFrame, vocabulary: Vocabulary, mended: bool
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make entities, descriptors and labels of patterns; arguments as for ``label``."""
    entities, descriptors = attribute(patterns, vocabulary, only_with_connective=not mended)
    entities, descriptors = infer(entities, descriptors, vocabulary, negation=mended)
    return entities, descriptors, flat_labels(entities, descriptors, vocabulary)
