"""Which headers a source may see: PyTorch in bindings alone, CUDA in kernels for it alone."""

import re

import pytest

from tests.conftest import ROOT

SOURCES = sorted(path for path in ROOT.glob("csrc/**/*") if path.suffix in (".h", ".cpp", ".cu"))
OF_PYTORCH = re.compile(r"<(ATen|c10|torch|Python)\b")


def included(path) -> list[str]:
    return re.findall(r"^\s*#\s*include\s+(\S+)", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "csrc")))
def test_headers(path):
    headers = included(path)
    if path.stem != "binding":
        assert not [name for name in headers if OF_PYTORCH.match(name)]
    if path.stem.startswith("cuda"):
        assert {name for name in headers if name.startswith("<cuda")} <= {"<cuda_runtime.h>"}
    elif path.stem != "binding":
        assert not [name for name in headers if name.startswith("<cuda")]
