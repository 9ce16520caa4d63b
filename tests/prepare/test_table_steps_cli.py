"""The sub-commands that turn tables into tables."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from fairseq_ecg.cli import COMMANDS, main, program, spelled_out
from fairseq_ecg.cli.prepare import splits
from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.prepare.manifests import HEADERS
from fairseq_ecg.prepare.splits import STRATEGIES

README = Path(__file__).resolve().parents[2] / "fairseq_ecg" / "prepare" / "README.md"
SIGNALS = "signals --processed-root DATA"
"""What is left out where only one option is shown."""
STEPS = ("splits", "labels", "manifests", "cmsc", "subset", "combine", "identification")


@pytest.fixture
def processed(tmp_path):
    """Thirty recordings of fifteen patients, each of three segments."""
    meta = ["idx,save_file,patient_id,day,nan_any,strat_fold"]
    segments, labels = ["path,save_file,sample_size"], ["idx,AF,LBBB"]
    for i in range(30):
        meta.append(f"{i},r{i}.mat,p{i % 15},20{10 + i}-01-01,{i == 4},{i % 10 + 1}")
        segments += [f"{tmp_path}/segmented/r{i}_{k}.mat,r{i}.mat,2500" for k in range(3)]
        labels.append(f"{i},{i % 2 == 0},{i % 3 == 0}")
    for name, rows in {"meta": meta, "segmented": segments, "labels": labels}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "segmented").mkdir()
    return tmp_path


def run(*arguments):
    return main(["prepare", *map(str, arguments)])


def parsed(arguments):
    words = spelled_out(arguments)
    return program().parse_args(words, exit_on_error=False, print_error=False)[1]


@pytest.mark.parametrize("step", STEPS)
def test_every_option_is_explained(step, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(step, "--help")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"Usage: fairseq-ecg prepare {step}" in text
    assert "None" not in text


def test_choices_are_those_of_the_packages(capsys):
    assert get_args(splits.Strategy) == STRATEGIES
    with pytest.raises(SystemExit):
        run("manifests", "--help")
    assert f"--header {{{','.join(HEADERS)}}}" in capsys.readouterr().out


@pytest.mark.parametrize(("folder", "least"), [("", 12), ("sources", 7)])
def test_documented_commands_exist_d10(folder, least):
    """The documentation's commands are complete and have no option that is not there."""
    text = (README.parent / folder / "README.md").read_text()
    commands = re.findall(r"^    (fairseq-ecg (?:.*\\\n)*.*)", text, re.MULTILINE)
    assert len(commands) >= least
    for command in commands:
        _, *arguments = shlex.split(command.replace("\\\n", " ").replace("signals ...", SIGNALS))
        assert parsed(arguments).arguments


PIPELINE = (
    "processed_root raw_root manifest_file results_suffix dataset_subset desired_sample_rate "
    "segment_seconds no_standardization leads constant_lead_strategy skip no_parallel nb_workers"
)
OPTIONS = {
    # Of every script of fairseq_signals.
    "ecg/mimic_iv_ecg_records.py": "processed_root raw_root mimic_iv_root",
    "ecg/physionet2021_records.py": "processed_root raw_root",
    "ecg/muse_records.py": "processed_root raw_root",
    "ecg/example_records.py": "processed_root raw_root",
    "ecg/mimic_iv_ecg_signals.py": PIPELINE,
    "ecg/physionet2021_signals.py": PIPELINE,
    "ecg/code_15_signals.py": PIPELINE,
    "ecg/muse_signals.py": PIPELINE,
    "ecg/example_signals.py": PIPELINE,
    "ecg/physionet2021_labels.py": "processed_root weights_path weight_abbrev_path labels_path "
    "uncombined",
    "ecg/code_15_labels.py": "processed_root labels_path",
    "splits.py": "strategy processed_root meta_file segmented_file save_files_suffix fractions "
    "split_labels group_col date_col grouped_temporal_filter_strategy filter_cols dataset_subset "
    "keep_cols",
    "prepare_clf_labels.py": "output_dir labels meta_splits segmented_splits "
    "labeled_meta_splits_save_file labeled_segmented_splits_save_file",
    "manifests.py": "split_file_paths save_dir",
    "subset_manifest.py": "manifest_dir percent save_dir",
    "convert_to_cmsc_manifest.py": "ROOT dest ext n-lead",
    "combine_manifests.py": "first second dest exclude",
    "manifest.py": "root valid-percent dest ext seed group-by path-must-contain",
    "manifest_physionet2021.py": "root pretrain_subset finetune_subset pretrain-valid-percent "
    "finetune-valid-percent group-by dest ext seed path-must-contain",
    "manifest_identification.py": "root valid-percent dest ext seed",
    "preprocess_physionet2021.py": "root meta-dir subset leads sample-rate resample dest ext sec "
    "workers",
    "preprocess_ptbxl.py": "root dest leads sample-rate sec only-norm seed",
    "preprocess_ecgiddb.py": "root dest ext sec seed",
    "preprocess_ludb.py": "root sample-rate resample separate-leads dest",
    "ecg_text/preprocess_ptbxl.py": "root dest rebase exclude",
    "ecg_text/preprocess_mimic_iv_ecg.py": "root dest rebase exclude",
    "ecg_text/manifest.py": "root valid-percent dest ext seed path-must-contain",
    "preprocess_ecgqa.py": "root dest rebase apply_paraphrase",
    "preprocess_ecgqa_for_classification.py": "root dest",
}


@pytest.fixture(scope="module")
def documented():
    """Rows of the tables of options: pattern of the script, its options, ours."""
    rows, script = [], ""
    for line in README.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and (".py`" in cells[0] or not cells[0]):
            script = cells[0].strip("`") or script
            names = re.findall(r"`(?:--)?([\w-]+)`", cells[1])
            rows += [(script, names, cells[2])] if names else []
    return rows


@pytest.mark.parametrize("script", OPTIONS)
def test_every_option_of_fairseq_signals_is_in_the_documentation(documented, script):
    found = {name for pattern, names, _ in documented if fnmatch(script, pattern) for name in names}
    assert found == set(OPTIONS[script].split())


def test_documented_options_exist_d10(documented, capsys):
    """What the tables say is here is here."""
    options, named = {}, 0
    for step in COMMANDS["prepare"][1:]:
        with pytest.raises(SystemExit):
            run(step, "--help")
        options[step] = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    step = ""
    for _, theirs, ours in documented:
        wanted = set(re.findall(r"--[a-z-]+", ours))
        if "the same with" in ours:
            wanted |= {f"--{name.replace('_', '-')}" for name in theirs}
        steps = re.findall(r"prepare ([a-z]+)", ours) or [step]
        step = steps[-1]
        assert wanted <= set().union(*(options[step] for step in steps)), ours
        assert wanted or ours.startswith("nothing: "), ours
        named += len(wanted)
    assert named > 90


def test_from_tables_to_manifests(processed, capsys):
    status = run(
        "splits",
        "--strategy=grouped",
        "--group-col=patient_id",
        f"--processed-root={processed}",
        "--filter-cols=nan_any",
        "--fractions=0.6,0.2,0.2",
    )
    assert status == 0
    out = capsys.readouterr().out
    assert "1 recordings dropped: nan_any is true" in out
    assert sum(int(n) for n in re.findall(r": (\d+) recordings, ", out)) == 29
    splits_ = processed / "meta_split.csv"
    labels = processed / "labels"
    command = [f"--labels={processed}/labels.csv", f"--meta-splits={splits_}"]
    assert run("labels", *command, f"--output-dir={labels}") == 0
    assert capsys.readouterr().out == "2 labels of 29 recordings; y.npy has 30 rows\n"
    assert np.load(labels / "y.npy").sum() == 25
    manifests = processed / "manifests"
    table = processed / "segmented_split.csv"
    assert run("manifests", f"--split-file-paths={table}", f"--save-dir={manifests}") == 0
    assert run("cmsc", manifests, f"--dest={manifests}") == 0
    train = read_manifest(manifests / "train.tsv")
    pairs = read_cmsc_manifest(manifests / "cmsc" / "train.tsv")
    assert len(train) == 3 * len(pairs)
    assert run("subset", f"--manifest-dir={manifests}", "--percent=0.50") == 0
    assert 0 < len(read_manifest(manifests / "0.5" / "train.tsv")) < len(train)
    assert run("combine", manifests, manifests / "0.5", f"--dest={processed}/both") == 0
    assert len(read_manifest(processed / "both" / "test.tsv")) == 2 * len(
        read_manifest(manifests / "test.tsv")
    )
    capsys.readouterr()
    command = [f"--split-file-paths={table}", "--patient-col=patient_id", f"--dest={processed}"]
    assert run("identification", *command, "--valid-percent=1") == 0
    # Of the patient of the recording that was dropped, one is left.
    assert capsys.readouterr().out == (
        "train: 1 patients\nvalid_gallery: 14 patients\nvalid_probe: 14 patients\n"
    )


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        (["--strategy=temporal", "--date-col=day", "--patients-may-overlap"], [24, 3, 3]),
        (["--strategy=random", "--patients-may-overlap", "--seed=5"], [24, 3, 3]),
        (["--strategy=stratified", "--stratify-by={}/labels.csv"], None),
        (
            [
                "--strategy=column",
                "--split-col=strat_fold",
                "--split-values=1-8,9,10",
                "--patients-may-overlap",
            ],
            [24, 3, 3],
        ),
        (
            [
                "--strategy=grouped_temporal",
                "--date-col=day",
                "--group-col=patient_id",
                "--grouped-temporal-filter-strategy",
                "--fractions=0.5,0.25,0.25",
            ],
            None,
        ),
    ],
)
def test_strategies(processed, options, sizes, capsys):
    options = [option.format(processed) for option in options]
    assert run("splits", f"--processed-root={processed}", "--no-segmented", *options) == 0
    found = [int(n) for n in re.findall(r": (\d+) recordings", capsys.readouterr().out)]
    assert found == sizes if sizes else len(found) == 3
    assert not (processed / "segmented_split.csv").exists()


@pytest.mark.parametrize("seed", ["-1", "4294967296", "x"])
def test_a_seed_that_is_none_is_refused(processed, seed, capsys):
    with pytest.raises(SystemExit):
        run("splits", f"--processed-root={processed}", "--strategy=random", f"--seed={seed}")
    assert f"--seed: {seed}: give a whole number below 2^32" in capsys.readouterr().err


def test_a_patient_in_two_splits_ends_with_the_status_of_mistakes(processed, capsys):
    assert run("splits", f"--processed-root={processed}", "--strategy=random") == 2
    error = capsys.readouterr().err
    assert "values of patient_id are in more than one split" in error
    assert not (processed / "meta_split.csv").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("t", True), ("True", True), ("f", False), ("false", False), ("train", "train")],
)
def test_filter_strategies(text, expected):
    options = ["--strategy=grouped_temporal", "--processed-root=x"]
    option = f"--grouped-temporal-filter-strategy={text}"
    bound = parsed(["prepare", "splits", *options, option])
    assert bound.arguments["grouped_temporal_filter_strategy"] == expected


def test_labels_that_lack_or_never_hold_are_reported(processed, capsys):
    run("splits", f"--processed-root={processed}", "--strategy=grouped", "--group-col=patient_id")
    (processed / "labels.csv").write_text("save_file,AF\nr1.mat,0\nx.mat,1\n")
    capsys.readouterr()
    run(
        "labels",
        f"--labels={processed}/labels.csv",
        f"--meta-splits={processed}/meta_split.csv",
        f"--output-dir={processed}/labels",
    )
    out = capsys.readouterr().out
    assert "29 recordings lack labels: idx 0, 2, 3, 4, 5, ...\n" in out
    assert f"1 lines of {processed}/labels.csv are of recordings in no split\n" in out


def test_percent_must_be_a_decimal(processed, capsys):
    assert run("subset", f"--manifest-dir={processed}", "--percent=half") == 2
    assert "--percent half: give a decimal such as 0.1" in capsys.readouterr().err
