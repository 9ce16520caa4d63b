"""Build steps that pyproject.toml cannot express: configs inside the wheel, compiled kernels.

The kernels are one optional extension, ``fairseq_ecg._C``. ``FAIRSEQ_ECG_BUILD`` chooses:

* ``auto`` (default): what the sources, PyTorch and the compilers at hand allow. Whatever stands in
  the way, the package is built without kernels and one line says why.
* ``none``: no kernels.
* ``cpu``, ``cuda``: these kernels; whatever stands in the way is an error.

PyTorch is seen at build time only by ``pip install --no-build-isolation``.
"""

import os
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CXX_FLAGS = [
    "-O3",
    # at::parallel_for is compiled for one thread without OpenMP; the library is PyTorch's own.
    "-fopenmp",
    # No fused multiply-add where none is written: random numbers have the same bits everywhere.
    "-ffp-contract=off",
    # Loops with square roots and conditions are vectorised only if nobody reads errno and flags.
    "-fno-math-errno",
    "-fno-trapping-math",
]
NVCC_FLAGS = ["-O3"]
# Ampere and Hopper, and for whatever comes later code that its driver compiles. PyTorch's own
# default is the GPU of the machine that builds, or every one there has been.
ARCHITECTURES = "8.0;9.0+PTX"
KINDS = ("auto", "none", "cpu", "cuda")


class Unavailable(Exception):
    """A reason why the kernels cannot be built here."""


def extension(root: Path, kind: str) -> tuple[Extension, type[build_ext]]:
    """Describe the extension and the command that compiles it.

    Args:
        root: Folder with ``csrc/``; the working directory of the build.
        kind: ``auto``, ``cpu`` or ``cuda``. ``auto`` means CUDA where there are sources for it, a
            PyTorch that was built for it and a CUDA toolkit.

    Returns:
        The extension and PyTorch's build command for it.

    Raises:
        Unavailable: Sources, PyTorch or a compiler are missing.
    """

    def sources(pattern: str) -> list[str]:
        return sorted(str(path.relative_to(root)) for path in root.glob(pattern))

    host = sources("csrc/**/*.cpp")
    if not host:
        raise Unavailable("csrc/ holds no sources")
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError as error:
        reason = f"PyTorch cannot be imported ({error}); see pip install --no-build-isolation"
        raise Unavailable(reason) from error
    compiler = os.environ.get("CXX", "c++").split()[0]
    if shutil.which(compiler) is None:
        raise Unavailable(f"there is no C++ compiler {compiler}; CXX can name another one")

    # A header or a flag that changes must have everything compiled again; setuptools looks only at
    # what is named here, and then ninja (where there is one) at what has really changed.
    depends = [*sources("csrc/**/*.h"), "setup.py"]
    device = sources("csrc/**/*.cu")
    has_toolkit = torch.version.cuda is not None and cpp_extension.CUDA_HOME is not None
    if kind == "cuda" and not (device and has_toolkit):
        raise Unavailable("CUDA kernels need csrc/*/*.cu, PyTorch for CUDA and a CUDA toolkit")
    if kind != "cpu" and device and has_toolkit:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)
        module = cpp_extension.CUDAExtension(
            "fairseq_ecg._C",
            sorted(host + device),
            define_macros=[("FAIRSEQ_ECG_CUDA", None)],
            depends=depends,
            extra_compile_args={"cxx": CXX_FLAGS, "nvcc": NVCC_FLAGS},
        )
    else:
        module = cpp_extension.CppExtension(
            "fairseq_ecg._C", host, depends=depends, extra_compile_args={"cxx": CXX_FLAGS}
        )
    return module, cpp_extension.BuildExtension


def optional(command: type[build_ext]) -> type[build_ext]:
    """Make a build command go on without the kernels when they do not compile."""

    class OptionalBuild(command):
        def run(self) -> None:
            try:
                super().run()
            except Exception as error:  # a compiler can fail in as many ways as it likes
                say_left_out(f"they do not compile ({error})")
                self.extensions = []

    return OptionalBuild


def say_left_out(reason: str) -> None:
    """Say in one line that the kernels are left out and why."""
    print(f"fairseq-ecg is built without compiled kernels: {' '.join(reason.split())}")


class BuildWithConfigs(build_py):
    """Copies ``configs/*.yaml`` into the package, as users of a wheel have no checkout."""

    # Why there is no extension to build. Said here, as this command runs once per build, whereas
    # this file runs for every question that pip asks.
    left_out: str | None = None

    def run(self) -> None:
        """Build the Python files, then copy the configs (the files that links point to)."""
        super().run()
        if self.left_out is not None:
            say_left_out(self.left_out)
        for source, target in self.configs().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def configs(self) -> dict[str, str]:
        """Map each config to its place in the build; an editable install uses ``configs/``."""
        if self.editable_mode:
            return {}
        folder = Path(self.build_lib, "fairseq_ecg", "configs")
        return {str(path): str(folder / path.name) for path in sorted(ROOT.glob("configs/*.yaml"))}

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the built files, configs included."""
        return [*super().get_outputs(include_bytecode), *self.configs().values()]


def main() -> None:
    """Run setuptools with what can be built here."""
    kind = os.environ.get("FAIRSEQ_ECG_BUILD", "auto")
    if kind not in KINDS:
        raise SystemExit(f"FAIRSEQ_ECG_BUILD={kind}: choose one of {', '.join(KINDS)}")
    modules: list[Extension] = []
    commands: dict[str, type] = {"build_py": BuildWithConfigs}
    try:
        if kind == "none":
            raise Unavailable("FAIRSEQ_ECG_BUILD=none")
        module, command = extension(ROOT, kind)
        modules.append(module)
        commands["build_ext"] = optional(command) if kind == "auto" else command
    except Unavailable as reason:
        if kind in ("cpu", "cuda"):
            raise SystemExit(f"FAIRSEQ_ECG_BUILD={kind}: {reason}") from reason
        BuildWithConfigs.left_out = str(reason)
    setup(ext_modules=modules, cmdclass=commands)


if __name__ == "__main__":
    main()
