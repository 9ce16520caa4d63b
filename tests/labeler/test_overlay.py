import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.overlay import shipped_overlays


@pytest.fixture
def overlaid(folder, tmp_path):
    def overlaid(text):
        path = tmp_path / "overlay.yaml"
        path.write_text(text)
        return Labeler.from_vocabulary(folder, overlay=path)

    return overlaid


def test_additions(overlaid):
    labeler = overlaid("""
entities:
  add:
    - {name: Pericarditis, parents: [Ischemia], patterns: [pericarditis]}
descriptors:
  add:
    - {name: Diffuse, before: [diffuse]}
patterns:
  add:
    - {text: dressler, entities: [{entity: Pericarditis, descriptors: [Diffuse]}]}
connectives:
  add:
    - {text: or rather, right: [Probable]}
compounds:
  add:
    - {entity: Both, including: [Pericarditis, Tachycardia]}
labels: {mine: [Pericarditis]}
rewriting:
  - replace: {pericarditides: pericarditis}
""")
    labels = labeler.find("Diffuse pericarditides; tachycardia").labels_flat
    assert {"Pericarditis", "Pericarditis - Diffuse", "Ischemia", "Both"} <= set(labels)
    assert labeler.find("tachycardia or rather infarct").labels_flat["Infarction"] == 0.7
    assert labeler.find("dressler").mentions[0].descriptors == ("Diffuse",)
    assert labeler.vocabulary.label_sets["mine"] == ("Pericarditis",)


def test_changes(overlaid):
    labeler = overlaid("""
entities:
  change:
    - {name: Infarction, remove_parents: [Injury], add_parents: [Rhythm], codes: {scp: MI}}
    - {name: Rhythm, requires_descriptors: false, patterns: [beat]}
descriptors:
  change:
    - {name: Possible, probability: 0.2, before: [dubious]}
""")
    labels = labeler.find("dubious infarct").labels_flat
    assert labels == {"Infarction": 0.2, "Infarction - Possible": 0.2, "Rhythm": 0.2}
    assert labeler.find("beat").labels_flat == {"Rhythm": 1.0}
    assert labeler.vocabulary.entities["Infarction"].codes == {"scp": ("MI",)}


def test_removals(overlaid):
    labeler = overlaid("""
entities: {remove: [Injury]}
patterns: {remove: [acute, ischemia and injury]}
connectives: {remove: [or]}
compounds: {remove: [Both]}
""")
    # Its kinds become kinds of its parents, and its pattern is gone.
    assert labeler.graph.ancestors("Infarction") == ["Ischemia"]
    assert labeler.find("acute injury").mentions == ()
    assert "Both" not in labeler.find("infarct; af").labels_flat


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entities: {add: [{name: Injury}]}", r"line 1: entity 'Injury' is already in .*change it"),
        ("entities:\n  remove: [Injry]", r"line 2: there is no entity 'Injry' to remove"),
        ("entities: {change: [{name: Injry}]}", "no entity 'Injry' to change; add it"),
        ("entities: {change: [{name: Injury}], remove: [Injury]}", "both changed and removed"),
        ("entities: {change: [{name: Injury}, {name: Injury}]}", "changed twice"),
        ("entities: {change: [{name: Injury, parents: [], add_parents: [Both]}]}", "contradicts"),
        ("entities: {change: [{name: Injury, remove_parents: [Both]}]}", "'Both' is no parent of"),
        ("entities: {change: [{name: Injury, add_parents: [Ischemia]}]}", "already a parent"),
        ("entities: {add: [{name: A, parents: [Infarct]}]}", "'Infarct'; is 'Infarction' meant"),
        ("entities: {change: [{name: Ischemia, add_parents: [Infarction]}]}", "cycle"),
        ("entities: {add: [{name: Both}], remove: [Both]}", "both added and removed"),
        ("entities: {remove: [Infarction]}", "there is no entity 'Infarction'"),
        ("descriptors: {remove: [Anterior]}", "there is no descriptor 'Anterior'"),
        ("descriptors: {change: [{name: Acute, probability: 2}]}", "2 is no probability"),
        ("patterns: {add: [{text: infarct, entities: []}]}", "'infarct' is already in"),
        ("patterns: {add: [{text: Infarct!, entities: []}]}", "can never be found"),
        ("patterns: {add: [{text: x, descriptors: [Sharp], side: before}]}", "no descriptor"),
        ("compounds: {remove: [Injury]}", "no rule for 'Injury' to remove"),
        ("pattern: {}", "unknown key 'pattern'"),
        ("[]", "must be a mapping"),
        ("entities: {add: [{name: yes, patterns: [1]}]}", "1 must be text"),
        ("rewriting: [{regex: {'(': x}}]", "is no regular expression"),
        ("labels:\n  mine: [Both, Infarct]", "line 2: .*'Infarct'; is 'Infarction' meant"),
        ("labels: {mine: [Infarction - Olde]}", "no descriptor 'Olde'"),
        ("entities: {add: [{name: A - B}]}", "'A - B' must not have ' - '"),
        ("descriptors: {change: [{name: Old, after: [x], after_all: [x]}]}", "'x' is already in"),
    ],
)
def test_mistakes_name_the_line(overlaid, text, message):
    with pytest.raises(DataError, match=message) as error:
        overlaid(text)
    assert "overlay.yaml" in str(error.value) or "vocabulary" in str(error.value)


# Text, label and its probability without and with a shipped overlay.
SHIPPED = [
    ("borderline_av_block", "Sinus rhythm with borderline 1st degree A-V block",
     "1st degree atrioventricular block", 1.0, 0.5),
    ("borderline_av_block", "First degree AV block (borderline)",
     "1st degree atrioventricular block", 1.0, 0.5),
    ("borderline_av_block", "1st degree A-V block", "1st degree atrioventricular block", 1.0, 1.0),
    ("borderline_av_block", "Borderline prolonged PR", "Prolonged PR interval", 0.5, 0.5),
    ("prolonged_pr", "Prolonged PR interval", "1st degree atrioventricular block", 0.0, 1.0),
    ("prolonged_pr", "PR 230 ms", "Atrioventricular block", 0.0, 1.0),
    ("prolonged_pr", "1st degree AV block", "Prolonged PR interval", 0.0, 0.0),
    ("aberrancy", "AF with RVR; LBBB", "Supraventricular tachycardia with aberrancy", 1.0, 0.0),
    ("aberrancy", "SVT; RBBB", "Supraventricular tachycardia with aberrancy", 1.0, 0.0),
    ("aberrancy", "AF with RVR; incomplete RBBB", "Supraventricular tachycardia with aberrancy",
     0.0, 0.0),
    ("aberrancy", "AF with RVR with aberrant conduction",
     "Supraventricular tachycardia with aberrancy", 1.0, 1.0),
    ("implications", "Atrial fibrillation", "Tachycardia", 0.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("overlay", "text", "label", "without", "with_it"), SHIPPED)
def test_shipped_overlays(overlay, text, label, without, with_it):
    default = Labeler.from_vocabulary()
    changed = Labeler.from_vocabulary(overlay=overlay)
    assert default.find(text).labels_flat.get(label, 0.0) == without
    assert changed.find(text).labels_flat.get(label, 0.0) == with_it


def test_every_shipped_overlay_is_tested_and_says_what_it_does():
    assert set(shipped_overlays()) == {overlay for overlay, *_ in SHIPPED}
    assert all(about.endswith(".") for about in shipped_overlays().values())


def test_overlays_apply_in_turn(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("entities: {change: [{name: Prolonged PR interval, codes: {mine: A}}]}\n")
    labeler = Labeler.from_vocabulary(overlay=["prolonged_pr", path])
    entity = labeler.vocabulary.entities["Prolonged PR interval"]
    assert entity.parents == ("1st degree atrioventricular block",)
    assert entity.codes["mine"] == ("A",)


def test_an_overlay_that_is_not_there():
    with pytest.raises(DataError, match=r"no such file.*prolonged_pr"):
        Labeler.from_vocabulary(overlay="prolonged_qr")
