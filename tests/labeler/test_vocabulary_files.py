import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary


def test_the_vocabulary_of_the_package_is_sound():
    vocabulary = read_vocabulary("default")
    assert vocabulary.entities
    assert vocabulary.patterns
    for names in vocabulary.label_sets.values():
        assert set(names) <= set(vocabulary.entities)
    assert all(descriptor.probability != 1 for descriptor in vocabulary.descriptors.values())


def test_codes(small):
    assert small.vocabulary.entities["Sinus rhythm"].codes == {
        "snomed": ("426783006",),
        "scp": ("SR",),
    }


def test_only_entities_are_required(folder):
    for path in folder.iterdir():
        if path.name != "entities.yaml":
            path.unlink()
    (folder / "entities.yaml").write_text("- {name: Infarction, patterns: [infarct]}")
    assert Labeler.from_vocabulary(folder).find("infarct").labels_flat == {"Infarction": 1.0}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("entities.yaml", "name: Both", "nam: Both", "'name' is missing"),
        ("entities.yaml", "name: Both", "name: Injury", "entity 'Injury' is already in"),
        ("entities.yaml", "parents: [Injury]", "parents: Injury", "must be a list of texts"),
        ("entities.yaml", "snomed: 426783006", "snomed: {}", "is no code"),
        ("descriptors.yaml", "negates: true", "negates: perhaps", "must be true or false"),
        ("patterns.yaml", "side: before", "side: left", "side is 'left', not before or after"),
        ("inference.yaml", "result: Anterior", "result: Anteror", "no entity 'Anteror infarction'"),
        ("inference.yaml", "including: [Inf", "including: [Unf", "'Unfarction'; is 'Infarction'"),
        ("rewriting.yaml", "- lower: true", "- upper: true", "'upper' is no rule"),
        ("rewriting.yaml", "- lower: true", "- cut: [x]\n- lower: true\n- cut: [y]", "after other"),
        ("rewriting.yaml", "from: 101", "from: fast", "must be numbers"),
        ("rewriting.yaml", "{af: atrial fibrillation}", "{file: a.yaml, key: b}", "no such file"),
        ("connectives.yaml", "{text: but}", "{txt: but}", "'text' is missing"),
    ],
)
def test_mistakes_name_file_and_line(folder, name, old, new, message):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message) as error:
        Labeler.from_vocabulary(folder)
    assert name in str(error.value) or message == "no such file"


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("stated: [Sinus rythm]", "line 1: stated: there is no entity 'Sinus rythm'"),
        ("denied:\n- {name: a, entities: [Unheard]}", "line 2: entities: there is no entity"),
        ("denied:\n- {entities: [Injury]}", "'name' is missing"),
        ("doubted: [Injury]", "must be a mapping of keys"),
        ("denyed: []", "unknown key 'denyed'"),
    ],
)
def test_mistakes_in_a_listing(folder, listing, message):
    (folder / "listing.yaml").write_text(listing)
    with pytest.raises(DataError, match=f"listing.yaml, {message}|{message}"):
        Labeler.from_vocabulary(folder)


def test_a_listing_says_what_commas_alone_deny(folder):
    text = "no infarct, ischemia"
    assert "Ischemia" in Labeler.from_vocabulary(folder).find(text).labels_flat
    (folder / "listing.yaml").write_text("denied: [{name: all, entities: [Ischemia]}]")
    labeler = Labeler.from_vocabulary(folder)
    assert labeler.find(text).labels_flat == {}
    assert "Sinus rhythm" in labeler.find("no infarct, sinus rhythm").labels_flat


def test_no_vocabulary(tmp_path):
    with pytest.raises(DataError, match=r"no vocabulary; its folder holds entities\.yaml"):
        Labeler.from_vocabulary(tmp_path)
    with pytest.raises(DataError, match="no mode 'strict'"):
        Labeler.from_vocabulary(mode="strict")
