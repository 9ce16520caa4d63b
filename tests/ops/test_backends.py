import pytest

from fairseq_ecg.ops import backends
from tests.conftest import ROOT

CPU, GPU = "cpu", "cuda"
OPERATIONS = dict(backends.OPERATIONS)


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch):
    monkeypatch.delenv(backends.VARIABLE, raising=False)
    kernels = ("cpu", "cuda", "triton")
    monkeypatch.setitem(backends.OPERATIONS, "op", ("reference", *kernels))
    monkeypatch.setitem(backends.OPERATIONS, "with_torch", ("reference", "torch", *kernels))
    yield
    backends.ask_for(None)


def only(*names):
    return lambda backend: None if backend in names else "it is not there"


def test_the_fastest_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(backends, "missing", only("cpu", "cuda", "triton", "torch"))
    assert backends.choose("with_torch", CPU) == "cpu"
    assert backends.choose("with_torch", GPU) == "cuda"
    monkeypatch.setattr(backends, "missing", only("triton", "torch"))
    assert backends.choose("with_torch", CPU) == "torch"
    assert backends.choose("with_torch", GPU) == "triton"
    assert backends.choose("op", CPU) == "reference"


def test_one_asked_for_is_taken_or_an_error(monkeypatch):
    monkeypatch.setattr(backends, "missing", only("cpu", "torch"))
    monkeypatch.setenv(backends.VARIABLE, "torch")
    assert backends.choose("with_torch", CPU) == "torch"
    monkeypatch.setenv(backends.VARIABLE, "triton")
    with pytest.raises(backends.BackendError, match="triton of op was asked for, but it is not"):
        backends.choose("op", CPU)
    with pytest.raises(backends.BackendError, match="the tensors are on cuda"):
        backends.choose("op", GPU, backend="cpu")


def test_unknown_names_are_errors(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "fast")
    with pytest.raises(
        backends.BackendError, match="backend fast: choose reference, torch, cpu, cuda or triton"
    ):
        backends.choose("op", CPU)


def test_the_configuration_asks_unless_the_environment_does(monkeypatch):
    monkeypatch.setattr(backends, "missing", only("cpu", "torch", "reference"))
    backends.ask_for("reference")
    assert backends.choose("with_torch", CPU) == "reference"
    assert backends.choose("op", CPU, backend="cpu") == "cpu"
    monkeypatch.setenv(backends.VARIABLE, "torch")
    assert backends.choose("with_torch", CPU) == "torch"
    monkeypatch.undo()
    with pytest.raises(backends.BackendError, match="backend fast: choose reference"):
        backends.ask_for("fast")


def test_an_extension_of_another_pytorch_is_no_crash(monkeypatch, tmp_path):
    class Spec:
        origin = str(tmp_path / "_C.so")

    (tmp_path / "_C.so").write_bytes(b"not a library")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: Spec)
    reason = backends._why_extension_is_missing.__wrapped__()
    assert "install again" in reason


def test_one_alone_for_a_while(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "triton")
    with backends.only("reference"):
        assert backends.choose("op", CPU) == "reference"
        with backends.only("torch"):
            assert backends.choose("with_torch", CPU) == "torch"
        assert backends.asked_for() == "reference"
    assert backends.asked_for() == "triton"
    with pytest.raises(backends.BackendError, match="backend tpu: choose"), backends.only("tpu"):
        pass
    with pytest.raises(ZeroDivisionError), backends.only("reference"):
        1 / 0  # noqa: B018
    assert backends.asked_for() == "triton"


def test_the_table_is_what_there_is():
    """Packages, their implementations and the folders of kernels are those of the table."""
    for operation, implementations in OPERATIONS.items():
        folder = ROOT / "fairseq_ecg" / "ops" / operation
        assert set(implementations) <= set(backends.BACKENDS)
        for backend in ("torch", "triton"):
            there = (folder / f"{backend}_kernel.py").exists()
            assert there == (backend in implementations), (operation, backend)
        for backend, source in (("cpu", "cpu.cpp"), ("cuda", "cuda.cu")):
            there = (ROOT / "csrc" / operation / source).exists()
            assert there == (backend in implementations), (operation, backend)
    kernels = {path.parent.name for path in ROOT.glob("csrc/*/cpu.cpp")}
    assert kernels <= set(OPERATIONS)
