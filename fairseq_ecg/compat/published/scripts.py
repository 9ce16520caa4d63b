"""Which command does what a script of fairseq_signals does."""

_PREPARE = "fairseq-ecg prepare"
_RECORDS, _SIGNALS, _SPLITS = f"{_PREPARE} records", f"{_PREPARE} signals", f"{_PREPARE} splits"
_MANIFESTS = f"{_SPLITS} and {_PREPARE} manifests"

_OF_ECGS = "data.ecg.preprocess"
_OF_TEXT = "data.ecg_text.preprocess"

SCRIPTS: dict[str, str] = {
    f"{_OF_ECGS}.combine_manifests": f"{_PREPARE} combine",
    f"{_OF_ECGS}.convert_to_cmsc_manifest": f"{_PREPARE} cmsc",
    f"{_OF_ECGS}.manifest": _MANIFESTS,
    f"{_OF_ECGS}.manifest_identification": f"{_PREPARE} identification --strategy files",
    f"{_OF_ECGS}.manifest_physionet2021": _MANIFESTS,
    f"{_OF_ECGS}.preprocess_ecgiddb": f"{_RECORDS} --source ecg_id and {_SIGNALS}",
    f"{_OF_ECGS}.preprocess_ludb": f"{_RECORDS} --source ludb and {_SIGNALS}",
    f"{_OF_ECGS}.preprocess_physionet2021": f"{_RECORDS} --source physionet2021 and {_SIGNALS}",
    f"{_OF_ECGS}.preprocess_ptbxl": f"{_RECORDS} --source ptb_xl and {_SIGNALS}",
    f"{_OF_TEXT}.manifest": f"{_PREPARE} text",
    f"{_OF_TEXT}.preprocess_ecgqa": f"{_PREPARE} questions --source ecg_qa",
    f"{_OF_TEXT}.preprocess_ecgqa_for_classification": f"{_PREPARE} grounding",
    f"{_OF_TEXT}.preprocess_mimic_iv_ecg": f"{_PREPARE} text --source mimic_iv_ecg",
    f"{_OF_TEXT}.preprocess_ptbxl": f"{_PREPARE} text --source ptb_xl",
    "scripts/preprocess/ecg/code_15_labels.py": f"{_SIGNALS} --labels-path",
    "scripts/preprocess/ecg/code_15_signals.py": _SIGNALS,
    "scripts/preprocess/ecg/example_records.py": f"{_RECORDS} --source generic",
    "scripts/preprocess/ecg/example_signals.py": _SIGNALS,
    "scripts/preprocess/ecg/mimic_iv_ecg_records.py": f"{_RECORDS} --source mimic_iv_ecg",
    "scripts/preprocess/ecg/mimic_iv_ecg_signals.py": _SIGNALS,
    "scripts/preprocess/ecg/muse_records.py": f"{_RECORDS} --source muse",
    "scripts/preprocess/ecg/muse_signals.py": _SIGNALS,
    "scripts/preprocess/ecg/physionet2021_labels.py": f"{_RECORDS} --source physionet2021 "
    "--weights-path",
    "scripts/preprocess/ecg/physionet2021_records.py": f"{_RECORDS} --source physionet2021",
    "scripts/preprocess/ecg/physionet2021_signals.py": _SIGNALS,
    "scripts/preprocess/ecg/preprocess.py": f"{_RECORDS} and {_SIGNALS}",
    "scripts/preprocess/manifests.py": f"{_PREPARE} manifests",
    "scripts/preprocess/prepare_clf_labels.py": f"{_PREPARE} labels",
    "scripts/preprocess/splits.py": _SPLITS,
    "scripts/preprocess/subset_manifest.py": f"{_PREPARE} subset",
}
"""Command by module, or by path of a script in a clone."""
