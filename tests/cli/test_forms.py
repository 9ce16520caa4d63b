"""Forms in which arguments may be given, and what is said of wrong ones."""

import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_ecg.cli import main, program, spelled_out

ROOT = Path(__file__).resolve().parents[2]


def given(arguments: str) -> dict:
    """What a command is called with."""
    words = spelled_out(arguments.split())
    return program().parse_args(words, exit_on_error=False, print_error=False)[1].arguments


@pytest.mark.parametrize(
    "arguments",
    [
        "predict net.pt a.mat b.mat --out p.csv --label-def l.csv",
        "predict --out p.csv --label-def=l.csv net.pt a.mat b.mat",
        "predict net.pt --out=p.csv a.mat --label-def l.csv b.mat",
        "predict net.pt a.mat --out=x.csv --out=p.csv --label-def l.csv -- b.mat",
    ],
)
def test_options_stand_before_between_and_behind_what_is_positional(arguments):
    found = given(arguments)
    assert (found["checkpoint"], found["recordings"]) == ("net.pt", ("a.mat", "b.mat"))
    assert found["out"] == Path("p.csv")
    assert found["use"].options.label_def == Path("l.csv")


@pytest.mark.parametrize("value", ["--gain=-3.5", "--gain -3.5", "--gain 1 --gain -35e-1"])
def test_negative_numbers_and_repeated_options(value):
    assert given(f"predict net.pt a.mat --out p.csv {value}")["use"].described.gain == -3.5


def test_several_values_of_one_option():
    probe = "probe net.pt --data d --labels y.npy --out o"
    found = given(f"{probe} --splits a b c --betas 0.8 0.9 --seeds 1,2 --penalties=1,0.5 --lr 1e-3")
    assert found["data"].splits == ("a", "b", "c")
    assert found["compatible"].betas == (0.8, 0.9)
    assert found["compatible"].lr == 1e-3
    assert found["fitting"].seeds == (1, 2)
    assert found["fitting"].penalties == (1.0, 0.5)
    found = given("label --text-column a b --semantics x=1 y=2 --no-corrections --out o r.csv")
    assert found["text_column"] == ("a", "b")
    assert found["labeling"].semantics == ("x=1", "y=2")
    assert found["labeling"].corrections is False
    rules = given("predict n a --out p.csv --aggregation A=max --aggregation B=mean")
    assert rules["aggregation"] == ("A=max", "B=mean")
    assert given("prepare splits --strategy random --processed-root d --split-labels a,b")[
        "split_labels"
    ] == ("a", "b")


@pytest.mark.parametrize("name", ["--jobs", "--nb-workers"])
def test_options_of_two_names(name):
    assert given(f"prepare signals --processed-root d {name} -1")["work"].jobs == -1


@pytest.mark.parametrize(
    ("option", "expected"),
    [("--saliency", "attention"), ("--saliency rollout", "rollout"), ("--saliency=rollout",) * 2],
)
def test_values_that_may_be_left_out(option, expected):
    found = given(f"plot {option} --checkpoint n --out a.png r.mat")
    assert found["network"].saliency == expected.removeprefix("--saliency=")
    assert found["recordings"] == ("r.mat",)
    splits = "prepare splits --strategy random --processed-root d"
    for words, strategy in (("", True), ("false", False), ("valid", "valid")):
        option = f"--grouped-temporal-filter-strategy {words}"
        assert given(f"{splits} {option}")["grouped_temporal_filter_strategy"] == strategy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "fairseq-ecg: name a command, one of prepare, store"),
        ("prepare", "fairseq-ecg prepare: name a command, one of records, signals"),
        ("predicct", 'Unknown command "predicct". Did you mean "predict"?'),
        ("predict n a --outt=p.csv", "predict: Unknown option: --outt"),
        ("predict n a --out", "--out requires an argument"),
        ("predict n a", "--out requires an argument"),
        ("predict --out p.csv", "CHECKPOINT requires an argument"),
        ("predict n --out p.csv", "RECORDINGS requires an argument"),
        ("predict n a --out p --dtype f", 'Invalid value "f" for --dtype. Choose from: "float32"'),
        ("predict n a --out p --batch-size x", '--batch-size: unable to convert "x" into int'),
        ("predict n a --out p --batch-size 1.5", '--batch-size: unable to convert "1.5" into int'),
        ("prepare signals --processed-root d --sample-rate=1e3", '"1e3" into int'),
        ("predict n a --out p --leads I,,II", "--leads: 'I,,II': give names separated by commas"),
        ("predict n a --out p --no-strict", "Unknown option: --no-strict"),
        ("predict n a --out p --min 1", "Unknown option: --min"),
        ("pool d e --split test", "e"),
        ("label r.csv --out o --text-column", "--text-column requires at least 1 element"),
        ("evaluate n", "1 of {--manifest, --table} must be specified"),
        ("evaluate n --manifest m --table t", "1 of {--manifest, --table} must be specified"),
        (
            "prepare splits --strategy random --processed-root d --segmented-file a --no-segmented",
            "{--segmented-file, --no-segmented}",
        ),
        ("prepare records --source muse --raw-root r --processed-root d --task a", "--task needs"),
        ("prepare signals --processed-root d --leads I,XX", "--leads: "),
        ("saliency n a --out a.npy --samples", "--samples does not go with .npy"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments.split())
    assert exit_.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("fairseq-ecg")
    assert shown.err.count("\n") == 1
    assert message in shown.err


def processor_time(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_at_once():
    torch = processor_time("-c", "import torch")
    for command in ([], ["predict"], ["prepare", "signals"]):
        assert processor_time("-m", "fairseq_ecg.cli", *command, "--help") < torch / 2


def test_statuses_of_the_module():
    for words, status in ((["--help"], 0), (["predict"], 2), (["store", "info", "none"], 2)):
        command = [sys.executable, "-m", "fairseq_ecg.cli", *words]
        assert subprocess.run(command, capture_output=True, check=False).returncode == status


def test_help_that_is_read_in_part():
    read, write = os.pipe()
    os.close(read)
    for command in ([], ["predict"]):
        program = [sys.executable, "-m", "fairseq_ecg.cli", *command, "--help"]
        run = subprocess.run(program, stdout=write, stderr=subprocess.PIPE, check=False)
        assert (run.returncode, run.stderr) == (0, b"")
    os.close(write)


def test_help_without_standard_output():
    program = [
        sys.executable,
        "-c",
        "import sys; sys.stdout = None; from fairseq_ecg.cli import main",
    ]
    program[-1] += "; main(['predict', '--help'])"
    run = subprocess.run(program, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


INTERRUPTED = """
import sys
from fairseq_ecg.cli import main, predict
def interrupted(*_, **__):
    raise KeyboardInterrupt
predict.predict.__code__ = interrupted.__code__
try:
    main(["predict", "n", "a", "--out", "p.csv"])
except KeyboardInterrupt:
    print("torch" in sys.modules)
"""


def test_an_interruption_is_passed_on_at_once():
    program = [sys.executable, "-c", INTERRUPTED]
    run = subprocess.run(program, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


COMPLETE = """
source {script}
complete -p fairseq-ecg > /dev/null || exit 1
COMP_WORDS=({words} '{word}'); COMP_CWORD={position}
_fairseq_ecg fairseq-ecg '{word}' '{before}'
echo "${{COMPREPLY[@]}}"
"""


def test_the_shell_completes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (command,) = re.findall(
        r"fairseq-ecg (--install-completion.*)", (ROOT / "README.md").read_text()
    )
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert not exit_.value.code
    script = tmp_path / ".local/share/bash-completion/completions/fairseq-ecg"
    assert str(script) in capsys.readouterr().out.replace("\n", "")
    for line, completions in {
        "fairseq-ecg pr": {"prepare", "predict", "probe"},
        "fairseq-ecg prepare su": {"subset"},
        "fairseq-ecg predict --mi": {"--missing-leads", "--min-quality"},
        "fairseq-ecg predict --dtype ": {"float32", "bf16"},
    }.items():
        *words, word = line.split(" ")
        text = COMPLETE.format(
            script=script, words=" ".join(words), word=word, position=len(words), before=words[-1]
        )
        result = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
        assert set(result.stdout.split()) == completions


def documented():
    """Commands that stand in documents, with the name of the document."""
    for path in sorted([ROOT / "README.md", *ROOT.glob("[bcef]*/**/*.md")]):
        text = path.read_text(encoding="utf-8")
        for command in re.findall(r"^    (?:\$ )?fairseq-ecg ((?:.*\\\n)*.*)", text, re.MULTILINE):
            if "..." not in command:
                first_choices = re.sub(r"\|[\w|]+|[][]| > .*", "", command.replace("\\\n", " "))
                yield str(path.relative_to(ROOT)), first_choices


@pytest.mark.parametrize(("document", "command"), list(documented()))
def test_documented_commands_are_understood(document, command):
    words = spelled_out(shlex.split(command, comments=True))
    program().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    ("source", "step"),
    [("--source ecg_qa", "questions"), ("--source=ecg_qa", "questions"), ("--source x", "records")],
)
def test_the_first_step_of_a_source(source, step):
    words = f"prepare {source} --raw-root a --processed-root b".split()
    assert spelled_out(words) == ["prepare", step, *words[1:]]
