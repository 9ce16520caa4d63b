"""The CUDA kernels compile without warnings, without PyTorch's headers and without spills."""

import shutil
from pathlib import Path

import pytest

from benchmarks.registers import ARCHITECTURES, SOURCES, CompilationError, compile_kernels
from tests.conftest import ROOT

# Bytes of a thread that a kernel may write to memory for want of registers: none, but where more
# blocks on a multiprocessor are worth it, see csrc/augment/cuda.cu.
SPILLED_BYTES = {"augment_block": 48}

pytestmark = pytest.mark.skipif(
    shutil.which("nvcc") is None, reason="nvcc is not installed: the CUDA kernels are NOT checked"
)


def name_of(source: Path) -> str:
    return f"{source.parent.name}_{source.stem}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_kernels_compile_and_fit_into_registers(source, architecture):
    report = ROOT / "build" / "registers" / f"{name_of(source)}.{architecture}.txt"
    kernels = compile_kernels(source, architecture, report)
    assert kernels, "a source without a kernel"
    for kernel in kernels:
        print(kernel)
        allowed = SPILLED_BYTES.get(kernel.kernel, 0)
        assert kernel.spill_stores <= allowed, f"{kernel}\nsee {report}"


def test_there_are_sources():
    assert SOURCES


def test_spills_are_seen(tmp_path):
    source = tmp_path / "spilling.cu"
    source.write_text(
        """
        #include <cuda_runtime.h>
        namespace {
        template <int kCount>
        __global__ void __launch_bounds__(1024, 2) spilling(float* numbers) {
          float kept[kCount];
        #pragma unroll
          for (int i = 0; i < kCount; ++i) kept[i] = numbers[i * 1024 + threadIdx.x];
          __syncthreads();
        #pragma unroll
          for (int i = 0; i < kCount; ++i) {
            numbers[i * 999 + threadIdx.x] = kept[i] * kept[kCount - 1 - i];
          }
        }
        }  // namespace
        void run(float* numbers) { spilling<96><<<1, 1024>>>(numbers); }
        """
    )
    (kernel,) = compile_kernels(source, ARCHITECTURES[0])
    assert kernel.kernel == "spilling<96>"
    assert kernel.registers <= 32
    assert kernel.spill_stores > 100


def test_warnings_are_errors(tmp_path):
    source = tmp_path / "warning.cu"
    source.write_text("__global__ void kernel() { int unused; }\n")
    with pytest.raises(CompilationError, match="unused"):
        compile_kernels(source, ARCHITECTURES[0])
