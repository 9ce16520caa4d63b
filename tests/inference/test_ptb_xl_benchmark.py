import shlex

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg import benchmark as ptb_xl
from fairseq_ecg.benchmark import benchmark, finetuning_commands
from fairseq_ecg.cli import main
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.probe import Fitting
from tests.prepare.sources.archives import make_ptb_xl

FAST = Fitting(penalties=(0.1,))
STATEMENTS = ("NORM", "IMI", "CLBBB")
RHYTHMS = ("SR", "AFIB")


def row(number):
    """A record of the table: ten in each fold, every fifth one without a rhythm."""
    codes = {STATEMENTS[number % 3]: 100.0, "LVOLT" if number // 10 % 2 else "ABQRS": 0.0}
    if number % 5:
        codes[RHYTHMS[number // 2 % 2]] = 0.0
    return (
        f'{number},{number}.0,56.0,1,,63.0,2.0,0.0,CS-12,1984-11-09 09:17:34,text,"{codes}"'
        f",,,,,False,False,True,,,,,,,{number % 10 + 1}"
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_ptb_xl(tmp_path_factory.mktemp("ptb_xl"), [row(number) for number in range(1, 101)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Embeddings, which all tests may share."""
    return tmp_path_factory.mktemp("cache")


def test_the_protocol(archive, cache, pretrained, tmp_path):
    results = benchmark(
        archive, pretrained, tmp_path, fitting=FAST, sample_rate=100, n_resamples=20, cache=cache
    )
    assert list(results["task"]) == ["all", "diag", "sub", "super", "form", "rhythm"]
    results = results.set_index("task")
    assert list(results["labels"]) == [11, 6, 6, 5, 3, 3]
    # Statements that no recording of fold 10 has cannot be scored.
    assert list(results["scored_labels"]) == [7, 3, 3, 3, 2, 2]
    assert list(results.loc["super", ["train", "valid", "test"]]) == [80, 10, 10]
    # Folds 1 and 6 hold the recordings without a rhythm.
    assert list(results.loc["rhythm", ["train", "valid", "test"]]) == [60, 10, 10]
    defined = results["macro_auroc"].notna()
    assert defined.all()
    assert (results["macro_auroc_low"] <= results["macro_auroc_high"]).all()
    predictions = pd.read_csv(tmp_path / "super" / "predictions.csv")
    test = predictions[(predictions["split"] == "test") & (predictions["level"] == "recording")]
    numbers = [int(name.rpartition("/")[2][:5]) for name in test["recording"]]
    assert numbers == [number for number in range(1, 101) if number % 10 == 9]
    np.testing.assert_array_equal(test["true: NORM"], [number % 3 == 0 for number in numbers])
    np.testing.assert_array_equal(test["true: CD"], [number % 3 == 2 for number in numbers])
    markdown = (tmp_path / "results.md").read_text().splitlines()
    assert len(markdown) == 8
    assert markdown[2].startswith("| all | 7 of 11 | 80 | 10 | 10 | ")


def test_a_second_run_goes_on(archive, cache, pretrained, tmp_path, monkeypatch):
    def run(tasks, **options):
        options = {"fitting": FAST, "n_resamples": 5} | options
        return benchmark(
            archive, pretrained, tmp_path, tasks=tasks, sample_rate=100, cache=cache, **options
        )

    first = run(["form"])
    fitted = []
    run_probe = ptb_xl.run_probe

    def noting(features, labels, out, **options):
        fitted.append(out.name)
        return run_probe(features, labels, out, **options)

    monkeypatch.setattr(ptb_xl, "run_probe", noting)
    second = run(["form", "rhythm"])
    assert fitted == ["rhythm"]
    pd.testing.assert_frame_equal(first, second.iloc[:1])
    run(["form"], n_resamples=6)
    assert fitted == ["rhythm", "form"]


def test_archives_that_cannot_be_scored(pretrained, tmp_path):
    make_ptb_xl(tmp_path / "small")
    with pytest.raises(DataError, match="no recording of folds 10 to 10 has a label"):
        benchmark(tmp_path / "small", pretrained, tmp_path / "out", tasks=["all"], sample_rate=100)
    with pytest.raises(DataError, match="task 'superdiagnostic': the tasks are all, diag"):
        benchmark(tmp_path / "small", pretrained, tmp_path / "out", tasks=["superdiagnostic"])


def test_the_command(archive, cache, shared, tmp_path, capsys):
    options = [f"--raw-root={archive}", f"--out={tmp_path}", f"--cache={cache}"]
    options += [f"--checkpoint={shared / 'golden' / 'pretrain_small.pt'}", "--tasks=super"]
    options += ["--sample-rate=100", "--penalties=0.1", "--resamples=5"]
    assert main(["benchmark", "ptbxl", *options]) == 0
    assert "| super | 3 of 5 | 80 | 10 | 10 |" in capsys.readouterr().out
    assert (tmp_path / "results.csv").is_file()
    assert main(["benchmark", "ptbxl", *options, "--print-finetuning"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "# super"
    assert sum(line.startswith("fairseq-hydra-train") for line in out) == 1


def test_the_steps_before_fine_tuning_run_as_printed(archive, tmp_path):
    commands = finetuning_commands("rhythm", archive, tmp_path / "a.pt", tmp_path)
    steps = [shlex.split(command) for command in commands if " prepare " in command]
    assert len(steps) == 5
    for program, *arguments in steps:
        assert program == "fairseq-ecg"
        assert main(arguments) == 0
    train = (tmp_path / "data" / "manifests" / "train.tsv").read_text().splitlines()
    assert len(train) == 1 + 60 * 2
    definition = (tmp_path / "data" / "labels" / "label_def.csv").read_text().splitlines()
    assert len(definition) - 1 == 3
    assert f"< {tmp_path}/data/labels/label_def.csv) - 1))" in commands[5]
