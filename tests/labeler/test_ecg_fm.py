"""ECG-FM's vocabulary gives what ECG-FM's program gives."""

import json
import re
import shutil
from collections import Counter

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import plain_labeler
from benchmarks.labeler import FINDINGS, RHYTHMS, SUMMARIES
from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.phrases import BLANK
from fairseq_ecg.labeler.rewriting import Family, Replace


def cases(shared, name):
    path = shared / "labeler" / name
    if not path.is_file():
        pytest.skip(f"needs {path}, which is not part of the repository")
    return json.loads(path.read_text())


def check(labeler, recorded):
    for n, case in enumerate(recorded):
        expected = case["output"]
        # The texts were labelled together with others; sources name the position of each.
        position = re.search(r"\[\(?(\d+)", " ".join(row["source"] for row in expected["entities"]))
        sample = int(position[1]) if position else n
        results = labeler.label(pd.Series([case["text"]], index=[sample]))
        row = results.text_results.loc[sample]
        assert row["text"] == expected["preprocessed"]
        assert row["unmatched"] == expected["unmatched"]
        assert row["stripped"] == expected["stripped"]
        assert results.pattern_results.to_dict("records") == expected["patterns"]
        descriptors = results.descriptors.reset_index()[["pattern", "entity", "name", "source"]]
        assert descriptors.to_dict("records") == expected["descriptors"]
        flat = results.labels_flat
        assert dict(zip(flat["name"], flat["prob"], strict=True)) == expected["labels_flat"]
        columns = ["pattern", "name", "source", "prob"]
        found = Counter(map(tuple, results.entities.reset_index()[columns].values.tolist()))
        assert found == Counter(tuple(row[key] for key in columns) for row in expected["entities"])


def test_recorded_cases(shared, compatible):
    check(compatible, cases(shared, "cases_original.json"))


def test_recorded_cases_with_attribution_corrected(shared, mended):
    check(mended, cases(shared, "cases_attribution_fixed.json"))


def test_sizes_of_the_published_vocabulary(compatible):
    vocabulary = compatible.vocabulary
    entities = vocabulary.entities.values()
    assert len(vocabulary.entities) == 320
    assert sum(len(entity.parents) for entity in entities) == 352
    assert sum(not entity.parents for entity in entities) == 38
    assert sum(entity.requires_descriptors for entity in entities) == 21
    assert len(vocabulary.descriptors) == 58
    assert Counter(pattern.kind for pattern in vocabulary.patterns) == {
        "e": 369,
        "b": 81,
        "a": 42,
        "c": 14,
    }
    families = [rule for rule in vocabulary.rewriting if isinstance(rule, Family)]
    assert [len(family.table) for family in families] == [
        1344 - 28, 40, 36, 100, 270, 94, 170, 72
    ]  # fmt: skip
    assert {58, 654} <= {
        len(rule.table) for rule in vocabulary.rewriting if isinstance(rule, Replace)
    }


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("2nd degree A-V block, Mobitz I (Wenckebach)",
         "2nd degree atrioventricular block, mobitz type 1"),
        ("EAT, AT and aVR", "ectopic atrial tachycardia, atrial tachycardia and avr"),
        ("2:1 SA exit block", "sinus block"),
        ("Atrial flutter/fibrillation", "atrial flutter atrial fibrillation"),
        ("T-wave inversion", "t wave inversion"),
        ("PVC's & PAC's", "premature ventricular beats and premature atrial beats"),
        ("Sinus rhythm  ;  Otherwise normal", "sinus rhythm ; otherwise normal ecg"),
        ("Demand ventricular-paced rhythm", "demand ventricular pacing"),
        ("The QTc is prolonged", "the prolonged qt"),
        ("Changes are probably related to rate", "changes conceivably related to rate"),
        ("?Infarct", "<before?> infarct"),
        ("PAC's, pac's", "premature atrial beats, premature atrial beat's"),
        ("Sinus; ?aged", "sinus; ? age d"),
        ("T - wave, Twaves", "t wave, t waves"),
        ("V-pacing, A- sensing, v-p", "ventricular pacing, atrial sensing, v-p"),
        ("failure to pace", "failure to pace"),
        ("with failure to sense and capture", "with loss of sensing; loss of capture"),
        ("Pacer failure to capture", "loss of capture"),
        ("failure to sense / pace", "loss of sensing; loss of capture"),
        ("failure to sense/pace", "loss of sensing/pace"),
        ("missing leads: V1", "missing leads: v1"),
        ("Missing lead(s): V1,V1", "missing lead v1; missing lead v1"),
        ("Partial missing lead(s): V1; missing lead(s): V2",
         "partial missing lead v1; missing lead v2; missing lead v1; missing lead v2"),
        ("missing lead(s): V1; missing lead(s): V10", "missing lead v1; missing lead v10"),
        ("inter ventricular, supra - ventricular", "inter ventricular, supra - ventricular"),
        ("supra -ventricular, inter-atrials", "supraventricular, interatrials"),
        ("right bundles", "right bundle branchs"),
        ("flutter / / fibrillation", "flutter//fibrillation"),
        ("PVC,,PAC", "premature ventricular beat, ,premature atrial beat"),
        ("infarct - acute - recent", "infarct - acute, recent"),
        ("for age/sexed", "ed"),
    ],
)  # fmt: skip
def test_rewriting(compatible, text, rewritten):
    assert compatible.find(text).reading.text == rewritten


def flat(labeler, text):
    return labeler.find(text).labels_flat


def test_consequences_of_the_graph(compatible):
    fibrillation = flat(compatible, "Atrial fibrillation")
    assert {"Tachycardia", "Accessory pathway conduction", "Reentry"} <= set(fibrillation)
    assert "Rhythm" not in fibrillation
    aberrant = "Supraventricular tachycardia with aberrancy"
    assert aberrant in flat(compatible, "Atrial fibrillation; RBBB")
    assert aberrant not in flat(compatible, "Ventricular tachycardia; LBBB")
    assert "Bifascicular block" in flat(compatible, "RBBB and LAFB")
    assert "Bradycardia" in flat(compatible, "A-V block, complete (3rd degree)")


def test_probabilities_on_the_way_up(compatible):
    labels = flat(compatible, "Sinus rhythm with possible infarct")
    assert [labels[name] for name in ("Infarction", "Injury", "Ischemia")] == [0.5, 0.65, 0.755]


def test_a_may_be_reaches_over_due_to(compatible):
    labels = flat(compatible, "Anterolateral ST-T changes may be due to myocardial ischemia")
    assert labels["Ischemia"] == 0.5
    assert {"ST-T wave abnormality - Anterior", "ST-T wave abnormality - Lateral"} <= set(labels)


@pytest.mark.parametrize(
    ("text", "found", "stripped"),
    [
        # What was found before is a word, and a word begins or ends nothing.
        ("infarct, acute, age undetermined", ["infarct", ", age undetermined"], "acute"),
        ("infarct, acute; age", ["infarct", ", acute"], "age"),
        # Of one length, and sharing a word.
        ("Tall T wave", ["tall t"], "wave"),
        ("wide QRS axis", ["wide", "qrs axis"], ""),
        ("rightward QRS axis deviation", ["qrs axis deviation"], "rightward"),
        ("Inférior infarct: º", ["infarct"], "infrior"),
    ],
)
def test_what_is_found_and_what_is_left(compatible, text, found, stripped):
    results = compatible.label([text])
    assert results.pattern_results["pattern"].tolist() == found
    assert results.text_results["stripped"].tolist() == [stripped]


def test_a_descriptor_that_is_there_twice_attaches_twice(mended):
    results = mended.label(["anterior infarct in anterolateral leads"])
    sources = results.entities["source"]
    attached = results.entities["name"][sources.str.startswith("attached")]
    assert Counter(attached) == {"Anterior infarction": 2, "Lateral infarction": 1}


def test_a_compound_gets_the_number_of_what_is_denied_and_its_descriptors(mended):
    assert flat(mended, "RBBB and LAFB; no acute infarct")["Bifascicular block - Acute"] == 1.0
    assert not any("Acute" in label for label in flat(mended, "no acute infarct; RBBB and LAFB"))


def test_compounds_ask_for_the_entity_itself(mended, corrected):
    paroxysmal, kind = "Paroxysmal atrial tachycardia", "Paroxysmal ectopic atrial tachycardia"
    assert paroxysmal in flat(mended, paroxysmal)
    assert paroxysmal not in flat(mended, kind)
    assert paroxysmal in flat(corrected, kind)


def test_patterns_may_touch_where_the_vocabulary_is_corrected(corrected):
    labels = flat(corrected, "Infarct, acute, age undetermined")
    assert {"Infarction - Acute", "Infarction - Age undetermined"} <= set(labels)


def test_texts_in_which_nothing_is_found(compatible):
    results = compatible.label(["", "unheard of", "without"])
    for table in (results.entities, results.descriptors, results.labels, results.labels_flat):
        assert len(table) == 0


STATEMENTS = [*RHYTHMS, *FINDINGS, *SUMMARIES, "?septal infarct", "Inferior infarct -? acute"]
STATEMENTS += ["failure to capture", "Missing lead(s): V1; Missing lead(s): V2", "A-fib/flutter"]
words = st.sampled_from(sorted({word for text in STATEMENTS for word in re.split(" ", text)}))
statements = st.one_of(
    st.sampled_from(STATEMENTS),
    st.lists(words, min_size=1, max_size=6).map(" ".join),
    st.text("aAvV1?-/*; ,()&`'\n\t", max_size=12),
)
reports = st.lists(statements, min_size=1, max_size=6).map("; ".join)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=reports)
def test_statement_by_statement_is_as_a_whole(compatible, text):
    reader = compatible._reader
    whole = reader._search(reader._cut(text))
    assert reader.read(text)[:3] == whole[:3]


@pytest.fixture(scope="module")
def plain(compatible):
    """Sampled reports, rewritten and searched in the plain formulation, which takes its time."""
    sampled: list[str] = []

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(reports)
    def collect(text):
        sampled.append(text)

    collect()
    texts = pd.Series([*sampled, *STATEMENTS])
    rewritten = plain_labeler.rewrite(texts, compatible.vocabulary)
    return texts, rewritten, *plain_labeler.find_patterns(rewritten, compatible.vocabulary)


@pytest.mark.parametrize("mend", [False, True], ids=["original", "mended"])
def test_the_plain_formulation_finds_the_same(compatible, mended, plain, mend):
    texts, rewritten, patterns, unmatched = plain
    labeler = mended if mend else compatible
    entities, descriptors, labels = plain_labeler.conclude(patterns, labeler.vocabulary, mend)
    results = labeler.label(texts)
    assert results.text_results["text"].tolist() == rewritten.tolist()
    assert results.text_results["unmatched"].tolist() == unmatched.tolist()
    columns = ["sample", "idx", "type"]
    assert results.pattern_results.reset_index()[columns].values.tolist() == (
        patterns[columns].values.tolist()
    )
    columns = ["sample", "pattern", "name", "source", "prob"]
    assert Counter(map(tuple, results.entities.reset_index()[columns].values.tolist())) == (
        Counter(map(tuple, entities[columns].values.tolist()))
    )
    columns = ["sample", "pattern", "entity", "name", "source"]
    assert results.descriptors.reset_index()[columns].values.tolist() == (
        descriptors[columns].values.tolist()
    )
    assert results.labels_flat.reset_index().values.tolist() == labels.values.tolist()


HOSTILE = [
    "a" * 60_000,
    "possible " * 6_000,
    "no infarct or " * 4_000,
    "af " * 20_000,
    "; " * 20_000,
    " " * 60_000 + "/",
    "- " * 20_000,
    "?" * 40_000,
    "lead(s) " * 4_000 + "v1 " * 4_000,
    "artifact in lead(s) " + "v1, " * 10_000 + "v9",
    "missing lead(s): v1; " * 3_000,
    "(" * 20_000 + ")" * 20_000,
    "\u202e\u200bfniarct\x00\x07\ud800" * 1000,
    BLANK * 1000,
    "premature ventricular complexes " * 2_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_long_and_strange_texts_take_time_in_proportion(compatible, corrected, text):
    import time

    for labeler in (compatible, corrected):
        start = time.process_time()
        labeler.find(text)
        assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("entity_tem.json", '"Injury"', '"Injry"', "no entity 'Injury'; is 'Injry' meant"),
        ("uncertainty_map.json", '"Variant"', '"Varied"', "no descriptor 'Varied'"),
        ("desc_pat.json", '"pattern": "paired"', '"pattern": "minor"', "already in"),
        ("connective.json", '"Probable"', '"Probble"', "no descriptor 'Probble'"),
    ],
)
def test_mistakes_name_the_file(ecg_fm_folder, tmp_path, name, old, new, message):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    for path in ecg_fm_folder.glob("*.json"):
        shutil.copyfile(path, folder / path.name)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"json, line \d+.*{message}"):
        Labeler.from_vocabulary(folder, mode="compatible")


def test_the_default_mode_corrects_the_vocabulary(corrected):
    assert "Tachycardia" not in flat(corrected, "Atrial fibrillation")
    assert "Accessory pathway conduction" not in flat(corrected, "Atrial fibrillation")
    for text in ("AF with rapid ventricular response", "AF, ventricular rate 120 bpm"):
        assert flat(corrected, text)["Tachycardia"] == 1.0
    for text in ("No evidence of infarct", "without ischemia", "infarct no longer present"):
        assert flat(corrected, text) == {}
    assert flat(corrected, "rule out infarct")["Infarction"] == 0.5
    assert flat(corrected, "No change in sinus rhythm")["Sinus rhythm"] == 1.0
    assert flat(corrected, "Sinus rhythm; ?infarct")["Infarction"] == 0.5
