"""What CONTRIBUTING.md says of a new format works."""

import re
import sys
import textwrap
import types

import numpy as np
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import FORMATS, read_ecg
from fairseq_ecg.formats.reading import FileFormat
from tests.conftest import ROOT

COUNTS = np.random.default_rng(0).integers(-900, 900, (500, 3))
ROWS = "\n".join(" ".join(map(str, row)) for row in COUNTS)


@pytest.fixture(autouse=True)
def format_of_the_recipe(monkeypatch):
    document = (ROOT / "CONTRIBUTING.md").read_text()
    code = re.search(r'^       """Files of the Example.*?(?=^   \w)', document, re.DOTALL | re.M)[0]
    module = types.ModuleType("fairseq_ecg.formats.example")
    exec(textwrap.dedent(code), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (row,) = re.findall(r'`("\w+": FileFormat\(.*\))`', document)
    for name, file_format in eval(f"{{{row}}}", {"FileFormat": FileFormat}).items():
        monkeypatch.setitem(FORMATS, name, file_format)


def test_a_file_is_read_whole_and_in_parts(tmp_path):
    path = tmp_path / "a.exa"
    path.write_text(f"EXAMPLE\n500 uV\nI II V1\n{ROWS}")
    ecg = read_ecg(path)  # by its first bytes
    assert (ecg.leads, ecg.sample_rate) == (("I", "II", "V1"), 500)
    np.testing.assert_allclose(ecg.signal, COUNTS.T / 1e3, rtol=1e-12)
    later = read_ecg(path, format="example", at_once=100)
    np.testing.assert_array_equal(later.signal[:, 100:200], ecg.signal[:, 100:200])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("EXAMPLE", "no file of the Example recorder"),
        ("EXAMPLE\n500 uV\nI II", "no file of the Example recorder"),
        ("EXAMPLE\n500 uV\nI I V1", "lead I is there twice"),
        ("EXAMPLE\n500 counts\nI II V1", "Give units"),
        ("EXAMPLE\n5 uV\nI II V1", "fewer than the least"),
    ],
)
def test_faults_are_named(head, message, tmp_path):
    (tmp_path / "a.exa").write_text(f"{head}\n{ROWS}" if "\n" in head else head)
    with pytest.raises(DataError, match=message):
        read_ecg(tmp_path / "a.exa", format="example")
