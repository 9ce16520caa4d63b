"""The recipes of CONTRIBUTING.md work as they stand there; `tests/formats` has that of a format."""

import csv
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import recipes
from tests.segment_files import write_segment_files

SMALL = (
    "+model.encoder_layers=1",
    "+model.encoder_embed_dim=16",
    "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2",
    "+model.conv_feature_layers='[(8, 2, 2)] * 4'",
    "+model.conv_pos=4",
    "+model.conv_pos_groups=2",
)

ONE_RECORDING = """
#include <cmath>
#include <vector>
#include "csrc/augment/augment.h"

using namespace fairseq_ecg;

int main() {
  constexpr int kRows = 3, kSamples = 1000, kValid = 993;
  std::vector<float> ecg(kRows * kSamples), augmented(kRows * kSamples, NAN);
  for (int i = 0; i < kRows * kSamples; ++i) ecg[i] = 0.001f * i - 1;
  std::vector<double> parameters(16, 1.0);
  parameters[0] = 500, parameters[1] = 0, parameters[2] = kValid;
  const float gains[kRows] = {0.8f, 1.1f, 1.25f};
  for (int row = 0; row < kRows; ++row) parameters[4 + row] = gains[row];
  const std::vector<int64_t> origin(4, 0), leads{0, 1, 6};
  Augment call{ecg.data(), parameters.data(), origin.data(), leads.data(), nullptr,
               augmented.data(), 1, kRows, kSamples, 16, 1, {}};
  call.recipe[0] = {kGain, 3, 0, 0};
  bool equal = cpu::augment(call, 0, 1);
  for (int i = 0; i < kRows * kSamples; ++i) {
    const float gain = i % kSamples < kValid ? gains[i / kSamples] : 1;
    equal = equal && augmented[i] == ecg[i] * gain;
  }
  return equal ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    counts = {"train": [2, 2, 1], "valid": [2], "test": [2]}
    write_segment_files(folder, counts, lambda segment: 500, label=[[1, 0, 1]])
    return folder


def train(package: Path, config: str, recordings: Path, *options: str) -> float:
    """Train a small network for an epoch of `recordings`; return its loss."""
    recipes.run(
        package,
        "-c",
        "from fairseq_cli.hydra_train import cli_main; cli_main()",
        f"--config-name={config}",
        f"common.user_dir={package / 'fairseq_ecg'}",
        f"task.data={recordings}",
        *SMALL,
        *options,
        "checkpoint.save_dir=trained",
        f"hydra.run.dir={package}",
        "common.log_format=csv",
        "dataset.batch_size=2",
        "dataset.num_workers=0",
        "distributed_training.distributed_world_size=1",
        "optimization.max_epoch=1",
    )
    with (package / "train.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return float(row["loss"])


def test_an_augmentation_with_kernels(tmp_path):
    package = recipes.followed("An augmentation with kernels", tmp_path)
    files = "tests/ops/test_augment.py", "tests/ops/test_augment_kernels.py"
    chosen = "lead_gain and not (cpu or cuda or triton)"
    out = recipes.run(package, "-m", "pytest", "-q", "-p", "no:xdist", *files, "-k", chosen)
    assert re.search(r"[1-9] passed", out)
    assert "failed" not in out


def test_a_kernel_of_an_augmentation_in_triton(tmp_path):
    pytest.importorskip("triton")
    package = recipes.followed("An augmentation with kernels", tmp_path)
    chosen = "lead_gain and triton and one_by_one"
    arguments = "-q", "-p", "no:xdist", "tests/ops/test_augment_kernels.py", "-k", chosen
    out = recipes.run(package, "-m", "pytest", *arguments, TRITON_INTERPRET="1")
    assert re.search(r"[1-9] passed", out)
    assert "skipped" not in out


def test_a_kernel_of_an_augmentation_in_cpp(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    package = recipes.followed("An augmentation with kernels", tmp_path)
    (package / "main.cpp").write_text(ONE_RECORDING)
    sources = "main.cpp", "csrc/augment/cpu.cpp", "csrc/common/dispatch.cpp"
    flags = "-std=c++20", "-O1", "-ffp-contract=off", "-I."
    subprocess.run(["g++", *flags, *sources, "-o", "main"], cwd=package, check=True)
    subprocess.run(["./main"], cwd=package, check=True)


def test_a_pretraining_method(tmp_path, recordings):
    package = recipes.followed("A pre-training method", tmp_path)
    assert math.isfinite(train(package, "alignment", recordings))
    files = "tests/tasks/test_methods.py", "tests/data/test_combinations.py"
    chosen = "row or copies or (four_views and none)"
    out = recipes.run(package, "-m", "pytest", "-q", "-p", "no:xdist", *files, "-k", chosen)
    assert re.search(r"[1-9] passed", out)


def test_a_head_and_an_encoder(tmp_path, recordings):
    """The encoder is that of the README of modules."""
    package = recipes.followed("A fine-tuning head", tmp_path)
    recipes.run(package, "-m", "tests.models.added_networks", str(tmp_path))
    labels = "model._name=ecg_transformer_largest", "model.num_labels=3", "model.model_path=null"
    assert math.isfinite(train(package, "diagnosis", recordings, *labels))
