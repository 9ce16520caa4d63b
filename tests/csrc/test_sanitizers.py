"""The C++ kernels under the sanitizers for addresses and undefined behaviour.

A copy of the sources is built with both, and the kernel tests of the backend cpu run in it. So that
silence means something, the copy has two operators more, each with a fault.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
FAULTS = """
#include <torch/library.h>

#include <climits>
#include <memory>

// Reads behind the end of an array.
int64_t overread(int64_t index) {
  const std::unique_ptr<int64_t[]> numbers(new int64_t[16]());
  return numbers[index];
}

// Adds to the largest integer.
int64_t overflow(int64_t surplus) { return INT_MAX + static_cast<int>(surplus); }

TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("overread(int index) -> int", &overread);
  library.def("overflow(int surplus) -> int", &overflow);
}
"""

pytestmark = pytest.mark.slow


def runtime(name: str) -> str:
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def join_bindings(csrc: Path) -> None:
    """Make one source of all bindings and the faults.

    Most of the time that a binding takes to compile goes into PyTorch's headers.
    """
    bindings = sorted(csrc.glob("*/binding.cpp"))
    assert bindings
    for binding in bindings:
        text = binding.read_text()
        assert "\nnamespace {\n" in text
        # A namespace of its own instead of one without a name, as bindings share names.
        text = text.replace("\nnamespace {\n", f"\nnamespace of_{binding.parent.name} {{\n")
        binding.with_suffix(".inc").write_text(text)
        binding.unlink()
    included = [f'#include "{binding.parent.name}/binding.inc"\n' for binding in bindings]
    (csrc / "joined_binding.cpp").write_text("".join(included) + FAULTS)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> Path:
    """A copy of the checkout whose extension is built with sanitizers."""
    if shutil.which("g++") is None or not Path(runtime("libasan.so")).is_absolute():
        pytest.skip("the kernels are NOT sanitized: needs g++ with its sanitizers' libraries")
    folder = tmp_path_factory.mktemp("sanitized")
    for name in ("csrc", "fairseq_ecg", "tests"):
        left_out = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    # With all optimizations the instrumented kernels take four times as long to compile.
    setup = folder / "setup.py"
    setup.write_text(setup.read_text().replace('"-O3"', '"-O1"'))
    join_bindings(folder / "csrc")
    flags = {"CXX": "g++", "CFLAGS": SANITIZERS, "LDFLAGS": SANITIZERS, "FAIRSEQ_ECG_BUILD": "cpu"}
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env=environment() | flags,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return {
        # The process is Python, which has no sanitizer: its libraries must come first.
        "LD_PRELOAD": " ".join(map(runtime, ("libasan.so", "libubsan.so", "libstdc++.so"))),
        # Python keeps memory until it ends.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


@pytest.mark.parametrize("instructions", ["base", "avx2"])
def test_kernels(sanitized, variables, run_kernel_tests, instructions):
    run_kernel_tests(sanitized, variables | {"FAIRSEQ_ECG_CPU": instructions})


@pytest.mark.parametrize(
    ("operator", "argument", "words"),
    [
        ("overread", 16, "heap-buffer-overflow"),
        ("overflow", 1, "signed integer overflow"),
    ],
)
def test_faults_are_caught(sanitized, variables, operator, argument, words):
    program = f"""
import torch
from fairseq_ecg.ops.backends import missing
assert missing("cpu") is None, missing("cpu")
print("none:", torch.ops.fairseq_ecg_c.{operator}({argument - 1}), flush=True)
torch.ops.fairseq_ecg_c.{operator}({argument})
"""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=sanitized,
        env=environment() | {"PYTHONPATH": str(sanitized)} | variables,
        capture_output=True,
        text=True,
    )
    assert "none:" in process.stdout, process.stderr
    assert process.returncode != 0
    assert words in process.stderr
