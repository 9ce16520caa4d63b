"""Who registers what, in fresh processes."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, environment

NAME_USER_DIR = f"""
from argparse import Namespace
from fairseq import utils
utils.import_user_module(Namespace(user_dir={str(ROOT / "fairseq_ecg")!r}))
"""
CHECK = """

from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.tasks import TASK_REGISTRY
ours = lambda cls: cls.__module__.startswith("fairseq_ecg")
models = ("ecg_transformer", "wav2vec2", "wav2vec2_cmsc", "ecg_transformer_classifier")
assert all(ours(MODEL_REGISTRY[name]) for name in models)
assert all(ours(MODEL_DATACLASS_REGISTRY[name]) for name in models)
assert all(ours(ARCH_MODEL_REGISTRY[name]) for name in models)
assert all(ours(TASK_REGISTRY[name]) for name in ("ecg_pretraining", "ecg_classification"))
criterions = ("wav2vec2", "wav2vec2_with_cmsc", "cmsc", "clocs", "binary_cross_entropy",
              "binary_cross_entropy_with_logits", "multi_head_binary_cross_entropy",
              "cross_entropy", "composite_criterion")
assert all(ours(CRITERION_REGISTRY[name]) for name in criterions)
assert ours(OPTIMIZER_REGISTRY["adam"]) and OPTIMIZER_REGISTRY["adam"].__name__ == "Adam"
from fairseq.logging import meters
assert hasattr(meters, "AUCMeter")
"""
STOCK = """
import fairseq.models
assert fairseq.models.MODEL_REGISTRY["wav2vec2"].__module__.startswith("fairseq.models")
from fairseq.optim import OPTIMIZER_REGISTRY
assert OPTIMIZER_REGISTRY["adam"].__name__ == "FairseqAdam"
from fairseq.criterions import CRITERION_REGISTRY
assert CRITERION_REGISTRY["cross_entropy"].__module__ == "fairseq.criterions.cross_entropy"
"""


IMPORTED_FIRST = {
    "nothing": "",
    "the package": "import fairseq_ecg",
    "fairseq, then the package": "import fairseq, fairseq_ecg",
    "modules, then fairseq": "import fairseq_ecg.modules, fairseq",
    "models": "import fairseq_ecg.models",
    "a task": "import fairseq_ecg.tasks.ecg_pretraining",
}
SERVER = """
import json, os, sys, traceback
import scipy.io, sklearn.metrics, torch  # slow, and shared by all forks
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            exec(json.loads(line), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Run code in a process that has imported neither fairseq nor this package."""
    log = tmp_path_factory.mktemp("log") / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as server,
    ):

        def run(code: str) -> None:
            server.stdin.write(json.dumps(code) + "\n")
            server.stdin.flush()
            assert server.stdout.readline() == "0\n", log.read_text()[-3000:]

        yield run
        server.stdin.close()


@pytest.mark.parametrize("first", IMPORTED_FIRST.values(), ids=list(IMPORTED_FIRST))
def test_registered_whichever_comes_first(first, python):
    python(first + NAME_USER_DIR + CHECK)


def test_stock_names_stay_without_the_user_dir(python):
    python("import fairseq_ecg, fairseq_ecg.ops, fairseq_ecg.modules\n" + STOCK)


@pytest.mark.parametrize("module", ["", ".ops.augment", ".ops.contrast", ".modules", ".data"])
def test_lower_layers_work_without_fairseq(module, python):
    python(
        f"""
import sys
for name in ("fairseq", "triton", "hydra", "omegaconf"):
    sys.modules[name] = None
import fairseq_ecg{module}
assert not any(name.startswith("fairseq.") for name in sys.modules)
"""
    )


def test_spawned_workers_register(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        f"""
import multiprocessing
import fairseq_ecg

def work(queue):
    names = {{}}
    exec({NAME_USER_DIR + CHECK!r}, names)
    queue.put("registered")

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    process.join(timeout=100)
    assert queue.get(timeout=1) == "registered"
"""
    )
    result = subprocess.run(
        [sys.executable, script], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-3000:]
