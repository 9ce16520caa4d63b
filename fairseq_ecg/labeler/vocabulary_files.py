"""Vocabularies as they stand in files; ``README.md`` describes the format."""

from collections.abc import Iterable
from pathlib import Path

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import ecg_fm, entries
from fairseq_ecg.labeler.document import Fields, read_document, read_records
from fairseq_ecg.labeler.knowledge_graph import KnowledgeGraph
from fairseq_ecg.labeler.overlay import overlaid, overlay_file
from fairseq_ecg.labeler.rules import read_rules
from fairseq_ecg.labeler.terms import Pattern, Vocabulary

DEFAULT = "default"
"""Names the vocabulary that comes with the package."""

DEFAULT_FOLDER = Path(__file__).with_name("vocabulary")
ENTITIES = "entities.yaml"
"""The file by which the folder of a vocabulary is known."""


def read_vocabulary(
    source: Path | str, *, corrected: bool = True, overlays: Iterable[Path | str] = ()
) -> Vocabulary:
    """Read a vocabulary.

    Args:
        source: its folder, of this project's format or ECG-FM's; ``default``: the package's own.
        corrected: apply the overlay ``compatible/corrections.yaml`` to ECG-FM's.
        overlays: changes to it, one after another: files, or names of those that come with the
            package (``overlay.shipped_overlays``).

    Returns:
        The vocabulary, checked.

    Raises:
        DataError: naming file, line and fault.
    """
    folder = DEFAULT_FOLDER if str(source) == DEFAULT else Path(source)
    if (folder / ecg_fm.ENTITIES).is_file():
        vocabulary = ecg_fm.read_ecg_fm_vocabulary(folder)
        if corrected:
            vocabulary = overlaid(vocabulary, ecg_fm.CORRECTIONS)
    elif (folder / ENTITIES).is_file():
        vocabulary = _read(folder)
    else:
        raise DataError(
            f"{folder}: no vocabulary; its folder holds {ENTITIES}, or ECG-FM's {ecg_fm.ENTITIES}"
        )
    for overlay in overlays:
        vocabulary = overlaid(vocabulary, overlay_file(overlay))
    KnowledgeGraph(vocabulary)
    return vocabulary


def _read(folder: Path) -> Vocabulary:
    patterns: list[Pattern] = []
    about = _mapping(folder / "vocabulary.yaml", ("name",), ("labels",))
    rules = _mapping(folder / "inference.yaml", (), ("compounds", "attachments", "travelling"))
    lists = _mapping(
        folder / "listing.yaml",
        (),
        ("stated", "denied", "doubted", "dependent", "independent", "unfinished"),
    )
    entities = entries.ENTITIES.read(read_records(folder / ENTITIES, required=True), patterns)
    descriptors = entries.DESCRIPTORS.read(read_records(folder / "descriptors.yaml"), patterns)
    patterns += entries.read_patterns(read_records(folder / "patterns.yaml"))
    patterns += entries.read_connectives(read_records(folder / "connectives.yaml"))
    rewriting = folder / "rewriting.yaml"
    vocabulary = Vocabulary(
        name=about.text("name") if about else folder.name,
        entities=entities,
        descriptors=descriptors,
        patterns=tuple(patterns),
        compounds=tuple(entries.read_compounds(rules.records("compounds"))),
        attachments=tuple(entries.read_attachments(rules.records("attachments"))),
        travelling=tuple(entries.read_travelling(rules.records("travelling"))),
        listing=entries.read_listing(lists, entities),
        rewriting=read_rules(rewriting, tables=folder) if rewriting.is_file() else (),
        label_sets=entries.read_label_sets(about),
    )
    vocabulary.check()
    entries.check_label_sets(about, vocabulary)
    return vocabulary


def _mapping(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> Fields:
    document = read_document(path) if path.is_file() else None
    if document is None:
        return Fields()
    if not isinstance(document, Fields):
        raise DataError(f"{path}: must be a mapping")
    document.expect(required, optional)
    return document
