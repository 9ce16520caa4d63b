"""What the package's vocabulary makes of reports, and that it is sound."""

import csv
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import common, public_labels
from benchmarks import labeler as sampled
from benchmarks.labels import (
    PUBLISHED,
    all_statements,
    compare_with_upstream,
    count,
    differences,
    judged_labels,
    labels_in,
    understood,
)
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.label_table import THRESHOLD, code_table

RESULTS = common.RESULTS / "labels.csv"

SETS = all_statements()
JUDGED = judged_labels(SETS)
LABELS = frozenset().union(*JUDGED.values())
SECTIONS = [
    (name, section)
    for name, statements in SETS.items()
    for section in dict.fromkeys(item.section for item in statements)
]

# The 71 statements of PTB-XL.
PTB_XL = frozenset(
    """
    NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE
    AMI ALMI ISCIN INJAS LMI ISCIL LPFB ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI
    ISCAN IPMI SEHYP INJIN INJLA PMI 3AVB INJIL 2AVB ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR
    INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT
    TRIGU
    """.split()  # noqa: SIM905
)

# Those that CinC 2021 scores.
CINC_2021 = frozenset(
    """
    164889003 164890007 6374002 426627000 733534002 713427006 270492004 713426002 39732003 445118002
    164909002 251146004 698252002 426783006 284470004 10370003 365413008 427172004 164947007
    111975006 164917005 47665007 59118001 427393009 426177001 427084000 63593006 164934002 59931005
    17338001
    """.split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


@pytest.fixture(scope="module")
def upstream_like():
    return Labeler.from_vocabulary(overlay="implications")


def positive(labeler, text):
    return {name for name, p in labeler.find(text).labels_flat.items() if p >= THRESHOLD}


def test_there_are_statements_enough():
    assert len(SETS["before"]) >= 300
    for name, statements in SETS.items():
        texts = [item.text for item in statements]
        assert len(set(texts)) == len(texts), name


@pytest.mark.parametrize(("name", "section"), SECTIONS)
def test_statements_are_understood(labeler, name, section):
    found = {
        item.text: differences(item, understood(labeler, item.text, JUDGED[name]))
        for item in SETS[name]
        if item.section == section
    }
    assert {text: kinds for text, kinds in found.items() if kinds} == {}


def test_findings_are_judged_for_the_labels_that_they_are_complete_for():
    assert JUDGED["before"] == JUDGED["check"] < JUDGED["faults"] == JUDGED["languages"]
    assert JUDGED["fresh"] == labels_in(SETS["fresh"])


UNREAD = ("Italian", "Danish", "Polish", "Turkish", "Russian")


@pytest.mark.parametrize("language", UNREAD)
def test_languages_that_are_not_read_give_nothing_at_all(labeler, language):
    """No label of the vocabulary, and nothing denied either."""
    texts = [item.text for item in SETS["languages"] if item.section == language]
    assert len(texts) == 10
    found = {text: labeler.find(text) for text in texts}
    assert {t: f.labels_flat for t, f in found.items() if f.labels_flat or f.mentions} == {}


def test_names_of_statements_are_those_of_the_vocabulary(labeler):
    assert set(labeler.vocabulary.entities) >= LABELS
    assert set(labeler.vocabulary.label_sets[PUBLISHED]) <= LABELS


def test_the_table_of_results_is_that_of_this_vocabulary(labeler):
    rows = []
    for name, statements in SETS.items():
        found = [understood(labeler, item.text, JUDGED[name]) for item in statements]
        rows += [(name, row) for row in count(statements, found)]
    with open(RESULTS, newline="") as file:
        written = list(csv.DictReader(file))
    keys = ("label", "kind", "statements", "right", "missed", "wrong")
    assert [[row["written"], *(row[key] for key in keys)] for row in written] == [
        [name, *(str(row[key]) for key in keys)] for name, row in rows
    ]


def test_statements_that_are_misunderstood_are_counted():
    statements = [item for item in SETS["before"] if item.findings["positive"]][:3]
    nothing = dict.fromkeys(("positive", "uncertain", "negated"), frozenset())
    rows = count(statements, [nothing] * 3)
    assert rows
    assert all(row["recall"] == 0 for row in rows)
    wrong = [{**nothing, "positive": JUDGED["before"]}] * 3
    for row in count(statements, wrong):
        if row["kind"] == "positive":
            assert row["recall"] == 1
            assert row["precision"] == row["statements"] / 3


def test_the_documentation_counts_right(labeler):
    vocabulary = labeler.vocabulary
    text = (common.ROOT / "fairseq_ecg" / "labeler" / "README.md").read_text(encoding="utf-8")
    assert (
        f"{len(vocabulary.entities)} entities, {len(vocabulary.descriptors)} descriptors and "
        f"{len(vocabulary.patterns):,} patterns"
    ) in text
    for name, statements in SETS.items():
        assert f"{len(statements)}" in text, name
    for label in vocabulary.label_sets[PUBLISHED]:
        assert f"| {label} |" in text


def test_the_published_labels(labeler, shared):
    path = shared / "labeler" / "mimic_iv_ecg_label_def.csv"
    if not path.is_file():
        pytest.skip(f"needs ECG-FM's labels in {path}")
    with open(path, newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert list(labeler.vocabulary.label_sets[PUBLISHED]) == names


def test_rewriting_leaves_every_pattern_to_be_found(labeler):
    lost = [
        pattern.text
        for pattern in labeler.vocabulary.patterns
        # Words in angle brackets are written by rules that read numbers and signs.
        if "<" not in pattern.text
        and pattern.text
        not in {
            labeler.vocabulary.patterns[i].text
            for i in labeler.find(f"so {pattern.text} far").reading.patterns
        }
    ]
    assert lost == []


def test_every_entity_can_be_found(labeler):
    """By a pattern, by a rule, or as a parent of one that can."""
    vocabulary = labeler.vocabulary
    reached = {mention.entity for pattern in vocabulary.patterns for mention in pattern.entities}
    reached |= {rule.result for rule in vocabulary.attachments}
    reached |= {rule.entity for rule in vocabulary.compounds}
    reached |= {name for item in vocabulary.descriptors.values() for name in item.creates}
    for name in list(reached):
        reached |= set(labeler.graph.ancestors(name))
    assert set(vocabulary.entities) == reached


def test_every_descriptor_can_be_found(labeler):
    vocabulary = labeler.vocabulary
    reached = {
        name
        for pattern in vocabulary.patterns
        for name in (*pattern.descriptors, *pattern.left, *pattern.right)
    }
    reached |= {
        name
        for pattern in vocabulary.patterns
        for mention in pattern.entities
        for name in mention.descriptors
    }
    assert set(vocabulary.descriptors) == reached


def test_scp_codes_are_those_of_ptb_xl(labeler):
    table = code_table(labeler.vocabulary)
    codes = table.loc[table["system"] == "scp", "code"].tolist()
    assert set(codes) == PTB_XL
    assert len(codes) == len(PTB_XL)


def test_snomed_codes(labeler):
    table = code_table(labeler.vocabulary)
    codes = table.loc[table["system"] == "snomed", "code"].tolist()
    assert set(codes) >= CINC_2021
    assert len(codes) == len(set(codes))
    assert [code for code in codes if not _verhoeff(code)] == []
    assert not _verhoeff("164889004")


def _verhoeff(code: str) -> bool:
    """Return whether the check digit of a SNOMED CT identifier is right."""
    permutation, check = list(range(10)), 0
    for digit in map(int, reversed(code)):
        check = _dihedral(check, permutation[digit])
        permutation = [permutation[i] for i in (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)]
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """Multiply in the group of the symmetries of a pentagon."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
    return 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5


# One line of the README's table each: text, label, in the default mode, with the overlay.
DEPARTURES = [
    ("Atrial fibrillation", "Tachycardia", False, True),
    ("Atrial fibrillation, ventricular rate 120", "Tachycardia", True, True),
    ("Atrial fibrillation", "Accessory pathway conduction", False, True),
    ("Atrial flutter", "Tachycardia", False, True),
    ("Complete heart block", "Bradycardia", False, True),
    ("Old infarct", "Ischemia", False, True),
    ("Sinus tachycardia; LBBB", "Supraventricular tachycardia with aberrancy", False, True),
    ("SVT; LBBB", "Supraventricular tachycardia with aberrancy", True, True),
    ("AF with RVR; LBBB", "Supraventricular tachycardia with aberrancy", True, True),
    ("VT; LBBB", "Supraventricular tachycardia with aberrancy", False, False),
    ("Incomplete RBBB; LAFB", "Bifascicular block", False, True),
    ("RBBB; LAFB", "Bifascicular block", True, True),
    ("Atrial flutter with 2:1 AV conduction", "Atrioventricular block", False, True),
    ("Pericarditis or infarct", "Infarction", False, True),
    ("ST elevation consistent with pericarditis", "Pericarditis", True, False),
    ("Sinus rhythm. Confirmed by Dr. X; atrial fibrillation", "Atrial fibrillation", True, False),
    (
        "Sinus rhythm; compared to the previous ECG, PVCs are now present",
        "Premature ventricular contraction",
        True,
        False,
    ),
]


@pytest.mark.parametrize(("text", "label", "here", "overlaid"), DEPARTURES)
def test_departures_and_the_overlay_that_takes_them_back(
    labeler, upstream_like, text, label, here, overlaid
):
    assert (label in positive(labeler, text)) is here
    assert (label in positive(upstream_like, text)) is overlaid


def test_agreement_with_recorded_cases(labeler, shared):
    cases = shared / "labeler" / "cases_original.json"
    if not cases.is_file():
        pytest.skip(f"needs ECG-FM's recorded cases in {cases}")
    with open(common.RESULTS / "labels_upstream.csv", newline="") as file:
        written = list(csv.DictReader(file))
    rows = compare_with_upstream(labeler, cases)
    assert [{key: str(value) for key, value in row.items()} for row in rows] == written


def test_public_statements_are_read_as_a_person_reads_them(labeler, shared):
    path = shared / "labeler" / "public_statements.csv"
    if not path.is_file():
        pytest.skip(f"needs judged statements in {path}")
    rows = public_labels.summary(labeler, public_labels.read_public_statements(path))
    with open(common.RESULTS / "labels_public.csv", newline="") as file:
        written = list(csv.DictReader(file))
    numbers = [key for key, value in rows[0].items() if not isinstance(value, float)]
    assert [[row[key] for key in numbers] for row in written] == [
        [str(row[key]) for key in numbers] for row in rows
    ]
    (row,) = (row for row in rows if row["source"] == "all")
    assert row["positive_recall"] >= 0.93
    assert row["positive_precision"] >= 0.985
    for kind in ("uncertain", "negated"):
        assert min(row[f"{kind}_recall"], row[f"{kind}_precision"]) >= 0.97
    assert row["stated_without_label"] <= 0.02 * row["stated"]


def test_disagreement_is_that_of_implications_doubt_and_negation(upstream_like, shared):
    """With the overlay, only what is possible or denied is a label there and not here."""
    cases = shared / "labeler" / "cases_original.json"
    if not cases.is_file():
        pytest.skip(f"needs ECG-FM's recorded cases in {cases}")
    for row in compare_with_upstream(upstream_like, cases):
        assert row["only_here"] == 0
        for text in filter(None, row["texts_only_upstream"].split(" | ")):
            assert any(word in text.lower() for word in ("possible", "cannot rule out", "no ")), row


@pytest.mark.parametrize("between", [" and ", " & ", "/", " + ", " plus ", " as well as ", " or "])
def test_a_list_is_doubted_and_denied_as_a_whole(labeler, between):
    pair = f"LVH{between}RAE"
    both = ("Left ventricular hypertrophy", "Right atrial enlargement")
    for text in (
        f"Possible {pair}",
        f"{pair} cannot be excluded",
        f"Consider {pair}, sinus rhythm",
    ):
        labels = labeler.find(text).labels_flat
        assert [labels[name] for name in both] == [0.5, 0.5], text
        assert labels.get("Sinus rhythm", 1.0) == 1.0
    for text in (f"No {pair}", f"{pair} are not seen"):
        assert not labeler.find(text).labels_flat, text


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_report_is_the_sum_of_its_statements(labeler, data):
    """No rule looks beyond a statement, so that statements may be remembered."""
    pool = [item.text for statements in SETS.values() for item in statements]
    texts = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5))
    report = labeler._clean("; ".join(texts))
    reader = labeler._reader
    joined = "; ".join(reader.statements(report))  # fragments to their neighbours
    piecewise, whole = reader.read(report), reader._search(reader._cut(joined))
    assert (piecewise.text, piecewise.patterns) == (whole.text, whole.patterns)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_labels(labeler, text):
    found = labeler.find(text)
    assert set(found.labels_flat) <= {
        *labeler.vocabulary.entities,
        *(
            f"{entity} - {descriptor}"
            for entity in labeler.vocabulary.entities
            for descriptor in labeler.vocabulary.descriptors
        ),
    }
    assert all(0 < probability <= 1 for probability in found.labels_flat.values())


@pytest.mark.parametrize(
    "piece",
    [" ", "?", "-", ".", "(", "1:", "v1-", "a.b.", "st-t ", "rate ", "leads v1, v2 ", "no ",
     "atrial fibrillation or ", "confirmed by ", "1", "x", "consider infarct, ",
     "infarct, possible ", "flutter with 2:1 block (", "previously seen x ",
     ",", "1 ", "possible; ", "()", "a\u0301"],
)  # fmt: skip
def test_time_is_proportional_to_length(labeler, piece):
    def seconds(n):
        def once():
            start = process_time()
            labeler.find((piece * n)[:n])
            return process_time() - start

        return min(once() for _ in range(3))  # whatever else the machine is doing

    # Were it quadratic, four times the text would take 16 times the time.
    assert seconds(40_000) < 9 * max(seconds(10_000), 0.05)


def test_machine_statements_are_understood_to_the_last_word(labeler):
    """Of the statements that reports are sampled from, hardly a word is left."""
    left = {
        text: stripped
        for text in (*sampled.RHYTHMS, *sampled.FINDINGS, *sampled.SUMMARIES)
        if (stripped := labeler.find(text).reading.stripped)
    }
    assert len(left) <= 8, left
