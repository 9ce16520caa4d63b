import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

# Before torch is imported: processes that are forked after torch has used several threads hang when
# they use them too, and tests run side by side anyway.
os.environ["OMP_NUM_THREADS"] = "1"

# Tests start hundreds of processes, each of which would otherwise compile this package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[1]
USER_DIR = f"common.user_dir={ROOT / 'fairseq_ecg'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process waits for another in the end.

    These are slow tests, then those of whole programs, which lie directly in this folder.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.path.parent != here))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recordings and real ECGs that lie beside the checkout, where they exist."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the recordings in {folder}, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def ecg():
    """Two seconds at 257 Hz whose limb leads follow Einthoven and Goldberger, lead III flat."""
    from fairseq_ecg.ecg.leads import LEADS
    from fairseq_ecg.ecg.recording import ECG

    time = np.arange(514) / 257
    beat = np.exp(-(((time % 1 - 0.4) / 0.02) ** 2))
    signal = np.stack([(0.5 + 0.1 * i) * beat + 0.05 * np.sin(time + i) for i in range(12)])
    signal[1] = signal[0] + 0.1
    signal[2] = 0.1
    one, two = signal[:2]
    signal[3:6] = -(one + two) / 2, one - two / 2, two - one / 2
    return ECG("simulated", signal, LEADS, 257.0)


@dataclass
class Run:
    """One run of a command."""

    status: int
    log: str

    def check(self) -> "Run":
        assert self.status == 0, self.log[-6000:]
        return self


class Launcher:
    """Runs ``fairseq-hydra-<program>`` in forks of one process, see ``launcher.py``."""

    def __init__(self, log_folder: Path, *programs: str):
        self.log_folder = log_folder
        self.runs = 0
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("launcher.py")), *programs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )

    def __call__(
        self,
        program: str,
        *arguments: str,
        cwd: Path,
        kill: tuple[str, int] | None = None,
        processes: int = 1,
    ) -> Run:
        self.runs += 1
        log = self.log_folder / f"{self.runs}.log"
        # argparse takes overrides only if they follow each other.
        ordered = sorted(arguments, key=lambda argument: not argument.startswith("--"))
        request = {"arguments": ordered, "cwd": str(cwd), "log": str(log), "kill": kill}
        request |= {"program": program, "processes": processes}
        request["torchrun"] = torchrun_environment(processes)
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Run(json.loads(self.server.stdout.readline()), log.read_text())


def torchrun_environment(processes: int) -> dict[str, str]:
    """Variables by which processes of torchrun find each other, but for the rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return address | {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}


def environment() -> dict[str, str]:
    """Environment of commands: this checkout first, one thread, no GPU."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def launched(tmp_path_factory, *programs: str):
    """Launch programs until the session ends."""
    launcher = Launcher(tmp_path_factory.mktemp("logs"), *programs)
    yield launcher
    launcher.server.stdin.close()
    launcher.server.wait()


@pytest.fixture(scope="session")
def hydra_train(tmp_path_factory):
    """Run ``fairseq-hydra-train`` with the given arguments."""
    for launcher in launched(tmp_path_factory, "train"):
        yield partial(launcher, "train")


@pytest.fixture(scope="session")
def evaluating(tmp_path_factory):
    """Run ``fairseq-hydra-validate`` or ``fairseq-hydra-inference``."""
    yield from launched(tmp_path_factory, "validate", "inference")


@pytest.fixture(scope="session")
def hydra_validate(evaluating):
    """Run ``fairseq-hydra-validate`` with the given arguments."""
    return partial(evaluating, "validate")


@pytest.fixture(scope="session")
def hydra_inference(evaluating):
    """Run ``fairseq-hydra-inference`` with the given arguments."""
    return partial(evaluating, "inference")


@pytest.fixture(scope="session")
def code_15(shared, tmp_path_factory) -> Path:
    """Manifests of the real CODE-15% segments: ``cmsc/`` pairs and ``plain/`` with labels."""
    folder = tmp_path_factory.mktemp("code_15")
    segments = shared / "ecg" / "code_15" / "segmented"
    names = sorted(path.name for path in segments.glob("*.mat"))
    pairs = [name.removesuffix("_1.mat") for name in names if name.endswith("_1.mat")]
    for kind in ("cmsc", "plain"):
        (folder / kind).mkdir()
    for split in ("train", "valid", "test"):
        rows = "".join(f"{name}\t2500\n" for name in names)
        (folder / "plain" / f"{split}.tsv").write_text(f"\t{segments}/\n{rows}")
        rows = "".join(f"{pair}\t2500\t0\t0,1\n" for pair in pairs)
        (folder / "cmsc" / f"{split}.tsv").write_text(f"{segments}/\nmat\n{rows}")
    return folder


TINY_ENCODER = (
    "+model.encoder_layers=2",
    "model.encoder_embed_dim=32",
    "+model.encoder_ffn_embed_dim=64",
    "+model.encoder_attention_heads=4",
    "+model.conv_feature_layers='[(16, 2, 2)] * 4'",
    "+model.conv_pos=16",
    "+model.conv_pos_groups=4",
)
"""Options of configurations of ``ecg_transformer``."""

TINY_MODEL = (
    *TINY_ENCODER,
    "model.final_dim=16",
    "+model.latent_vars=8",
    "+model.num_negatives=10",
)
"""Options of configurations of wav2vec 2.0."""

# Configuration of a smaller one, for tests that build it themselves.
TINY_CMSC_MODEL = {
    "_name": "wav2vec2_cmsc",
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 16,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 2, 2)] * 4",
    "conv_pos": 4,
    "conv_pos_groups": 2,
    "apply_mask": True,
    "mask_prob": 0.65,
    "mask_length": 3,
    "normalize": False,
    "filter": False,
    "data": "",
}
