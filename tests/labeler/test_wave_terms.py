"""Waves, intervals, axis, voltage, leads and measured numbers, in the wordings of sentences."""

from itertools import product
from time import process_time

import pytest

from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import THRESHOLD

VERBS = ("", " are", " is", " appear", " remain", " are now", " now", " more", " are less")
ADVERBS = ("", " slightly", " markedly")
LEADS = (
    "",
    " in I, II, aVL, V4,5,6",
    " in V2-6",
    " in leads V1 through V4",
    " in these leads",
    " laterally",
    " in limb leads and V6",
)
STATES = {
    "ST segments": {"depressed": "ST depression", "elevated": "ST elevation"},
    "ST": {"depressed": "ST depression", "elevated": "ST elevation"},
    "T waves": {
        "inverted": "T wave inversion",
        "flat": "Flat T wave",
        "low": "Flat T wave",
        "flattened": "Flat T wave",
        "peaked": "Tall T wave",
        "tall": "Tall T wave",
    },
}
SENTENCES = [
    (wave, state, finding) for wave, states in STATES.items() for state, finding in states.items()
]
OF_WAVES = frozenset(finding for *_, finding in SENTENCES)


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


def positive(labeler, text):
    labels = labeler.find(text).labels_flat
    return {name for name, p in labels.items() if p >= THRESHOLD and " - " not in name}


def uncertain(labeler, text):
    labels = labeler.find(text).labels_flat
    return {name for name, p in labels.items() if p < THRESHOLD and " - " not in name}


def denied(labeler, text):
    return {mention.entity for mention in labeler.find(text).mentions if mention.negated}


@pytest.mark.parametrize(("wave", "state", "finding"), SENTENCES)
def test_a_wave_is_in_a_state(labeler, wave, state, finding):
    for verb, adverb, leads in product(VERBS, ADVERBS, LEADS):
        text = f"{wave}{verb}{adverb} {state}{leads}"
        assert positive(labeler, text) & OF_WAVES == {finding}, text
        assert not denied(labeler, text), text


@pytest.mark.parametrize(("wave", "state", "finding"), SENTENCES)
def test_a_wave_of_some_leads_is_in_a_state(labeler, wave, state, finding):
    for leads in LEADS[1:]:
        text = f"The {wave}{leads} are {state}"
        assert positive(labeler, text) & OF_WAVES == {finding}, text


@pytest.mark.parametrize(("wave", "state", "finding"), SENTENCES)
def test_a_wave_is_not_in_a_state(labeler, wave, state, finding):
    for verb in (" are not", " no longer", " are no longer", " are not significantly"):
        text = f"{wave}{verb} {state} in II, III, aVF"
        assert (positive(labeler, text) & OF_WAVES, denied(labeler, text)) == (set(), {finding})


@pytest.mark.parametrize(("wave", "state", "finding"), SENTENCES)
def test_a_wave_is_perhaps_in_a_state(labeler, wave, state, finding):
    for verb in (" are possibly", " may be", " could be"):
        assert finding in uncertain(labeler, f"{wave}{verb} {state} in V1-V3"), verb
    assert finding in positive(labeler, f"{wave} are probably {state}")


@pytest.mark.parametrize("first", STATES["T waves"])
@pytest.mark.parametrize("second", STATES["T waves"])
def test_the_second_state_of_a_wave(labeler, first, second):
    found = {STATES["T waves"][state] for state in (first, second)}
    for joint in (" and", " and slightly", ", and", " but", ",", " with"):
        text = f"T waves are {first} in I, aVL and V6{joint} {second} in II, V4,5"
        assert positive(labeler, text) & OF_WAVES == found, text


def test_two_waves_in_a_sentence(labeler):
    for leads in LEADS:
        text = f"ST segments are depressed and T waves inverted{leads}"
        assert positive(labeler, text) & OF_WAVES == {"ST depression", "T wave inversion"}, text
    found = positive(labeler, "ST elevation in II, III, aVF and depression in I, aVL")
    assert found & OF_WAVES == {"ST depression", "ST elevation"}
    found = positive(labeler, "T wave flattening in I and inversion in aVL")
    assert found & OF_WAVES == {"Flat T wave", "T wave inversion"}


def test_one_of_two_states_is_doubtful_and_the_abnormality_is_not(labeler):
    for text in (
        "T waves are flat or slightly inverted throughout",
        "flat or inverted T waves in V5-6",
        "T wave flattening or inversion",
        "flat/inverted T waves",
    ):
        assert {"Flat T wave", "T wave inversion"} <= uncertain(labeler, text), text
        assert "T wave abnormality" in positive(labeler, text), text
    assert "Flat T wave" in positive(labeler, "T waves are low or flat")
    text = "No T wave flattening or inversion"
    assert {"Flat T wave", "T wave inversion"} <= denied(labeler, text)
    assert not positive(labeler, text)


def test_a_denied_state_and_one_that_holds(labeler):
    text = "T waves are not inverted but flat"
    assert (positive(labeler, text) & OF_WAVES, denied(labeler, text)) == (
        {"Flat T wave"},
        {"T wave inversion"},
    )
    text = "ST segments neither elevated nor depressed"
    assert denied(labeler, text) == {"ST depression", "ST elevation"}


@pytest.mark.parametrize("text", ["ST is now isoelectric", "ST segments in V1 are now isoelectric"])
def test_an_isoelectric_segment_is_neither_depressed_nor_elevated(labeler, text):
    assert {"ST depression", "ST elevation"} <= denied(labeler, text)
    assert not positive(labeler, text)


@pytest.mark.parametrize(
    "text",
    ["normal ST segments", "ST segments are normal", "T waves upright in V1", "T waves are normal",
     "ST has improved", "QT has shortened", "PR interval has increased", "normal axis",
     "normal R wave progression", "T wave amplitude has decreased", "axis is normal",
     "voltages are at upper limit", "transient ischemic attack", "QRS < 120 ms",
     "interpretation assumes no reversal", "T axis 120", "PR 72 bpm", "T wave axis normal"],
)  # fmt: skip
def test_what_is_no_finding(labeler, text):
    assert not labeler.find(text).labels_flat


def test_neighbours_of_a_wave_are_not_its_state(labeler):
    for adjective in ("prominent", "large", "small", "high lateral", "low", "deep"):
        text = f"{adjective} T wave inversion"
        assert positive(labeler, text) & OF_WAVES == {"T wave inversion"}, text
    text = "T wave inversion in V1 and low voltage QRS"
    assert {"T wave inversion", "Low QRS voltage"} <= positive(labeler, text)
    assert "Flat T wave" not in positive(labeler, text)
    text = "T wave inversion in V1 and prominent U waves"
    assert {"T wave inversion", "U wave"} <= positive(labeler, text)
    assert "Tall T wave" not in positive(labeler, text)
    assert positive(labeler, "s t changes") == {"ST abnormality"}
    text = "Right axis deviation Left posterior fascicular block"
    assert "Left axis deviation" not in positive(labeler, text)


@pytest.mark.parametrize(
    ("text", "finding"),
    [("the T waves are flatter", "Atrial flutter"), ("lead placing", "Electronic pacemaker"),
     ("coupled to the monitor", "Couplet"), ("literal ischemia", "Lateral ischemia")],
)  # fmt: skip
def test_words_of_the_language_are_no_misspelled_findings(labeler, text, finding):
    assert finding not in labeler.find(text).labels_flat


@pytest.mark.parametrize(
    "words",
    ["t wave ", "t waves are flat in ", "st depressed and ", "v1,2,3,", "qrs ", "v1 v2 ",
     "inferior ", "and v3 ", "leads reversed ", "flat or ", "infarct old ", "not slightly ",
     "qtc 460 "],
)  # fmt: skip
def test_endless_repetitions_take_time_in_proportion(labeler, words):
    def seconds(n):
        start = process_time()
        labeler.find(words * n)
        return process_time() - start

    assert min(seconds(1_600) for _ in range(2)) < 9 * max(seconds(400), 0.02)


NOTATIONS = ("{0} ms", "{0}ms", " = {0}", ": {0} msec", " is {0} ms", " of {0} ms (x)", "{1} s",
             "{1} sec", "={1}s", " {2} s", " is {2} seconds")  # fmt: skip


def written(name, value):
    """All notations of a number of milliseconds."""
    seconds = f"{value / 1000:.3f}"
    for notation in NOTATIONS:
        gap = "" if notation.startswith((" ", "=", ":")) else " "
        yield name + gap + notation.format(value, seconds, seconds.replace(".", ","))


@pytest.mark.parametrize(
    ("name", "finding", "first", "last"),
    [
        ("QTc", "Prolonged QT interval", 460, 700),
        ("corrected QT interval", "Prolonged QT interval", 460, 700),
        ("PR", "Prolonged PR interval", 201, 400),
        ("PR interval", "Prolonged PR interval", 201, 400),
        ("QRS", "Wide QRS complex", 120, 250),
        ("QRS duration", "Wide QRS complex", 120, 250),
    ],
)
def test_intervals_in_every_notation(labeler, name, finding, first, last):
    for value in (first, last):
        for text in written(name, value):
            assert positive(labeler, text) == {finding}, text
    for text in written(name, first - 1):
        assert not labeler.find(text).labels_flat, text


def test_a_short_pr_needs_a_unit(labeler):
    for text in ("PR 119 ms", "PR interval 100ms", "PR 0.11 s", "PR 0,10 sec"):
        assert positive(labeler, text) == {"Short PR interval"}, text
    for text in ("PR 120 ms", "PR 0.12 s", "PR 72"):
        assert not labeler.find(text).labels_flat, text


def test_limits_that_are_passed(labeler):
    for text, finding in (
        ("QTc 450 ms (male)", "Prolonged QT interval"),
        ("QTc 0.45 in men", "Prolonged QT interval"),
        ("QTc > 460 ms", "Prolonged QT interval"),
        ("QTc increased from 440 to 490 ms", "Prolonged QT interval"),
        ("PR > 200 ms", "Prolonged PR interval"),
        ("QRS >= 120 ms", "Wide QRS complex"),
        ("PR .21", "Prolonged PR interval"),
    ):
        assert positive(labeler, text) == {finding}, text
    for text in ("QTc 450 ms (female)", "QTc < 460 ms", "PR <= 200 ms", "QTc decreased to 440"):
        assert not labeler.find(text).labels_flat, text


@pytest.mark.parametrize("name", ["axis", "QRS axis", "mean QRS axis", "Frontal axis"])
def test_axes(labeler, name):
    for number, finding in (
        ("-31", "Left axis deviation"),
        ("= -45°", "Left axis deviation"),
        (": -90 degrees", "Left axis deviation"),
        ("+91", "Right axis deviation"),
        ("is 110 degrees", "Right axis deviation"),
        ("-91", "Extreme axis deviation"),
    ):
        assert positive(labeler, f"{name} {number}") == {finding, "Axis deviation"}, number
    for number in ("-30", "90", "+45", "0 degrees"):
        assert not labeler.find(f"{name} {number}").labels_flat, number


SIDES = {
    "Left axis deviation": ("left", "leftward"),
    "Right axis deviation": ("right", "rightward"),
}


@pytest.mark.parametrize("finding", SIDES)
def test_axes_in_words(labeler, finding):
    for side in SIDES[finding]:
        for text in (f"{side} axis", f"axis is {side}", f"QRS axis {side} for age"):
            assert finding in positive(labeler, text), text
    side = SIDES[finding][0]
    for text in (f"deviation of the axis to the {side}", f"axis deviation to the {side}"):
        assert finding in positive(labeler, text), text
    assert "Left axis deviation" in positive(labeler, "Left superior axis")


PLACES = {
    "Limb lead reversal": ("limb lead", "arm lead", "arm/leg lead", "RA/LA", "extremity electrode"),
    "Precordial lead misplacement": ("precordial lead", "chest electrode", "V1/V2 lead"),
    "Lead misplacement": ("lead", "electrode", "cable"),
}


@pytest.mark.parametrize("finding", PLACES)
def test_leads_that_are_exchanged(labeler, finding):
    exchanges = ("reversal", "interchange", "misplacement", "switch", "mispositioning")
    for place, noun in product(PLACES[finding], exchanges):
        text = f"{place} {noun}"
        assert {finding, "Lead misplacement", "Poor data quality"} <= positive(labeler, text), text
        assert finding in uncertain(labeler, f"possible {text}"), text
        assert finding in uncertain(labeler, f"cannot exclude {text}"), text
        assert "Lead misplacement" in denied(labeler, f"no {text}"), text


@pytest.mark.parametrize("finding", PLACES)
def test_leads_that_have_been_exchanged(labeler, finding):
    for place in PLACES[finding]:
        leads = f"{place}s" if place != "RA/LA" else "RA/LA leads"
        for participle in ("reversed", "interchanged", "misplaced", "switched"):
            for text in (f"{leads} {participle}", f"{leads} are {participle}"):
                assert finding in positive(labeler, text), text
            assert finding in uncertain(labeler, f"{leads} may be {participle}"), leads
            assert finding in positive(labeler, f"{leads} are probably {participle}"), leads


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("voltages are high in chest leads", "High QRS voltage"),
        ("high QRS voltage", "High QRS voltage"),
        ("QRS voltage is increased", "High QRS voltage"),
        ("low voltages in standard leads", "Low QRS voltage"),
        ("voltage low in limb leads", "Low QRS voltage"),
        ("low amplitude QRS complexes", "Low QRS voltage"),
        ("left ventricular high voltage", "Voltage criteria for left ventricular hypertrophy"),
        ("LVH on voltage criteria", "Voltage criteria for left ventricular hypertrophy"),
        ("voltages are high suggesting LVH", "Voltage criteria for left ventricular hypertrophy"),
        ("right atrial high voltage", "Right atrial enlargement"),
        ("high P-voltages", "Tall P wave"),
        ("prolonged P wave", "Prolonged P wave"),
        ("poor progression of R waves in anterior chest leads", "Poor R wave progression"),
        ("R wave progression is delayed", "Poor R wave progression"),
        ("R-S transition zone in V leads displaced to the left", "Abnormal R wave transition"),
        ("q's in inferior leads", "Q wave abnormality"),
        ("ST downslopping", "ST abnormality"),
        ("ST junctional depression is nonspecific", "Nonspecific ST abnormality"),
        ("myocardial infarction in posterior leads", "Posterior infarction"),
        ("infarct of the inferior wall", "Inferior infarction"),
        ("old anteroseptal and inferior infarcts", "Inferior infarction"),
        ("old inf. MI", "Inferior infarction"),
        ("ant MI", "Anterior infarction"),
        ("ant/septal infarct", "Anteroseptal infarction"),
        ("extensive old anterior MI", "Extensive anterior infarction"),
        ("LVH with strain", "ST-T change due to ventricular hypertrophy"),
        ("LVH and RVH", "Biventricular hypertrophy"),
        ("countercolockwise rotation", "Counterclockwise rotation"),
        ("technically unsatisfactory tracing", "Poor data quality"),
        ("electrodes problems", "Poor data quality"),
        ("static noise", "Poor data quality"),
        ("V4 not recorded", "Missing lead"),
        ("V1/V2 are one interspace too high", "High precordial lead placement"),
    ],
)
def test_wordings(labeler, text, finding):
    assert finding in positive(labeler, text)


def test_a_borderline_interval_is_perhaps_prolonged(labeler):
    for text in ("Borderline QT interval", "QTc borderline", "QT interval is borderline prolonged"):
        assert uncertain(labeler, text) == {"Prolonged QT interval"}, text


def test_locations_of_leads_belong_to_what_is_before_them(labeler):
    labels = labeler.find("ST depression in inferior and lateral leads, consider ischemia")
    assert {"ST depression - Inferior", "ST depression - Lateral"} <= set(labels.labels_flat)
    assert "Inferior ischemia" not in labels.labels_flat


# AHA/ACC/HRS 2007 (Mason et al., Part II, tables 1 and 2), in the standard's words.
STANDARD = {
    1: "Normal ECG", 2: "Otherwise normal ECG", 3: "Abnormal ECG", 4: "Uninterpretable ECG",
    10: "Extremity electrode reversal", 11: "Misplaced precordial electrode(s)",
    12: "Missing lead(s)", 13: "Right-sided precordial electrode(s)", 14: "Artifact",
    15: "Poor-quality data", 16: "Posterior electrode(s)", 111: "Epsilon wave",
    120: "Right-axis deviation", 121: "Left-axis deviation", 122: "Right superior axis",
    123: "Indeterminate axis", 124: "Electrical alternans", 125: "Low voltage",
    128: "Abnormal precordial R-wave progression", 131: "Abnormal P-wave axis",
    140: "Left atrial enlargement", 141: "Right atrial enlargement",
    142: "Left ventricular hypertrophy", 143: "Right ventricular hypertrophy",
    144: "Biventricular hypertrophy", 145: "ST deviation", 146: "ST deviation with T-wave change",
    147: "T-wave abnormality", 148: "Prolonged QT interval", 149: "Short QT interval",
    150: "Prominent U waves", 151: "Inverted U waves", 152: "TU fusion",
    153: "ST-T change due to ventricular hypertrophy", 154: "Osborn wave",
    155: "Early repolarization", 160: "Anterior MI", 161: "Inferior MI", 162: "Posterior MI",
    163: "Lateral MI", 165: "Anteroseptal MI", 166: "Extensive anterior MI",
    173: "MI in presence of left bundle-branch block", 174: "Right ventricular MI",
    200: "Acute pericarditis", 201: "Acute pulmonary embolism", 202: "Brugada abnormality",
    203: "Chronic pulmonary disease", 204: "CNS disease", 205: "Digitalis effect",
    206: "Digitalis toxicity", 207: "Hypercalcemia", 208: "Hyperkalemia",
    209: "Hypertrophic cardiomyopathy", 210: "Hypocalcemia", 211: "Hypokalemia or drug effect",
    212: "Hypothermia", 213: "Ostium primum ASD", 214: "Pericardial effusion",
    220: "Acute ischemia", 223: "Genetic repolarization abnormality",
    224: "High precordial lead placement", 225: "Hypothyroidism", 226: "Ischemia",
    227: "Left ventricular aneurysm", 228: "Normal variant", 229: "Pulmonary disease",
    230: "Dextrocardia", 231: "Dextroposition",
}  # fmt: skip


@pytest.mark.parametrize("number", STANDARD)
def test_statements_of_the_standard_have_their_code(labeler, number):
    having = {
        name
        for name, entity in labeler.vocabulary.entities.items()
        if str(number) in entity.codes.get("aha", ())
    }
    assert len(having) == 1
    assert having <= set(labeler.find(STANDARD[number]).labels_flat)


def test_criteria_behind_dots_are_no_findings(labeler):
    for text, findings in (
        (
            "FIRST DEGREE AV BLOCK ..... PR >210, V-rate 50- 90",
            {"1st degree atrioventricular block"},
        ),
        ("LEFT ANTERIOR FASCICULAR BLOCK ..... axis(240,-40)", {"Left anterior fascicular block"}),
        ("LVH ..... QRSd>120, wide QRS, ST depression", {"Left ventricular hypertrophy"}),
        ("Rhythm ....... atrial fibrillation", {"Atrial fibrillation"}),
        ("QTc ....... 520", {"Prolonged QT interval"}),
        ("ST ..... depressed in V5", {"ST depression"}),
    ):
        mentions = {one.entity for one in labeler.find(text).mentions if one.entity}
        assert mentions == findings, text


def test_what_an_interval_was_before(labeler):
    for text, findings in (
        ("PR shortened from 240 to 190 ms", set()),
        ("QTc shortened from 520 to 480 ms", {"Prolonged QT interval"}),
        ("QRS narrowed from 150 to 100 ms", set()),
        ("PR lengthened from 180 to 250 ms", {"Prolonged PR interval"}),
    ):
        assert positive(labeler, text) == findings, text


def test_short_wordings_of_waves(labeler):
    for text, finding in (
        ("Elevation of the ST segments in II", "ST elevation"),
        ("Reciprocal depression in aVL", "ST depression"),
        ("Sagging ST segments", "ST depression"),
        ("s t and t wave changes", "ST-T wave abnormality"),
        ("Biphasic T in V3", "T wave abnormality"),
        ("Lt atrial enlarg.", "Left atrial enlargement"),
        ("LVH by volts", "Voltage criteria for left ventricular hypertrophy"),
        ("Axis -38, PVCs", "Left axis deviation"),
        ("QT int. prolonged", "Prolonged QT interval"),
        ("QT hard to measure, likely prolonged", "Prolonged QT interval"),
        ("Lat. isch. likely", "Lateral ischemia"),
        ("Old inf/post MI", "Inferoposterior infarction"),
        ("Suspect PE", "Pulmonary embolism"),
        ("Pulm. dz pattern", "Pulmonary disease pattern"),
        ("V3 off.", "Missing lead"),
        ("O/w unremarkable", "Otherwise normal electrocardiogram"),
        ("Rest of the ECG is normal", "Otherwise normal electrocardiogram"),
        ("Nl ECG", "Normal electrocardiogram"),
        ("Normal. No previous ECG.", "Normal electrocardiogram"),
    ):
        assert labeler.find(text).labels_flat.get(finding, 0) >= 0.7, text


def test_what_is_not_assessed_is_not_found(labeler):
    for text in (
        "Ischemia cannot be assessed",
        "Precludes assessment of hypertrophy and infarct",
        "Unable to evaluate for infarct",
        "Leftward axis but within normal limits",
    ):
        assert "Normal electrocardiogram" not in labeler.find(text).labels_flat
        assert not {"Ischemia", "Infarction", "Ventricular hypertrophy"} & set(
            labeler.find(text).labels_flat
        ), text
    assert (
        "Left bundle branch block" in labeler.find("Cannot assess ischemia with LBBB").labels_flat
    )


def test_a_question_behind_a_finding_is_of_it(labeler):
    found = labeler.find("Limb leads reversed? Sinus rhythm").labels_flat
    assert found["Lead misplacement"] == 0.5
    assert found["Sinus rhythm"] == 1


def test_the_extension_of_an_infarct_is_doubted_alone(labeler):
    found = labeler.find("Consider lateral extension of acute inferior infarct").labels_flat
    assert found["Inferior infarction"] == 1
    assert found["Lateral infarction"] == 0.5


def test_a_question_of_the_cause_is_none_of_the_finding(labeler):
    for text, entity in (
        ("QT prolonged, drug?", "Prolonged QT interval"),
        ("ST depression, rate related?", "ST depression"),
        ("LBBB, new?", "Left bundle branch block"),
    ):
        assert labeler.find(text).labels_flat[entity] == 1, text
    found = labeler.find("U waves, electrolytes?").labels_flat
    assert (found["U wave"], found["Electrolyte disturbance"]) == (1, 0.5)


def test_axes_of_other_waves(labeler):
    for text in ("T wave axis 105", "P wave axis 110", "T axis -45"):
        assert "Axis deviation" not in labeler.find(text).labels_flat, text
    assert "Posterior infarction" not in labeler.find("Post MI").labels_flat
