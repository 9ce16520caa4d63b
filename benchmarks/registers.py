"""Compile every CUDA kernel and list its registers and spills; needs nvcc, but no GPU.

    python -m benchmarks.registers

Writes ``results/registers.csv``. The tests compile with the same function and refuse spills.
"""

import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import common

SOURCES = sorted(common.ROOT.glob("csrc/*/*.cu"))
ARCHITECTURES = ("sm_80", "sm_90")
FLAGS = ("-std=c++17", "-O3", "-Werror", "all-warnings", "-Xptxas", "-v")


class CompilationError(RuntimeError):
    """nvcc refuses a source, or warns."""


@dataclass
class Kernel:
    """What a kernel takes of a multiprocessor, a thread's numbers where nothing else is said.

    Attributes:
        source: file it stands in.
        kernel: its name with template arguments.
        architecture: that it is compiled for.
        registers: of 4 bytes.
        spill_stores: bytes of registers that do not fit and are written to memory.
        spill_loads: bytes of them that are read again.
        stack_bytes: of local memory, spills and arrays without registers.
        shared_bytes: of a block's shared memory, as far as known when compiling.
    """

    source: str
    kernel: str
    architecture: str
    registers: int
    spill_stores: int
    spill_loads: int
    stack_bytes: int
    shared_bytes: int


def compile_kernels(source: Path, architecture: str, report: Path | None = None) -> list[Kernel]:
    """Compile one file, warnings being errors.

    Args:
        source: the ``.cu`` file.
        architecture: such as ``sm_90``.
        report: where to keep the assembler's own words.

    Returns:
        Its kernels.

    Raises:
        CompilationError: nvcc has something to say against it.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["nvcc", *FLAGS, f"-arch={architecture}", "-c", str(source)]
        result = subprocess.run(
            [*command, "-o", f"{folder}/object.o"], capture_output=True, text=True
        )
    if result.returncode != 0:
        raise CompilationError(result.stdout + result.stderr)
    words = subprocess.run(
        ["c++filt"], input=result.stdout + result.stderr, capture_output=True, text=True, check=True
    ).stdout
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(words)
    parts = words.split("Compiling entry function '")[1:]
    return [_parse(f"{source.parent.name}/{source.name}", architecture, part) for part in parts]


def _parse(source: str, architecture: str, words: str) -> Kernel:
    def number(pattern: str) -> int:
        found = re.search(rf"(\d+) {pattern}", words)
        return int(found[1]) if found else 0

    return Kernel(
        source,
        _name(words.split("' for '")[0]),
        architecture,
        registers=int(re.search(r"Used (\d+) registers", words)[1]),
        spill_stores=number("bytes spill stores"),
        spill_loads=number("bytes spill loads"),
        stack_bytes=number("bytes stack frame"),
        shared_bytes=number("bytes smem"),
    )


def _name(signature: str) -> str:
    """Leave a function's own name and template arguments of its signature."""
    signature = re.sub(
        r"\(anonymous namespace\)::|_GLOBAL__N__\w+::|fairseq_ecg::|cuda::", "", signature
    )
    signature = signature.removeprefix("void ")
    depth = 0
    for index, character in enumerate(signature):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return signature[:index]
    return signature


def main() -> None:
    """Compile everything and write the table."""
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"release [\d.]+, V([\d.]+)", version.stdout)[1]
    rows = [
        asdict(kernel) | {"nvcc": release}
        for source in SOURCES
        for architecture in ARCHITECTURES
        for kernel in compile_kernels(source, architecture)
    ]
    common.show(rows, list(rows[0]))
    common.write_csv(rows, common.RESULTS / "registers.csv")


if __name__ == "__main__":
    main()
