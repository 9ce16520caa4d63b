"""What a wheel holds, what is pinned, and how the build decides about compiled kernels."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import Distribution, find_namespace_packages

from tests.conftest import ROOT, environment

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

BINDING = """
#include <Python.h>
int answer();
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C"};
PyMODINIT_FUNC PyInit__C() {
  PyObject* self = PyModule_Create(&module);
  PyModule_AddIntConstant(self, "answer", answer());
  return self;
}
"""


@pytest.fixture(scope="module")
def setup_script():
    """The module setup.py, which runs nothing when imported."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with setup.py, a package and kernel sources that compile."""
    for folder in ("csrc/answer", "fairseq_ecg", "configs"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "probe"\nversion = "1"\n[tool.setuptools]\npackages = ["fairseq_ecg"]\n'
    )
    (tmp_path / "fairseq_ecg" / "__init__.py").touch()
    (tmp_path / "csrc" / "binding.cpp").write_text(BINDING)
    (tmp_path / "csrc" / "answer" / "answer.h").write_text("constexpr int kAnswer = 42;\n")
    answer = '#include "answer.h"\nint answer() { return kAnswer; }\n'
    (tmp_path / "csrc" / "answer" / "cpu.cpp").write_text(answer)
    return tmp_path


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    releases = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == PROJECT["version"]


def test_installed_version_is_the_one_of_the_checkout():
    try:
        installed = importlib.metadata.version(PROJECT["name"])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fairseq-ecg is not installed in this environment")
    assert installed == PROJECT["version"]


def test_pins_satisfy_what_the_project_asks_for():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            pin = Requirement(line)
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    extras = PROJECT["optional-dependencies"]

    def asked(texts: list[str]) -> Iterator[Requirement]:
        for requirement in map(Requirement, texts):
            if requirement.name == PROJECT["name"]:
                yield from (each for name in requirement.extras for each in asked(extras[name]))
            else:
                yield requirement

    for requirement in asked([*PROJECT["dependencies"], "fairseq-ecg[dev]"]):
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), f"{requirement} but {pinned} is pinned"


def test_dependencies_are_what_is_imported():
    """Neither a dependency that is missing, nor one that nothing needs."""
    imported = set()
    for path in [*ROOT.glob("fairseq_ecg/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "fairseq_ecg", "hydra_plugins"}
    module_of = {
        "huggingface-hub": "huggingface_hub",
        "hydra-core": "hydra",
        "iterative-stratification": "iterstrat",
        "PyYAML": "yaml",
        "scikit-learn": "sklearn",
        "umap-learn": "umap",
        "ve-fairseq": "fairseq",
    }
    names = [Requirement(text).name for text in PROJECT["dependencies"]]
    declared = {module_of.get(name, name) for name in names}
    extras = PROJECT["optional-dependencies"]
    optional = {
        module_of.get(name, name)
        for extra in extras.keys() - {"dev", "test"}
        for name in (Requirement(text).name for text in extras[extra])
    }
    # Not imported here: wfdb reads FLAC through the one, kernels are written in the other.
    assert declared - {"soundfile", "triton"} <= imported
    assert imported <= declared | optional


def test_every_module_is_packaged():
    options = PYPROJECT["tool"]["setuptools"]["packages"]["find"]
    packages = set(find_namespace_packages(str(ROOT), **options))
    modules = [*ROOT.glob("fairseq_ecg/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]
    assert {".".join(path.relative_to(ROOT).parent.parts) for path in modules} <= packages
    assert not any("__pycache__" in package for package in packages)


def test_the_package_says_that_it_has_types():
    assert (ROOT / "fairseq_ecg" / "py.typed").exists()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["fairseq_ecg"]


def test_programs_that_import_torch_load_nothing_of_this_package():
    assert "entry-points" not in PROJECT
    program = (
        "import sys, torch\n"
        "names = [name.partition('.')[0] for name in sys.modules]\n"
        "assert not {'fairseq_ecg', 'hydra_plugins'} & {*names}"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True, timeout=60)


def test_commits_are_checked_as_make_lint_does():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [(repo["repo"], hook["entry"]) for hook in repo["hooks"]] == [("local", "make lint")]


def test_hydra_plugins_stays_a_namespace():
    """With an __init__.py it would hide the Hydra plugins of every other distribution."""
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def build_py(setup_script, build_lib: Path, editable: bool):
    command = setup_script.BuildWithConfigs(Distribution({"packages": []}))
    command.build_lib = str(build_lib)
    command.editable_mode = editable
    command.ensure_finalized()
    command.run()
    return command


def test_a_wheel_holds_the_configs_as_files(setup_script, tmp_path):
    command = build_py(setup_script, tmp_path, editable=False)
    names = {path.name for path in ROOT.glob("configs/*.yaml")}
    built = list((tmp_path / "fairseq_ecg" / "configs").iterdir())
    assert names
    assert {path.name for path in built} == names
    assert not any(path.is_symlink() for path in built)
    assert all(path.read_bytes() == (ROOT / "configs" / path.name).read_bytes() for path in built)
    assert {str(path) for path in built} <= set(command.get_outputs())


def test_an_editable_install_copies_no_configs(setup_script, tmp_path):
    build_py(setup_script, tmp_path, editable=True)
    assert list(tmp_path.iterdir()) == []


def test_the_reason_for_no_kernels_is_one_line(setup_script, capsys):
    setup_script.say_left_out("first line\n  second line")
    assert capsys.readouterr().out == (
        "fairseq-ecg is built without compiled kernels: first line second line\n"
    )


def test_no_sources_no_extension(setup_script, tmp_path):
    with pytest.raises(setup_script.Unavailable, match="no sources"):
        setup_script.extension(tmp_path, "auto")


def test_no_pytorch_no_extension(setup_script, sources, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(setup_script.Unavailable, match="--no-build-isolation"):
        setup_script.extension(sources, "auto")


def test_no_compiler_no_extension(setup_script, sources, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(setup_script.Unavailable, match="no C\\+\\+ compiler no-such-compiler;"):
        setup_script.extension(sources, "auto")


@pytest.fixture
def cuda(monkeypatch):
    """Pretends that PyTorch was built for CUDA and that there is a toolkit, or takes them away."""
    import torch
    from torch.utils import cpp_extension

    def pretend(there: bool) -> None:
        monkeypatch.setattr(torch.version, "cuda", "12.8" if there else None)
        monkeypatch.setattr(cpp_extension, "CUDA_HOME", "/cuda" if there else None)

    monkeypatch.setenv("CXX", sys.executable)  # found, and not called here
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "")  # put back afterwards, whatever is set here
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    return pretend


HOST = ["csrc/answer/cpu.cpp", "csrc/binding.cpp"]


@pytest.mark.parametrize("kind", ["auto", "cpu"])
def test_without_cuda_the_cpu_kernels_are_built(setup_script, sources, cuda, kind):
    cuda(there=False)
    module, command = setup_script.extension(sources, kind)
    assert module.name == "fairseq_ecg._C"
    assert module.sources == HOST
    assert module.depends == ["csrc/answer/answer.h", "setup.py"]
    assert command.__name__ == "BuildExtension"


def test_cuda_kernels_need_cuda(setup_script, sources, cuda):
    cuda(there=False)
    with pytest.raises(setup_script.Unavailable, match="CUDA toolkit"):
        setup_script.extension(sources, "cuda")


def test_cuda_kernels_need_sources(setup_script, sources, cuda):
    cuda(there=True)
    with pytest.raises(setup_script.Unavailable, match=r"csrc/\*/\*\.cu"):
        setup_script.extension(sources, "cuda")


@pytest.mark.parametrize(
    ("kind", "device"),
    [("auto", True), ("cuda", True), ("cpu", False)],
    ids=["auto", "cuda", "cpu"],
)
def test_with_cuda_its_kernels_are_built_unless_cpu_is_asked_for(
    setup_script, sources, cuda, kind, device
):
    cuda(there=True)
    (sources / "csrc" / "answer" / "cuda.cu").touch()
    module, _ = setup_script.extension(sources, kind)
    assert module.sources == sorted(HOST + (["csrc/answer/cuda.cu"] if device else []))
    assert (("FAIRSEQ_ECG_CUDA", None) in module.define_macros) == device
    assert os.environ.get("TORCH_CUDA_ARCH_LIST") == (
        setup_script.ARCHITECTURES if device else None
    )


def test_architectures_of_gpus_can_be_chosen(setup_script, sources, cuda, monkeypatch):
    cuda(there=True)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    (sources / "csrc" / "answer" / "cuda.cu").touch()
    setup_script.extension(sources, "cuda")
    assert os.environ["TORCH_CUDA_ARCH_LIST"] == "9.0"


def build(folder: Path, kind: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "setup.py", "build", "--build-lib", "built"],
        cwd=folder,
        env={**os.environ, "FAIRSEQ_ECG_BUILD": kind},
        capture_output=True,
        text=True,
    )


def test_kernels_can_be_left_out(sources):
    result = build(sources, "none")
    assert result.returncode == 0, result.stderr
    assert "without compiled kernels: FAIRSEQ_ECG_BUILD=none\n" in result.stdout
    assert (sources / "built" / "fairseq_ecg" / "__init__.py").exists()


def test_a_kind_of_build_that_does_not_exist_is_an_error(sources):
    result = build(sources, "gpu")
    assert result.returncode != 0
    assert "FAIRSEQ_ECG_BUILD=gpu: choose one of auto, none, cpu, cuda" in result.stderr


def test_kernels_asked_for_by_name_that_cannot_be_built_are_an_error(sources):
    shutil.rmtree(sources / "csrc")
    result = build(sources, "cpu")
    assert result.returncode != 0
    assert "FAIRSEQ_ECG_BUILD=cpu: csrc/ holds no sources" in result.stderr


needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "c++").split()[0]) is None, reason="needs a C++ compiler"
)


def answer_of(folder: Path) -> str:
    program = "import fairseq_ecg._C as kernels; print(kernels.answer)"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder / "built",
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@needs_compiler
def test_kernels_compile_and_import(sources):
    start = time.perf_counter()
    result = build(sources, "auto")
    print(f"built in {time.perf_counter() - start:.1f} s")
    assert result.returncode == 0, result.stderr
    assert "without compiled kernels" not in result.stdout
    assert answer_of(sources) == "42\n"


@needs_compiler
def test_a_header_that_changes_has_kernels_built_again(sources):
    assert build(sources, "cpu").returncode == 0
    header = sources / "csrc" / "answer" / "answer.h"
    header.write_text("constexpr int kAnswer = 43;\n")
    later = time.time() + 10
    os.utime(header, (later, later))  # clocks of file systems are coarse
    assert build(sources, "cpu").returncode == 0
    assert answer_of(sources) == "43\n"


def test_a_source_distribution_holds_all_of_csrc(tmp_path):
    for name in ("csrc", "fairseq_ecg", "configs", "examples", "tests", "hydra_plugins", ".ci"):
        left_out = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out, symlinks=True)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, tmp_path)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "--formats=tar"],
        cwd=tmp_path,
        env=os.environ | {"FAIRSEQ_ECG_BUILD": "none"},
        check=True,
        capture_output=True,
    )
    (archive,) = tmp_path.glob("dist/*.tar")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/**/*.*")}
    assert files
    assert files <= names


@needs_compiler
def test_kernels_that_do_not_compile_are_left_out_unless_asked_for(sources):
    (sources / "csrc" / "answer" / "cpu.cpp").write_text("int answer() { return }\n")
    result = build(sources, "auto")
    assert result.returncode == 0, result.stderr
    assert "without compiled kernels: they do not compile" in result.stdout
    assert (sources / "built" / "fairseq_ecg" / "__init__.py").exists()
    assert list(sources.glob("built/fairseq_ecg/*.so")) == []
    assert build(sources, "cpu").returncode != 0


def test_continuous_integration_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
