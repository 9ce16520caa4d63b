"""Files that were reported to be read wrong or not at all, and hostile ones.

Of the former the right value is known: a beat train in mV times a factor for each lead. Each of the
latter ends soon, without much memory, as something readable or as DataError.
"""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from tests.trials.files import SAID
from tests.trials.guarded import READ_ECG, Call, Outcome, outcomes

TWELVE = dict(zip(LEADS, (1, 1.2, 0.2, -1.1, 0.4, 0.7, -0.5, 0.3, 0.8, 1.1, 1, 0.8), strict=True))
COARSE = 2.6e-3
"""Tolerance in mV where a count is 5 uV, and of tables with three digits."""


@dataclass(frozen=True)
class Right:
    """What is right of a file.

    Args:
        factors: of the beat train, by lead; other leads may be there unless ``no_others``.
        rate: in Hz.
        tolerance: in mV.
        options: of ``read_ecg``.
        refused: what an error says, where there is to be one; with ``factors`` either is right.
        left_out: names that ``metadata["left_out"]`` has.
        n_leads: how many there are.
        no_others: whether no other of the twelve leads may be there.
    """

    factors: dict[str, float] = field(default_factory=dict)
    rate: float = 250
    tolerance: float = 6e-4
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    left_out: tuple[str, ...] = ()
    n_leads: int | None = None
    no_others: bool = True


I = {"I": 1}  # noqa: E741
I_V5 = {"I": 1, "V5": 0.5}
I_II = {"I": 1, "II": 1}

REPORTED = {
    "01_eeg_names_as_leads/biosemi_like.edf": Right({"ECG": 1}),
    "01_eeg_names_as_leads/psg_c3_c4.edf": Right({"ECG": 1}),
    "02_dicom_padding_in_range/d_ok.dcm": Right(TWELVE, tolerance=COARSE),
    "02_dicom_padding_in_range/d_pad0.dcm": Right(TWELVE, tolerance=COARSE),
    "03_edf_without_calibration/uncal.edf": Right(refused="gain"),
    "03_edf_without_calibration/uncal.edf gain": Right(
        I, tolerance=0.026, options={"gain": 20}, no_others=False
    ),
    "04_wfdb_micro_sign/micro_latin1.hea": Right(I),
    "04_wfdb_micro_sign/micro_utf8.hea": Right(I),
    "05_edf_nul_padding/nul_label.edf": Right(I, no_others=False),
    "06_leads_in_several_groups/d_two_groups.dcm": Right(TWELVE, tolerance=COARSE),
    "06_leads_in_several_groups/m_two_rhythms.xml": Right(
        TWELVE,
        tolerance=2 * COARSE,  # III = II - I of two that were rounded
        n_leads=15,
    ),
    "07_csv_columns_dropped/late_comma.csv": Right({"ECG": 1, "I": 1}),
    "07_csv_columns_dropped/thousand_ecg.csv": Right({"ECG1": 2, "II": 0.5}, tolerance=1.2e-3),
    "08_generic_ecg_beside_others/abp.hea": Right({"MCL1": 1}, tolerance=COARSE, left_out=("ABP",)),
    "08_generic_ecg_beside_others/mesa.edf": Right({"EKG": 1}, left_out=("SpO2",)),
    "09_unit_spellings/mvolt.edf": Right(I_II),
    "09_unit_spellings/utf8.edf": Right(I_II),
    "10_times/atm_date.csv": Right(I_V5),
    "10_times/ddmm.csv": Right(I),
    "10_times/iso_T_Z.csv": Right(I),
    "10_times/iso_mixed.csv": Right(I),
    "11_text_with_header_block/apple_en.csv": Right(I, rate=512, refused="Apple|Watch"),
    "11_text_with_header_block/apple_short.csv": Right(I, rate=512, refused="Apple|Watch"),
    "11_text_with_header_block/biopac.txt": Right({"ECG": 1}, refused="AcqKnowledge|BIOPAC"),
    "11_text_with_header_block/braveheart.txt": Right(
        TWELVE, tolerance=1.2e-3, refused="BRAVEHEART"
    ),
    "11_text_with_header_block/meta_header.csv": Right(I, no_others=False),
    "12_wfdb_text_output/atm_sampleint.csv": Right(I_V5),
    "12_wfdb_text_output/rdsamp_pv.txt": Right(I_V5),
    "13_wfdb_record_lines/00001_medians.hea": Right(I, tolerance=COARSE),
    "13_wfdb_record_lines/E07835.hea": Right(I_II),
    "13_wfdb_record_lines/fs_e.hea": Right(I_II, refused=r"2\.5e2"),
    "13_wfdb_record_lines/sa.hea": Right(I, tolerance=COARSE),
    "13_wfdb_record_lines/sb.hea": Right(I, tolerance=COARSE),
    "13_wfdb_record_lines/seg16.hea": Right(refused=r"(?s)3.*2"),
    "14_dicom_without_preamble/d_nopreamble.dcm": Right(TWELVE, tolerance=COARSE),
    "15_structs_and_arrays_per_lead/cpsc2018.mat": Right(TWELVE, options=SAID),
    "15_structs_and_arrays_per_lead/struct_fs.mat": Right(TWELVE),
    "15_structs_and_arrays_per_lead/table.mat": Right(TWELVE, options={"units": "mV"}),
    "15_structs_and_arrays_per_lead/per_lead.h5": Right(
        TWELVE,
        options={"sample_rate": 250, "units": "uV"},  # ml4h's are in uV, rounded
    ),
    "16_decimal_comma_one_column/one_col_comma.csv": Right(I, options={"sample_rate": 250}),
    "16_decimal_comma_one_column/one_col_comma_nohead.csv": Right(
        I, options=SAID | {"leads": ["I"]}
    ),
    "17_edf_length/ann0.edf": Right(I, no_others=False),
    "17_edf_length/ann0.edf stretches": Right(I, options={"at_once": 100}, no_others=False),
    "17_edf_length/longer.edf": Right(I, no_others=False),
    "18_zip_taken_for_npz/book.xlsx": Right(refused="workbook"),
    "19_formats_not_read/aecg.xml": Right(TWELVE, tolerance=1.26e-3),  # half of 2.5 uV
    "19_formats_not_read/cardiosoft.xml": Right(I, refused="MUSE", no_others=False),
    "19_formats_not_read/holter.ecg": Right(I, refused="no known format", no_others=False),
}
"""By folder and file, and a word where a file is read in several ways."""

HOSTILE = {
    "batch_abort/n2.npy": Right(options=SAID, refused="shape|damaged"),
    "batch_abort/qrs.xml": Right(),
    "batch_abort/qrs2.xml": Right(),
    "batch_abort/se.xml": Right(refused="."),
    "batch_abort/w12/r.hea": Right(refused="."),
    "batch_abort/w30/r.hea": Right(refused="."),
    "batch_abort/wb/r.hea": Right(refused="."),
    "batch_abort/wo30/r.hea": Right(refused="."),
    "batch_abort/wfs0.0000001/r.hea": Right(refused="Hz"),
    "hangs/c8.csv": Right(options=SAID),
    "hangs/cells.mat": Right(options=SAID),
    "hangs/d4.dcm": Right(refused="Hz"),
    "hangs/e11.edf": Right(refused="Hz"),
    "hangs/e12.edf": Right(refused="Hz"),
    "hangs/n5b.npy": Right(options=SAID, refused="."),
    "hangs/wfifo/r.hea": Right(refused="named pipe"),
    "hangs/wfs0.001/r.hea": Right(refused="Hz"),
    "rate_notation/wfs1/r.hea": Right(refused="Hz"),
    "rate_notation/wfs1e9/r.hea": Right(refused="Hz|1e9"),
    "rate_notation/wfs1e-300/r.hea": Right(refused="Hz|1e-300"),
    "wfdb_checksum/w16/rec.hea": Right(),
}
"""Likewise; where nothing is to be refused, any outcome but a crash is right."""

SECONDS = 10
"""That a file may take, on a machine that does other things."""

OTHERS = {
    "header_pickle/x_header.pkl": "fairseq_ecg.formats.stores:read_header",
    "header_pickle/nested_header.pkl": "fairseq_ecg.formats.stores:read_header",
    "header_pickle/memo_header.pkl": "fairseq_ecg.formats.stores:read_header",
    "overlay_laughs/d.yaml": "tests.trials.guarded:read_overlay",
}
"""Hostile files that are no recordings, and what reads them."""


@pytest.fixture(scope="module")
def outcome_of(shared, tmp_path_factory) -> dict[str, tuple[Outcome, Path]]:
    """Outcome of each file that is there, and where the signal is kept; by one process."""
    folder = tmp_path_factory.mktemp("files")
    names, calls = [], []
    for kind, table in (("reports", REPORTED), ("hostile", HOSTILE), ("hostile", OTHERS)):
        if not (folder / kind).exists() and (shared / kind).is_dir():
            shutil.copytree(shared / kind, folder / kind, copy_function=shutil.copyfile)
            for place, _, _ in os.walk(folder / kind):
                os.chmod(place, 0o700)
            if kind == "hostile":
                os.mkfifo(folder / "hostile/hangs/wfifo/r.dat")
        for name, right in table.items():
            path = folder / kind / name.partition(" ")[0]
            if not path.exists():
                continue
            options, function = {}, right
            if isinstance(right, Right):
                options, function = right.options, READ_ECG
            names.append(name)
            calls.append(Call(str(path), options, function, str(folder / f"{len(calls)}.npy")))
    found = zip(names, outcomes(calls, SECONDS), strict=True)
    return {name: (outcome, Path(call.keep)) for name, (call, outcome) in found}


def found_in(outcome_of: dict, name: str) -> tuple[Outcome, Path]:
    if name not in outcome_of:
        pytest.skip(f"needs {name}, which is not part of the repository")
    return outcome_of[name]


@pytest.fixture(scope="module")
def truth(shared) -> np.ndarray:
    return np.load(shared / "reports" / "truth.npy")


@pytest.mark.parametrize("name", REPORTED)
def test_reported_files_have_their_right_value_or_reason(name, outcome_of, truth):
    right = REPORTED[name]
    outcome, kept = found_in(outcome_of, name)
    assert outcome.is_right, outcome
    if right.refused and (outcome.kind == "DataError" or not right.factors):
        assert outcome.kind == "DataError", outcome
        assert re.search(right.refused, outcome.message), outcome.message
        return
    assert outcome.kind == "returned", outcome.message
    leads = outcome.facts["leads"]
    assert set(leads) >= set(right.factors)
    if right.no_others:
        assert set(leads) & set(LEADS) == set(right.factors) & set(LEADS)
    if right.n_leads:
        assert len(leads) == right.n_leads
    for left_out in right.left_out:
        assert left_out in outcome.facts["left_out"].split(", ")
    assert outcome.facts["sample_rate"] == pytest.approx(right.rate, rel=1e-3)
    signal = np.load(kept)
    assert signal.shape[1] == len(truth)
    for lead, factor in right.factors.items():
        difference = np.abs(signal[leads.index(lead)] - factor * truth)
        assert difference.max() <= right.tolerance, (lead, difference.max())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_recordings_end_soon_and_are_refused_by_name(name, outcome_of):
    outcome, _ = found_in(outcome_of, name)
    assert outcome.is_right, outcome
    if HOSTILE[name].refused:
        assert outcome.kind == "DataError", outcome
        assert re.search(HOSTILE[name].refused, outcome.message), outcome.message
        assert f"/{Path(name).stem}." in outcome.message  # of WFDB the header, or its signal file


@pytest.mark.parametrize("name", OTHERS)
def test_other_hostile_files_end_soon_and_are_refused(name, outcome_of):
    outcome, _ = found_in(outcome_of, name)
    assert outcome.kind == "DataError", outcome


def test_a_signal_that_its_checksum_contradicts_is_doubted(outcome_of):
    outcome, _ = found_in(outcome_of, "wfdb_checksum/w16/rec.hea")
    assert outcome.kind == "returned", outcome
    assert any("checksum" in doubt for doubt in outcome.facts["doubts"])
