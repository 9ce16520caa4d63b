#!/usr/bin/env bash
# Builds, checks and times everything on a machine with a GPU, in one command.
#
#   bash benchmarks/gpu.sh [STAGE ...]
#
# Stages, all of them in this order by default: build, check, sanitize, time. PYTHON names an
# interpreter that has PyTorch for CUDA and the packages of requirements.txt; nvcc must be found.
# Results are written to benchmarks/results/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-.venv/bin/python}
export PYTHONPATH=$PWD

build() {
  FAIRSEQ_ECG_BUILD=cuda "$PYTHON" setup.py build_ext --inplace
  "$PYTHON" -m benchmarks.registers
}

# Every kernel against its definition in float64. What is skipped here says why.
check() {
  "$PYTHON" -m pytest -q -rs tests/ops tests/csrc
}

sanitize() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "compute-sanitizer is not installed: the CUDA kernels are NOT sanitized" >&2
    return
  fi
  for tool in memcheck racecheck synccheck; do
    # Without its cache of memory, PyTorch's tensors have ends that can be checked.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$PYTHON" -m pytest -q -k cuda tests/ops
  done
}

time_all() {
  "$PYTHON" -m benchmarks.ops --device cuda
  "$PYTHON" -m benchmarks.step --device cuda --batch 128
  "$PYTHON" -m benchmarks.figures
}

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(build check sanitize time)
nvidia-smi
for stage in "${stages[@]}"; do
  case $stage in
    build | check | sanitize) "$stage" ;;
    time) time_all ;;
    *) echo "there is no stage $stage" >&2 && exit 2 ;;
  esac
done
