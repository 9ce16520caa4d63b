"""Segmentation by the published configurations: on made ECGs whose waves are known."""

import csv
import json
import re
import shlex

import numpy as np
import pytest
import torch

from fairseq_ecg.cli import main
from fairseq_ecg.data import ECGDataset
from fairseq_ecg.data.targets import SegmentationTarget
from fairseq_ecg.data.views import WholeRecordingView
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.prepare.pack import pack
from tests.conftest import ROOT, USER_DIR
from tests.wave_files import write_wave_files

README = ROOT / "examples" / "scratch" / "ecg_segmentation" / "README.md"
N_LABELS = 3
LABELS = (f"model.num_labels={N_LABELS}", "+model.cgm_dim=4", "+model.cgm_kernel_size=3")
CONFIGS = {
    "unet3plus_aug": (),
    "unet3plus_12leads_aug": (),
    "unet3plus_aug_cgm": LABELS,
    "unet3plus_cgm": LABELS,
}
FROM_STORES = ("unet3plus_12leads_aug", "unet3plus_aug_cgm")
"""Those that are trained from a store as well: of twelve leads, and of one with labels."""

SMALL = ("+model.initial_dim=2", "+model.kernel_size=3")
POINTS = [f"{wave}_{end}" for wave in ("p", "qrs", "t") for end in ("onset", "offset")]
MEASURES = {
    f"{point}_{measure}"
    for point in (*POINTS, "waves")
    for measure in ("se", "ppv", "f1", "mean_ms", "std_ms")
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders ``1`` and ``12`` of files of so many leads, and the same in stores."""
    folder = tmp_path_factory.mktemp("waves")
    for n_leads in (1, 12):
        counts = {"train": 8, "valid": 6, "test": 3}
        options = {"n_samples": 400, "shorter": 9, "n_labels": N_LABELS}
        write_wave_files(folder / f"{n_leads}", counts, n_leads=n_leads, **options)
        pack(folder / f"{n_leads}", folder / f"{n_leads}" / "store")
    return folder


def command(config: str, data, folder, *options: str, store: bool = False) -> list[str]:
    """Two updates of a small network, and a validation; checkpoints go into the folder."""
    of_leads = data / ("12" if "12leads" in config else "1")
    return [
        USER_DIR,
        f"--config-name={config}",
        f"task.data={of_leads / 'store' if store else of_leads}",
        "task.sample_rate=200",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "dataset.validate_interval=1",
        "optimization.max_epoch=0",
        "optimization.max_update=2",
        f"checkpoint.save_dir={folder}",
        *SMALL,
        *CONFIGS[config],
        *options,
    ]


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


def assert_same_weights(one, other) -> None:
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def measured(log: str, subset: str = "valid") -> dict[str, float]:
    """Metrics of the last validation, as printed."""
    lines = [line for line in log.splitlines() if f"[{subset}][INFO] - {{" in line]
    values = json.loads(lines[-1].partition(" - ")[2])
    ours = {key.removeprefix(f"{subset}_"): value for key, value in values.items()}
    return {key: float(value) for key, value in ours.items() if key not in ("wall", "epoch")}


@pytest.mark.parametrize("config", CONFIGS)
def test_published_configurations_train_from_files_and_stores(config, data, hydra_train, tmp_path):
    logs = {}
    for source in ("files", "store") if config in FROM_STORES else ("files",):
        folder = tmp_path / source
        folder.mkdir()
        run = hydra_train(*command(config, data, folder, store=source == "store"), cwd=folder)
        logs[source] = measured(run.check().log)
        assert_same_weights(tmp_path / "files", folder)
        np.testing.assert_equal(logs[source], logs["files"])
    assert set(logs["files"]) >= MEASURES
    accuracies = ["0_accuracy", "1_accuracy"] if "cgm" in config else ["accuracy"]
    assert set(accuracies) <= set(logs["files"])


@pytest.mark.parametrize("config", ["unet3plus_aug", "unet3plus_cgm"])
def test_bf16_trains(config, data, hydra_train, tmp_path):
    run = hydra_train(*command(config, data, tmp_path, "common.bf16=true"), cwd=tmp_path)
    measures = measured(run.check().log)
    assert np.isfinite(measures["loss"])
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("config", ["unet3plus_aug", "unet3plus_aug_cgm"])
def test_two_processes_train_as_one(config, data, hydra_train, tmp_path):
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        every = f"optimization.update_freq=[{2 // processes}]"
        world = f"distributed_training.distributed_world_size={processes}"
        arguments = command(config, data, folder, every, world)
        hydra_train(*arguments, cwd=folder, processes=processes).check()
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for key, value in one.items():
        # Statistics are those of the batches that the first process saw.
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("config", ["unet3plus_aug", "unet3plus_aug_cgm"])
def test_killed_and_started_again(config, data, hydra_train, tmp_path):
    options = ("checkpoint.save_interval_updates=1", "optimization.max_update=5")
    whole, killed = (
        command(config, data, tmp_path / name, *options) for name in ("whole", "killed")
    )
    expected = hydra_train(*whole, cwd=tmp_path).check()
    assert hydra_train(*killed, cwd=tmp_path, kill=("update", 4)).status == -9
    resumed = hydra_train(*killed, cwd=tmp_path).check()
    assert "Loaded checkpoint" in resumed.log
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    np.testing.assert_equal(measured(resumed.log), measured(expected.log))


def test_labels_of_recordings_are_asked_for(data, hydra_train, tmp_path):
    arguments = command("unet3plus_cgm", data, tmp_path, "task.apply_cgm=false")
    run = hydra_train(*arguments, cwd=tmp_path)
    assert run.status != 0
    assert "set task.apply_cgm=true" in run.log


def documented(program: str, folder) -> list[str]:
    """Arguments of the command that the README of segmentation gives, in this folder."""
    (command,) = re.findall(rf"```bash\n{program} (.*?)```", README.read_text(), re.DOTALL)
    command = command.replace("$ROOT", str(ROOT)).replace("\\\n", " ")
    return shlex.split(re.sub("/path/to/(manifests|checkpoints)", str(folder), command))


@pytest.fixture(scope="module")
def learned(hydra_train, tmp_path_factory):
    """Folder of recordings, and of what a small network learns of them in a few seconds."""
    folder = tmp_path_factory.mktemp("learned")
    write_wave_files(folder, {"train": 24, "valid": 8, "test": 8}, shorter=20, seed=3)
    run = hydra_train(
        *documented("fairseq-hydra-train", folder),
        "task.sample_rate=200",
        "dataset.batch_size=8",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "dataset.validate_interval=30",
        "optimization.max_epoch=30",
        "optimization.max_update=90",
        "optimization.lr=[2e-2]",
        "checkpoint.no_epoch_checkpoints=true",
        "+model.initial_dim=4",
        cwd=folder,
    )
    return folder, measured(run.check().log)


def test_waves_are_learned(learned):
    folder, measures = learned
    assert measures["waves_f1"] > 0.9
    for point in POINTS:
        assert measures[f"{point}_f1"] > 0.9, point
        assert abs(measures[f"{point}_mean_ms"]) < 20, point
    best = torch.load(folder / "checkpoint_best.pt", weights_only=True)
    assert best["extra_state"]["best"] >= measures["waves_f1"]


def test_the_program_scores_as_validation_does(
    learned, hydra_validate, tmp_path, capsys, monkeypatch
):
    """Where all recordings are of one length, as padding is not masked in training."""
    folder, _ = learned
    best, data = str(folder / "checkpoint_best.pt"), tmp_path / "data"
    write_wave_files(data, {"test": 5}, seed=9)
    pack(data, data / "store")
    monkeypatch.chdir(tmp_path)
    assert main(documented("fairseq-ecg", folder)) == 0
    assert (tmp_path / "scores.csv").exists()
    run = hydra_validate(*validation(best, data), cwd=tmp_path).check()
    expected = measured(run.log, "test")
    tables = []
    for manifest in (data / "test.tsv", data / "store" / "test"):
        out = tmp_path / "scores.csv"
        assert main(["evaluate", best, f"--manifest={manifest}", f"--out={out}"]) == 0
        assert "qrs onset" in capsys.readouterr().out
        with out.open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1]
    assert [row["point"] for row in tables[0]] == [*POINTS, "all"]
    for row in tables[0]:
        point = row["point"].replace("all", "waves")
        for measure in ("se", "ppv", "f1", "mean_ms", "std_ms"):
            assert float(row[measure]) == pytest.approx(expected[f"{point}_{measure}"], abs=1e-3)
    assert tables[0][-1]["recordings"] == "5"


def test_the_program_scores_on_annotated_files_alone(learned, tmp_path, capsys):
    folder, _ = learned
    best, manifest = str(folder / "checkpoint_best.pt"), f"--manifest={folder / 'test.tsv'}"
    with pytest.raises(SystemExit):
        main(["evaluate", best, manifest, "--require-auroc=0.9"])
    assert "scored on --manifest alone" in capsys.readouterr().err
    (folder / "mat" / "other0.mat").write_bytes(b"no file")
    listed = (folder / "test.tsv").read_text() + "other0.mat\t800\n"
    (tmp_path / "test.tsv").write_text(listed)
    assert main(["evaluate", best, f"--manifest={tmp_path / 'test.tsv'}"]) == 3
    assert "left out: " in capsys.readouterr().err


def stored(folder) -> dict[str, np.ndarray]:
    paths = sorted(folder.glob("*.npy"))
    return {path.stem: np.array(MemmapReader.from_header(path)[:]) for path in paths}


def validation(checkpoint, data, *options: str) -> list[str]:
    return [
        f"common_eval.path={checkpoint}",
        f"task.data={data}",
        "dataset.batch_size=3",
        "dataset.num_workers=0",
        "dataset.valid_subset=test",
        "common.log_format=json",
        *options,
    ]


def test_two_processes_score_as_one(learned, hydra_validate, tmp_path):
    folder, _ = learned
    best = folder / "checkpoint_best.pt"
    found = []
    for processes in (1, 2):
        world = f"distributed_training.distributed_world_size={processes}"
        arguments = validation(best, folder, world)
        run = hydra_validate(*arguments, cwd=tmp_path, processes=processes).check()
        found.append(measured(run.log, "test"))
    for key in (*MEASURES, "accuracy", "nsignals"):
        assert found[0][key] == found[1][key], key
    assert found[0]["waves_f1"] > 0.9


def test_what_is_extracted_is_in_the_order_of_the_manifest(learned, hydra_validate, tmp_path):
    folder, _ = learned
    best, results = folder / "checkpoint_best.pt", tmp_path / "out"
    extract = ("common_eval.extract=[output]", f"common_eval.results_path={results}")
    hydra_validate(*validation(best, folder, *extract), cwd=tmp_path).check()
    found = stored(results)
    assert set(found) == {"outputs_test", "targets_test", "segment_mask_test"}
    assert found["outputs_test"].shape == (8, 800, 4)
    dataset = ECGDataset(folder / "test.tsv", WholeRecordingView(), SegmentationTarget())
    model = build_model_from_checkpoint(best).eval()
    for row in range(8):
        item = dataset[row]
        n_samples = len(item["segment_label"])
        classes, mask = found["targets_test"][row], found["segment_mask_test"][row]
        np.testing.assert_array_equal(classes[:n_samples], item["segment_label"])
        np.testing.assert_array_equal(mask[:n_samples], item["segment_mask"])
        assert mask[n_samples:].all()
        if n_samples == 800:  # the network sees the zeros that others are padded with
            with torch.no_grad():
                out = model(source=item["source"][None])["segment_out"][0]
            np.testing.assert_allclose(found["outputs_test"][row], out, rtol=1e-4, atol=1e-5)


def test_both_heads_are_extracted(data, hydra_train, hydra_validate, tmp_path):
    hydra_train(*command("unet3plus_cgm", data, tmp_path), cwd=tmp_path).check()
    extract = ("common_eval.extract=[output]", f"common_eval.results_path={tmp_path / 'out'}")
    arguments = validation(tmp_path / "checkpoint_last.pt", data / "1" / "store", *extract)
    hydra_validate(*arguments, cwd=tmp_path).check()
    shapes = {name: array.shape for name, array in stored(tmp_path / "out").items()}
    assert shapes == {
        "outputs_test_0": (3, 400, 4),
        "outputs_test_1": (3, N_LABELS),
        "targets_test_0": (3, 400),
        "targets_test_1": (3, N_LABELS),
        "segment_mask_test": (3, 400),
    }


def test_outputs_are_extracted_without_labels(learned, hydra_inference, tmp_path):
    folder, _ = learned
    results = tmp_path / "out"
    options = (f"common_eval.results_path={results}", "dataset.batch_size=8")
    arguments = validation(folder / "checkpoint_best.pt", folder, *options)
    hydra_inference(*arguments, cwd=tmp_path).check()
    found = stored(results)
    assert set(found) == {"outputs_test", "segment_mask_test"}
    lengths = (found["segment_mask_test"] == 0).sum(axis=1)
    assert lengths.tolist() == [800, 780, 760, 740] * 2


def test_frames_are_not_extracted(learned, hydra_validate, tmp_path):
    folder, _ = learned
    extract = ("common_eval.extract=[encoder_out]", f"common_eval.results_path={tmp_path / 'out'}")
    arguments = validation(folder / "checkpoint_best.pt", folder, *extract)
    run = hydra_validate(*arguments, cwd=tmp_path)
    assert run.status != 0
    assert "Encoder extraction is not supported for this model" in run.log
