"""What is read of reports in other languages, and that those that are refused give nothing."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.languages import Translator, known_languages
from fairseq_ecg.labeler.results import Finding
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary

UNREAD = yaml.safe_load(
    Path(__file__).with_name("unread_languages.yaml").read_text(encoding="utf-8")
)

# Statements by language and kind, with all that they mention: as it is, ? doubted, - denied.
READ = {
    "sv": {
        "positive": {
            "Sinusrytm 72/min, vänsterställd elaxel": "Sinus rhythm, Left axis deviation",
            "Förmaksflimmer med vänstersidigt skänkelblock": (
                "Atrial fibrillation, Left bundle branch block"
            ),
            "AV-block grad II typ 1 med enstaka VES": (
                "Mobitz type 1 block, Premature ventricular contraction"
            ),
            "Sinustakykardi, förlängd QTc-tid": "Sinus tachycardia, Prolonged QT interval",
            "ST-höjning i V2-V4 och T-negativisering i aVL": "ST elevation, T wave inversion",
            "Ospecifika ST-T-förändringar, lågt QRS-voltage": (
                "ST-T wave abnormality, Low QRS voltage"
            ),
            "Kammarpacad rytm": "Ventricular pacing",
            "Sinusrytm, HF 48/min, PQ 0,24 s": "Sinus rhythm, Bradycardia, Prolonged PR interval",
        },
        "without diacritics": {
            "Formaksfladder, hogersidigt skankelblock": "Atrial flutter, Right bundle branch block",
            "Vansterkammarhypertrofi med ST-sankning lateralt": (
                "Left ventricular hypertrophy, ST depression"
            ),
        },
        "doubted": {
            "Möjlig vänsterkammarhypertrofi": "?Left ventricular hypertrophy",
            "Gammal inferior infarkt kan ej uteslutas": "?Infarction",
            "Kan inte utesluta perikardit": "?Pericarditis",
            "ST-höjning V1-V3, infarkt?": "ST elevation, ?Infarction",
            "Septal infarkt bör övervägas": "?Infarction",
            "Förmaksflimmer/-fladder": "Atrial fibrillation, ?Atrial flutter",
            "Anterior myokardskada": "?Infarction",
            "Sannolikt genomgången främreväggsinfarkt": "Infarction",
            "T-förändring, såsom vid lateral ischemi": "T wave abnormality, Ischemia",
        },
        "denied": {
            "Inga tecken till genomgången infarkt": "-Infarction",
            "Ej ischemi": "-Ischemia",
            "Skänkelblocket ses inte längre": "-Bundle branch block",
            "Deltavåg saknas": "-Delta wave",
            "Uppfyller ej kriterier för vänsterkammarhypertrofi": "-Left ventricular hypertrophy",
            "Inget talar för perikardit": "-Pericarditis",
        },
        "list": {
            "Utan ST-höjningar eller T-negativiseringar": "-ST elevation, -T wave inversion",
            "Varken förmaksflimmer eller förmaksfladder": "-Atrial fibrillation, -Atrial flutter",
            "Inga VES eller SVES": (
                "-Premature ventricular contraction, -Premature supraventricular contraction"
            ),
            "Misstanke om inferior infarkt eller lateral ischemi": "?Infarction, ?Ischemia",
            "Inget grenblock, normal QT-tid": "-Bundle branch block",
        },
        "earlier": {
            "Tidigare förmaksflimmer, nu sinusrytm": "-Atrial fibrillation, Sinus rhythm",
            "På föregående EKG förmaksfladder": "-Atrial flutter",
            "Jämfört med tidigare EKG har högersidigt skänkelblock tillkommit": (
                "Right bundle branch block"
            ),
            "Känt vänstergrenblock": "Left bundle branch block",
            "Tidigare T-negativiseringar kvarstår": "T wave inversion",
            "Tidigare genomgången infarkt": "Infarction",
            "EKG från 2018 visade förmaksflimmer": "-Atrial fibrillation",
        },
    },
    "nl": {
        "positive": {
            "Sinusritme 72/min, linker asdeviatie": "Sinus rhythm, Left axis deviation",
            "Boezemfibrilleren met linkerbundeltakblok": (
                "Atrial fibrillation, Left bundle branch block"
            ),
            "Tweedegraads AV-blok type Wenckebach met enkele VES": (
                "Mobitz type 1 block, Premature ventricular contraction"
            ),
            "Sinustachycardie, verlengde QTc-tijd": "Sinus tachycardia, Prolonged QT interval",
            "ST-elevatie in V2-V4 en negatieve T-top in aVL": "ST elevation, T wave inversion",
            "Aspecifieke ST-T-afwijkingen, laag QRS-voltage": (
                "ST-T wave abnormality, Low QRS voltage"
            ),
            "Ventriculair gepaced ritme": "Ventricular pacing",
            "Sinusritme 48/min, PQ 0,24 s": "Sinus rhythm, Bradycardia, Prolonged PR interval",
            "iRBTB, LAHB": "Incomplete right bundle branch block, Left anterior fascicular block",
        },
        "without diacritics": {
            "Hoge spitse T-toppen, past bij hyperkaliemie": "Tall T wave, Hyperkalemia",
            "Hoge spitse T-toppen, past bij hyperkaliëmie": "Tall T wave, Hyperkalemia",
        },
        "doubted": {
            "Mogelijk linkerventrikelhypertrofie": "?Left ventricular hypertrophy",
            "Oud onderwandinfarct niet uit te sluiten": "?Infarction",
            "Kan pericarditis niet uitsluiten": "?Pericarditis",
            "ST-elevatie V1-V3, infarct?": "ST elevation, ?Infarction",
            "Dubieus septaal infarct": "?Infarction",
            "Cave hyperkaliëmie": "?Hyperkalemia",
            "Waarschijnlijk doorgemaakt voorwandinfarct": "Infarction",
            "T-topafwijkingen, passend bij laterale ischemie": "T wave abnormality, Ischemia",
        },
        "denied": {
            "Geen tekenen van een doorgemaakt infarct": "-Infarction",
            "Ischemie uitgesloten": "-Ischemia",
            "Linkerbundeltakblok niet meer aanwezig": "-Left bundle branch block",
            "Deltagolf niet zichtbaar": "-Delta wave",
            "Voldoet niet aan de criteria voor LVH": "-Left ventricular hypertrophy",
            "Niets dat wijst op pericarditis": "-Pericarditis",
        },
        "list": {
            "Zonder ST-elevatie of negatieve T-golven": "-ST elevation, -T wave inversion",
            "Noch boezemfibrilleren, noch atriumflutter": "-Atrial fibrillation, -Atrial flutter",
            "Geen VES of SVES": (
                "-Premature ventricular contraction, -Premature supraventricular contraction"
            ),
            "Verdacht voor onderwandinfarct of laterale ischemie": "?Infarction, ?Ischemia",
            "Geen bundeltakblok, normale QT-tijd": "-Bundle branch block",
        },
        "earlier": {
            "Eerder atriumfibrilleren, nu sinusritme": "-Atrial fibrillation, Sinus rhythm",
            "Op vorig ECG atriumflutter": "-Atrial flutter",
            "In vergelijking met het vorige ECG een nieuw RBTB": "Right bundle branch block",
            "Bekend LBTB": "Left bundle branch block",
            "Eerder beschreven T-inversies zijn onveranderd": "T wave inversion",
            "Eerder doorgemaakt infarct": "Infarction",
            "ECG uit 2018 toonde atriumfibrilleren": "-Atrial fibrillation",
        },
    },
    "es": {
        "positive": {
            "Taquicardia sinusal a 120 lpm, eje desviado a la derecha": (
                "Sinus tachycardia, Tachycardia, Right axis deviation"
            ),
            "Flúter auricular con bloqueo completo de rama derecha": (
                "Atrial flutter, Right bundle branch block"
            ),
            "Bloqueo AV de 2º grado tipo Mobitz II con extrasístoles supraventriculares": (
                "Mobitz type 2 block, Premature supraventricular contraction"
            ),
            "Ascenso del ST en V1-V3 y ondas T negativas en aVL": "ST elevation, T wave inversion",
            "PR 0,24 s, QTc largo": "Prolonged PR interval, Prolonged QT interval",
            "Crecimiento auricular derecho, HVD": (
                "Right atrial enlargement, Right ventricular hypertrophy"
            ),
            "Estimulación auricular": "Atrial pacing",
            "FA con RVR, BCRIHH": (
                "Atrial fibrillation, Rapid ventricular response, Left bundle branch block"
            ),
        },
        "without diacritics": {
            "Fibrilacion auricular, elevacion del ST en cara anterior": (
                "Atrial fibrillation, ST elevation"
            ),
            "Fibrilación auricular, elevación del ST en cara anterior": (
                "Atrial fibrillation, ST elevation"
            ),
        },
        "doubted": {
            "Imposible descartar infarto": "?Infarction",
            "La isquemia no puede excluirse": "?Ischemia",
            "Menos probable infarto": "?Infarction",
            "Hipertrofia ventricular derecha dudosa": "?Right ventricular hypertrophy",
            "No se puede excluir pericarditis": "?Pericarditis",
            "Necrosis septal, a valorar": "?Infarction",
            "Descartar isquemia lateral": "?Ischemia",
            "¿Infarto septal antiguo?": "?Infarction",
            "Se sugiere pericarditis": "Pericarditis",
            "Probable infarto anterior": "Infarction",
            "Fibrilación auricular vs flutter auricular": "?Atrial fibrillation, ?Atrial flutter",
        },
        "denied": {
            "Sin arritmias ni alteraciones isquémicas": "-Arrhythmia, -Ischemia",
            "Ritmo sinusal sin isquemia": "Sinus rhythm, -Ischemia",
            "Se descartó infarto agudo": "-Infarction",
            "Desaparición de la fibrilación auricular": "-Atrial fibrillation",
            "Sin supra ni infradesnivel del ST": "-ST elevation, -ST depression",
            "Sin marcapasos": "-Electronic pacemaker",
            "No se aprecia isquemia": "-Ischemia",
            "Ya no se observa bloqueo de rama izquierda": "-Left bundle branch block",
            "Onda delta ausente": "-Delta wave",
            "No cumple criterios de hipertrofia ventricular izquierda": (
                "-Left ventricular hypertrophy"
            ),
            "QTc no prolongado": "-Prolonged QT interval",
            "Sin datos de infarto": "-Infarction",
        },
        "list": {
            "Sin elevación del ST, isquemia ni extrasístoles": (
                "-ST elevation, -Ischemia, -Premature contraction"
            ),
            "No hay fibrilación auricular ni flutter auricular": (
                "-Atrial fibrillation, -Atrial flutter"
            ),
            "Posible infarto o isquemia": "?Infarction, ?Ischemia",
        },
        "earlier": {
            "Tuvo fibrilación auricular en 2019": "-Atrial fibrillation",
            "ECG previo: fibrilación auricular": "-Atrial fibrillation",
            "Respecto a ECG previo aparece bloqueo de rama derecha": "Right bundle branch block",
            "Previamente en flutter auricular, ahora ritmo sinusal": (
                "-Atrial flutter, Sinus rhythm"
            ),
            "Secuela de infarto inferior": "Infarction",
        },
    },
    "pt": {
        "positive": {
            "Taquicardia sinusal, desvio do eixo para a direita": (
                "Sinus tachycardia, Right axis deviation"
            ),
            "Flutter atrial com bloqueio de ramo direito": (
                "Atrial flutter, Right bundle branch block"
            ),
            "BAV 2º grau Mobitz I, extrassístoles atriais frequentes": (
                "Mobitz type 1 block, Premature atrial contraction"
            ),
            "Supradesnível de ST em V1-V3, ondas T negativas em aVL": (
                "ST elevation, T wave inversion"
            ),
            "PR 0,24 s, QTc longo": "Prolonged PR interval, Prolonged QT interval",
            "Sobrecarga atrial direita, HVD": (
                "Right atrial enlargement, Right ventricular hypertrophy"
            ),
            "Ritmo de marca-passo bicameral": "Dual-chamber pacing",
            "Distúrbio de condução intraventricular": "Intraventricular conduction delay",
        },
        "doubted": {
            "Não descarto infarto inferior": "?Infarction",
            "Isquemia não pode ser afastada": "?Ischemia",
            "Infarto em dúvida": "?Infarction",
            "Bloqueio de ramo esquerdo duvidoso": "?Left bundle branch block",
            "Não se pode afastar pericardite": "?Pericarditis",
            "Infarto septal não pode ser excluído": "?Infarction",
            "Infarto septal antigo?": "?Infarction",
            "Sugere pericardite": "Pericarditis",
            "Provável infarto anterior": "Infarction",
            "Área inativa inferior a esclarecer": "?Infarction",
        },
        "denied": {
            "Sem arritmias nem alterações isquêmicas": "-Arrhythmia, -Ischemia",
            "Ritmo sinusal sem isquemia": "Sinus rhythm, -Ischemia",
            "Reversão da fibrilação atrial": "-Atrial fibrillation",
            "Sem supra ou infradesnivelamento de ST": "-ST elevation, -ST depression",
            "Ritmo não sinusal": "-Sinus rhythm",
            "Não se observa isquemia": "-Ischemia",
            "Pericardite descartada": "-Pericarditis",
            "Já não apresenta bloqueio de ramo esquerdo": "-Left bundle branch block",
            "Não preenche critérios de hipertrofia ventricular esquerda": (
                "-Left ventricular hypertrophy"
            ),
            "QTc não prolongado": "-Prolonged QT interval",
            "Sem sinais de infarto": "-Infarction",
        },
        "list": {
            "Sem supradesnivelamento de ST, isquemia ou extrassístoles": (
                "-ST elevation, -Ischemia, -Premature contraction"
            ),
            "Nem fibrilação atrial nem flutter atrial": "-Atrial fibrillation, -Atrial flutter",
            "Possível infarto ou isquemia": "?Infarction, ?Ischemia",
            "Ausência de isquemia, infarto e hipertrofia": (
                "-Ischemia, -Infarction, -Ventricular hypertrophy"
            ),
        },
        "earlier": {
            "Teve fibrilação atrial em 2019": "-Atrial fibrillation",
            "ECG prévio: fibrilação atrial": "-Atrial fibrillation",
            "Em relação ao ECG anterior surgiu bloqueio de ramo direito": (
                "Right bundle branch block"
            ),
            "Anteriormente em flutter atrial, agora em ritmo sinusal": (
                "-Atrial flutter, Sinus rhythm"
            ),
            "Sequela de infarto inferior": "Infarction",
        },
    },
    "fr": {
        "positive": {
            "Tachycardie sinusale, déviation axiale droite": (
                "Sinus tachycardia, Right axis deviation"
            ),
            "Flutter auriculaire, bloc de branche droite complet": (
                "Atrial flutter, Right bundle branch block"
            ),
            "BAV 2 Mobitz 2, extrasystoles auriculaires": (
                "Mobitz type 2 block, Premature atrial contraction"
            ),
            "Sus-décalage de ST en V1-V3, ondes T négatives en aVL": (
                "ST elevation, T wave inversion"
            ),
            "Espace PR 0,24 s, QTc long": "Prolonged PR interval, Prolonged QT interval",
            "Hypertrophie auriculaire droite, HVD": (
                "Right atrial enlargement, Right ventricular hypertrophy"
            ),
            "Stimulation double chambre": "Dual-chamber pacing",
            "Trouble de conduction intraventriculaire": "Intraventricular conduction delay",
        },
        "doubted": {
            "N'élimine pas un infarctus inférieur": "?Infarction",
            "L'ischémie ne peut être écartée": "?Ischemia",
            "Infarctus peu probable": "?Infarction",
            "Doute sur un flutter": "?Atrial flutter",
            "Bloc de branche gauche douteux": "?Left bundle branch block",
            "On ne peut éliminer une péricardite": "?Pericarditis",
            "Infarctus septal non exclu": "?Infarction",
            "Ischémie latérale à exclure": "?Ischemia",
            "Infarctus septal ancien ?": "?Infarction",
            "Évoque une péricardite": "Pericarditis",
            "Probable infarctus antérieur": "Infarction",
            "Fibrillation auriculaire ou flutter": "?Atrial fibrillation, ?Atrial flutter",
        },
        "denied": {
            "Pas d'arythmie ni de modification ischémique": "-Arrhythmia, -Ischemia",
            "Rythme sinusal sans ischémie": "Sinus rhythm, -Ischemia",
            "N'est plus en fibrillation auriculaire": "-Atrial fibrillation",
            "Pas de sus ni de sous-décalage du ST": "-ST elevation, -ST depression",
            "Rythme non sinusal": "-Sinus rhythm",
            "Troubles de la repolarisation non évocateurs d'ischémie": (
                "Repolarization abnormality, -Ischemia"
            ),
            "On ne retrouve pas d'ischémie": "-Ischemia",
            "Péricardite éliminée": "-Pericarditis",
            "Le bloc de branche gauche n'est plus visible": "-Left bundle branch block",
            "Absence d'onde delta": "-Delta wave",
            "Pas de critère d'hypertrophie ventriculaire gauche": "-Left ventricular hypertrophy",
            "QTc non allongé": "-Prolonged QT interval",
            "Il n'existe aucun signe d'infarctus": "-Infarction",
            "Pas d'infarctus": "-Infarction",
        },
        "list": {
            "Pas de sus-décalage de ST, d'ischémie ni d'extrasystoles": (
                "-ST elevation, -Ischemia, -Premature contraction"
            ),
            "Ni fibrillation auriculaire ni flutter": "-Atrial fibrillation, -Atrial flutter",
            "Possible infarctus ou ischémie": "?Infarction, ?Ischemia",
            "Absence d'ischémie, d'infarctus et d'hypertrophie": (
                "-Ischemia, -Infarction, -Ventricular hypertrophy"
            ),
        },
        "earlier": {
            "A eu une fibrillation auriculaire en 2019": "-Atrial fibrillation",
            "ECG antérieur : fibrillation auriculaire": "-Atrial fibrillation",
            "Par rapport à l'ECG précédent apparition d'un bloc de branche droit": (
                "Right bundle branch block"
            ),
            "Antérieurement en flutter, actuellement rythme sinusal": (
                "-Atrial flutter, Sinus rhythm"
            ),
            "Séquelles d'infarctus inférieur": "Infarction",
        },
    },
}

# Not to be told from English, and read rightly as such.
READ_AS_ENGLISH = {"ST-depression i V4-V6": {"ST depression"}}


@pytest.fixture(scope="module")
def labeler() -> Labeler:
    return Labeler.from_vocabulary()


def statements() -> Iterator[tuple[str, str, str]]:
    for language, kinds in READ.items():
        for kind in kinds.values():
            for text, expected in kind.items():
                yield language, text, expected


def mentioned(finding: Finding) -> dict[str, str]:
    """Return what a statement mentions, each with its sign: nothing, ``?`` or ``-``."""
    signs = {mention.entity: "-" for mention in finding.mentions if mention.negated}
    for i, block in finding.blocks:
        if block.entities and i < len(finding.mentions):
            certain = block.entities[0].probability >= 0.6
            signs[finding.mentions[i].entity] = "" if certain else "?"
    return signs


@pytest.mark.parametrize(("language", "text", "expected"), [*statements()])
def test_statements_in_a_language_that_is_read(labeler, language, text, expected):
    finding = labeler.find(text)
    assert finding.language == language
    assert sorted(sign + name for name, sign in mentioned(finding).items()) == sorted(
        expected.split(", ")
    )


@pytest.mark.parametrize("language", UNREAD)
def test_nothing_is_found_in_a_language_that_is_not_read(labeler, language):
    for text in UNREAD[language]:
        finding = labeler.find(text)
        if text in READ_AS_ENGLISH:
            assert set(mentioned(finding)) == READ_AS_ENGLISH[text]
            continue
        assert not finding.is_read, f"{text}: read as {finding.language}"
        assert not finding.labels_flat, text


def test_reports_of_several_statements_are_refused_as_a_whole(labeler):
    for language, texts in UNREAD.items():
        finding = labeler.find("; ".join(texts))
        assert (finding.language, finding.is_read) == (language, False)
        assert not finding.labels_flat


def test_languages_that_are_alike_are_told_apart(labeler):
    for language, text in (
        ("sv", "Sinusrytm, inget säkert patologiskt"),
        ("da", "Sinusrytme, ingen sikre patologiske forandringer"),
        ("no", "Sinusrytme, ingen sikre tegn til gjennomgått infarkt"),
        ("nl", "Sinusritme, geen afwijkingen"),
        ("de", "Sinusrhythmus, keine Auffälligkeiten"),
        ("it", "Ritmo sinusale, non alterazioni della ripolarizzazione"),
        ("ca", "Ritme sinusal, sense alteracions"),
        ("es", "Ritmo sinusal, sin alteraciones"),
        ("pt", "Ritmo sinusal, sem alterações"),
        ("gl", "Ritmo sinusal, sen alteracións"),
        ("fr", "Rythme sinusal, pas d'anomalie"),
        ("it", "Ritmo sinusale, assenza di alterazioni"),
        ("ro", "Ritm sinusal, fără modificări"),
    ):
        assert labeler.find(text).language == language


# Of finding, denial and suspicion, each in its language.
INFARCT = {
    "de": ("Infarkt", "Kein {}", "Verdacht auf {}", "{} unwahrscheinlich"),
    "sv": ("Infarkt", "Ingen {}", "Misstanke om {}", "{} mindre sannolikt"),
    "nl": ("Infarct", "Geen {}", "Verdenking op {}", "{} onwaarschijnlijk"),
    "es": ("Infarto", "Sin {}", "Sospecha de {}", "{} poco probable"),
    "pt": ("Infarto", "Sem {}", "Suspeita de {}", "{} pouco provável"),
    "fr": ("Infarctus", "Absence d'{}", "Suspicion d'{}", "{} peu probable"),
}
DENIED_ELSEWHERE = (
    "Ikke infarct",
    "Intet infarkt",
    "Nessun infarto",
    "Bez pericarditis",
    "Brak VES",
    "Infarkt yok",
    "Perikarditis usandsynlig",
    "Fara infarct",
    "Nu se poate exclude infarct",
    "Pericarditis poc probable",
)


@pytest.mark.parametrize("language", INFARCT)
def test_suspicion_denial_and_what_is_unlikely_are_worth_the_same_in_every_language(
    labeler, language
):
    finding, denied, suspected, unlikely = INFARCT[language]
    english = labeler.find("Suspected infarct").labels_flat["Infarction"]
    for said, expected in ((suspected, english), (unlikely, 0.2), (denied, None)):
        found = labeler.find(said.format(finding))
        assert found.labels_flat.get("Infarction") == expected, said
        assert found.mentions, said


@pytest.mark.parametrize("report", ["Sinus rhythm. {}.", "Sinus rhythm with rate 80\n{}"])
def test_a_denial_in_another_language_is_read_or_left_out_beside_english(labeler, report):
    denials = [denied.format(finding) for finding, denied, *_ in INFARCT.values()]
    for denial in [*denials, "Kein infarct", "Geen pericarditis", *DENIED_ELSEWHERE]:
        finding = labeler.find(report.format(denial))
        labels = finding.labels_flat
        assert labels.get("Sinus rhythm") == 1 or not finding.is_read, denial
        for name in ("Infarction", "Pericarditis", "Premature ventricular contraction"):
            assert labels.get(name, 0) < 0.6, denial


def test_capitals_and_lost_diacritics_change_nothing(labeler):
    for _, text, expected in statements():
        bare = unicodedata.normalize("NFKD", text)
        bare = "".join(part for part in bare if not unicodedata.combining(part))
        for written in (text.upper(), bare, bare.upper()):
            found = sorted(sign + name for name, sign in mentioned(labeler.find(written)).items())
            assert found == sorted(expected.split(", ")), written


# Names of people and places, and what English took from other languages.
ENGLISH = (
    "Sinus rhythm. Confirmed by Dr. Müller",
    "Atrial fibrillation. Reviewed by Dr. Jean-Pierre Lefèvre",
    "Sinus rhythm. Confirmed by Kowalski, Michał",
    "Sinus rhythm. Confirmed by DR. DVOŘÁK",
    "Sinus bradycardia. Referred by: DE LA CRUZ",
    "Normal ECG. Confirmed by SØRENSEN",
    "Left bundle branch block. Signed by von Hohenstein, M.D.",
    "San Diego. Atrial fibrillation",
    "Compared to ECG of Zürich hospital, LBBB is new",
    "De novo atrial fibrillation",
    "ICD in situ, sinus rhythm",
    "Ventricular paced rhythm, vide infra",
    "Torsade de pointes, T wave inversion à la Wellens",
    "De Winter T waves, P mitrale, P pulmonale, cor pulmonale",
    "Haemodynamically stable VT, baseline artefact",
    "Couplet, salvo of VT, status post ablation",
)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(known_languages(), read_vocabulary("default"))


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_not_translated(translator, text):
    assert translator.translate(text) == (text, None)


def test_no_english_statement_is_refused(translator):
    for path in Path(__file__).parent.glob("statements*.yaml"):
        if "languages" in path.name:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("- text: "):
                language = translator.translate(line.removeprefix("- text: ")).language
                assert language is None or language.is_read, line
