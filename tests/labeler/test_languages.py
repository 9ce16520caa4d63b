"""Languages of reports: files, recognition, refusal, and what is made of it in every output."""

import json
from pathlib import Path
from random import Random
from time import process_time

import pandas as pd
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler, reports
from fairseq_ecg.labeler.label_table import read_label_set
from fairseq_ecg.labeler.languages import Translator, known_languages, read_languages
from fairseq_ecg.labeler.semantics import MODES
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary

READ = """
name: Read
words: [kwa, "sinus*"]
rewriting:
  - replace: {kwa: "no", sinusso: sinus rhythm}
"""
UNREAD = """
name: Unread
words: [zut, sinussi, infarkta]
"""
ENGLISH = """
name: English
words: [rhythm, with, evidence]
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for code, text in files.items():
        (folder / f"{code}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Translator:
    """Of English, a language that is read (xr) and one that is not (xu)."""
    folder = write(tmp_path_factory.mktemp("languages"), en=ENGLISH, xr=READ, xu=UNREAD)
    return Translator(read_languages(folder), read_vocabulary("default"))


@pytest.fixture(scope="module")
def labeler() -> Labeler:
    return Labeler.from_vocabulary()


# Files


@pytest.mark.parametrize(
    ("code", "text", "message"),
    [
        ("german", READ, "name the file by the code of its language"),
        ("xr", "- kwa", "must be a mapping"),
        ("xr", "name: Read", "'words' is missing"),
        (
            "xr",
            READ + "rules: []",
            "line 6: unknown key 'rules'; there are name, words, letters, rewriting",
        ),
        ("xr", "name: Read\nwords: []", "line 2: no words"),
        ("xr", "name: Read\nwords: [kwa, Kwe]", "line 2: 'Kwe' must be one word in lower case"),
        ("xr", "name: Read\nwords: [kwa,\n two words]", "line 3: 'two words' must be one word"),
        ("xr", "name: Read\nwords: ['*kwa*']", "must be one word"),
        ("xr", "name: Read\nwords: [kwa,\n kwe, kwa]", r"line 3: 'kwa' is already in .*line 2"),
        ("xr", "name: Read\nwords: [kwa]\nletters: öa", "line 3: 'a' must be a letter in lower"),
        ("xr", "name: Read\nwords: [kwa]\nletters: Ö", "line 3: 'Ö' must be a letter in lower"),
        ("xr", "name: Read\nwords: [kwa]\nrewriting:\n- cut: [x]", "line 4: 'cut' is for reports"),
        (
            "xr",
            "name: Read\nwords: [kwa]\nrewriting:\n- lead_list: st in {lead}\n  before: x",
            "line 4: 'lead_list' is for reports",
        ),
        ("xr", "name: Read\nwords: [kwa]\nrewriting:\n- regex: {'(': x}", "line 4: '[(]' is no"),
        ("xr", "name: Read\nwords: [kwa]\nrewriting:\n- turn: 1", "line 4: 'turn' is no rule"),
    ],
)
def test_faults_of_files_name_file_line_and_remedy(tmp_path, code, text, message):
    folder = write(tmp_path / "languages", **{code: text})
    with pytest.raises(DataError, match=rf"{code}\.yaml(?s:.)*{message}"):
        read_languages(folder)


def test_the_languages_of_the_package_are_in_their_files():
    assert {"en", "de"} <= {language.code for language in known_languages()}
    assert all(language.name and language.words for language in known_languages())


# Recognition


@pytest.mark.parametrize(
    ("report", "language", "text"),
    [
        ("Sinus rhythm", None, "Sinus rhythm"),
        ("SR, LBBB", None, "SR, LBBB"),
        ("kwa infarct", "xr", "no infarct"),
        ("KWA Infarct", "xr", "no infarct"),
        ("kwà infarct", "xr", "kwà infarct"),  # recognised without its diacritics
        ("sinusso", "xr", "sinus rhythm"),  # by its beginning
        # A statement without words of a language is of the language of the report.
        ("kwa; infarct", "xr", "no; infarct"),
        # English words alone speak against another language; those that it shares do not.
        ("kwa rhythm", None, "no rhythm"),  # as many: the statement's, not the report's
        ("zut rhythm", None, ""),
        ("kwa with evidence", None, "kwa with evidence"),
        # One statement is of another language than the report, and is read as such, or left out.
        ("rhythm with evidence; kwa infarct", None, "rhythm with evidence; no infarct"),
        ("rhythm with evidence; zut infarct", None, "rhythm with evidence; "),
        ("kwa kwa kwa; zut infarct", "xr", "no no no; "),
        ("kwa kwa; rhythm", "xr", "no no; rhythm"),
        ("zut zut; kwa infarct", "xu", None),
        # So are sentences; what has no word of a language goes with the sentence before it.
        ("rhythm with evidence. Kwa infarct.", None, "rhythm with evidence; no infarct."),
        ("rhythm with evidence. Zut infarct. LBBB", None, "rhythm with evidence; "),
        ("kwa kwa kwa. LBBB. With rhythm.", "xr", "no no no. lbbb; With rhythm."),
        ("kwa evid. Kwa kwa", "xr", "no evid. no no"),  # an abbreviation
        # Of two languages that share all words, the one that is read.
        ("sinussi", "xr", "sinussi"),
        # Letters of other scripts.
        ("Синусовый ритм", "cyrillic", None),
        ("ΦΛΕΒΟΚΟΜΒΙΚΟΣ ΡΥΘΜΟΣ", "greek", None),
        ("窦性心律,ST段改变", "cjk", None),
        ("洞調律 ECG", "cjk", None),
        ("نظم جيبي", "arabic", None),
        ("קצב סינוס", "hebrew", None),
        ("동성 리듬", "hangul", None),
        ("ST 200 μV, β blocker", None, "ST 200 μV, β blocker"),
        ("sinus rhythm with Δ wave", None, "sinus rhythm with Δ wave"),
        ("", None, ""),
        ("120 / 80", None, "120 / 80"),
    ],
)
def test_recognition(translator, report, language, text):
    translated = translator.translate(report)
    assert (translated.language and translated.language.code) == language
    assert translated.text == (report if text is None else text)
    if text is None:
        assert not translated.language.is_read


def test_of_languages_that_share_a_word_it_is_the_one_that_lists_it(tmp_path):
    other = "name: Other\nwords: [sinusso]\nrewriting:\n- replace: {sinusso: sinus pause}"
    folder = write(tmp_path / "languages", en=ENGLISH, xr=READ, xs=other)
    translator = Translator(read_languages(folder), read_vocabulary("default"))
    assert translator.translate("sinusso").text == "sinus pause"
    assert translator.translate("sinussi").language.code == "xr"
    assert translator.translate("kwa; sinusso").text == "no; sinus rhythm"


def test_letters_of_a_language_are_a_sign_of_it(tmp_path):
    unread = "name: Unread\nwords: [zut]\nletters: őű"
    folder = write(tmp_path / "languages", en=ENGLISH, xr=READ, xu=unread)
    translator = Translator(read_languages(folder), read_vocabulary("default"))
    for report in ("Stemi lehetősége", "STEMI LEHETŐSÉGE", "kwa lehetőség zut"):
        assert translator.translate(report).language.code == "xu"
    assert translator.translate("Rhythm with evidence, Dr. Erdős").language is None
    assert translator.translate("kwa infarct, Dr. Erdős").language.code == "xr"


def test_a_statement_of_several_languages_is_of_that_of_the_report(tmp_path):
    other = "name: Other\nwords: [kwa, kwi]\nrewriting:\n- replace: {kwa: possible}"
    folder = write(tmp_path / "languages", en=ENGLISH, xr=READ, xs=other)
    translator = Translator(read_languages(folder), read_vocabulary("default"))
    assert translator.translate("kwi kwi; kwa infarct").text == "kwi kwi; possible infarct"
    assert translator.translate("sinusso; kwa infarct").text == "sinus rhythm; no infarct"


def test_words_of_the_vocabulary_are_no_sign_of_a_language(tmp_path):
    shared = "name: Shared\nwords: [infarct, pointes, zut]"
    folder = write(tmp_path / "languages", xu=shared)
    translator = Translator(read_languages(folder), read_vocabulary("default"))
    assert translator.translate("Infarct, torsades de pointes").language is None
    assert translator.translate("Zut infarct").language.code == "xu"


def test_spelling_leaves_words_of_other_languages_alone(labeler):
    for word in ("infarkt", "vorhofflimmern"):
        report = f"Sinus rhythm with acute {word}, read by the resident"
        finding = labeler.find(report)
        assert finding.language is None
        assert word in finding.reading.text
        assert "Infarction" not in finding.labels_flat
    assert "Infarction" in labeler.find("Acute infaret").labels_flat  # a slip is corrected


@pytest.mark.parametrize("mode", ["compatible", "mended"])
def test_the_other_modes_know_one_language(small, mode):
    assert not MODES[mode].languages
    labeler = Labeler(small.vocabulary, MODES[mode])
    assert labeler.find("Синусовый ритм").language is None
    assert labeler.find("kein infarct").labels_flat  # as ever


# Outputs

REFUSED = "Синусовый ритм, infarct"


def test_nothing_is_found_in_a_language_that_is_not_read(labeler):
    finding = labeler.find(REFUSED)
    assert (finding.language, finding.is_read) == ("cyrillic", False)
    assert not finding.labels_flat
    assert not finding.mentions
    assert labeler.why(REFUSED, "Infarction") == [
        "nothing is found in the text: Cyrillic is not read"
    ]


def test_tables_of_results(labeler):
    texts = pd.Series(["Sinus rhythm", REFUSED, "Vorhofflimmern"], index=[7, 8, 9])
    results = labeler.label(texts)
    assert results.languages.to_dict("index") == {
        8: {"language": "cyrillic", "is_read": False},
        9: {"language": "de", "is_read": True},
    }
    assert set(results.labels.index) == {7, 9}
    assert results.unmatched[8] == "Синусовый ритм infarct"
    assert labeler.label(["Sinus rhythm"]).languages.empty


def test_files(labeler, tmp_path):
    table = tmp_path / "reports.csv"
    texts = ["Sinus rhythm", REFUSED, "Vorhofflimmern; SR", REFUSED]
    pd.DataFrame({"report": texts}).to_csv(table, index=False)
    out = tmp_path / "out"
    labels = read_label_set(None, labeler.vocabulary)
    coverage = reports.label_reports(
        table, out, labeler, labels, text_columns=["report"], threshold=0.6
    )
    assert coverage.languages == {"cyrillic": 2, "de": 1}
    assert coverage.refused_reports == 2
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [line.get("language") for line in lines] == [None, "cyrillic", "de", "cyrillic"]
    assert [line.get("is_read") for line in lines] == [None, False, True, False]
    assert not lines[1]["findings"]
    assert not lines[1]["labels"]
    written = pd.read_csv(out / "labels.csv", index_col="idx")
    assert written.loc[[1, 3]].to_numpy().sum() == 0
    assert written.loc[2, "Atrial fibrillation"] == 1
    statements = pd.read_csv(out / "statements.csv", keep_default_na=False)
    by_text = statements.set_index("statement")
    assert list(by_text.loc[REFUSED]) == [2, 0, "Синусовый ритм infarct", "cyrillic"]
    assert by_text.loc["Vorhofflimmern", "language"] == "de"
    assert by_text.loc["Sinus rhythm", "language"] == ""


def test_why_names_the_language(labeler):
    (line,) = labeler.why("Vorhofflimmern", "Atrial fibrillation")
    assert line == "Atrial fibrillation: in the text (p = 1, translated from German)"


# German. A finding is denied where "-" stands before it, doubtful where "?" does.

GERMAN = [
    # As machines write, without punctuation.
    ("sinusrhythmus ueberdrehter linkstyp unvollstÄndiger rechtsschenkelblock",
     "Sinus rhythm, Left axis deviation, Incomplete right bundle branch block"),
    ("bradykardes vorhofflimmern linkstyp linkshypertrophie mÖglich st-senkung in v4-6",
     "Bradycardia, Atrial fibrillation, ?Left ventricular hypertrophy, ST depression"),
    ("qrs(t) abnorm    lateraler infarkt     wahrscheinlich alt    septaler infarkt mÖglich",
     "Abnormal QRS, Lateral infarction, ?Septal infarction"),
    ("st abnorm, mÖglicherweise    lateraler innenschichtsschaden    inferiorer "
     "innenschichtsschaden",
     "ST abnormality, ?Lateral injury, ?Inferior injury"),
    ("vorhofflimmern/-flattern rechtstyp",
     "Atrial fibrillation, ?Atrial flutter, Right axis deviation"),
    ("sinusbradykardie a-v block i sonst normales ekg",
     "Sinus bradycardia, 1st degree atrioventricular block, Otherwise normal electrocardiogram"),
    # As people write: abbreviations, degrees, compounds, inflection.
    ("SR mit einzelnen SVES, HF 48/min, LAHB, kompl. RSB",
     "Sinus rhythm, Premature supraventricular contraction, Bradycardia, "
     "Left anterior fascicular block, Complete right bundle branch block"),
    ("AV-Block III°, Kammerersatzrhythmus",
     "3rd degree atrioventricular block, Ventricular escape rhythm"),
    ("zweitgradiger AV-Block Typ Wenckebach", "Mobitz type 1 block"),
    ("Z. n. Seitenwandinfarkt, T-Negativierungen in I und aVL",
     "Lateral infarction, Old infarction, T wave inversion"),
    ("Frischer Vorderwandinfarkt mit deutlichen ST-Strecken-Hebungen",
     "Acute infarction, Anterior infarction, ST elevation"),
    ("Erregungsrückbildungsstörungen, Erregungsausbreitungsstörung, periphere Niedervoltage",
     "Repolarization abnormality, Intraventricular conduction delay, Low QRS voltage"),
    ("Schrittmacherrhythmus bei Vorhofflattern", "Electronic pacemaker, Atrial flutter"),
    ("Tachyarrhythmia absoluta", "Tachycardia, Atrial fibrillation"),
    ("PQ-Zeit 0,24 s, QRS 0,13 s, QTc-Zeit verlängert",
     "Prolonged PR interval, Wide QRS complex, Prolonged QT interval"),
    ("Sokolow-Lyon-Index 4,1 mV", "Voltage criteria for left ventricular hypertrophy"),
    ("SINUSTACHYKARDIE, GEHAEUFTE KAMMEREXTRASYSTOLEN",
     "Sinus tachycardia, Premature ventricular contraction"),
    ("Artefakte, Elektroden vertauscht", "Artifact, Lead misplacement"),
    # Denied, before and behind.
    ("Kein Anhalt für Ischämie oder Infarkt", "-Ischemia, -Infarction"),
    ("Ohne Nachweis von Extrasystolen", "-Premature contraction"),
    ("Weder Vorhofflimmern noch Vorhofflattern", "-Atrial fibrillation, -Atrial flutter"),
    ("Keine Infarkt-, Ischämie- oder Hypertrophiezeichen",
     "-Infarction, -Ischemia, -Ventricular hypertrophy"),
    ("Ein AV-Block liegt nicht vor", "-Atrioventricular block"),
    ("Perikarditis wurde ausgeschlossen", "-Pericarditis"),
    ("Ein Linksschenkelblock ist nicht mehr zu erkennen", "-Left bundle branch block"),
    ("Ein Infarkt lässt sich nicht nachweisen", "-Infarction"),
    ("VES: keine", "-Premature ventricular contraction"),
    ("Infarktzeichen fehlen", "-Infarction"),
    ("Im Vor-EKG Vorhofflimmern, jetzt Sinusrhythmus", "-Atrial fibrillation, Sinus rhythm"),
    ("Kein AV-Block, Rechtsschenkelblock", "-Atrioventricular block, Right bundle branch block"),
    ("Ausschluss eines Vorderwandinfarkts", "-Infarction"),
    ("QTc-Zeit nicht verlängert", "-Prolonged QT interval"),
    # Doubtful, before and behind.
    ("Ein Hinterwandinfarkt ist nicht sicher auszuschließen", "?Inferior infarction"),
    ("Fragliche Vorderwandischämie", "?Anterior ischemia"),
    ("AV-Block I. Grades fraglich, LSB",
     "?1st degree atrioventricular block, Left bundle branch block"),
    ("Infarkt bei LSB nicht beurteilbar", "?Infarction, Left bundle branch block"),
    ("ST-Hebung, DD Perikarditis", "ST elevation, ?Pericarditis"),
    ("Es könnte sich um Vorhofflattern handeln", "?Atrial flutter"),
    ("Perikarditis unwahrscheinlich", "?Pericarditis"),
    ("QTc-Zeit grenzwertig verlängert", "?Prolonged QT interval"),
    ("Alter Infarkt? Perikarditis?", "?Infarction, ?Pericarditis"),
    ("Infarkt oder Perikarditis", "?Infarction, ?Pericarditis"),
]  # fmt: skip


@pytest.mark.parametrize(("report", "expected"), GERMAN, ids=[report for report, _ in GERMAN])
def test_german(labeler, report, expected):
    finding = labeler.find(report)
    denied = {mention.entity for mention in finding.mentions if mention.negated}
    assert finding.language == "de"
    for name in expected.split(", "):
        probability = finding.labels_flat.get(name.lstrip("-?"))
        if name.startswith("-"):
            assert name[1:] in denied
            assert probability is None
        elif name.startswith("?"):
            assert probability is not None
            assert 0 < probability <= 0.5
        else:
            assert probability == 1.0
    certain = {name for name in expected.split(", ") if name[0] not in "-?"}
    ancestors = {above for name in certain for above in labeler.graph.ancestors(name)}
    for mention in finding.mentions:  # nothing else is certain
        if finding.labels_flat.get(mention.entity, 0.0) == 1.0 and not mention.negated:
            kinds = {mention.entity, *labeler.graph.descendants(mention.entity)}
            assert kinds & (certain | ancestors), mention


DIAGNOSES = {
    "Vorhofflimmern": "Atrial fibrillation",
    "Linksschenkelblock": "Left bundle branch block",
    "inkompletter RSB": "Incomplete right bundle branch block",
    "linksanteriorer Hemiblock": "Left anterior fascicular block",
    "akuter Hinterwandinfarkt": "Inferior infarction",
    "anteroseptaler Infarkt": "Anteroseptal infarction",
    "Vorderwandischämie": "Anterior ischemia",
    "Rechtsherzhypertrophie": "Right ventricular hypertrophy",
    "Linksherzbelastung": "Left ventricular strain",
    "P-sinistroatriale": "Left atrial enlargement",
    "ST-Hebung in V2 und V3": "ST elevation",
    "ST-Strecken-Senkungen": "ST depression",
    "T-Negativierungen V4-V6": "T wave inversion",
    "Erregungsrückbildungsstörungen": "Repolarization abnormality",
    "Erregungsausbreitungsstörung": "Intraventricular conduction delay",
    "verlängerte QTc-Zeit": "Prolonged QT interval",
    "Niedervoltage": "Low QRS voltage",
    "pathologische Q-Zacken": "Q wave abnormality",
    "supraventrikuläre Extrasystolen": "Premature supraventricular contraction",
    "VES": "Premature ventricular contraction",
    "Kammertachykardie": "Ventricular tachycardia",
    "ventrikuläre Stimulation": "Ventricular pacing",
    "junktionaler Ersatzrhythmus": "Junctional escape rhythm",
    "Präexzitation": "Ventricular preexcitation",
    "überdrehter Linkstyp": "Left axis deviation",
}
SAID = {
    0.0: [
        "Kein Hinweis auf {}", "Keine sicheren Zeichen für {}", "Ohne {}", "Ohne Nachweis von {}",
        "Ausschluss von {}", "Weder {} noch Pausen", "{} nicht nachweisbar", "{} ausgeschlossen",
        "{} fehlt", "{} nicht mehr vorhanden", "{}: nein", "{} wurde ausgeschlossen",
        "{} lässt sich nicht nachweisen", "{} sind nicht zu erkennen", "SR, {} liegt nicht vor",
        "Für {} kein Hinweis", "{}: kein Nachweis", "Im Vor-EKG {}", "{} im Vor-EKG",
    ],
    0.5: [
        "{} möglich", "{} fraglich", "{} ist denkbar", "{} nicht auszuschließen", "{}?",
        "{} kann nicht sicher ausgeschlossen werden", "{} könnte vorliegen", "DD {}", "Evtl. {}",
        "Möglicherweise {}", "Fragliche {}", "SR, {} möglich, Bigeminus", "Angina, DD: {}",
        "{} bei Artefakten nicht auszuschließen", "{} unwahrscheinlich",
        "{} ist nicht anzunehmen", "SR, {} unsicher", "{} zu diskutieren", "Es kann {} vorliegen",
    ],
    0.7: [
        "V. a. {}", "Verdacht auf {}", "Wahrscheinlich {}", "{} wahrscheinlich", "Am ehesten {}",
        "Vereinbar mit {}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("most", "said"), [(most, said) for most, texts in SAID.items() for said in texts]
)
def test_denial_and_doubt_of_any_german_finding(labeler, most, said):
    for diagnosis, name in DIAGNOSES.items():
        finding = labeler.find(said.format(diagnosis))
        if most == 0:
            assert name not in finding.labels_flat, diagnosis
            assert any(mention.negated for mention in finding.mentions), diagnosis
        else:
            assert 0 < finding.labels_flat.get(name, 0.0) <= most, diagnosis


READ_LANGUAGES = [item for item in known_languages() if item.rules]


@pytest.mark.parametrize("language", READ_LANGUAGES, ids=lambda language: language.code)
@pytest.mark.parametrize("piece", [" ", ". ", "st-t ", "x", None])
def test_time_of_translation_is_proportional_to_length(language, piece):
    piece = piece or " ".join([*language.words[:20], ""])

    def seconds(n):
        start = process_time()
        language.translate((piece * n)[:n])
        return process_time() - start

    language.translate(piece)  # compiles the rules
    # Were it quadratic, four times the text would take 16 times the time.
    assert min(seconds(8_000), seconds(8_000)) < 9 * max(seconds(2_000), 0.02)


@pytest.mark.parametrize(
    ("code", "piece"),
    [("de", "anhalt "), ("es", "premature "), ("nl", "zijn "), ("nl", "moet te "),
     ("nl", "spitse "), ("sv", "spetsig ")],
)  # fmt: skip
def test_translation_takes_time_in_proportion_to_length(code, piece):
    (language,) = (item for item in known_languages() if item.code == code)

    def seconds(n):
        def once():
            start = process_time()
            language.translate(piece * n)
            return process_time() - start

        return min(once() for _ in range(2))  # whatever else the machine is doing

    seconds(1)
    # Were it quadratic, four times the text would take 16 times the time.
    assert seconds(4_000) < 9 * max(seconds(1_000), 0.01)


def test_labels_depend_on_neither_order_nor_what_was_read_before(labeler):
    statements = [
        "Sinus rhythm", "possible infarct", "left bundle", "branch block", "confirmed by", "old,",
        "Kein Hinweis auf Ischämie", "Vorhofflimmern", "Fibrilación auricular", "pas d'ischémie",
        "geen infarct", "Ritmo sinusal", "no", "Förmaksflimmer", "cannot exclude ischemia, injury",
        "undetermined age", "инфаркт",
    ]  # fmt: skip
    chosen = Random(0)
    reports = [
        chosen.choice(["; ", "\n", ". ", ", "]).join(
            chosen.choices(statements, k=chosen.randint(1, 5))
        )
        for number in range(150)
    ]
    other = Labeler.from_vocabulary()
    forwards = [labeler.find(report) for report in reports]
    backwards = [other.find(report) for report in reversed(reports)][::-1]
    for report, first, second in zip(reports, forwards, backwards, strict=True):
        assert first.labels_flat == second.labels_flat, report
        assert first.language == second.language, report
