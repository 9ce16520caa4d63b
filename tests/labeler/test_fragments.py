"""Statements that cannot stand alone are read with their neighbours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.labeler import Labeler, Semantics
from fairseq_ecg.labeler.rewriting import STATEMENT_END


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("Possible\nAnterior infarct", ["Possible Anterior infarct"]),
        ("Cannot rule out; Inferior infarct", ["Cannot rule out Inferior infarct"]),
        ("No evidence of; ischemia; LVH", ["No evidence of ischemia", "LVH"]),
        ("ST elevation, consider; ischemia", ["ST elevation, consider ischemia"]),
        ("Infarct, possible; LVH", ["Infarct, possible", "LVH"]),
        ("Possible;; infarct", ["Possible infarct"]),
        ("Acute; Infarct", ["Acute", "Infarct"]),
        ("Without evidence of; Infarct; LVH", ["Without evidence of Infarct", "LVH"]),
        ("Minimal voltage criteria for; LVH", ["Minimal voltage criteria for LVH"]),
        ("Sinus rhythm has\nreplaced AF", ["Sinus rhythm has replaced AF"]),
        ("LVH; cannot be excluded", ["LVH cannot be excluded"]),
        ("Anterior infarct; age undetermined; RBBB", ["Anterior infarct age undetermined", "RBBB"]),
        ("T wave abnormality, consider ischemia; or digitalis effect; AF",
         ["T wave abnormality, consider ischemia or digitalis effect", "AF"]),
        ("Sinus rhythm; with occasional; PVCs", ["Sinus rhythm with occasional PVCs"]),
        ("Sinus rhythm; resolved ST elevation", ["Sinus rhythm", "resolved ST elevation"]),
        ("Infarct: no; LVH", ["Infarct: no", "LVH"]),
        ("Sinus rhythm; V1-V3 ST elevation", ["Sinus rhythm", "V1-V3 ST elevation"]),
        ("Possible.; Infarct", ["Possible.", "Infarct"]),
    ],
)  # fmt: skip
def test_what_cannot_stand_alone_is_joined(labeler, text, statements):
    assert [statement.text for statement in labeler.statements(text)] == statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("Left bundle\nbranch block", ["Left bundle branch block"]),
        ("No evidence\nof infarct or\nischemia", ["No evidence of infarct or ischemia"]),
        ("Sinus rhythm; Right; bundle branch block; LVH",
         ["Sinus rhythm", "Right bundle branch block", "LVH"]),
        ("1st degree A-V\nblock", ["1st degree A-V block"]),
        ("Sinus rhythm. Ventricular\ntachycardia is not seen.",
         ["Sinus rhythm. Ventricular tachycardia is not seen."]),
        ("Sinus rhythm\nST elevation, possible\ninferior infarct\nAbnormal ECG",
         ["Sinus rhythm", "ST elevation, possible inferior infarct", "Abnormal ECG"]),
        ("Acute; infarct", ["Acute infarct"]),
        ("Sinus rhythm with\noccasional premature\nsupraventricular\ncomplexes",
         ["Sinus rhythm with occasional premature supraventricular complexes"]),
        ("No chest pain\nold infarct\nleft bundle\nbranch block",
         ["No chest pain", "old infarct", "left bundle branch block"]),
        ("ST depression, possibly\ndigitalis effect", ["ST depression, possibly digitalis effect"]),
        ("No specific evidence\nof old infarct", ["No specific evidence of old infarct"]),
        ("No longer any\nevidence of ischemia", ["No longer any evidence of ischemia"]),
        ("No infarct,\nischemia, or LVH", ["No infarct, ischemia, or LVH"]),
        ("Electronic\nventricular\npacemaker", ["Electronic ventricular pacemaker"]),
        ("Sinus rhythm, no\nPVCs", ["Sinus rhythm, no PVCs"]),
        ("No evidence of chamber\ndilatation, LVH", ["No evidence of chamber dilatation, LVH"]),
        ("Inferior infarct, old; anterior injury", ["Inferior infarct, old", "anterior injury"]),
        # A conclusion of its own, and what need not be one line.
        ("Sinus rhythm\nNo infarct\nnormal", ["Sinus rhythm", "No infarct", "normal"]),
        ("Old infarct\nsinus rhythm\nLeft axis", ["Old infarct", "sinus rhythm", "Left axis"]),
        ("No infarct,\nsinus rhythm", ["No infarct,", "sinus rhythm"]),
        ("No chest pain\nold infarct", ["No chest pain", "old infarct"]),
        ("Sinus rhythm.\nleft axis.\nPVCs", ["Sinus rhythm.", "left axis.", "PVCs"]),
        # In one case nothing is known.
        ("left bundle\nbranch block", ["left bundle", "branch block"]),
        ("no chest pain\nold infarct\nLVH", ["no chest pain", "old infarct", "LVH"]),
        ("LEFT BUNDLE\nBRANCH BLOCK", ["LEFT BUNDLE", "BRANCH BLOCK"]),
        ("NO EVIDENCE OF\nISCHEMIA\nLVH", ["NO EVIDENCE OF ISCHEMIA", "LVH"]),
    ],
)  # fmt: skip
def test_a_line_in_lower_case_continues_the_one_before(labeler, text, statements):
    assert [statement.text for statement in labeler.statements(text)] == statements


@pytest.mark.parametrize(
    ("text", "probability"),
    [
        ("Possible / Anterior infarct", 0.5),
        ("Cannot rule out / Anterior infarct", 0.5),
        ("Probable / acute / Anterior infarct", 0.7),
        ("No / Anterior infarct", None),
        ("LVH / Anterior infarct", 1.0),
    ],
)
@pytest.mark.parametrize("between", ["\n", "; ", "\r\n"])
def test_certainty_goes_over_line_ends(labeler, text, probability, between):
    labels = labeler.find(text.replace(" / ", between)).labels_flat
    assert labels.get("Anterior infarction") == probability


def test_it_can_be_switched_off():
    labeler = Labeler.from_vocabulary(semantics=Semantics(fragments=False))
    text = "Possible; Anterior infarct"
    assert [item.text for item in labeler.statements(text)] == ["Possible", "Anterior infarct"]
    assert labeler.find(text).labels_flat["Infarction"] == 1.0


PIECES = [
    *("possible", "infarct", "cannot rule out", "or", "and", "with", "sinus rhythm", "no", "LVH"),
    *("cannot be excluded", "age undetermined", "", "acute", "missing lead V1", "are gone", "old"),
    *("infarct and", "no evidence of", "leads V1, V2 off"),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=7))
def test_reading_is_that_of_the_report_with_its_fragments_joined(labeler, pieces):
    reader = labeler._reader
    report = STATEMENT_END.join(pieces)
    joined = plainly_joined(reader, pieces)
    assert reader.statements(report) == [piece.strip() for piece in joined]
    whole = reader._search(STATEMENT_END.join(joined).strip())
    reading = reader.read(report)
    assert (reading.text, reading.patterns) == (whole.text, whole.patterns)


def plainly_joined(reader, pieces):
    """Join a piece to those before it where these, or it, cannot stand alone."""
    joined, number = [], 0
    for i, piece in enumerate(STATEMENT_END.join(pieces).strip().split(STATEMENT_END)):
        end = ";" if i < len(pieces) - 1 else ""
        before = "; " if i else ""
        alone = reader._search(before + piece + end)
        so_far = ("; " if len(joined) > 1 else "") + joined[-1] + ";" if joined else ""
        if joined and number < 12 and (reader._search(so_far).goes_on or alone.continues):
            joined[-1], number = f"{joined[-1]} {piece}", number + 1
        else:
            joined, number = [*joined, piece], 1
    return joined


def test_endless_fragments_take_time_in_proportion(labeler):
    report = "infarct and; " * 4000
    assert len(labeler.find(report).mentions) == 4000
