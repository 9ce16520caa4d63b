from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.cli import COMMANDS, main
from fairseq_ecg.cli.prepare import all_steps, records
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources import SOURCES
from fairseq_ecg.prepare.stages import CONSTANT_LEAD_STRATEGIES, NAN_POLICIES, RESAMPLERS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def code_15(write_code_15, tmp_path_factory):
    """Eight exams of four patients, of which the last file lacks one."""
    rng = np.random.default_rng(0)
    tracings = {exam: rng.normal(size=(12, 900)).astype(np.float32) for exam in range(1, 9)}
    return write_code_15(tmp_path_factory.mktemp("code_15"), tracings)


@pytest.fixture
def damaged_code_15(code_15, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in code_15.iterdir():
        (raw / path.name).symlink_to(path)
    (raw / "exams.csv").unlink()
    lost = "99,1,True,1,,,,,,,7,,,False,exams_part0.hdf5\n"
    (raw / "exams.csv").write_text((code_15 / "exams.csv").read_text() + lost)
    return raw


def locations(raw, out):
    return [f"--raw-root={raw}", f"--processed-root={out}"]


def test_every_option_is_explained(capsys):
    for name in COMMANDS["prepare"][1:]:
        with pytest.raises(SystemExit) as exit_:
            main(["prepare", name, "--help"])
        assert exit_.value.code == 0
        text = capsys.readouterr().out
        assert f"Usage: fairseq-ecg prepare {name}" in text
        assert "None" not in text


def test_choices_are_those_of_the_settings(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "signals", "--help"])
    text = "".join(capsys.readouterr().out.split())
    for choices in (CONSTANT_LEAD_STRATEGIES, NAN_POLICIES, RESAMPLERS):
        assert f"{{{','.join(choices)}}}" in text


def test_records_then_signals(code_15, tmp_path, capsys):
    out, manifest = tmp_path / "out", tmp_path / "all.csv"
    assert main(["prepare", "records", "--source=code_15", *locations(code_15, out)]) == 0
    assert capsys.readouterr().out == "code_15: 8 records\n"
    options = ["--sample-rate=400", "--segment-seconds=1", f"--manifest-file={manifest}"]
    plots = tmp_path / "plots"
    options += ["--leads=V1,II,1", f"--plots={plots}", f"--labels-path={tmp_path / 'l.csv'}"]
    assert main(["prepare", "signals", f"--processed-root={out}", *options]) == 0
    assert "code_15 code_15    kept        8        16" in capsys.readouterr().out
    assert pd.read_csv(out / "meta.csv")["lead_order"][0] == "['II', 'V1']"
    assert len(pd.read_csv(manifest)) == len(pd.read_csv(tmp_path / "l.csv")) == 8
    assert not (out / "labels").exists()
    names = {path.name for path in plots.iterdir()}
    assert names == {"durations.png", "rates.png", "leads.png", "labels.png"}
    for path in plots.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_quarantine_is_reported_by_the_status(damaged_code_15, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", "records", "--source=code_15", *locations(damaged_code_15, out)]) == 0
    signals = ["prepare", "signals", f"--processed-root={out}", "--segment-seconds=1"]
    assert main(signals) == 3
    output = capsys.readouterr().out
    assert "1 records cannot be used" in output
    assert "exam 99: the file has no such exam" in output
    assert main([*signals, "--strict"]) == 2
    assert "exam 99" in capsys.readouterr().err


def test_options_of_other_sources_are_refused(code_15, tmp_path, capsys):
    command = ["prepare", "records", "--source=code_15", *locations(code_15, tmp_path)]
    with pytest.raises(SystemExit):
        main([*command, "--patient-column=p"])
    assert "--patient-column needs --source generic" in capsys.readouterr().err


def test_leads_that_there_are_not(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "signals", "--processed-root=x", "--leads=I,V9"])
    assert "unknown lead 'V9'" in capsys.readouterr().err


def write_yaml(path, raw, out, *lines):
    text = [f"source: code_15\nraw_root: {raw}\nprocessed_root: {out}", *lines]
    path.write_text("\n".join(text) + "\n")
    return str(path)


def test_all_runs_what_the_file_says(code_15, tmp_path, capsys):
    out = tmp_path / "out"
    file = write_yaml(
        tmp_path / "a.yaml", code_15, out, "signals:", "  segment_seconds: 1", "  leads: [I, II]"
    )
    assert main(["prepare", "all", file, "signals.sample_rate=400"]) == 0
    output = capsys.readouterr().out
    assert f"$ fairseq-ecg prepare records --source=code_15 --raw-root={code_15}" in output
    assert "--segment-seconds=1 --leads=I,II --sample-rate=400" in output
    assert len(list((out / "segmented").iterdir())) == 16


def test_all_follows_the_names_of_tables(code_15, tmp_path):
    out = tmp_path / "out"
    file = write_yaml(
        tmp_path / "a.yaml",
        code_15,
        out,
        *("signals:", "  segment_seconds: 1", "  results_suffix: _1s"),
        *("splits:", "  strategy: grouped", "  group_col: patient_id", "  fractions: [0.5, 0.5]"),
        *("  split_labels: [train, valid]", "  save_files_suffix: _half"),
        *("labels:", "  columns: [AF]", "manifests:"),
    )
    assert main(["prepare", "all", file]) == 0
    assert {path.name for path in out.glob("*.csv")} == {
        *("records.csv", "meta_1s.csv", "segmented_1s.csv", "summary_1s.csv"),
        *("meta_half.csv", "segmented_half.csv", "manifest.csv", "manifest_ids.csv"),
    }
    assert {path.name for path in (out / "labels").iterdir()} >= {"labels_1s.csv", "y.npy"}
    assert {path.name for path in (out / "manifests").iterdir()} == {"train.tsv", "valid.tsv"}


@pytest.mark.parametrize(
    ("lines", "table"),
    [
        ([], "segmented.csv"),
        (["signals:", "  results_suffix: _1s"], "segmented_1s.csv"),
        (["splits:", "  strategy: grouped", "  group_col: patient_id"], "segmented_split.csv"),
        (
            ["splits:", "  strategy: grouped", "  group_col: p", "  save_files_suffix: _half"],
            "segmented_half.csv",
        ),
    ],
)
def test_identification_takes_the_table_that_is_there(code_15, tmp_path, lines, table):
    last = ["identification:", "  patient_col: patient_id", "  strategy: files"]
    file = tmp_path / "a.yaml"
    write_yaml(file, code_15, tmp_path / "out", *lines, *last)
    step = all_steps.plan(all_steps.read(file))[-1]
    assert step.name == "identification"
    assert f"--split-file-paths={tmp_path / 'out' / table}" in step.command
    assert f"--dest={tmp_path / 'out' / 'manifests'}" in step.command


@pytest.mark.parametrize("value", ["false", "true", "valid"])
def test_words_that_are_not_switches(code_15, tmp_path, value):
    options = ["strategy: grouped_temporal", "group_col: patient_id", "date_col: exam_id"]
    lines = [*options, f"grouped_temporal_filter_strategy: {value}"]
    file = tmp_path / "a.yaml"
    write_yaml(file, code_15, tmp_path / "out", "splits:", *(f"  {line}" for line in lines))
    options = all_steps.plan(all_steps.read(file, []))[-1].bound.arguments
    assert str(options["grouped_temporal_filter_strategy"]).lower() == value


def test_options_with_hyphens_replace_what_follows_from_the_locations(code_15, tmp_path):
    file = tmp_path / "a.yaml"
    lines = ["signals:", "  nb-workers: 2", "subset:", "  percent: 0.5", "  save-dir: half"]
    write_yaml(file, code_15, tmp_path / "out", *lines)
    _, signals, subset = all_steps.plan(all_steps.read(file))
    assert signals.bound.arguments["work"].jobs == 2
    assert subset.bound.arguments["save_dir"] == Path("half")
    assert subset.command[-1] == "--percent=0.5"


def test_all_goes_on_after_quarantine_and_reports_it(damaged_code_15, tmp_path):
    file = write_yaml(tmp_path / "a.yaml", damaged_code_15, tmp_path / "out")
    assert main(["prepare", "all", file, "signals.segment_seconds=1"]) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["signal:", "  jobs: 2"], "line 4: there is no 'signal': give source, raw_root"),
        (
            ["signals:", "  jobs: 2", "  job: 3"],
            'signals: Unknown option: "[job]" from {path}, line 6.',
        ),
        (
            ["signals:", "  jobs: many"],
            'Invalid value for [jobs] from {path}, line 5: unable to convert "many" into int',
        ),
        (["signals:", "  plots: true"], "line 5: signals: --plots: a value was expected"),
        (["signals:", "  again: 2"], "Invalid value for [again] from {path}, line 5"),
        (["signals:", "  no_again: true"], 'Unknown option: "[no_again]" from {path}, line 5'),
        (["splits:", "  seed: 1"], "line 4: splits: "),
        (["signals: 5"], "line 4: signals: its options were expected, found 5"),
        (["signals:", "  jobs: 2", "  jobs: 3"], "line 6: 'jobs' is already in line 5"),
        (["source: muse"], "line 4: 'source' is already in line 1"),
        (["signals: [", "  a"], "is no YAML"),
        (["records:", "  patient_column: p"], "line 4: records: --patient-column needs"),
    ],
)
def test_mistakes_in_the_file_are_reported_with_their_line(code_15, tmp_path, lines, message):
    path = tmp_path / "a.yaml"
    file = write_yaml(path, code_15, tmp_path / "out", *lines)
    with pytest.raises(DataError) as error:
        all_steps.all_steps(Path(file))
    assert str(path) in str(error.value)
    assert message.replace("{path}", str(path)) in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("signals.no=1", "Unknown option: \"[no]\" from 'signals.no=1'."),
        ("signals.jobs=many", "Invalid value for [jobs] from 'signals.jobs=many': "),
        ("signals.plots=true", "'signals.plots=true': signals: --plots: a value was expected"),
        ("signals=5", "'signals=5': signals: its options were expected, found 5"),
        ("signal=5", "'signal=5': there is no 'signal': give source, raw_root"),
    ],
)
def test_mistakes_on_the_command_line_are_named_as_such(code_15, tmp_path, override, message):
    file = write_yaml(tmp_path / "a.yaml", code_15, tmp_path / "out", "signals:", "  jobs: 2")
    with pytest.raises(DataError) as error:
        all_steps.all_steps(Path(file), override)
    assert message in str(error.value)


def test_locations_must_be_given(tmp_path):
    (tmp_path / "a.yaml").write_text("source: code_15\n")
    with pytest.raises(DataError, match="no value for 'raw_root'"):
        all_steps.all_steps(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- source\n")
    with pytest.raises(DataError, match="no mapping"):
        all_steps.all_steps(tmp_path / "a.yaml")
    with pytest.raises(DataError, match="no such file"):
        all_steps.all_steps(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("source: code_15\n")
    for override in ("jobs", "training.jobs=2"):
        with pytest.raises(DataError, match="give KEY=VALUE"):
            all_steps.all_steps(tmp_path / "a.yaml", override)


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("examples/prepare/*.yaml"), ROOT / "examples" / "demo" / "prepare.yaml"]),
    ids=lambda path: path.stem,
)
def test_examples_are_understood(path):
    locations = ["raw_root=raw", "processed_root=out", "manifest_file=all.csv"]
    configuration = all_steps.read(path, locations)
    planned = all_steps.plan(configuration)
    third = "identification" if path.stem == "ecg_id" else "splits"
    assert [step.name for step in planned][:3] == ["records", "signals", third]
    assert planned[0].bound.arguments["source"] == configuration.content["source"]


def test_every_source_has_an_example():
    assert {path.stem for path in ROOT.glob("examples/prepare/*.yaml")} == set(SOURCES)
    assert set(get_args(records.Source)) == set(SOURCES)
