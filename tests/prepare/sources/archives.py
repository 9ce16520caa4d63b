"""Small archives in the layout in which each source is published, odd cases included.

Every function fills a folder and returns it. Signals are simulated; an integer seeds each. What
tests expect of an archive stands in constants beside the function that makes it.
"""

import base64
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
import wfdb

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def beats(sample_rate: float, seconds: float, seed: int) -> np.ndarray:
    """Simulate 12 leads, ``(12, n_samples)`` in mV, of which limb leads agree with one another."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    rhythm = (time * rng.uniform(1.0, 1.6) + rng.uniform()) % 1
    waves = [(0.18, 0.02, 0.1), (0.36, 0.008, -0.1), (0.38, 0.01, 1.0), (0.62, 0.05, 0.25)]
    bumps = [height * np.exp(-(((rhythm - at) / width) ** 2)) for at, width, height in waves]
    mixed = rng.uniform(0.5, 1.2, (8, len(bumps))) @ np.array(bumps)
    mixed += 0.01 * rng.standard_normal(mixed.shape)
    i, ii = mixed[:2]
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *mixed[2:]])


# WFDB


def write_wfdb(
    path: Path,
    signal: np.ndarray,
    *,
    sample_rate: float,
    leads: tuple[str, ...] = LEADS,
    gain: str = "1000.0(0)/mV",
    record_line_end: str = "",
    comments: Sequence[str] = (),
    mat: bool = False,
) -> np.ndarray:
    """Write a record with the header's text as archives have it.

    Args:
        path: of the record, without extension.
        signal: ``(n_leads, n_samples)`` in the unit of ``gain``; NaN becomes WFDB's invalid sample.
        sample_rate: in Hz.
        leads: name of each row.
        gain: of every lead, ``COUNTS(BASELINE)/UNIT``.
        record_line_end: what follows the number of samples in the first line.
        comments: lines at the end, ``#`` included.
        mat: whether the signals are in a ``.mat`` of MATLAB 4 (``val``) in place of a ``.dat``.

    Returns:
        The digital values, ``(n_leads, n_samples)`` int16.
    """
    counts_per_unit, _, rest = gain.partition("(")
    baseline = int(rest.partition(")")[0]) if rest else 0
    counts_per_unit = float(counts_per_unit.partition("/")[0])
    counts = np.round(np.nan_to_num(signal, nan=0) * counts_per_unit) + baseline
    counts = np.where(np.isnan(signal), -(2**15), counts).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.name + (".mat" if mat else ".dat")
    if mat:
        # Version 4: 24 bytes, then the samples column by column, which is sample by sample.
        scipy.io.savemat(path.with_name(file), {"val": counts}, format="4")
    else:
        path.with_name(file).write_bytes(counts.T.tobytes())
    end = f" {record_line_end}" if record_line_end else ""
    lines = [f"{path.name} {len(signal)} {sample_rate:g} {signal.shape[1]}{end}"]
    kind = "16x1+24" if mat else "16"
    for lead, row in zip(leads, counts, strict=True):
        checksum = (int(row.astype(np.int64).sum()) + 2**15) % 2**16 - 2**15
        lines.append(f"{file} {kind} {gain} 16 0 {row[0]} {checksum} 0 {lead}")
    path.with_name(path.name + ".hea").write_text("\n".join([*lines, *comments]) + "\n")
    return counts


# MIMIC-IV-ECG 1.0 and MIMIC-IV

MIMIC_FOLDER = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
MIMIC_RECORDS = [
    # subject_id, study_id, ecg_time, seconds, statements of the report
    (10000032, 40689238, "2180-07-23 08:44:00", 10, ["Sinus rhythm", "Borderline ECG", None]),
    (10000032, 44458630, "2180-07-23 09:54:00", 10, ["Sinus rhythm;", " ; Normal ECG ", None]),
    (10000117, 49036311, "2181-03-04 17:14:00", 10, [None, None, "Atrial fibrillation"]),
    (10020187, 45090959, "2170-11-29 06:00:00", 3, [None, None, None]),
]
MIMIC_REPORTS = [
    "Sinus rhythm; Borderline ECG",
    "Sinus rhythm; Normal ECG",
    "Atrial fibrillation",
    "",
]


def make_mimic(folder: Path, subjects: tuple[int, ...] | None = None) -> Path:
    """Make MIMIC-IV-ECG 1.0: four records of three subjects, the last one shorter than a segment.

    The second record has lead V3 flat at 0.1 mV and an invalid sample in V6.

    Args:
        folder: its ``raw_root``, which holds the folder that PhysioNet's archive unpacks to.
        subjects: only these.
    """
    root = folder / MIMIC_FOLDER
    records, measurements = [], []
    for subject, study, time, seconds, statements in MIMIC_RECORDS:
        if subjects is not None and subject not in subjects:
            continue
        path = f"files/p{subject // 10000}/p{subject}/s{study}/{study}"
        signal = beats(500, seconds, study)[[LEADS.index(lead) for lead in MIMIC_LEADS]]
        if study == 44458630:
            signal[MIMIC_LEADS.index("V3")] = 0.1
            signal[MIMIC_LEADS.index("V6"), 7] = np.nan
        day, hour = time.split()
        year, month, day = day.split("-")
        write_wfdb(
            root / path,
            signal,
            sample_rate=500,
            leads=MIMIC_LEADS,
            gain="200.0(0)/mV",
            record_line_end=f"{hour} {day}/{month}/{year}",
            comments=(f"# <subject_id>: {subject}",),
        )
        records.append((subject, study, study, time, path))
        reports = statements + [None] * (18 - len(statements))
        numbers = (659, 40, 128, 170, 258, 518, 81, 77, 65)
        filters = ("0.005-150 Hz", "60 Hz notch Baseline filter")
        measurements.append((subject, study, 6848296, time, *reports, *filters, *numbers))
    columns = ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    pd.DataFrame(records, columns=columns).to_csv(root / "record_list.csv", index=False)
    columns = ["subject_id", "study_id", "cart_id", "ecg_time"]
    columns += [f"report_{i}" for i in range(18)] + ["bandwidth", "filtering", "rr_interval"]
    columns += ["p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"]
    columns += ["p_axis", "qrs_axis", "t_axis"]
    table = pd.DataFrame(measurements, columns=columns)
    table.to_csv(root / "machine_measurements.csv", index=False)
    return folder


def make_mimic_iv(folder: Path) -> Path:
    """Make the tables of MIMIC-IV that MIMIC-IV-ECG is merged with.

    Subject 10020187 of the ECGs is not among the patients; one troponin belongs to a subject
    without ECG, one laboratory event is no cardiac marker.
    """
    hosp = folder / "hosp"
    hosp.mkdir(parents=True, exist_ok=True)
    patients = (
        "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n"
        "10000032,F,52,2180,2014 - 2016,2180-09-09\n"
        "10000117,M,48,2174,2008 - 2010,\n"
        "10000248,M,34,2192,2014 - 2016,\n"
    )
    events = (
        "labevent_id,subject_id,hadm_id,specimen_id,itemid,order_provider_id,charttime,storetime,"
        "value,valuenum,valueuom,ref_range_lower,ref_range_upper,flag,priority,comments\n"
        "1,10000032,,2704548,50931,P69FQC,2180-03-23 11:51:00,2180-03-23 15:56:00,___,95,mg/dL,"
        "70,100,,ROUTINE,IF FASTING\n"
        "2,10000032,22595853,2704549,51003,P69FQC,2180-07-23 11:51:00,2180-07-23 15:56:00,0.02,"
        "0.02,ng/mL,0,0.01,abnormal,STAT,\n"
        "3,10000248,,2704550,50911,,2192-11-29 02:22:00,2192-11-29 03:56:00,3,3,ng/mL,0,10,,STAT,\n"
    )
    for name, text in (("patients", patients), ("labevents", events)):
        with gzip.open(hosp / f"{name}.csv.gz", "wt") as file:
            file.write(text)
    return folder


# PhysioNet/CinC 2021 1.0.3

CINC_COMMENTS = {
    # Of each record: the comments of its header, and the age, diagnosis and sex they say.
    "A0001": (
        "# Age: 74|# Sex: Male|# Dx: 59118001|# Rx: Unknown|# Hx: Unknown|# Sx: Unknown",
        (74.0, "59118001", 0),
    ),
    "A0002": (
        "#Age: 49|#Sex: Female|#Dx: 426783006|#Rx: Unknown|#Hx: Unknown|#Sx: Unknown",
        (49.0, "426783006", 1),
    ),
    "Q0001": (
        "#Age:47|#Sex:Male|#Dx:164889003, 59118001|#Rx:Unknown|#Hx:Unknown|#Sx:Unknown",
        (47.0, "164889003,59118001", 0),
    ),
    "E00001": (
        "# Age: NaN|# Sex: Female|# Dx: 426177001,713427006,284470004|# Rx: Unknown|# Hx: Unknown"
        "|# Sx: Unknown",
        (None, "426177001,713427006,284470004", 1),
    ),
    "HR00001": (
        "# Age: 56|# Sex: Female|# Dx: 426783006,251146004|# Rx: Unknown|# Hx: Unknown"
        "|# Sx: Unknown",
        (56.0, "426783006,251146004", 1),
    ),
    "JS00001": (
        "#Age: 85|#Sex: Male|#Dx: 164889003,59118001,164934002|#Rx: Unknown|#Hx: Unknown"
        "|#Sx: Unknown",
        (85.0, "164889003,59118001,164934002", 0),
    ),
    "JS10647": (
        "# Age: Unknown|# Sex: Unknown|# Rx: Unknown|# Hx: Unknown|# Sx: Unknown|# Dx: 426177001",
        (None, "426177001", None),
    ),
    "S0001": (
        "# Age: 81|# Sex: Female|# Dx: 164865005|# Rx: Captopril, Atenolol|# Hx: Diabetes: mellitus"
        "|# Sx: Chest pain",
        (81.0, "164865005", 1),
    ),
    "S0002": ("", (None, None, None)),
    "I0001": (
        "#Age: 65|#Sex: F|#Dx: 10370003,713422000,426783006|#Rx: Unknown|#Hx: Unknown|#Sx: Unknown",
        (65.0, "10370003,713422000,426783006", 1),
    ),
}
CINC_RECORDS = {
    # Of each sub-set: folder, records, rate in Hz, seconds; as published, but for the durations.
    "cpsc_2018": ("g1", ("A0001", "A0002"), 500, 6),
    "cpsc_2018_extra": ("g1", ("Q0001",), 500, 7),
    "georgia": ("g1", ("E00001",), 500, 10),
    "ptb-xl": ("g1", ("HR00001",), 500, 10),
    "chapman_shaoxing": ("g1", ("JS00001",), 500, 10),
    "ningbo": ("g1", ("JS10647",), 500, 10),
    "ptb": ("g1", ("S0001", "S0002"), 1000, 8),
    "st_petersburg_incart": ("g1", ("I0001",), 257, 20),
}
CINC_WEIGHTS = """,164889003,713427006|59118001,426177001,426783006,10370003,164865005
164889003,1.0,0.5,0.3,0.4,0.3,0.2
713427006|59118001,0.5,1.0,0.4,0.5,0.4,0.3
426177001,0.3,0.4,1.0,0.5,0.4,0.3
426783006,0.4,0.5,0.5,1.0,0.4,0.3
10370003,0.3,0.4,0.4,0.4,1.0,0.3
164865005,0.2,0.3,0.3,0.3,0.3,1.0
"""
CINC_ABBREVIATIONS = """,AF,CRBBB|RBBB,SB,NSR,PR,MI
AF,1.0,0.5,0.3,0.4,0.3,0.2
CRBBB|RBBB,0.5,1.0,0.4,0.5,0.4,0.3
SB,0.3,0.4,1.0,0.5,0.4,0.3
NSR,0.4,0.5,0.5,1.0,0.4,0.3
PR,0.3,0.4,0.4,0.4,1.0,0.3
MI,0.2,0.3,0.3,0.3,0.3,1.0
"""


def make_physionet2021(
    folder: Path,
    subsets: tuple[str, ...] = tuple(CINC_RECORDS),
    *,
    training: bool = True,
    groups: bool = True,
) -> Path:
    """Make the training data of PhysioNet/CinC 2021 1.0.3, ten records in eight sub-sets.

    `ptb` is at 1000 Hz with 15 leads in lower case; the second of its records has no comment, lacks
    V5, and V6 is flat at 0.1 mV. `st_petersburg_incart` is at 257 Hz.

    Args:
        folder: its ``raw_root``.
        subsets: only these.
        training: whether the sub-sets lie in a folder ``training``, as in the archive.
        groups: whether their records lie in folders ``g1``, as in the archive.
    """
    root = folder / "training" if training else folder
    for subset in subsets:
        group, names, sample_rate, seconds = CINC_RECORDS[subset]
        parent = root / subset / group if groups else root / subset
        for name in names:
            signal = beats(sample_rate, seconds, sum(name.encode()))
            leads: tuple[str, ...] = LEADS
            if subset == "ptb":
                signal = np.concatenate([signal, signal[6:9] / 2])
                leads = (*(lead.lower() for lead in LEADS), "vx", "vy", "vz")
            if name == "S0002":
                signal[11] = 0.1
                signal, leads = np.delete(signal, 10, axis=0), (*leads[:10], *leads[11:])
            comments = CINC_COMMENTS[name][0]
            write_wfdb(
                parent / name,
                signal,
                sample_rate=sample_rate,
                leads=leads,
                gain="306/mV" if subset == "st_petersburg_incart" else "1000.0(0)/mV",
                record_line_end="05-Feb-2020 11:39:16" if name == "A0002" else "",
                comments=comments.split("|") if comments else (),
                mat=True,
            )
        (parent / "RECORDS").write_text("".join(f"{name}\n" for name in names))
    return folder


def make_cinc_weights(folder: Path) -> tuple[Path, Path]:
    """Make ``weights.csv`` and ``weights_abbreviations.csv`` as of evaluation-2021; six classes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, abbreviations = folder / "weights.csv", folder / "weights_abbreviations.csv"
    weights.write_text(CINC_WEIGHTS)
    abbreviations.write_text(CINC_ABBREVIATIONS)
    return weights, abbreviations


# CODE-15%

CODE_15_EXAMS = """exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,\
timey,normal_ecg,trace_file
1169160,38,True,40.160484,False,False,False,False,False,False,523632,False,2.098628,True,\
exams_part0.hdf5
2873686,73,True,67.05944,False,False,False,False,False,False,1724173,False,6.657529,False,\
exams_part0.hdf5
168405,67,True,79.62174,False,True,False,False,False,True,51421,False,4.282188,False,\
exams_part1.hdf5
271011,41,True,69.75026,False,False,False,True,False,False,1737282,True,4.038353,True,\
exams_part1.hdf5
"""
CODE_15_PARTS = {0: (2873686, 1169160), 1: (168405, 271011)}
CODE_15_PADDING = {2873686: (581, 581), 1169160: (0, 0), 168405: (0, 0), 271011: (1500, 1500)}


def make_code_15(folder: Path, parts: tuple[int, ...] = (0, 1)) -> Path:
    """Make CODE-15%: ``exams.csv`` and parts of the tracings, two exams in each.

    Tracings are float32 at 400 Hz, 4096 samples, padded with zeros on both sides
    (``CODE_15_PADDING``), each part in an order of its own, with a row of zeros without exam at its
    end. Exam 271011 is shorter than a segment.

    Args:
        folder: its ``raw_root``.
        parts: which ``exams_part*.hdf5`` there are; ``exams.csv`` lists all exams.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exams.csv").write_text(CODE_15_EXAMS)
    for part in parts:
        exams = CODE_15_PARTS[part]
        tracings = np.zeros((len(exams) + 1, 4096, 12), dtype=np.float32)
        for row, exam in enumerate(exams):
            before, after = CODE_15_PADDING[exam]
            tracings[row, before : 4096 - after] = beats(400, 4096 / 400, exam).T[
                before : 4096 - after
            ]
        with h5py.File(folder / f"exams_part{part}.hdf5", "w") as file:
            file["exam_id"] = np.array([*exams, 0], dtype=np.int64)
            file["tracings"] = tracings
    return folder


# PTB-XL 1.0.3

PTB_XL_LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
PTB_XL_COLUMNS = (
    "ecg_id,patient_id,age,sex,height,weight,nurse,site,device,recording_date,report,scp_codes,"
    "heart_axis,infarction_stadium1,infarction_stadium2,validated_by,second_opinion,"
    "initial_autogenerated_report,validated_by_human,baseline_drift,static_noise,burst_noise,"
    "electrodes_problems,extra_beats,pacemaker,strat_fold,filename_lr,filename_hr"
)
PTB_XL_ROWS = (
    "1,15709.0,56.0,1,,63.0,2.0,0.0,CS-12   E,1984-11-09 09:17:34,sinusrhythmus periphere "
    "niederspannung,\"{'NORM': 100.0, 'LVOLT': 0.0, 'SR': 0.0}\",,,,,False,False,True,,"
    '" , I-V1,  ",,,,,3',
    "2,13243.0,19.0,0,,70.0,2.0,0.0,CS-12   E,1984-11-14 12:55:37,sinusbradykardie sonst normales "
    "ekg,\"{'NORM': 80.0, 'SBRAD': 0.0}\",,,,,False,False,True,,,,,,,2",
    '3,20372.0,300.0,1,,,2.0,0.0,CS-12   E,1984-11-15 12:49:10,"sinusrhythmus, lagetyp normal",'
    "\"{'IMI': 35.0, 'ASMI': 100.0, 'ABQRS': 0.0, 'SR': 0.0}\",MID,Stadium II,,,False,False,True,"
    ",,,,,,9",
    "10900,20372.0,300.0,1,,,2.0,0.0,AT-6 6,1991-02-11 08:00:00,vorhofflimmern,"
    "\"{'AFIB': 0.0, 'CLBBB': 100.0, 'NDT': 100.0}\",,,,,False,False,True,,,,,1ES,"
    '"ja, pacemaker",9',
)
PTB_XL_STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass,\
Statement Category,SCP-ECG Statement Description,AHA code,aECG REFID,CDISC Code,DICOM Code
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC,other ST-T descriptive statements,\
non-diagnostic T abnormalities,,,,
NORM,normal ECG,1.0,,,NORM,NORM,Normal/abnormal,normal ECG,1.0,,,F-000B7
IMI,inferior myocardial infarction,1.0,,,MI,IMI,Myocardial Infarction,\
inferior myocardial infarction,161.0,,,
ASMI,anteroseptal myocardial infarction,1.0,,,MI,AMI,Myocardial Infarction,\
anteroseptal myocardial infarction,165.0,,,
CLBBB,complete left bundle branch block,1.0,,,CD,CLBBB,Intraventricular and intra-atrial \
Conduction disturbances,complete left bundle branch block,104.0,MDC_ECG_BEAT_BLK_COMP_LBB,,D3-33146
LVH,left ventricular hypertrophy,1.0,,,HYP,LVH,Ventricular Hypertrophy,\
left ventricular hypertrophy,142.0,,,
LVOLT,low QRS voltages in the frontal and horizontal leads,,1.0,,,,other morphological,\
low QRS voltages in the frontal and horizontal leads,125.0,,,
ABQRS,abnormal QRS,,1.0,,,,other morphological,abnormal QRS,,,,
SR,sinus rhythm,,,1.0,,,Statements related to ectopic rhythm abnormalities,sinus rhythm,20.0,,,
AFIB,atrial fibrillation,,,1.0,,,Statements related to ectopic rhythm abnormalities,\
atrial fibrillation,50.0,,,
SBRAD,sinus bradycardia,,,1.0,,,Statements related to ectopic rhythm abnormalities,\
sinus bradycardia,22.0,,,
"""


def make_ptb_xl(folder: Path, listed: Sequence[str] = PTB_XL_ROWS) -> Path:
    """Make PTB-XL 1.0.3 at 100 and at 500 Hz.

    Args:
        folder: its ``raw_root``.
        listed: rows of its table but for the files; four records of three patients.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in listed:
        number = int(row.partition(",")[0])
        group = f"{number // 1000 * 1000:05d}"
        low = f"records100/{group}/{number:05d}_lr"
        high = f"records500/{group}/{number:05d}_hr"
        for path, sample_rate in ((low, 100), (high, 500)):
            signal = beats(sample_rate, 10, number)
            write_wfdb(folder / path, signal, sample_rate=sample_rate, leads=PTB_XL_LEADS)
        rows.append(f"{row},{low},{high}")
    (folder / "ptbxl_database.csv").write_text("\n".join([PTB_XL_COLUMNS, *rows]) + "\n")
    (folder / "scp_statements.csv").write_text(PTB_XL_STATEMENTS)
    return folder


# LUDB 1.0.1

LUDB_DIAGNOSES = {
    "1": ("Rhythm: Sinus bradycardia.", "Electric axis of the heart: normal."),
    "2": ("Rhythm: Sinus rhythm.", "Left ventricular hypertrophy.", "P-synchrony."),
    "10": ("Rhythm: Sinus rhythm.",),
}
LUDB_BEAT = ((80, "p", 60, 100), (150, "N", 130, 180), (260, "t", 220, 300))
"""Peak, symbol, onset and offset of the waves of a beat, in samples."""


def write_ludb_record(
    path: Path,
    *,
    diagnoses: Sequence[str] = LUDB_DIAGNOSES["1"],
    annotations: Mapping[str, Sequence[tuple[int, str]]] | None = None,
    sample_rate: float = 500,
    seconds: float = 4,
    gap: int | None = None,
) -> np.ndarray:
    """Write a record of LUDB: header, signals, and a file of annotations for each lead.

    Args:
        path: of the record, without extension.
        diagnoses: of the header.
        annotations: samples and symbols of each lead; by default a beat every 400 samples, lead
            ``n`` of 12 later by ``n``.
        sample_rate: in Hz.
        seconds: of the record.
        gap: sample without a value in the last lead.

    Returns:
        The signals as they are stored, ``(12, n_samples)`` in mV.
    """
    names = tuple(lead.lower() for lead in LEADS)
    signal = beats(sample_rate, seconds, sum(path.name.encode()))
    if gap is not None:
        signal[-1, gap] = np.nan
    comments = ["#<age>: 51", "#<sex>: F", "#<diagnoses>:", *(f"#{text}" for text in diagnoses)]
    counts = write_wfdb(path, signal, sample_rate=sample_rate, leads=names, comments=comments)
    for n, name in enumerate(names):
        if annotations is None:
            found = [
                each
                for start in range(n, signal.shape[1] - 320, 400)
                for peak, symbol, onset, offset in LUDB_BEAT
                for each in ((start + onset, "("), (start + peak, symbol), (start + offset, ")"))
            ]
        else:
            found = list(annotations.get(name, ()))
        write_annotations(path, name, found)
    return counts / 1000


def write_annotations(
    path: Path, extension: str, found: Sequence[tuple[int, str]], rate: float | None = None
) -> None:
    """Write a file of WFDB annotations, also one without any."""
    file = path.with_name(f"{path.name}.{extension}")
    if not found:
        file.write_bytes(bytes(2))
        return
    samples, symbols = zip(*found, strict=True)
    folder = str(path.parent)
    wfdb.wrann(path.name, "x", np.array(samples), list(symbols), fs=rate, write_dir=folder)
    path.with_name(f"{path.name}.x").rename(file)  # wfdb writes no name with a digit


def make_ludb(folder: Path, *, flat: bool = False) -> Path:
    """Make LUDB: three records in ``data/``, ``ludb.csv`` beside it, or, if flat, records alone."""
    records = folder if flat else folder / "data"
    for name, diagnoses in LUDB_DIAGNOSES.items():
        write_ludb_record(records / name, diagnoses=diagnoses)
    if not flat:
        (folder / "ludb.csv").write_text("ID,Sex,Age\n1,F,51\n")
        (folder / "RECORDS").write_text("data/1\ndata/2\ndata/10\n")
    return folder


# ECG-ID 1.0.0

ECG_ID_PERSONS = {1: 2, 2: 3, 3: 1, 4: 2}
"""Records of each person."""


def write_ecg_id_record(
    path: Path,
    *,
    sample_rate: float = 500,
    n_samples: int = 3000,
    annotated_rate: float | None = None,
    gap: int | None = None,
) -> np.ndarray:
    """Write a record of ECG-ID: lead I, the same filtered, and annotations of beats.

    Args:
        path: of the record, without extension.
        sample_rate: in Hz.
        n_samples: length.
        annotated_rate: what the annotations say; by default nothing.
        gap: sample without a value in the filtered signal.

    Returns:
        The filtered signal as it is stored, ``(n_samples,)`` in mV.
    """
    seed = sum(str(path.relative_to(path.parents[1])).encode())
    raw = beats(sample_rate, n_samples / sample_rate, seed)[0]
    noise = 0.05 * np.random.default_rng(seed).standard_normal(raw.shape)
    signal = np.stack([raw + noise, raw])
    if gap is not None:
        signal[1, gap] = np.nan
    counts = write_wfdb(
        path,
        signal,
        sample_rate=sample_rate,
        leads=("ECG I", "ECG I filtered"),
        comments=("# Age: 25", "# Sex: male", "# ECG date: 09.12.2004"),
    )
    write_annotations(path, "atr", [(100, "N"), (500, "N")], annotated_rate)
    return counts[1] / 1000


def make_ecg_id(folder: Path) -> Path:
    """Make ECG-ID: eight records of four persons, of whom the third has one."""
    for person, n_records in ECG_ID_PERSONS.items():
        for i in range(1, n_records + 1):
            path = folder / f"Person_{person:02d}" / f"rec_{i}"
            write_ecg_id_record(path, n_samples=2900 + 37 * person + 11 * i)
    (folder / "RECORDS").write_text("Person_01/rec_1\n")
    return folder


# MUSE XML

MUSE_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
MUSE_UNITS_PER_BIT = 4.88
"""Microvolts of one count."""


def muse_lead(name: str, counts: np.ndarray, units_per_bit: str, units: str) -> str:
    """One ``LeadData``."""
    data = base64.b64encode(counts.astype("<i2").tobytes()).decode()
    wrapped = "\n".join(data[i : i + 76] for i in range(0, len(data), 76))
    return f"""      <LeadData>
         <LeadByteCountTotal>{2 * len(counts)}</LeadByteCountTotal>
         <LeadTimeOffset>0</LeadTimeOffset>
         <LeadSampleCountTotal>{len(counts)}</LeadSampleCountTotal>
         <LeadAmplitudeUnitsPerBit>{units_per_bit}</LeadAmplitudeUnitsPerBit>
         <LeadAmplitudeUnits>{units}</LeadAmplitudeUnits>
         <LeadHighLimit>32767</LeadHighLimit>
         <LeadLowLimit>-32768</LeadLowLimit>
         <LeadID>{name}</LeadID>
         <LeadOffsetFirstSample>0</LeadOffsetFirstSample>
         <FirstSampleBaseline>0</FirstSampleBaseline>
         <LeadSampleSize>2</LeadSampleSize>
         <LeadOff>FALSE</LeadOff>
         <BaselineSway>FALSE</BaselineSway>
         <LeadDataCRC32>3378432093</LeadDataCRC32>
         <WaveFormData>
{wrapped}
         </WaveFormData>
      </LeadData>
"""


def muse_xml(
    signal: np.ndarray,
    *,
    leads: tuple[str, ...] = MUSE_LEADS,
    sample_rate: int = 500,
    patient: str = "000123",
    age: str = "61",
    age_units: str = "YEARS",
    gender: str = "FEMALE",
    statements: tuple[str, ...] = ("Normal sinus rhythm", "Normal ECG"),
    qrs: tuple[tuple[int, int], ...] = ((0, 338), (0, 1120)),
    location: str = "EMERGENCY",
    units_per_bit: str = str(MUSE_UNITS_PER_BIT),
    units: str = "MICROVOLTS",
) -> str:
    """One recording of MUSE v8, a median beat and the rhythm.

    Args:
        signal: ``(n_leads, n_samples)`` counts, int16.
        leads: name of each row.
        sample_rate: in Hz.
        patient: PatientID.
        age: PatientAge in ``age_units``.
        age_units: YEARS, MONTHS or DAYS.
        gender: FEMALE, MALE, UNKNOWN.
        statements: of the diagnosis.
        qrs: type and time of every QRS complex.
        location: written as it is, a stray ``&`` included.
        units_per_bit: of every lead.
        units: of ``units_per_bit``.
    """
    diagnosis = "".join(
        "      <DiagnosisStatement>\n         <StmtFlag>ENDSLINE</StmtFlag>\n"
        f"         <StmtText>{text}</StmtText>\n      </DiagnosisStatement>\n"
        for text in statements
    )
    complexes = "".join(
        f'      <QRS Number="{number}">\n         <Number>{number}</Number>\n'
        f"         <Type>{kind}</Type>\n         <Time>{time}</Time>\n      </QRS>\n"
        for number, (kind, time) in enumerate(qrs, 1)
    )
    lead_data = {
        kind: "".join(
            muse_lead(lead, row, units_per_bit, units)
            for lead, row in zip(leads, counts, strict=True)
        )
        for kind, counts in (("Median", signal[:, :600]), ("Rhythm", signal))
    }
    waveforms = "".join(
        f"""   <Waveform>
      <WaveformType>{kind}</WaveformType>
      <WaveformStartTime>0</WaveformStartTime>
      <NumberofLeads>{len(leads)}</NumberofLeads>
      <SampleType>CONTINUOUS_SAMPLES</SampleType>
      <SampleBase>{sample_rate}</SampleBase>
      <SampleExponent>0</SampleExponent>
      <HighPassFilter>16</HighPassFilter>
      <LowPassFilter>150</LowPassFilter>
      <ACFilter>60</ACFilter>
{data}   </Waveform>
"""
        for kind, data in lead_data.items()
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE RestingECG SYSTEM "restecg.dtd">
<RestingECG>
   <MuseInfo>
      <MuseVersion>8.0.2.10132</MuseVersion>
   </MuseInfo>
   <PatientDemographics>
      <PatientID>{patient}</PatientID>
      <PatientAge>{age}</PatientAge>
      <AgeUnits>{age_units}</AgeUnits>
      <DateofBirth>03-15-1958</DateofBirth>
      <Gender>{gender}</Gender>
      <Race>UNKNOWN</Race>
   </PatientDemographics>
   <TestDemographics>
      <DataType>RESTING</DataType>
      <Site>1</Site>
      <AcquisitionDevice>MAC55</AcquisitionDevice>
      <Status>CONFIRMED</Status>
      <Location>7</Location>
      <LocationName>{location}</LocationName>
      <AcquisitionTime>13:05:42</AcquisitionTime>
      <AcquisitionDate>06-21-2019</AcquisitionDate>
      <EditTime>08:15:00</EditTime>
      <EditDate>06-22-2019</EditDate>
   </TestDemographics>
   <Order>
      <RequisitionNumber>77</RequisitionNumber>
   </Order>
   <RestingECGMeasurements>
      <VentricularRate>77</VentricularRate>
      <PRInterval>160</PRInterval>
      <QRSDuration>88</QRSDuration>
      <ECGSampleBase>{sample_rate}</ECGSampleBase>
      <ECGSampleExponent>0</ECGSampleExponent>
   </RestingECGMeasurements>
   <OriginalRestingECGMeasurements>
      <VentricularRate>78</VentricularRate>
   </OriginalRestingECGMeasurements>
   <Diagnosis>
      <Modality>RESTING</Modality>
{diagnosis}   </Diagnosis>
   <OriginalDiagnosis>
      <Modality>RESTING</Modality>
{diagnosis}   </OriginalDiagnosis>
   <QRSTimesTypes>
{complexes}      <GlobalRR>782</GlobalRR>
      <QTRGGR>0</QTRGGR>
   </QRSTimesTypes>
{waveforms}</RestingECG>
"""


def muse_counts(seconds: float, seed: int, leads: tuple[str, ...] = MUSE_LEADS) -> np.ndarray:
    """Counts of a simulated recording at 500 Hz, int16."""
    signal = beats(500, seconds, seed)[[LEADS.index(lead) for lead in leads]]
    return np.round(signal * 1000 / MUSE_UNITS_PER_BIT).astype(np.int16)


def make_muse(folder: Path) -> Path:
    """Make a folder of MUSE exports, four recordings of as many patients in folders by year.

    ``2019/MUSE_10.xml`` has a single QRS complex and a stray ``&``; in ``2020/MUSE_1.xml`` patient,
    age and sex are not known; ``2020/MUSE_3.xml`` has twelve leads and 3 s.
    """
    texts = {
        "2019/MUSE_2.xml": muse_xml(muse_counts(10, 2)),
        "2019/MUSE_10.xml": muse_xml(
            muse_counts(10, 10), patient="9876", gender="MALE", location="CARE & CURE",
            qrs=((0, 338),), age="18", age_units="MONTHS",
        ),
        "2020/MUSE_1.xml": muse_xml(
            muse_counts(10, 1), patient="xxxxx", age="", age_units="", gender="UNKNOWN",
            statements=("Atrial fibrillation",),
        ),
        "2020/MUSE_3.xml": muse_xml(muse_counts(3, 3, LEADS), leads=LEADS, patient="77"),
    }  # fmt: skip
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    return folder
