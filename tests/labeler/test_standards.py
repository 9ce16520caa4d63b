"""Names of findings in standards and data sets give entities, with the codes of the standards."""

from pathlib import Path

import pytest
import yaml

from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import THRESHOLD

STANDARDS = yaml.safe_load(Path(__file__).with_name("standards.yaml").read_text(encoding="utf-8"))
AHA = ("aha_primary", "aha_suggests", "aha_considers")
DATA_SETS = ("cinc_2021", "ecgfounder", "ecg_qa")
KEYS = {"name", "text", "positive", "uncertain", "denied", "absent", "none", "either"}


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


class Found:
    """Entities of a text, by what is said of them."""

    def __init__(self, labeler, text):
        finding = labeler.find(text)
        entities = labeler.vocabulary.entities
        self.probabilities = {k: p for k, p in finding.labels_flat.items() if k in entities}
        self.positive = {k for k, p in self.probabilities.items() if p >= THRESHOLD}
        self.uncertain = set(self.probabilities) - self.positive
        self.denied = {mention.entity for mention in finding.mentions if mention.negated}

    def has_absent(self, row):
        return not self.probabilities.keys().isdisjoint(row.get("absent", ()))

    def __repr__(self):
        names = {k: sorted(getattr(self, k)) for k in ("positive", "uncertain", "denied")}
        return str(names)


def holders(labeler, system, code):
    """Return the entities that have a code."""
    return {
        name
        for name, entity in labeler.vocabulary.entities.items()
        if code in entity.codes.get(system, ())
    }


def has(found, expected):
    """Return whether one of each of the expected, names joined by ``|``, was found."""
    if expected == "any":
        return bool(found)
    return all(found & set(names.split("|")) for names in expected)


def without_code(labeler, system, part, template="{}", kind="positive"):
    """Return what was found in names of which the code was not, at the certainty that they have."""
    key = "snomed" if system == "snomed" else "code"
    wrong = {}
    for row in STANDARDS[part]:
        found = Found(labeler, template.format(row.get("text", row["name"])))
        sought = found.probabilities.keys() if "alternatives" in row else getattr(found, kind)
        right = sought & holders(labeler, system, row[key])
        if "either" not in row and (not right or found.has_absent(row)):
            wrong[row[key], row["name"]] = found
    return wrong


def test_the_lists_are_whole():
    assert [len(STANDARDS[name]) for name in AHA] == [117, 16, 12]
    assert [len(STANDARDS[name]) for name in DATA_SETS] == [133, 150, 160]
    for rows in STANDARDS.values():
        names = [row["name"] for row in rows]
        assert len(set(names)) == len(names)
    numbers = [row["code"] for name in AHA for row in STANDARDS[name]]
    assert numbers == sorted(numbers, key=int)
    assert len({row["snomed"] for row in STANDARDS["cinc_2021"]}) == 133
    for row in (*STANDARDS["ecgfounder"], *STANDARDS["ecg_qa"]):
        assert row.keys() <= KEYS
        assert len(row.keys() & {"positive", "uncertain", "denied", "none", "either"}) >= 1


@pytest.mark.parametrize("part", AHA)
def test_statements_of_the_standard_have_their_numbers(labeler, part):
    assert without_code(labeler, "aha", part) == {}


def test_what_an_abnormality_suggests_is_probable(labeler):
    assert without_code(labeler, "aha", "aha_suggests", "ST deviation, suggests {}") == {}


def test_what_is_to_be_considered_is_uncertain(labeler):
    assert without_code(labeler, "aha", "aha_considers", "Consider {}", "uncertain") == {}


def test_numbers_of_the_vocabulary_are_those_of_the_standard(labeler):
    """Every one is given to some entity, and no other."""
    entities = labeler.vocabulary.entities.values()
    given = {code for entity in entities for code in entity.codes.get("aha", ())}
    assert given == {row["code"] for name in AHA for row in STANDARDS[name]}


def test_names_of_cinc_2021_have_their_codes(labeler):
    assert without_code(labeler, "snomed", "cinc_2021") == {}


def test_diseases_that_no_ecg_shows_are_not_taken_for_findings(labeler):
    """Their names give nothing, or what has their code."""
    for row in STANDARDS["cinc_2021"]:
        if "either" in row:
            own = holders(labeler, "snomed", row["snomed"])
            above = {parent for name in own for parent in labeler.graph.ancestors(name)}
            assert set(Found(labeler, row["name"]).probabilities) <= own | above, row


@pytest.mark.parametrize("source", ["ecgfounder", "ecg_qa"])
def test_names_that_state_a_finding_give_it(labeler, source):
    wrong = {}
    for row in STANDARDS[source]:
        found = Found(labeler, row["name"])
        kinds = ("positive", "uncertain", "denied")
        missing = not all(has(getattr(found, kind), row.get(kind, ())) for kind in kinds)
        if missing or found.has_absent(row):
            wrong[row["name"]] = found
    assert wrong == {}


@pytest.mark.parametrize("source", ["ecgfounder", "ecg_qa"])
def test_names_that_state_no_finding_give_none(labeler, source):
    rows = {row["name"]: Found(labeler, row["name"]) for row in STANDARDS[source] if "none" in row}
    assert rows
    assert {
        name: found for name, found in rows.items() if found.probabilities or found.denied
    } == {}


def test_entities_of_the_lists_are_those_of_the_vocabulary(labeler):
    for row in (*STANDARDS["ecgfounder"], *STANDARDS["ecg_qa"]):
        for kind in ("positive", "uncertain", "denied", "absent"):
            names = row.get(kind, ())
            for name in () if names == "any" else names:
                assert set(name.split("|")) <= set(labeler.vocabulary.entities), row
