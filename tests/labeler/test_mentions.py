"""Which descriptors belong to which entity, and what is negated."""

from time import process_time

import pytest

from fairseq_ecg.labeler import Labeler, Semantics


def found(labeler, text):
    return [(m.entity, m.descriptors, m.negated) for m in labeler.find(text).mentions]


def holds(labeler, text):
    return {m.entity for m in labeler.find(text).mentions if not m.negated}


@pytest.mark.parametrize(
    ("text", "descriptors"),
    [
        ("possible anterior infarct", ("Possible", "Anterior")),
        ("sinus rhythm with possible anterior infarct", ("Possible", "Anterior")),
        ("anterolateral infarct, old", ("Anterior", "Lateral", "Old")),
        ("infarct, anterior", ("Anterior",)),
        ("infarct (possible, acute)", ("Possible", "Acute")),
        ("infarct anterior", ()),
        ("infarct; anterior", ()),
        ("old. infarct", ()),
        ("mi?", ("Possible",)),
        ("tachycardia suggests infarct", ("Probable",)),
        ("acute; infarct", ()),
        ("acute\ninfarct", ()),
    ],
)
def test_descriptors_belong_to_an_entity_of_the_clause(small, text, descriptors):
    assert found(small, text)[-1] == ("Infarction", descriptors, False)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no evidence of infarct", set()),
        ("without ischemia", set()),
        ("No infarct; sinus rhythm", {"Sinus rhythm"}),
        ("No infarct. Sinus rhythm", {"Sinus rhythm"}),
        ("no infarct, sinus rhythm", {"Sinus rhythm"}),
        ("no infarct but tachycardia", {"Tachycardia"}),
        ("no infarct with sinus rhythm", {"Sinus rhythm"}),
        ("no infarct or ischemia", set()),
        ("no infarct/ischemia", set()),
        ("no acute infarct and acute injury", set()),
        ("no ischemia, injury or infarct", set()),
        ("no ischemia, injury; infarct", {"Injury", "Infarction"}),
        ("no ischemia or possible infarct", set()),
        ("no ecg evidence of infarct", set()),
        ("infarct no longer present", set()),
        ("sinus rhythm and infarct no longer present", {"Sinus rhythm"}),
        ("no change, sinus rhythm", {"Sinus rhythm"}),
        ("no thing, sinus rhythm", {"Sinus rhythm"}),
        ("sinus rhythm no", {"Sinus rhythm"}),
        ("cannot rule out infarct", {"Infarction"}),
    ],
)
def test_negation_ends_with_the_clause(small, text, left):
    assert holds(small, text) == left


def test_rule_out_is_an_uncertainty(small):
    for text in ("rule out infarct", "cannot rule out infarct"):
        finding = small.find(text)
        assert finding.labels_flat["Infarction"] == 0.5
        assert finding.labels_flat["Needs correlation"] == 1.0


@pytest.mark.parametrize(
    ("text", "doubted"),
    [
        ("possible infarct and injury", {"Infarction", "Injury"}),
        ("possible infarct/injury", {"Infarction", "Injury"}),
        ("possible old infarct and acute injury", {"Infarction", "Injury"}),
        ("possible infarct, injury or ischemia", {"Infarction", "Injury", "Ischemia"}),
        ("possible infarct, sinus rhythm", {"Infarction"}),
        ("possible infarct, sinus rhythm and injury", {"Infarction"}),
        ("possible infarct, and injury", {"Infarction"}),
        ("possible infarct with injury", {"Infarction"}),
        ("possible infarct; injury", {"Infarction"}),
        ("possible infarct and no injury", {"Infarction"}),
        ("possible infarct and definite injury", {"Infarction"}),
        ("sinus rhythm and possible infarct", {"Infarction"}),
        ("infarct and injury cannot be excluded", {"Infarction", "Injury"}),
        ("sinus rhythm, infarct cannot be excluded", {"Infarction"}),
        ("infarct, possible", {"Infarction"}),
        ("infarct, probable drug effect", set()),
        ("infarct, drug effect or injury", {"Injury"}),
        ("infarct or drug effect, injury", {"Infarction"}),
    ],
)  # fmt: skip
def test_doubt_is_shared_by_a_list(small, text, doubted):
    found = [m for m in small.find(text).mentions if not m.negated]
    assert {m.entity for m in found if {"Possible", "Probable"} & {*m.descriptors}} == doubted


def test_each_of_a_list_has_its_own_doubt(small):
    labels = small.find("possible infarct and probable injury").labels_flat
    assert (labels["Infarction"], labels["Injury"]) == (0.5, 0.7)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("infarct and injury are gone", set()),
        ("ischemia, infarct and injury are gone", set()),
        ("sinus rhythm, infarct are gone", {"Sinus rhythm"}),
        ("sinus rhythm; infarct and injury are gone", {"Sinus rhythm"}),
        ("sinus rhythm with infarct and injury are gone", {"Sinus rhythm"}),
        ("infarct and injury no longer present", {"Infarction"}),
        ("are gone", set()),
    ],
)
def test_a_plural_denies_a_whole_list(small, text, left):
    assert holds(small, text) == left


@pytest.mark.parametrize(
    "words",
    ["possible ", "no ", "infarct and ", "infarct, ", "infarct or injury are gone ", "are gone ",
     "possible infarct and ", "no infarct or ", "cannot be excluded "],
)  # fmt: skip
def test_endless_lists_take_time_in_proportion(small, words):
    def seconds(n):
        # Each part by itself has endless repetitions before and behind it.
        text = words * n + "infarct and " * n + words * n
        start = process_time()
        small.find(text)
        return process_time() - start

    assert min(seconds(4_000) for _ in range(2)) < 9 * max(seconds(1_000), 0.05)


def test_each_choice_can_be_switched(folder):
    def labeler(**choices):
        return Labeler.from_vocabulary(folder, semantics=Semantics(**choices))

    assert found(labeler(attribution="report"), "acute; infarct")[0][1] == ("Acute",)
    assert found(labeler(attribution="with_connective"), "acute infarct")[0][1] == ()
    with_connective = labeler(attribution="with_connective")
    assert found(with_connective, "acute infarct with ischemia")[0][1] == ("Acute",)
    assert found(labeler(trailing_descriptors=False), "infarct, anterior")[0][1] == ()
    two = "no infarct or ischemia"
    for negation, left in (
        ("clause", set()),
        ("nearest", {"Ischemia"}),
        ("ignored", {"Infarction", "Injury", "Ischemia"}),
    ):
        labels = labeler(negation=negation).find(two).labels_flat
        assert {name for name in labels if " - " not in name} == left
    assert labeler(parent_gain=0.3).find("possible infarct").labels_flat["Injury"] == 0.65
    assert labeler().find("possible infarct").labels_flat["Injury"] == 0.5
    text = "possible infarct and injury; infarct cannot be excluded"
    for shared, descriptors in ((True, ("Possible",)), (False, ())):
        assert found(labeler(shared_certainty=shared), text)[1] == ("Injury", descriptors, False)
    text = "possible infarct; af"
    assert labeler().find(text).labels_flat["Both"] == 0.5
    assert labeler(certain_compounds=True).find(text).labels_flat["Both"] == 1.0
    text = "possible anterior infarct"
    assert labeler().find(text).labels_flat["Infarction - Anterior"] == 0.5
    assert labeler(certain_descriptors=True).find(text).labels_flat["Infarction - Anterior"] == 1.0
    hidden = "sinus\u200b rhythm"
    assert holds(labeler(), hidden) == {"Sinus rhythm"}
    assert holds(labeler(clean=False), hidden) == set()
