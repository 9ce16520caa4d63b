from pathlib import Path

import pytest

from fairseq_ecg.labeler import Labeler

SMALL = {
    "vocabulary.yaml": """
name: small
labels: {two: [Infarction, Sinus rhythm]}
""",
    "entities.yaml": """
- {name: Rhythm, requires_descriptors: true}
- name: Sinus rhythm
  parents: [Rhythm]
  codes: {snomed: 426783006, scp: SR}
  patterns: [sinus rhythm]
- {name: Tachycardia, parents: [Rhythm], patterns: [tachycardia, <fast>]}
- {name: Atrial fibrillation, parents: [Rhythm], patterns: [atrial fibrillation]}
- {name: Ischemia, patterns: [ischemia]}
- {name: Injury, parents: [Ischemia], patterns: [injury]}
- {name: Infarction, parents: [Injury], patterns: [infarct, {text: mi?, descriptors: [Possible]}]}
- {name: Anterior infarction, parents: [Infarction]}
- {name: Needs correlation, certain: true}
- {name: Both}
- {name: ECG, requires_descriptors: true, patterns: [ecg]}
""",
    "descriptors.yaml": """
- name: Possible
  probability: 0.5
  before: [possible, evidence of]
  after: [", possible"]
  after_all: [cannot be excluded]
- {name: Probable, probability: 0.7, before: [probable]}
- name: Rule out
  probability: 0.5
  creates: [Needs correlation]
  before: [rule out, cannot rule out]
- name: Absence
  negates: true
  before: [no, without]
  after: [no longer present]
  after_all: [are gone]
- {name: Acute, before: [acute]}
- {name: Old, before: [old], after: [", old"]}
- {name: Anterior, before: [anterior]}
- {name: Lateral}
""",
    "patterns.yaml": """
- {text: ischemia and injury, entities: [Ischemia, {entity: Injury, descriptors: [Acute]}]}
- {text: no change, entities: []}
- {text: anterolateral, descriptors: [Anterior, Lateral], side: before}
""",
    "connectives.yaml": """
- {text: and, coordinates: true}
- {text: or, coordinates: true, left: [Probable], right: [Probable]}
- {text: with}
- {text: but}
- {text: suggests, right: [Probable]}
""",
    "inference.yaml": """
compounds:
  - {entity: Both, including: [Infarction, Atrial fibrillation], excluding: [Sinus rhythm]}
attachments:
  - {entity: Infarction, descriptor: Anterior, result: Anterior infarction}
travelling:
  - {entity: Ischemia, descriptors: [Old]}
""",
    "rewriting.yaml": """
- cut: [compared to]
- lower: true
- regex: {"\\\\s+": " "}
- replace: {af: atrial fibrillation}
- measurement: "ventricular rate(?: of)? "
  ranges: [{from: 101, text: <fast>}]
""",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small vocabulary, for a test to change."""
    return write_vocabulary(tmp_path / "vocabulary")


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Labeler:
    """A labeler with the small vocabulary."""
    return Labeler.from_vocabulary(write_vocabulary(tmp_path_factory.mktemp("small")))


def write_vocabulary(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in SMALL.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def ecg_fm_folder(shared) -> Path:
    """ECG-FM's vocabulary, where it is at hand."""
    path = shared / "labeler" / "vocabulary"
    if not path.is_dir():
        pytest.skip(f"needs ECG-FM's vocabulary in {path}, which is not part of the repository")
    return path


@pytest.fixture(scope="session")
def compatible(ecg_fm_folder) -> Labeler:
    return Labeler.from_vocabulary(ecg_fm_folder, mode="compatible")


@pytest.fixture(scope="session")
def mended(ecg_fm_folder) -> Labeler:
    return Labeler.from_vocabulary(ecg_fm_folder, mode="mended")


@pytest.fixture(scope="session")
def corrected(ecg_fm_folder) -> Labeler:
    return Labeler.from_vocabulary(ecg_fm_folder)
