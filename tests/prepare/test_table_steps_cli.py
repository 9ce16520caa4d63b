"""The sub-commands that turn tables into tables."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fairseq_ecg.cli import _parser, main
from fairseq_ecg.cli.prepare import splits
from fairseq_ecg.data.manifest import read_cmsc_manifest, read_manifest
from fairseq_ecg.prepare.manifests import HEADERS
from fairseq_ecg.prepare.splits import STRATEGIES

README = Path(__file__).resolve().parents[2] / "fairseq_ecg" / "prepare" / "README.md"
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


@pytest.mark.parametrize("step", STEPS)
def test_every_option_is_explained(step, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(step, "--help")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: fairseq-ecg prepare {step}" in text
    assert "None" not in text


def test_choices_are_those_of_the_rooms(capsys):
    assert splits.STRATEGIES == STRATEGIES
    with pytest.raises(SystemExit):
        run("manifests", "--help")
    assert f"--header {{{','.join(HEADERS)}}}" in capsys.readouterr().out


def test_documented_commands_exist_d10():
    """The documentation's commands are complete and have no option that is not there."""
    section = README.read_text().partition("## Splits, labels, manifests")[2].partition("\n## ")[0]
    commands = re.findall(r"^    (fairseq-ecg (?:.*\\\n)*.*)", section, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        _, *arguments = shlex.split(command.replace("\\\n", " "))
        assert _parser().parse_args(arguments).run


def test_documented_options_exist_d10(capsys):
    """What the table of upstream's options says is here is here."""
    table = README.read_text().partition("## Splits, labels, manifests")[2].partition("\n## ")[0]
    options = {}
    for step in STEPS:
        with pytest.raises(SystemExit):
            run(step, "--help")
        options[step] = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    rows = [row for row in table.splitlines() if row.startswith("| `") or row.startswith("| |")]
    named = 0
    for row in rows:
        *_, theirs, ours, _ = row.split("|")
        for step in re.findall(r"prepare ([a-z]+)", ours):
            wanted = set(re.findall(r"--[a-z-]+", ours))
            if "the same with" in ours:
                wanted |= {name.replace("_", "-") for name in re.findall(r"--[a-z_]+", theirs)}
            assert wanted <= options["splits"] | options[step]
            named += len(wanted)
    assert named > 40


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
    assert 0 < len(read_manifest(manifests / "0.50" / "train.tsv")) < len(train)
    assert run("combine", manifests, manifests / "0.50", f"--dest={processed}/both") == 0
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
    assert f"argument --seed: {seed}: give a whole number below 2^32" in capsys.readouterr().err


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
    parsed = _parser().parse_args(["prepare", "splits", *options, option])
    assert parsed.grouped_temporal_filter_strategy == expected


def test_labels_that_lack_or_never_hold_are_told(processed, capsys):
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
