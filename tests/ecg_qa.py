"""A small PTB-XL with reports, and an ECG-QA that asks about it what its signals say.

20 ECGs of 2.5 s at 500 Hz with two beats a second or 1.25, of 2 mV or 0.5 mV, and with noise in
lead V2 or without; the training split has every combination.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fairseq_ecg.prepare.ecg_qa.questions import prepare_questions
from fairseq_ecg.prepare.ecg_qa.writing import Written
from tests.prepare.sources.archives import LEADS, write_wfdb

N_ECGS = 20
SAMPLE_RATE, SECONDS = 500, 2.5
ECGS = {"train": range(1, 13), "valid": range(13, 17), "test": range(17, 21)}
"""``ecg_id`` of the ECGs of each split."""

FAST, TALL = "sinus tachycardia", "high qrs voltage"
NOISE, NOISY_LEAD = "static noise", "lead V2"
SYMPTOMS = ("sinus rhythm", FAST, TALL)
RANGES = ("above the normal range", "below the normal range", "within the normal range")
LEAD_NAMES = tuple(f"lead {lead}" for lead in LEADS)
VERDICTS = ("no", "not sure", "yes")
CLASSES = (*VERDICTS, "none", *SYMPTOMS, NOISE, *RANGES, *LEAD_NAMES)
"""Of ``answers.csv``, ``none`` among them."""

SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
"""Where bert-base-uncased has them."""


class Facts(NamedTuple):
    """What an ECG shows."""

    is_fast: bool
    is_tall: bool
    is_noisy: bool

    @property
    def symptoms(self) -> list[str]:
        return [FAST if self.is_fast else SYMPTOMS[0], *([TALL] if self.is_tall else [])]

    @property
    def range(self) -> str:
        """Of the RR interval, 500 or 800 ms."""
        return RANGES[1 if self.is_fast else 2]


def facts(ecg_id: int) -> Facts:
    """What an ECG shows, by its number."""
    number = ecg_id - 1
    return Facts(*(bool(number & bit) for bit in (1, 2, 4)))


def signal(ecg_id: int) -> np.ndarray:
    """Make an ECG, ``(12, 1250)`` in mV."""
    rng, shown = np.random.default_rng(ecg_id), facts(ecg_id)
    seconds = np.arange(round(SAMPLE_RATE * SECONDS)) / SAMPLE_RATE
    rhythm = (seconds * (2.0 if shown.is_fast else 1.25) + rng.uniform()) % 1
    shape = np.exp(-(((rhythm - 0.4) / 0.02) ** 2)) + 0.2 * np.exp(-(((rhythm - 0.6) / 0.05) ** 2))
    ecg = (2.0 if shown.is_tall else 0.5) * rng.uniform(0.8, 1.2, (len(LEADS), 1)) * shape
    ecg += 0.01 * rng.standard_normal(ecg.shape)
    if shown.is_noisy:
        ecg[LEAD_NAMES.index(NOISY_LEAD)] += 0.3 * rng.standard_normal(len(seconds))
    return ecg


@dataclass(frozen=True)
class ECGQA:
    """Folders of what was made.

    Attributes:
        ptb_xl: the archive.
        questions: the part of ECG-QA that asks about it.
        vocabulary: tokens of all its words and letters, as `Tokenizer.load` takes it.
    """

    ptb_xl: Path
    questions: Path
    vocabulary: Path

    def prepare(self, folder: Path, **options: Any) -> Written:
        """Make the files that question answering reads; options are those of the function."""
        given = {"ecg_root": self.ptb_xl, "tokenizer": str(self.vocabulary), **options}
        return prepare_questions(self.questions, folder, **given)


def make_ecg_qa(folder: Path) -> ECGQA:
    """Make both in a folder, with the same bytes each time."""
    made = ECGQA(folder / "ptbxl", folder / "ecgqa" / "ptbxl", folder / "vocab.txt")
    _write_ptb_xl(made.ptb_xl)
    write_answers(
        made.questions, CLASSES, {number: list(t.answers) for number, t in TEMPLATES.items()}
    )
    for version, (split, ecg_ids) in itertools.product(("template", "paraphrased"), ECGS.items()):
        entries = list(_entries(ecg_ids, version))
        cut = next(i for i, entry in enumerate(entries) if "comparison" in entry["question_type"])
        for first, part in ((0, entries[:cut]), (10_000, entries[cut:])):
            write_questions(made.questions / version / split / f"{first:05d}.json", part)
    texts = [text for template in TEMPLATES.values() for text in template.texts]
    made.vocabulary.write_text("\n".join(_vocabulary([*texts, *CLASSES])) + "\n")
    return made


def write_answers(folder: Path, classes: Iterable[str], templates: dict[int, list[str]]) -> None:
    """Write the two tables of answers of a part of ECG-QA."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"class": list(classes)})
    table.to_csv(folder / "answers.csv", index_label="index")
    table = pd.DataFrame({"template_id": list(templates), "classes": map(str, templates.values())})
    table.to_csv(folder / "answers_for_each_template.csv", index=False)


def write_questions(path: Path, entries: list[dict]) -> None:
    """Write a file of questions as ECG-QA has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=4))


def _write_ptb_xl(folder: Path) -> None:
    rows = []
    for ecg_id in range(1, N_ECGS + 1):
        shown = facts(ecg_id)
        name = f"00000/{ecg_id:05d}"
        write_wfdb(folder / f"records500/{name}_hr", signal(ecg_id), sample_rate=SAMPLE_RATE)
        codes = {
            "STACH" if shown.is_fast else "SR": 0.0,
            **({"HVOLT": 100.0} if shown.is_tall else {}),
        }
        rows.append(
            {
                "ecg_id": ecg_id,
                "patient_id": float((ecg_id + 1) // 2),
                "report": f"{' with '.join(shown.symptoms)}."
                + (f" {NOISE} in {NOISY_LEAD}." if shown.is_noisy else ""),
                "scp_codes": str(codes),
                "strat_fold": ecg_id % 10 + 1,
                "filename_lr": f"records100/{name}_lr",
                "filename_hr": f"records500/{name}_hr",
            }
        )
    for table in ("ptbxl_database.csv", "ptbxl_database_translated.csv"):
        pd.DataFrame(rows).to_csv(folder / table, index=False)


class Template(NamedTuple):
    """A kind of question.

    Attributes:
        kind: ``question_type``.
        about: ``attribute_type``.
        texts: of the question, and of its paraphrase.
        attributes: what it asks about or offers; None for comparisons.
        answers: that can be right.
        right: of the facts of its ECGs.
    """

    kind: str
    about: str
    texts: tuple[str, str]
    attributes: list[str] | None
    answers: tuple[str, ...]
    right: Any


def _verdict(holds: bool) -> list[str]:
    return ["yes" if holds else "no"]


def _or_none(answers: Iterable[str]) -> list[str]:
    return list(answers) or ["none"]


_SYMPTOMS_OR_NONE = ("none", *SYMPTOMS)
_INTERVAL = "rr interval"
TEMPLATES = {
    1: Template(
        "single-verify", "scp_code",
        (f"Does this ECG show symptoms of {FAST}?", f"Is there any {FAST} in this ECG?"),
        [FAST], VERDICTS, lambda ecg: _verdict(ecg.is_fast),
    ),
    2: Template(
        "single-verify", "scp_code",
        (f"Does this ECG show symptoms of {TALL}, including uncertain symptoms?",
         f"Is {TALL} seen in this ECG, including uncertain symptoms?"),
        [TALL], VERDICTS, lambda ecg: _verdict(ecg.is_tall),
    ),
    3: Template(
        "single-verify", "scp_code",
        ("Does this ECG show symptoms of myocardial infarction in inferior leads?",
         "Is there any myocardial infarction in inferior leads?"),
        ["myocardial infarction in inferior leads"], VERDICTS,
        lambda ecg: ["not sure"] if ecg.is_tall else ["no"],
    ),
    4: Template(
        "single-verify", "noise",
        (f"Does this ECG show {NOISE} in {NOISY_LEAD}?", f"Is {NOISE} seen in {NOISY_LEAD}?"),
        [NOISE], ("no", "yes"), lambda ecg: _verdict(ecg.is_noisy),
    ),
    5: Template(
        "single-verify", "numeric_feature",
        (f"Does the {_INTERVAL} of this ECG fall within the normal range of 600 to 1000?",
         f"Is the {_INTERVAL} normal, within the normal range of 600 to 1000?"),
        [f"{_INTERVAL} within the normal range"], ("no", "yes"),
        lambda ecg: _verdict(not ecg.is_fast),
    ),
    6: Template(
        "single-verify", "heart_axis",
        ("Does this ECG show left axis deviation?", "Is the axis of this ECG to the left?"),
        ["left axis deviation"], ("no", "yes"), lambda ecg: ["no"],
    ),
    7: Template(
        "single-verify", "stage_of_infarction",
        ("Does this ECG show early stage of myocardial infarction?",
         "Is there an early stage of myocardial infarction?"),
        ["early stage of myocardial infarction"], ("no", "yes"), lambda ecg: ["no"],
    ),
    8: Template(
        "single-verify", "extra_systole",
        ("Does this ECG show any kind of extrasystoles?", "Are there extrasystoles in this ECG?"),
        ["extrasystoles"], ("no", "yes"), lambda ecg: ["no"],
    ),
    9: Template(
        "single-choose", "scp_code",
        (f"Which symptom does this ECG show, {FAST} or {TALL}?", f"Is it {FAST} or {TALL}?"),
        [FAST, TALL], _SYMPTOMS_OR_NONE,
        lambda ecg: _or_none(each for each in ecg.symptoms if each in (FAST, TALL)),
    ),
    10: Template(
        "single-choose", "numeric_feature",
        (f"Which range does the {_INTERVAL} of this ECG fall in, {RANGES[1]} or {RANGES[2]}?",
         f"Is the {_INTERVAL} {RANGES[1]} or {RANGES[2]}?"),
        [f"{each} of {_INTERVAL}" for each in RANGES[1:]], (*RANGES, "none"),
        lambda ecg: [ecg.range],
    ),
    11: Template(
        "single-query", "scp_code",
        ("What symptoms does this ECG show?", "What is seen in this ECG?"),
        list(SYMPTOMS), _SYMPTOMS_OR_NONE, lambda ecg: ecg.symptoms,
    ),
    12: Template(
        "single-query", "noise",
        (f"What leads are showing symptoms of {NOISE} in this ECG?", f"What leads have {NOISE}?"),
        [NOISE], (*LEAD_NAMES, "none"), lambda ecg: [NOISY_LEAD] if ecg.is_noisy else ["none"],
    ),
    13: Template(
        "comparison_consecutive-verify", "numeric_feature",
        (f"Has the {_INTERVAL} changed as compared to the previous tracing?",
         f"Is the {_INTERVAL} another one than before?"),
        None, ("no", "yes"), lambda one, two: _verdict(one.is_fast != two.is_fast),
    ),
    14: Template(
        "comparison_consecutive-query", "scp_code",
        ("What symptoms are still present as compared to the previous tracing?",
         "What symptoms have not gone since the previous tracing?"),
        None, _SYMPTOMS_OR_NONE,
        lambda one, two: _or_none(each for each in one.symptoms if each in two.symptoms),
    ),
    15: Template(
        "comparison_irrelevant-verify", "scp_code",
        (f"Do both ECGs show {TALL}?", f"Is {TALL} seen in the first and in the second ECG?"),
        None, ("no", "yes"), lambda one, two: _verdict(one.is_tall and two.is_tall),
    ),
    16: Template(
        "comparison_irrelevant-query", "scp_code",
        ("What symptoms does the second ECG show as compared to the first ECG?",
         "What symptoms are new in the second ECG?"),
        None, _SYMPTOMS_OR_NONE,
        lambda one, two: _or_none(each for each in two.symptoms if each not in one.symptoms),
    ),
}  # fmt: skip
"""By ``template_id``; those of one ECG first."""


def _entries(ecg_ids: range, version: str) -> Iterator[dict]:
    number = itertools.count()
    for template_id, template in TEMPLATES.items():
        n_ecgs = 1 if template.kind.startswith("single") else 2
        for first in ecg_ids[: len(ecg_ids) - n_ecgs + 1]:
            of_question = list(range(first, first + n_ecgs))
            yield {
                "template_id": template_id,
                "question_id": template_id - 1,
                "sample_id": next(number),
                "question_type": template.kind,
                "attribute_type": template.about,
                "question": template.texts[version == "paraphrased"],
                "answer": template.right(*map(facts, of_question)),
                "ecg_id": of_question,
                "attribute": template.attributes,
            }


def _vocabulary(texts: Iterable[str]) -> list[str]:
    found = sorted({word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())})
    letters = [
        chr(letter) for letter in (*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1))
    ]
    reports = ["with", "in"]
    first = [SPECIAL.get(number, f"[unused{number}]") for number in range(max(SPECIAL) + 1)]
    pieces = [*"?.,-()/:%'", *letters, *(f"##{letter}" for letter in letters), *found, *reports]
    return list(dict.fromkeys([*first, *pieces]))
