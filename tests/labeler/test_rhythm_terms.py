"""What is understood of rhythm, conduction, ectopy, escape and pacing, by kind of wording."""

from itertools import permutations, product

import pytest

from fairseq_ecg.labeler import Labeler

SINOATRIAL = "Sinoatrial block"
PREMATURE = {
    "ventricular": "Premature ventricular contraction",
    "atrial": "Premature atrial contraction",
    "supraventricular": "Premature supraventricular contraction",
    "junctional": "Premature junctional contraction",
    "fusion": "Fusion beat",
}

# Those of sinoatrial rhythm, ectopy, conduction and pacing in AHA/ACC/HRS 2007, part II.
AHA = """
20 Sinus rhythm; 21 Sinus tachycardia; 22 Sinus bradycardia; 23 Sinus arrhythmia; 24 Sinoatrial
block, type I; 25 Sinoatrial block, type II; 26 Sinus pause or arrest; 27 Uncertain
supraventricular rhythm; 30 Atrial premature complex(es); 31 Atrial premature complexes,
nonconducted; 32 Retrograde atrial activation; 33 Wandering atrial pacemaker; 34 Ectopic atrial
rhythm; 35 Ectopic atrial rhythm, multifocal; 36 Junctional premature complex(es); 37 Junctional
escape complex(es); 38 Junctional rhythm; 39 Accelerated junctional rhythm; 40 Supraventricular
rhythm; 41 Supraventricular complex(es); 42 Bradycardia, nonsinus; 50 Atrial fibrillation; 51
Atrial flutter; 52 Ectopic atrial tachycardia, unifocal; 53 Ectopic atrial tachycardia,
multifocal; 54 Junctional tachycardia; 55 Supraventricular tachycardia; 56 Narrow-QRS
tachycardia; 60 Ventricular premature complex(es); 61 Fusion complex(es); 62 Ventricular escape
complex(es); 63 Idioventricular rhythm; 64 Accelerated idioventricular rhythm; 65 Fascicular
rhythm; 66 Parasystole; 70 Ventricular tachycardia; 71 Ventricular tachycardia, unsustained; 72
Ventricular tachycardia, polymorphous; 73 Ventricular tachycardia, torsades de pointes; 74
Ventricular fibrillation; 75 Fascicular tachycardia; 76 Wide-QRS tachycardia; 80 Short PR
interval; 81 AV conduction ratio N:D; 82 Prolonged PR interval; 83 Second-degree AV block,
Mobitz type I (Wenckebach); 84 Second-degree AV block, Mobitz type II; 85 2:1 AV block; 86 AV
block, varying conduction; 87 AV block, advanced (high-grade); 88 AV block, complete
(third-degree); 89 AV dissociation; 100 Aberrant conduction of supraventricular beat(s); 101
Left anterior fascicular block; 102 Left posterior fascicular block; 104 Left bundle-branch
block; 105 Incomplete right bundle-branch block; 106 Right bundle-branch block; 107
Intraventricular conduction delay; 108 Ventricular preexcitation; 109 Right atrial conduction
abnormality; 110 Left atrial conduction abnormality; 180 Atrial-paced complex(es) or rhythm; 181
Ventricular-paced complex(es) or rhythm; 182 Ventricular pacing of non-right ventricular apical
origin; 183 Atrial-sensed ventricular-paced complex(es) or rhythm; 184 AV dual-paced complex(es)
or rhythm; 185 Failure to capture, atrial; 186 Failure to capture, ventricular; 187 Failure to
inhibit, atrial; 188 Failure to inhibit, ventricular; 189 Failure to pace, atrial; 190 Failure
to pace, ventricular; 215 Sinoatrial disorder; 221 AV nodal reentry; 222 AV reentry
"""


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


@pytest.fixture(scope="module")
def certain(labeler):
    """Return the entities that are certain in a text."""

    def find(text):
        entities = labeler.vocabulary.entities
        found = labeler.find(text).labels_flat.items()
        return {name for name, probability in found if probability == 1 and name in entities}

    return find


@pytest.fixture(scope="module")
def denied(labeler):
    return lambda text: {item.entity for item in labeler.find(text).mentions if item.negated}


@pytest.mark.parametrize("statement", " ".join(AHA.split()).split("; "))
def test_statements_of_the_standard_have_their_code(labeler, certain, statement):
    number, text = statement.split(" ", 1)
    entities = labeler.vocabulary.entities
    for written in (text, text.upper(), text.lower().replace("-", " ")):
        codes = {code for name in certain(written) for code in entities[name].codes.get("aha", ())}
        assert number in codes, written


@pytest.mark.parametrize(
    "name", ["SA", "S-A", "sinoatrial", "sino-atrial", "SA nodal", "Sinus exit"]
)
@pytest.mark.parametrize("kind", ["type I", "Mobitz I", "Wenckebach", "Mobitz type II", "type II"])
def test_types_of_sinoatrial_block_are_none_of_av_block(certain, name, kind):
    number = 2 if "II" in kind else 1
    for text in (
        f"2nd degree {name} block ({kind})",
        f"Second degree {name} block, {kind}",
        f"{kind} {name} block",
        f"{kind} second-degree {name} block",
        f"Sinus rhythm with {name} block {kind}",
    ):
        found = certain(text)
        assert f"Sinoatrial block type {number}" in found, text
        assert "Atrioventricular block" not in found, text


@pytest.mark.parametrize("between", [" with ", " and ", ", "])
@pytest.mark.parametrize("types", [("I", "II"), ("II", "I")])
def test_both_blocks_in_a_line_keep_their_types(certain, between, types):
    sinoatrial, av = (text.count("I") for text in types)
    names = {f"Sinoatrial block type {sinoatrial}", f"Mobitz type {av} block"}
    for pair in permutations(
        (f"2nd degree SA block (Mobitz {types[0]})", f"2nd degree A-V block (Mobitz {types[1]})")
    ):
        found = certain(between.join(pair))
        assert found >= names
        assert f"Mobitz type {3 - av} block" not in found


@pytest.mark.parametrize("ratio", ["2:1", "3:2", "2 to 1"])
def test_ratios_of_sinoatrial_block(certain, ratio):
    found = certain(f"Sinus bradycardia with {ratio} SA block")
    assert found >= {"Sinus bradycardia", SINOATRIAL}
    assert not {"Atrioventricular block", "Atrioventricular conduction ratio"} & found


def test_blocks_of_both_nodes_are_denied_together(denied):
    for text in ("No SA or AV block", "No AV or SA block"):
        assert denied(text) == {SINOATRIAL, "Atrioventricular block"}


@pytest.mark.parametrize("words", list(permutations(PREMATURE, 3)))
def test_words_that_share_a_noun_in_every_order(certain, denied, words):
    names = {PREMATURE[word] for word in words}
    first, second, third = words
    for text in (
        f"Sinus rhythm with premature {first}, {second} and {third} complexes",
        f"occasional premature {first}, {second}, and {third} beats",
        f"{first}, {second} and {third} premature contractions",
    ):
        assert certain(text) >= names, text
    assert (
        denied(f"Premature {first}, {second} and {third} complexes are no longer present") == names
    )


@pytest.mark.parametrize(
    ("shared", "alone"),
    [
        ("atrial and ventricular bigeminy", ("Atrial bigeminy", "Ventricular bigeminy")),
        (
            "junctional and ventricular escape beats",
            ("Junctional escape beat", "Ventricular escape beat"),
        ),
        ("ventricular and wide complex escape rhythm", ("Ventricular escape rhythm",)),
        (
            "right and left bundle branch block",
            ("Right bundle branch block", "Left bundle branch block"),
        ),
        (
            "left anterior and posterior fascicular block",
            ("Left anterior fascicular block", "Left posterior fascicular block"),
        ),
        (
            "first and second degree AV block",
            ("1st degree atrioventricular block", "2nd degree atrioventricular block"),
        ),
    ],
)
def test_other_nouns_that_are_shared(certain, denied, shared, alone):
    assert certain(shared) >= set(alone)
    assert denied(f"No {shared}") >= set(alone)


@pytest.mark.parametrize(
    ("noun", "word", "entity"),
    [
        ("Complexes", "ventricular premature", "Premature ventricular contraction"),
        ("Premature complexes", "atrial", "Premature atrial contraction"),
        ("Tachycardia", "supraventricular", "Supraventricular tachycardia"),
        ("Fibrillation", "atrial", "Atrial fibrillation"),
        ("Rhythm", "junctional", "Junctional rhythm"),
        ("Escape complexes", "junctional", "Junctional escape beat"),
    ],
)
def test_nouns_before_their_words(certain, noun, word, entity):
    assert entity in certain(f"{noun}, {word}")
    # Not where the word belongs to what follows.
    assert entity not in certain(f"{noun}, {word} hypertrophy")


@pytest.mark.parametrize(
    ("order", "width"),
    list(
        product(
            ["{0} complex regular", "regular {0} complex", "{0}-complex", "{0} QRS", "{0} regular"],
            ["wide", "narrow", "broad"],
        )
    ),
)
def test_a_tachycardia_by_its_width_in_every_word_order(certain, order, width):
    found = certain(order.format(width) + " tachycardia")
    assert ("Narrow" if width == "narrow" else "Wide") + " complex tachycardia" in found
    assert "Sinus tachycardia" not in found


def test_a_named_tachycardia_with_wide_complexes_is_none_of_unknown_origin(certain):
    found = certain("Sinus tachycardia with wide QRS")
    assert "Sinus tachycardia" in found
    assert "Wide complex tachycardia" not in found


NO_CAPTURE = [
    "without capture",
    "with failure to capture",
    "that fail to capture",
    "not capturing",
    "with loss of capture",
    "without evidence of capture",
    "non-capture",
    "not followed by QRS",
    "not followed by a QRS complex",
    "with intermittent capture",
    "that fail to depolarize the ventricle",
]


@pytest.mark.parametrize("wording", NO_CAPTURE)
@pytest.mark.parametrize("spikes", ["Pacemaker spikes", "Pacing stimuli"])
def test_loss_of_capture(certain, spikes, wording):
    assert "Loss of capture" in certain(f"{spikes} {wording}")


@pytest.mark.parametrize("chamber", ["atrial", "ventricular"])
def test_what_fails_in_which_chamber(certain, chamber):
    for text in (
        f"Failure to capture, {chamber}",
        f"Loss of {chamber} capture",
        f"{chamber} noncapture",
    ):
        assert f"Loss of {chamber} capture" in certain(text)
    for text in (
        f"Failure to inhibit, {chamber}",
        f"Failure to sense, {chamber}",
        f"{chamber} undersensing",
    ):
        assert f"Loss of {chamber} sensing" in certain(text)


@pytest.mark.parametrize(
    "pair", ["capture or appropriate sensing", "capture or sensing", "sensing and capture"]
)
@pytest.mark.parametrize("without", ["without evidence of", "without", "failure of", "no"])
def test_capture_and_sensing_that_fail_together(certain, without, pair):
    assert certain(f"Pacemaker spikes, {without} {pair}") >= {"Loss of capture", "Loss of sensing"}


@pytest.mark.parametrize(
    "text",
    [
        "Normal capture and sensing",
        "Paced, with appropriate capture",
        "100% ventricular capture",
        "AV dissociation without capture beats",
        "Unable to capture lead V1",
    ],
)
def test_a_pacemaker_that_works_does_not_fail(certain, text):
    assert "Pacemaker malfunction" not in certain(text)


def test_failures_are_denied(denied):
    for text in (
        "No loss of capture",
        "Without failure to capture",
        "No evidence of failure to capture",
    ):
        assert denied(text) == {"Loss of capture"}
    assert denied("No undersensing or oversensing") == {"Loss of sensing", "Oversensing"}


PACEMAKERS = [
    ("low atrial pacer", "Ectopic atrial rhythm"),
    ("ectopic atrial pacemaker", "Ectopic atrial rhythm"),
    ("wandering pacemaker", "Wandering atrial pacemaker"),
    ("competing junctional pacemaker", "Junctional rhythm"),
    ("idioventricular pacemaker", "Idioventricular rhythm"),
    ("ectopic pacemaker", "Ectopic rhythm"),
    ("subsidiary pacemaker", "Escape rhythm"),
]


@pytest.mark.parametrize(("text", "entity"), PACEMAKERS)
def test_pacemakers_of_the_heart_are_not_electronic(certain, text, entity):
    found = certain(text)
    assert entity in found
    assert "Electronic pacemaker" not in found


@pytest.mark.parametrize(
    "text",
    [
        "patient should be considered for a pacemaker",
        "Recommend permanent pacemaker",
        "pacemaker implantation is indicated",
        "Candidate for pacing",
        "referral for pacemaker evaluation",
    ],
)
def test_a_pacemaker_that_is_advised_is_not_there(labeler, text):
    assert "Electronic pacemaker" not in labeler.find(text).labels_flat


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Findings suggest pacemaker", "Electronic pacemaker"),
        ("Evaluate for pacemaker malfunction", "Pacemaker malfunction"),
        ("Consider pacemaker malfunction", "Pacemaker malfunction"),
    ],
)
def test_a_pacemaker_that_is_there_is_not_advised(labeler, text, entity):
    assert entity in labeler.find(text).labels_flat


@pytest.mark.parametrize("pair", list(permutations(("AV sequential", "dual chamber"))))
@pytest.mark.parametrize("noun", ["electronic pacemaker", "pacemaker", "electronic pacing"])
def test_alternatives_of_one_kind_of_pacemaker_are_certain(certain, pair, noun):
    assert "Dual-chamber pacing" in certain(f"{' or '.join(pair)} {noun}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Atrial paced / sensed Ventricular paced rhythm",
            {"Atrial pacing", "Atrial sensing", "Ventricular pacing"},
        ),
        (
            "Atrial sensed/paced, ventricular paced rhythm",
            {"Atrial pacing", "Atrial sensing", "Ventricular pacing"},
        ),
        ("Atrial paced Ventricular sensed / paced rhythm", {"Atrial pacing", "Ventricular pacing"}),
        ("Ventricular sensed / paced rhythm", {"Ventricular pacing"}),
        ("Atrial paced Ventricular sensed rhythm", {"Atrial pacing"}),
        (
            "Atrial sensed Ventricular paced (with fusion) rhythm",
            {"Atrial-sensed ventricular pacing"},
        ),
        ("AS-VP rhythm", {"Atrial-sensed ventricular pacing"}),
    ],
)
def test_what_is_paced_and_what_is_sensed(certain, text, found):
    pacing = {
        "Atrial pacing",
        "Atrial sensing",
        "Ventricular pacing",
        "Atrial-sensed ventricular pacing",
    }
    assert found <= certain(text)
    if "Ventricular pacing" not in found and "Atrial-sensed ventricular pacing" not in found:
        assert certain(text) & pacing == found


def test_doubt_is_of_the_whole_mode_of_pacing(labeler):
    found = labeler.find("Possible atrial sensed ventricular paced rhythm").labels_flat
    assert found["Atrial sensing"] == found["Ventricular pacing"] == 0.5


@pytest.mark.parametrize(
    "block", ["Complete heart block", "3rd degree AV block", "CHB", "High degree A-V block"]
)
@pytest.mark.parametrize(
    ("escape", "entity"),
    [
        ("junctional escape rhythm", "Junctional escape rhythm"),
        ("an idioventricular escape rhythm", "Ventricular escape rhythm"),
        ("wide complex escape rhythm", "Ventricular escape rhythm"),
        ("ventricular escape", "Ventricular escape rhythm"),
        ("idioventricular escape beats", "Ventricular escape beat"),
    ],
)
def test_escape_in_heart_block(certain, block, escape, entity):
    found = certain(f"Sinus rhythm with {block} and {escape}")
    assert found >= {"Sinus rhythm", "Atrioventricular block", entity}


RATES = [
    "VR {}",
    "VR: {}",
    "VR={}",
    "HR {}",
    "pulse {}",
    "rate {}/min",
    "at a rate of {}",
    "ventricular rate approximately {}",
    "heart rate is about {} bpm",
    "rate {} beats per minute",
]


@pytest.mark.parametrize("wording", RATES)
def test_rates_in_their_wordings(certain, wording):
    assert "Bradycardia" in certain(f"Atrial fibrillation, {wording.format(45)}")
    assert "Tachycardia" in certain(f"Atrial fibrillation, {wording.format(130)}")
    assert not {"Bradycardia", "Tachycardia"} & certain(
        f"Atrial fibrillation, {wording.format(80)}"
    )


def test_other_rates(certain):
    for text in (
        "Junctional rhythm at 45bpm",
        "ventricular rate between 40 and 50",
        "rate less than 50",
        "low heart rate",
    ):
        assert "Bradycardia" in certain(text)
    for text in ("rate above 120", "ventricular rate 110 to 130", ">>> Very High Heart Rate <<<"):
        assert "Tachycardia" in certain(text)


@pytest.mark.parametrize(
    "text",
    [
        "atrial rate 150",
        "atrial rate of about 280 bpm",
        "P waves at a rate of 110",
        "flutter waves at 300",
        "Pacemaker spikes at a rate of 50",
        "aVR 45",
        "rate increased by 44 bpm",
        "atrial rate is 120, ventricular rate 70",
    ],
)
def test_rates_of_something_else(certain, text):
    assert not {"Bradycardia", "Tachycardia"} & certain(text)


ABBREVIATIONS = {
    "SB": "Sinus bradycardia",
    "SB, LAD": "Sinus bradycardia",
    "SR with SA": "Sinus arrhythmia",
    "ST at 110": "Sinus tachycardia",
    "ST with PVCs": "Sinus tachycardia",
    "ST, RBBB": "Sinus tachycardia",
    "EAR": "Ectopic atrial rhythm",
    "JR with PACs": "Junctional rhythm",
    "SND": "Sinus node dysfunction",
    "SSS": "Sinus node dysfunction",
    "1dAVB": "1st degree atrioventricular block",
    "I AVB": "1st degree atrioventricular block",
    "1° AVB": "1st degree atrioventricular block",
    "AVB I": "1st degree atrioventricular block",
    "AV block, first degree": "1st degree atrioventricular block",
    "2AVB": "2nd degree atrioventricular block",
    "IIAVB": "2nd degree atrioventricular block",
    "3AVB": "3rd degree atrioventricular block",
    "CAVB": "3rd degree atrioventricular block",
    "AFL": "Atrial flutter",
    "SVE": "Premature supraventricular contraction",
    "SVES": "Premature supraventricular contraction",
    "VES": "Premature ventricular contraction",
    "TdP": "Torsades de pointes",
    "LGL syndrome": "Short PR interval",
}


@pytest.mark.parametrize(("text", "entity"), ABBREVIATIONS.items())
def test_abbreviations(certain, text, entity):
    assert entity in certain(text)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("ST depression", "Sinus tachycardia"),
        ("ST at baseline", "Sinus tachycardia"),
        ("ST with T wave abnormality", "Sinus tachycardia"),
        ("ST, T wave changes", "Sinus tachycardia"),
        ("ST 2 mm depressed", "Sinus tachycardia"),
        ("Nonspecific ST", "Sinus tachycardia"),
        ("Read by Dr. SB", "Sinus bradycardia"),
        ("Read by: SB", "Sinus bradycardia"),
        ("SB/JK", "Sinus bradycardia"),
        ("SA node dysfunction", "Sinus arrhythmia"),
        ("John Smith, JR.", "Junctional rhythm"),
        ("T inversion in II, III, VF", "Ventricular fibrillation"),
        ("Resting AT the time", "Atrial tachycardia"),
        ("fixed coupled PVCs", "Couplet"),
        ("IVCD of LBBB type", "Left bundle branch block"),
    ],
)
def test_what_an_abbreviation_does_not_stand_for(labeler, text, entity):
    assert entity not in labeler.find(text).labels_flat


@pytest.mark.parametrize(
    ("verb", "probability"),
    [
        ("is", 1),
        ("remains", 1),
        ("is now clearly", 1),
        ("is probably", 0.7),
        ("appears to be", 0.7),
        ("may be", 0.5),
    ],
)
@pytest.mark.parametrize(
    ("word", "entity"),
    [
        ("sinus", "Sinus rhythm"),
        ("junctional", "Junctional rhythm"),
        ("ectopic atrial", "Ectopic atrial rhythm"),
    ],
)
def test_what_a_rhythm_is_said_to_be(labeler, verb, probability, word, entity):
    for end in ("", ".", " with PVCs"):
        found = labeler.find(f"The rhythm {verb} {word}{end}").labels_flat
        assert found[entity] == pytest.approx(probability)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Irregularly irregular", "Irregular rhythm"),
        ("Rhythm: sinus", "Sinus rhythm"),
        ("rhythm has reverted to normal", "Sinus rhythm"),
        ("p wave axis suggests atrial rather than sinus mechanism", "Ectopic atrial rhythm"),
        ("probable flutter", "Atrial flutter"),
        ("extreme tachycardia", "Tachycardia"),
        ("Sinus rhythm with long A-V delay", "Prolonged PR interval"),
        ("Ventricular paced rhythm with varying degrees of fusion", "Fusion beat"),
        ("Type II AV block", "Mobitz type 2 block"),
        ("AF, slow VR", "Slow ventricular response"),
        ("sinus bradycardia and arrhythmia", "Sinus arrhythmia"),
        ("CHB with escape at 35", "Escape rhythm"),
    ],
)
def test_other_wordings_of_rhythm(labeler, text, entity):
    assert labeler.find(text).labels_flat[entity] >= 0.7


def test_a_rhythm_that_is_not_there(denied):
    assert denied("The rhythm is not sinus") == {"Sinus rhythm"}
    assert "Sinus rhythm" in denied("atrial rather than sinus mechanism")


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Rate 124, sinus", "Sinus tachycardia"),
        ("Sinus at 44 with PVCs", "Sinus bradycardia"),
        ("Sinus 52, PR 180", "Sinus bradycardia"),
        ("HR 118. Sinus rhythm, LBBB", "Sinus tachycardia"),
        ("Sinus rhythm with 1st degree AV block, rate 51", "Sinus bradycardia"),
        ("CHB with junctional escape at 36", "Bradycardia"),
        ("AV block III, ventricular escape 28", "Bradycardia"),
        ("No P waves, 44/min", "Bradycardia"),
    ],
)
def test_a_rate_names_the_rhythm(labeler, text, entity):
    assert labeler.find(text).labels_flat[entity] == 1


@pytest.mark.parametrize(
    "text",
    [
        "Sinus rhythm; ventricular tachycardia at 170",
        "Sinus rhythm with a run of atrial tachycardia, rate 160",
        "Sinus rhythm, complete heart block, escape at 38",
        "Atrial fibrillation, rate 120, was sinus rhythm",
        "Sinus rhythm, ventricular paced rhythm, rate 110",
        "Sinus rhythm, rate 60-99",
    ],
)
def test_a_rate_of_another_rhythm(labeler, text):
    found = labeler.find(text).labels_flat
    assert not {"Sinus tachycardia", "Sinus bradycardia"} & set(found)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Lt. post. fasc. block", "Left posterior fascicular block"),
        ("Rt bundle branch blk", "Right bundle branch block"),
        ("Incompl. rt. bundle br. block", "Incomplete right bundle branch block"),
        ("Occ. supraventric. ectopics", "Premature supraventricular contraction"),
        ("Jct. escape", "Junctional escape rhythm"),
        ("Trifasc. block", "Trifascicular block"),
        ("Accel. idiovent. rhythm", "Accelerated idioventricular rhythm"),
        ("Tachy-brady", "Bradycardia-tachycardia syndrome"),
        ("Likely sinus though P waves are small", "Sinus rhythm"),
        ("Appears to be sinus with PACs", "Sinus rhythm"),
        ("Narrow QRS. Probably junctional.", "Junctional rhythm"),
        ("Rare atrial and frequent ventricular extrasystoles", "Premature atrial contraction"),
        ("Atrial flutter with variable block", "Atrioventricular block"),
        ("Failure to capture, atrial pacemaker", "Atrial pacing"),
        ("Spikes before every QRS", "Ventricular pacing"),
        ("RBBB, left atrial abnormality", "Left atrial enlargement"),
    ],
)
def test_short_and_other_wordings(labeler, text, entity):
    assert labeler.find(text).labels_flat[entity] >= 0.7


def test_what_was_ablated_is_not_there(labeler):
    assert not labeler.find("WPW s/p ablation, atrial flutter after cardioversion").labels_flat


def test_alternatives_that_cannot_be_told_apart(labeler):
    found = labeler.find("2:1 AV block, cannot distinguish Mobitz 1 from 2").labels_flat
    assert found["2:1 atrioventricular block"] == 1
    assert found["Mobitz type 1 block"] == found["Mobitz type 2 block"] == 0.5
