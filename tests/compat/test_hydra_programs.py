"""``fairseq-hydra-validate`` and ``fairseq-hydra-inference`` on real ECGs."""

import csv
import importlib
import json
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from omegaconf import DictConfig, OmegaConf

from fairseq_ecg.compat import hydra_programs
from fairseq_ecg.compat.extraction import Observer
from fairseq_ecg.data import DataError
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.models import build_model_from_checkpoint
from tests.conftest import ROOT, environment
from tests.ecg_datasets import dataset_of
from tests.tolerances import EXTRACTED

EVERYTHING = "common_eval.extract=[output,encoder_out,saliency]"
RESTING = ("dataset.valid_subset=test", "dataset.num_workers=0", "common.log_format=json")


@pytest.fixture
def command(code_15, shared):
    """Arguments of an evaluation of the recorded checkpoint."""
    return (
        f"task.data={code_15 / 'plain'}",
        f"task.label_file={shared / 'ecg' / 'code_15' / 'labels' / 'y.npy'}",
        f"common_eval.path={shared / 'golden' / 'diagnosis_small.pt'}",
        "dataset.batch_size=8",
        *RESTING,
    )


@pytest.fixture
def recorded(shared):
    return shared / "golden" / "extract_small"


def stores(folder) -> dict[str, np.ndarray]:
    paths = sorted(folder.glob("*.npy"))
    return {path.stem: np.array(MemmapReader.from_header(path)[:]) for path in paths}


def assert_recorded(folder, recorded, names, precision="float32"):
    ours, theirs = stores(folder), stores(recorded)
    assert set(ours) == {f"{name}_test" for name in names}
    for name in names:
        rtol, atol, reason = EXTRACTED[precision, name]
        one, other = ours[f"{name}_test"], theirs[f"{name}_test"]
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=f"{name}: {reason}")


def printed_metrics(log: str) -> dict[str, float]:
    line = re.findall(r"\[INFO\] - (\{.*\})", log)[-1]
    return {key: float(value) for key, value in json.loads(line).items()}


def test_validation_writes_what_fairseq_signals_wrote(hydra_validate, command, recorded, tmp_path):
    run = hydra_validate(
        "--config-name=diagnosis",
        *(part.replace("task.label_file", "+task.label_file") for part in command),
        "distributed_training.distributed_world_size=1",
        "common_eval.extract=[output, encoder_out,saliency]",
        f"common_eval.results_path={tmp_path / 'made' / 'here'}",
        cwd=tmp_path,
    ).check()
    folder = tmp_path / "made" / "here"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        p.name for p in recorded.iterdir() if p.suffix != ".json"
    )
    assert_recorded(folder, recorded, ["outputs", "targets", "encoder_out", "saliency"])
    for header in recorded.glob("*_header.pkl"):
        assert (folder / header.name).read_bytes() == header.read_bytes()
        store = header.name.replace("_header.pkl", ".npy")
        assert (folder / store).stat().st_size == (recorded / store).stat().st_size
    expected = json.loads((recorded / "metrics.json").read_text())
    measured = printed_metrics(run.log)
    for key, value in expected.items():
        assert measured[f"test_{key}"] == pytest.approx(value, abs=1e-5), key


def test_published_inference_command(hydra_inference, code_15, shared, recorded, tmp_path):
    hydra_inference(
        f"task.data={code_15 / 'plain'}/",
        f"common_eval.path={shared / 'golden' / 'diagnosis_small.pt'}",
        EVERYTHING,
        "common_eval.results_path=outputs",
        "model.num_labels=8",
        "dataset.valid_subset=test",
        "dataset.batch_size=10",
        "dataset.num_workers=1",
        "dataset.disable_validation=false",
        "distributed_training.distributed_world_size=1",
        "distributed_training.find_unused_parameters=True",
        f"--config-dir={ROOT / 'configs'}",
        "--config-name=mimic_iv_ecg_finetuned",
        "hydra.run.dir=runs/one",
        cwd=tmp_path,
    ).check()
    assert_recorded(tmp_path / "outputs", recorded, ["outputs", "encoder_out", "saliency"])


@pytest.mark.parametrize(("option", "precision"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_reduced_precision_and_standard_file_format(
    option, precision, hydra_validate, command, recorded, tmp_path
):
    hydra_validate(
        *command,
        f"common.{option}=true",
        EVERYTHING,
        f"common_eval.results_path={tmp_path / 'out'}",
        "common_eval.extract_format=npy",
        cwd=tmp_path,
    ).check()
    names = ["outputs", "targets", "encoder_out", "saliency"]
    assert_recorded(tmp_path / "out", recorded, names, precision)
    stored = "float16" if option == "fp16" else "float32"
    for name, values in stores(tmp_path / "out").items():
        assert values.dtype == stored
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{name}.npy"), values)


def test_two_processes_write_the_files_of_one(hydra_validate, command, tmp_path):
    options = [*command, EVERYTHING, "dataset.required_batch_size_multiple=1"]
    options += ["dataset.batch_size=5"]
    run = hydra_validate(
        *options, f"common_eval.results_path={tmp_path / 'one'}", cwd=tmp_path
    ).check()
    both = hydra_validate(
        *options,
        f"common_eval.results_path={tmp_path / 'two'}",
        "distributed_training.distributed_world_size=2",
        cwd=tmp_path,
        processes=2,
    ).check()
    assert printed_metrics(both.log) == printed_metrics(run.log)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    assert len(one) == 8


@pytest.fixture
def unequal(shared, tmp_path):
    """A subset with segments of 2500, 2000 and 800 samples; the first ones are not padded."""
    lengths = [2500, 2500, 2000, 800, 2000]
    source = sorted((shared / "ecg" / "code_15" / "segmented").glob("*.mat"))
    folder = tmp_path / "segments"
    folder.mkdir()
    rows = [str(folder)]
    for path, length in zip(source, lengths, strict=False):
        mat = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        mat |= {"feats": mat["feats"][:, :length], "curr_sample_size": length}
        scipy.io.savemat(folder / path.name, mat)
        rows.append(f"{path.name}\t{length}")
    (tmp_path / "test.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "test.tsv", lengths


def test_padding_of_every_row(unequal, hydra_validate, command, shared, tmp_path):
    manifest, lengths = unequal
    out = tmp_path / "out"
    hydra_validate(
        *(part for part in command if not part.startswith("task.data")),
        f"task.data={tmp_path}",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        EVERYTHING,
        f"common_eval.results_path={out}",
        cwd=tmp_path,
    ).check()
    found = stores(out)
    frames = [156, 156, 125, 50, 125]
    padded = np.arange(156) >= np.array(frames)[:, None]
    np.testing.assert_array_equal(found["padding_mask_test"], padded)
    assert found["padding_mask_test"].dtype == np.float32
    assert (found["encoder_out_test"] == 0).all(axis=2)[padded].all()
    assert not (found["encoder_out_test"] == 0).all(axis=2)[~padded].any()

    dataset = dataset_of(manifest, enable_padding=True, shuffle=False)
    model = build_model_from_checkpoint(shared / "golden" / "diagnosis_small.pt")
    model.encoder.encoder.need_weights = True
    for first in (0, 2, 4):
        rows = slice(first, min(first + 2, len(lengths)))
        batch = dataset.collate([dataset[i] for i in range(rows.start, rows.stop)])
        with torch.no_grad():
            expected = model(**batch["net_input"])
        t = expected["encoder_out"].shape[1]
        for name, key in (("outputs", "out"), ("encoder_out", "encoder_out")):
            own = found[f"{name}_test"][rows]
            own = own[:, :t] if own.ndim == 3 else own
            np.testing.assert_allclose(own, expected[key], rtol=1e-5, atol=1e-5)
        saliency = found["saliency_test"][rows]
        np.testing.assert_allclose(saliency[..., :t, :t], expected["saliency"], atol=1e-6)
        assert not saliency[..., t:, :].any()
        assert not saliency[..., t:].any()


def test_cropped_batches(unequal, hydra_inference, command, tmp_path):
    """Without padding a batch is as long as its shortest recording."""
    hydra_inference(
        *(part for part in command if not part.startswith("task.data")),
        f"task.data={tmp_path}",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "+task.enable_padding=false",
        "common_eval.extract=[encoder_out]",
        f"common_eval.results_path={tmp_path / 'out'}",
        cwd=tmp_path,
    ).check()
    lengths = (~stores(tmp_path / "out")["padding_mask_test"].astype(bool)).sum(axis=1)
    assert lengths.tolist() == [156, 156, 50, 50, 125]


def test_a_padding_mask_of_an_older_extraction_goes(
    unequal, hydra_inference, command, recorded, tmp_path
):
    options = ["common_eval.extract=[encoder_out]", f"common_eval.results_path={tmp_path / 'out'}"]
    others = [part for part in command if not part.startswith("task.data")]
    hydra_inference(*others, f"task.data={tmp_path}", *options, cwd=tmp_path).check()
    assert (tmp_path / "out" / "padding_mask_test.npy").exists()
    hydra_inference(*command, *options, cwd=tmp_path).check()
    assert_recorded(tmp_path / "out", recorded, ["encoder_out"])


def test_encoder_output_of_a_pretrained_model(hydra_inference, code_15, shared, tmp_path):
    """Without a fake step of fine-tuning, and without masking."""
    checkpoint = shared / "golden" / "pretrain_small.pt"
    hydra_inference(
        f"task.data={code_15 / 'plain'}",
        f"common_eval.path={checkpoint}",
        "dataset.batch_size=14",
        "common_eval.extract=[encoder_out,saliency]",
        f"common_eval.results_path={tmp_path / 'out'}",
        *RESTING,
        cwd=tmp_path,
    ).check()
    found = stores(tmp_path / "out")
    model = build_model_from_checkpoint(checkpoint)
    dataset = dataset_of(code_15 / "plain" / "test.tsv", shuffle=False)
    source = dataset.collate([dataset[i] for i in range(14)])["net_input"]["source"]
    with torch.no_grad():
        expected = model.extract_features(source)["x"]
    np.testing.assert_allclose(found["encoder_out_test"], expected, rtol=1e-5, atol=1e-5)
    assert found["saliency_test"].shape == (14, 2, 156, 156)
    np.testing.assert_allclose(found["saliency_test"].sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("checkpoint", "data"),
    [
        ("pretrain_small", "cmsc"),
        ("rest/cmsc", "cmsc"),
        ("rest/simclr", "plain"),
        ("rest/threekg", "plain"),
    ],
)
def test_metrics_of_pretraining_in_a_csv_file(
    checkpoint, data, hydra_validate, code_15, shared, tmp_path
):
    hydra_validate(
        f"task.data={code_15 / data}",
        f"common_eval.path={shared / 'golden' / checkpoint}.pt",
        "dataset.batch_size=2",
        "dataset.valid_subset='valid,test'",
        "dataset.num_workers=0",
        "common.log_format=csv",
        "hydra.run.dir=.",
        cwd=tmp_path,
    ).check()
    for subset in ("valid", "test"):
        with (tmp_path / f"{subset}.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["step"] == ""
        assert float(row["loss"]) > 0
    assert not (tmp_path / "log.csv").exists()


@pytest.fixture
def other_labels(shared, tmp_path):
    labels = 1 - np.load(shared / "ecg" / "code_15" / "labels" / "y.npy").astype(np.float32)
    np.save(tmp_path / "others.npy", labels)
    return tmp_path / "others.npy"


@pytest.mark.parametrize(
    "override",
    [
        "task.label_file={name}",
        "common_eval.model_overrides=\"{{'label_file': '{path}'}}\"",
        "common_eval.model_overrides=\"{{'task': {{'label_file': '{path}'}}}}\"",
    ],
)
def test_labels_of_the_command_line(
    override, other_labels, hydra_validate, command, recorded, tmp_path
):
    hydra_validate(
        *(part for part in command if not part.startswith("task.label_file")),
        override.format(name=other_labels.name, path=other_labels),
        "common_eval.extract=[output]",
        f"common_eval.results_path={tmp_path / 'out'}",
        cwd=tmp_path,
    ).check()
    found, theirs = stores(tmp_path / "out"), stores(recorded)
    np.testing.assert_array_equal(found["targets_test"], 1 - theirs["targets_test"])


def test_criterion_options_of_the_command_line(hydra_validate, command, tmp_path):
    run = hydra_validate(*command, "+criterion.threshold=1.0", cwd=tmp_path).check()
    assert printed_metrics(run.log)["test_recall"] == 0


def test_killed_in_the_middle_nothing_is_half_written(
    hydra_validate, command, other_labels, tmp_path
):
    out = tmp_path / "out"
    options = [*command, EVERYTHING, f"common_eval.results_path={out}"]
    hydra_validate(*options, cwd=tmp_path).check()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    options = [part for part in options if not part.startswith("task.label_file")]
    options += [f"task.label_file={other_labels}"]
    run = hydra_validate(*options, cwd=tmp_path, kill=("extraction", 7))
    assert run.status == -9
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {name: after[name] for name in before} == before
    assert all(name.startswith(".unfinished-") for name in set(after) - set(before))


def test_a_failure_leaves_files_as_they_were(hydra_inference, command, code_15, tmp_path):
    out = tmp_path / "out"
    options = [EVERYTHING, f"common_eval.results_path={out}"]
    hydra_inference(*command, *options, cwd=tmp_path).check()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    manifest = (code_15 / "plain" / "test.tsv").read_text()
    (tmp_path / "test.tsv").write_text(manifest.replace("975093_1", "no_such_file"))
    others = [part for part in command if not part.startswith("task.data")]
    run = hydra_inference(*others, *options, f"task.data={tmp_path}", cwd=tmp_path)
    assert run.status == 1
    assert "no_such_file" in run.log
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("common_eval.path=/no/model.pt", r"checkpoint /no/model\.pt does not exist"),
        ("+task.lable_file=y.npy", "task.lable_file: ecg_classification has no such option"),
        ("task.label_file=none.npy", r"none\.npy: no such label file"),
        ("common_eval.model_overrides=\"{'lable_file':1}\"", "'lable_file' is no option"),
    ],
)
def test_mistakes_are_named_in_the_last_line(override, message, hydra_validate, command, tmp_path):
    key = override.lstrip("+").split("=")[0]
    options = [part for part in command if part.split("=")[0] != key]
    run = hydra_validate(*options, override, cwd=tmp_path)
    assert run.status == 1
    last = run.log.split("Set the environment variable HYDRA_FULL_ERROR")[0].rstrip()
    assert re.search(message, last.splitlines()[-1])


def request(**common_eval) -> DictConfig:
    common_eval = {"path": "a.pt", "extract": None, "results_path": None, **common_eval}
    dataset = {"batch_size": 8, "max_tokens": None}
    return OmegaConf.create({"common_eval": common_eval, "dataset": dataset, "task": None})


@pytest.mark.parametrize(
    ("common_eval", "labelled", "message"),
    [
        ({"path": None}, True, r"common_eval\.path is not given"),
        ({"extract": ["logits"]}, True, "logits cannot be extracted; choose from output"),
        ({"extract": ["output"]}, True, r"\[output\] needs common_eval\.results_path"),
        ({}, False, r"\[output\] needs common_eval\.results_path"),
    ],
)
def test_requests_are_checked_before_anything_is_loaded(common_eval, labelled, message):
    with pytest.raises(DataError, match=message):
        hydra_programs.check_request(request(**common_eval), labelled)


def test_a_batch_size_is_needed():
    cfg = request()
    hydra_programs.check_request(cfg, labelled=True)
    cfg.dataset.batch_size = None
    with pytest.raises(DataError, match=r"dataset\.batch_size \(in recordings\) or"):
        hydra_programs.check_request(cfg, labelled=True)


@pytest.mark.parametrize("text", ["[1]", "{", "__import__('os').getcwd()"])
def test_model_overrides_are_a_dict_and_no_code(text):
    with pytest.raises(DataError, match="give a Python dict"):
        hydra_programs.overrides_of(request(model_overrides=text), [])


def test_what_comes_before_the_checkpoint():
    """YAMLs decide how is read, the command line everything."""
    cfg = request(model_overrides="{'task': {'seed': 3}, 'dropout': 0.5}")
    cfg.task = {"data": "/data", "normalize": True, "label_file": "/y.npy", "mean_path": "???"}
    cfg.criterion = {"threshold": 0.3, "report_auc": False}
    overrides = hydra_programs.overrides_of(cfg, ["+criterion.threshold=0.3", "~task.k"])
    assert overrides == {
        "task": {"data": "/data", "normalize": True, "seed": 3},
        "model": {},
        "criterion": {"threshold": 0.3},
        "": {"dropout": 0.5},
    }
    overrides = hydra_programs.overrides_of(cfg, ["task.label_file=/y.npy"])
    assert overrides["task"]["label_file"] == "/y.npy"


def test_pretraining_batches_are_not_extracted(hydra_validate, code_15, shared, tmp_path):
    run = hydra_validate(
        f"task.data={code_15 / 'cmsc'}",
        f"common_eval.path={shared / 'golden' / 'pretrain_small.pt'}",
        "dataset.batch_size=8",
        "common_eval.extract=[encoder_out]",
        f"common_eval.results_path={tmp_path / 'out'}",
        cwd=tmp_path,
    )
    assert run.status == 1
    assert "of a pre-trained model by fairseq-hydra-inference" in run.log


@pytest.mark.parametrize("name", ["encoder_out", "saliency"])
def test_padding_is_reported_with_either(name, shared):
    model = build_model_from_checkpoint(shared / "golden" / "diagnosis_small.pt")
    model.encoder.encoder.need_weights = True
    padding = torch.zeros(2, 12, 160, dtype=torch.bool)
    for padded, frames in ((0, 0), (32, 2)):
        padding[1, :, 160 - padded :] = padded > 0
        observer = Observer(model, [name], "a.pt")
        observer.run({"net_input": {"source": torch.randn(2, 12, 160), "padding_mask": padding}})
        arrays = observer.arrays({"id": torch.arange(2)}, with_targets=False)
        assert set(arrays) == {name, "padding_mask"}
        assert arrays["padding_mask"].shape == (2, 10)
        assert arrays["padding_mask"].sum(dim=1).tolist() == [0, frames]


def test_a_pretrained_model_has_no_output(shared):
    model = build_model_from_checkpoint(shared / "golden" / "pretrain_small.pt")
    with pytest.raises(DataError, match=r"a\.pt: a pre-trained model predicts no labels"):
        Observer(model, ["output"], "a.pt")


def test_headers_need_nothing_of_this_package(recorded):
    """As recorded: plain dicts, which fairseq_signals reads."""
    header = pickle.loads((recorded / "outputs_test_header.pkl").read_bytes())
    assert header == {"shape": (14, 8), "dtype": "float32"}


def test_console_scripts_exist():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for program in ("validate", "inference"):
        module, _, name = scripts[f"fairseq-hydra-{program}"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_installed_command_from_another_directory(command, recorded, tmp_path):
    script = Path(sys.executable).with_name("fairseq-hydra-inference")
    if not script.exists():
        pytest.skip("the package is not installed with its console scripts")
    options = [*command, "common_eval.results_path=out"]  # no extract: the output
    result = subprocess.run(
        [script, *options], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert_recorded(tmp_path / "out", recorded, ["outputs"])
