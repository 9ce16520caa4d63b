"""How far doubt and denial reach in the package's own vocabulary, each with a counterexample."""

import pytest

from fairseq_ecg.labeler import Labeler


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


NAMES = {
    "AF": "Atrial fibrillation",
    "AFL": "Atrial flutter",
    "LVH": "Left ventricular hypertrophy",
    "RVH": "Right ventricular hypertrophy",
    "RAE": "Right atrial enlargement",
    "RBBB": "Right bundle branch block",
    "LBBB": "Left bundle branch block",
    "LAFB": "Left anterior fascicular block",
    "PAC": "Premature atrial contraction",
    "PVC": "Premature ventricular contraction",
    "2AVB": "2nd degree atrioventricular block",
    "2:1": "2:1 atrioventricular block",
    "1AVB": "1st degree atrioventricular block",
    "STE": "ST elevation",
    "STD": "ST depression",
    "SR": "Sinus rhythm",
    "IRBBB": "Incomplete right bundle branch block",
    "Mobitz": "Mobitz type 1 block",
    "QT": "Prolonged QT interval",
    "MAT": "Multifocal atrial tachycardia",
    "VT": "Ventricular tachycardia",
    "STEMI": "ST elevation infarction",
}


def understood(labeler, text):
    """Return what is certain, what is doubted and what is denied, as ``+A ?B -C``."""
    short = {name: key for key, name in NAMES.items()}
    finding = labeler.find(text)
    found = set()
    for mention in finding.mentions:
        if mention.negated:
            found.add(f"-{short.get(mention.entity, mention.entity)}")
            continue
        sign = "+" if finding.labels_flat[mention.entity] >= 0.6 else "?"
        found.add(sign + short.get(mention.entity, mention.entity))
    return found


def check(labeler, text, expected):
    found = {item.replace(" ", "_") for item in understood(labeler, text)}
    assert found == set(expected.split()), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No evidence of ischemia, infarct, or something unheard of", "-Ischemia -Infarction"),
        ("No infarct, ischemia, LVH", "-Infarction -Ischemia -LVH"),
        ("No infarct, ischemia, LVH noted", "-Infarction -Ischemia -LVH"),
        ("No PVCs, PACs", "-PVC -PAC"),
        ("No infarct, sinus rhythm", "-Infarction +SR"),
        ("No infarct, RBBB", "-Infarction +RBBB"),
        ("No ischemia, ST depression in V4-V6", "-Ischemia +STD"),
        ("No ST elevation, normal sinus rhythm and normal axis", "-STE +SR"),
        ("No ischemia or truly remarkable LVH", "-Ischemia -LVH"),
        ("No infarct or ischemia, LVH", "-Infarction -Ischemia +LVH"),
        ("No dysfunctions, ischemia or infarct", "-Ischemia -Infarction"),
        ("No dysfunctions, ischemia", "+Ischemia"),
        ("No infarct, but LVH or RVH", "-Infarction ?LVH ?RVH"),
        ("No ischemia, however LVH", "-Ischemia +LVH"),
    ],
)
def test_denial_over_lists(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Consider ischemia, pericarditis, LVH", "?Ischemia ?Pericarditis ?LVH"),
        ("Consider ischemia, transmural infarct", "?Ischemia ?Infarction"),
        ("Consider ischemia, LVH and RAE", "?Ischemia ?LVH ?RAE"),
        (
            "Consider AF, atrial flutter 2:1, ventricular tachycardia",
            "?AF ?AFL ?VT",
        ),
        ("Consider ischemia, LBBB", "?Ischemia +LBBB"),
        ("Cannot rule out ischemia, left bundle branch block", "?Ischemia +LBBB"),
        ("Possible ischemia, pericarditis", "?Ischemia +Pericarditis"),
        ("Consider LVH pattern and RAE", "?LVH ?RAE"),
        ("ST elevation, cant exclude recent damage", "+STE"),
        ("ST elevation, consider lateral wall disease", "+STE"),
        ("ST elevation, possible lateral wall disease", "+STE"),
        ("ST elevation, possible", "?STE"),
        ("prolonged QT, this may be due to a drug", "+QT"),
        ("ST elevation may be due to ischemia or LVH", "+STE ?Ischemia ?LVH"),
        ("query old infarct", "?Infarction"),
        ("?old inf MI", "?Infarction"),
        ("LBBB, this is most commonly due to ischaemia", "+LBBB ?Ischemia"),
        ("ischaemia is a possible cause", "?Ischemia"),
        ("ischaemia is the likely cause", "+Ischemia"),
        ("IRBBB - normal variant versus RV dilation", "+IRBBB"),
        ("RVH versus normal variant", "?RVH"),
        ("ST depression of doubtful significance and LVH", "+STD +LVH"),
        ("doubtfull infarct", "?Infarction"),
        ("poss. LVH", "?LVH"),
    ],
)
def test_doubt_is_of_its_object(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Possible atrial flutter with 2 to 1 block", "?AFL ?2:1"),
        ("Atrial flutter with 2:1 block cannot be excluded", "?AFL ?2:1"),
        ("No evidence of atrial flutter with 2:1 block", "-AFL -2:1"),
        ("Atrial flutter with 2:1 block is no longer present", "+AFL -2:1"),
        ("Possible sinus rhythm with PVCs", "?SR +PVC"),
        ("Possible sinus rhythm with 1st degree AV block", "?SR +1AVB"),
        ("Possible 2nd degree AV block (Mobitz I)", "?2AVB ?Mobitz"),
        ("No infarct with LVH", "-Infarction +LVH"),
    ],
)
def test_what_depends_on_a_finding_shares_its_doubt(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The rhythm was previously atrial fibrillation", "-AF"),
        ("Previous ECG had RBBB and LAFB", "-RBBB -LAFB"),
        ("Compared to the ECG of May, which showed AF, sinus rhythm is now present", "-AF +SR"),
        ("AF was present on the prior tracing", "-AF"),
        ("LBBB was present on ECG of 12-JAN", "-LBBB"),
        ("LBBB was present on this ECG", "+LBBB"),
        ("LBBB, unchanged from prior ECG", "+LBBB"),
        ("RBBB as on the previous tracing", "+RBBB"),
        ("ST elevation not seen previously", "+STE"),
        ("ST elevation seen previously is less marked", "+STE"),
        ("ST elevation seen previously", "-STE"),
        ("The previously noted LBBB persists", "+LBBB"),
        ("The previously noted LBBB is absent", "-LBBB"),
        ("ST depression is less than on the previous ECG", "+STD"),
        ("PVCs are not recorded on this occasion", "-PVC"),
        ("AF has replaced SR w/ Mobitz I", "+AF -SR -Mobitz"),
        ("Sinus rhythm with PVCs has been replaced by AF", "-SR -PVC +AF"),
        ("AF replacing sinus rhythm", "+AF -SR"),
        ("changed from AF to sinus rhythm", "-AF +SR"),
        ("Sinus rhythm is no longer with 2nd degree A-V block (Mobitz I)", "+SR -2AVB -Mobitz"),
        ("Sinus rhythm is no longer present", "-SR"),
        ("(RBBB and LAFB) is no longer present", "-RBBB -LAFB"),
        ("Sinus rhythm (RBBB and LAFB) is no longer present", "+SR -RBBB -LAFB"),
        ("RBBB and LAFB is no longer present", "+RBBB -LAFB"),
    ],
)
def test_an_earlier_ecg_is_not_this_one(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cause of the ST elevation is not evident", "+STE"),
        ("the ST elevation is not evident", "-STE"),
        ("PVCs that do not reset the AF", "+PVC +AF"),
        ("ECG does not show ST elevation", "-STE"),
        ("LVH does not explain the ST elevation", "+LVH +STE"),
        ("No change in ST depression", "+STD"),
        ("No interval change in LBBB", "+LBBB"),
        ("No new LBBB", "-LBBB"),
        ("without clarity versus AF", "?AF"),
    ],
)
def test_negation_of_something_else(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "infarct", "acute"),
    [
        ("Inferior MI, possible acute, with posterior extension", 1.0, 0.5),
        ("Possible inferior MI, possibly acute, with posterior extension", 0.5, 0.5),
        ("Inferior MI, probably acute", 1.0, 0.7),
    ],
)
def test_doubt_of_an_age_is_none_of_the_infarct(labeler, text, infarct, acute):
    labels = labeler.find(text).labels_flat
    assert (labels["Inferior infarction"], labels["Acute infarction"]) == (infarct, acute)


def test_within_normal_limits_of_a_part_is_no_normal_ecg(labeler):
    normal = "Normal electrocardiogram"
    assert normal not in labeler.find("Rightward axis (within normal limits)").labels_flat
    assert normal in labeler.find("ECG within normal limits").labels_flat


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cannot exclude sinus tachycardia with AV Wenckebach", "?Sinus_tachycardia ?Mobitz"),
        ("Consider sinus rhythm with 2:1 S-A block", "?SR ?Sinoatrial_block"),
        ("Sinus rhythm with 2:1 S-A block", "+SR +Sinoatrial_block"),
        ("Can't tell AF from flutter", "?AF ?AFL"),
        ("Cannot differentiate between AF and MAT", "?AF ?MAT"),
        ("AF is favored over MAT", "+AF ?MAT"),
        ("AF more likely than MAT", "+AF ?MAT"),
        ("MAT less likely than AF", "?MAT +AF"),
        ("Probable AF, less likely MAT", "+AF ?MAT"),
        ("AF, cannot be sure it is not MAT", "+AF ?MAT"),
        ("Unclear whether AF or MAT", "?AF ?MAT"),
        ("LVH may or may not be present", "?LVH"),
        ("Hardly any ST elevation", "?STE"),
        ("ST elevation, recent damage cannot be excluded", "+STE"),
        ("ST elevation cannot be excluded", "?STE"),
        ("Infarct? LVH", "?Infarction +LVH"),
        ("LVH? P negative in I", "?LVH"),
        ("?infarct, LVH", "?Infarction +LVH"),
        ("LVH? RVH?", "?LVH ?RVH"),
        ("LVH: uncertain", "?LVH"),
        ("RBBB mimicking infarct", "+RBBB ?Infarction"),
        ("Prolonged QT: consider ischemia, drug effect, LVH", "+QT ?Ischemia ?LVH"),
        ("Without doubt AF", "+AF"),
        ("LVH, acute infarct", "+LVH +Infarction"),
    ],
)
def test_doubt_in_the_words_of_over_readers(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LVH no longer meets criteria", "-LVH"),
        ("ST elevation does not meet STEMI criteria", "+STE -STEMI"),
        ("R waves too small to be diagnostic of LVH", "-LVH"),
        ("R wave not tall enough for LVH", "-LVH"),
        ("Criteria for LVH not fulfilled", "-LVH"),
        ("LVH and RBBB have gone", "-LVH -RBBB"),
        ("PVCs gone, AF persists", "-PVC +AF"),
        ("ST depression almost resolved", "+STD"),
        ("New: RBBB. Resolved: ST depression.", "+RBBB -STD"),
        ("LVH: yes. RVH: negative", "+LVH -RVH"),
        ("AF - NO", "-AF"),
        ("AF is confirmed, flutter is not", "+AF -AFL"),
        ("LVH is questionable, RBBB is not", "?LVH +RBBB"),
        ("No changes to suggest ischemia", "-Ischemia"),
        ("No change in LBBB", "+LBBB"),
        ("Absence of P waves suggests AF", "+AF"),
        ("Not infrequent PVCs", "+PVC"),
        ("Neither LVH, RVH nor RAE", "-LVH -RVH -RAE"),
        ("I disagree with the computer reading of AF", "-AF"),
        ("computer reads LVH; I disagree", "-LVH"),
        ("The computer called AF but this is sinus rhythm with PACs", "-AF +SR +PAC"),
        ("Disagree with computer. Sinus rhythm", "+SR"),
    ],
)
def test_denial_in_the_words_of_over_readers(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LBBB precludes assessment of LVH and infarct", "+LBBB"),
        ("LBBB. Ischemia cannot be assessed.", "+LBBB"),
        ("AF with LBBB so ischemia cannot be assessed", "+AF +LBBB"),
        ("LVH cannot be diagnosed in presence of LBBB", "+LBBB"),
        ("If ischemia is suspected, repeat ECG", ""),
        ("Indication: AF. Sinus rhythm", "+SR"),
    ],
)
def test_what_is_not_judged_is_neither_there_nor_denied(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AF, P waves not seen", "+AF"),
        ("AF, not seen", "-AF"),
        ("AF, now not seen", "-AF"),
        ("AF, it is no longer seen", "-AF"),
        ("PVCs, cause not apparent", "+PVC"),
        ("LBBB - other complexes not detected", "+LBBB"),
        ("P waves without relation to the QRS: AF", "+AF"),
    ],
)
def test_a_denial_may_have_a_subject_of_its_own(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("On the prior ECG there was LBBB", "-LBBB"),
        ("LBBB (last ECG); sinus rhythm now", "-LBBB +SR"),
        ("Sinus rhythm, was AF in March", "+SR -AF"),
        ("AF yesterday, sinus rhythm today", "-AF +SR"),
        ("Last ECG AF, today sinus rhythm", "-AF +SR"),
        ("AF has taken over from sinus", "+AF -SR"),
        ("Since 3/4, LVH has normalised", "-LVH"),
        ("No sig chg c/w 6/12/09: AF, LBBB", "+AF +LBBB"),
        ("LBBB; previous ECG had LBBB", "+LBBB"),
        ("Possible AF; AF was present on the prior ECG", "?AF"),
        ("AF; AF has replaced AF", "+AF -AF"),
        ("WPW status post ablation", "-Wolff-Parkinson-White_pattern"),
    ],
)
def test_what_has_gone_since(labeler, text, expected):
    check(labeler, text, expected)


@pytest.mark.parametrize("doubt", ["possibly consider", "consider possibly"])
def test_doubt_that_is_said_twice_reaches_as_far_in_either_order(labeler, doubt):
    for listed in ("LVH, RBBB or LAFB", "LVH, strange thing, or RBBB", "LVH, RVH"):
        alone = understood(labeler, f"consider {listed}")
        assert understood(labeler, f"{doubt} {listed}") == alone, (doubt, listed)
