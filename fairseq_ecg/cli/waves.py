"""Waves that pictures and pages of recordings show."""

from operator import attrgetter
from pathlib import Path

import numpy as np

from fairseq_ecg.data.recording import read_mat
from fairseq_ecg.ecg.delineation import CLASSES, NO_WAVE
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.delineation import ALL_LEADS, Mask
from fairseq_ecg.inference.picture import Wave, Waves
from fairseq_ecg.inference.prepared import variables_of
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.prepare.sources.waves import read_waves


def annotated_waves(recording: NamedRecording | ECG, ecg: ECG, _: ECG | NamedRecording) -> Waves:
    """Return the waves that the files of a recording say.

    Raises:
        DataError: they say none.
    """
    assert isinstance(recording, NamedRecording)
    for file in recording.source.files:
        if "segment_label" in variables_of(str(file)):
            return Waves.of_mask(_labelled(file, ecg), "as labelled")
    records = [file.with_suffix("") for file in recording.source.files[:1]]
    leads = [
        lead
        for record in records
        for lead in (*ecg.leads, ALL_LEADS)
        if Path(f"{record}.{lead.lower()}").is_file()
    ]
    if not leads:
        raise DataError(
            f"{recording.name}: no waves are annotated: it has no segment_label, and beside it are "
            "no files of annotations with leads as extensions. Leave out --annotated"
        )
    (record,), rate = records, ecg.sample_rate
    found = {lead: read_waves(record, lead.lower(), rate, rate) for lead in leads}
    of_leads = {
        lead: sorted(
            (Wave(kind, one.onset / rate, one.offset / rate) for kind in of for one in of[kind]),
            key=attrgetter("onset"),
        )
        for lead, of in found.items()
    }
    return Waves(of_leads, "as annotated")


def _labelled(file: Path, ecg: ECG) -> Mask:
    """Read the class of every sample from a ``.mat`` file of the same recording."""
    mat = read_mat(str(file), str(file), required=("segment_label",), optional=("segment_mask",))
    classes = mat["segment_label"].ravel()
    if classes.shape != (ecg.n_samples,) or classes.dtype.kind not in "iu":
        raise DataError(
            f"{file}: segment_label is {classes.dtype} {classes.shape}, not an integer for each of "
            f"{ecg.n_samples} samples. Prepare the file again"
        )
    unknown = mat.get("segment_mask", np.zeros(1)).ravel() != 0
    classes = np.where(unknown, CLASSES[NO_WAVE], classes).astype(np.uint8)
    return Mask((ALL_LEADS,), classes[None], ecg.sample_rate)
