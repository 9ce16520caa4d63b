"""What README.md shows of the pipeline is run as it stands there."""

import textwrap
from pathlib import Path

from fairseq_ecg import ecg as package


def test_the_pipeline_of_the_readme(ecg):
    text = (Path(package.__file__).parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## One preparation\n")[2]
    snippet = "\n".join(line for line in section.splitlines() if line.startswith("    "))
    names = {"ecg": ecg}
    exec(textwrap.dedent(snippet.replace("2500", "500")), names)
    assert [segment.shape for segment in names["segments"]] == [(3, 500), (3, 500)]
