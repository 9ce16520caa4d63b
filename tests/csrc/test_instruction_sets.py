"""The extension does not die on processors with fewer instructions than where it was built."""

import platform
import re
import shutil
import subprocess
from collections import defaultdict

import pytest

from fairseq_ecg.ops.backends import missing
from tests.conftest import ROOT

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t(?P<name>\w+)(?P<operands>.*)$")
ONLY_AVX512 = re.compile(r"%zmm|%k[1-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b")

pytestmark = pytest.mark.skipif(
    missing("cpu") is not None, reason=f"instruction sets are NOT checked: {missing('cpu')}"
)


def demand(name: str, operands: str) -> str | None:
    """Find which extension of x86-64 an instruction belongs to."""
    if ONLY_AVX512.search(operands):
        return "avx512"
    # From AVX on, vector instructions begin with v, and no other instruction of programs does.
    return "avx2" if name.startswith("v") or "%ymm" in operands else None


def demands(disassembly: str) -> dict[str, set[str]]:
    """Collect by function the extensions it needs."""
    found: dict[str, set[str]] = defaultdict(set)
    function = ""
    for line in disassembly.splitlines():
        if header := FUNCTION.match(line):
            function = header[1]
        elif instruction := INSTRUCTION.match(line):
            extension = demand(instruction["name"], instruction["operands"])
            if extension is not None:
                found[function].add(extension)
    return dict(found)


def allowed(function: str) -> set[str]:
    """Return which extensions a function may need: those its name ends in."""
    if "_avx512" in function:
        return {"avx2", "avx512"}
    return {"avx2"} if "_avx2" in function else set()


@pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("objdump") is None,
    reason="instruction sets are NOT checked: needs x86-64 and objdump",
)
def test_vectors_are_used_only_in_variants_for_them():
    (extension,) = ROOT.glob("fairseq_ecg/_C*.so")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", "--demangle", str(extension)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = demands(text)
    wrong = {name: needs - allowed(name) for name, needs in found.items()}
    assert not {name: needs for name, needs in wrong.items() if needs}
    # Else nothing was looked at.
    assert any("avx512" in needs for needs in found.values())
    assert any(needs == {"avx2"} for needs in found.values())


def test_what_an_instruction_demands():
    text = """
0000000000007530 <f(int)>:
    7530:\tpush   %rbp
    7531:\taddps  %xmm1,%xmm2
0000000000007540 <g_avx2(int)>:
    7540:\tvaddps %ymm1,%ymm2,%ymm3
0000000000007550 <h(int) [clone .cold]>:
    7550:\tvmovss %xmm1,0x10(%rax)
0000000000007560 <i_avx2(int)>:
    7560:\tvmovups %ymm17,(%rax)
    7561:\tvaddps %xmm1,%xmm2,%xmm3{%k1}{z}
"""
    assert demands(text) == {
        "g_avx2(int)": {"avx2"},
        "h(int) [clone .cold]": {"avx2"},
        "i_avx2(int)": {"avx512"},
    }


@pytest.mark.parametrize("instructions", ["base", "avx2"])
def test_every_variant_passes_the_kernel_tests(run_kernel_tests, instructions):
    run_kernel_tests(ROOT, {"FAIRSEQ_ECG_CPU": instructions})
