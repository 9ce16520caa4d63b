"""What is slow to import is not imported before it is needed."""

import pkgutil
import subprocess
import sys

import torch

import fairseq_ecg.ops
from fairseq_ecg.ops.backends import constant_when_compiled

SLOW = ("pandas", "scipy", "torch._dynamo", "triton")
PACKAGES = [
    "fairseq_ecg.modules",
    *(
        f"fairseq_ecg.ops.{module.name}"
        for module in pkgutil.iter_modules(fairseq_ecg.ops.__path__)
    ),
]


def test_operations_and_modules_import_nothing_slow():
    assert len(PACKAGES) > 10
    program = f"""
import importlib, sys, torch
before = set(sys.modules)
for name in {PACKAGES}:
    importlib.import_module(name)
print([name for name in {SLOW} if name in sys.modules and name not in before])
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stdout + process.stderr


def test_operators_run_without_the_compiler():
    program = """
import sys, torch
from fairseq_ecg.ops.contrast import contrast
from fairseq_ecg.ops.pooling import mean_of_nonzero
x = torch.randn(4, 5, 3, requires_grad=True)
pooled = mean_of_nonzero(x)
contrast(pooled, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])).loss.backward()
print(x.grad.isfinite().all().item(), "torch._dynamo" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout == "True False\n", process.stdout + process.stderr


def test_a_constant_is_marked_as_pytorch_marks_it():
    def ours() -> None: ...
    def theirs() -> None: ...

    constant_when_compiled(ours)
    torch.compiler.assume_constant_result(theirs)
    assert vars(ours) == vars(theirs) != {}
