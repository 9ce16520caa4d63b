"""What documents name exists: files they link to, paths in the package, and what is imported."""

import importlib
import re
from pathlib import Path

import pytest

from fairseq_ecg.modules.text import TEXT_NETWORKS
from hydra_plugins.fairseq_ecg_plugin import REGISTERED
from tests.conftest import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "[bcef]*/**/*.md")
    for path in ROOT.glob(pattern)
    if "site-packages" not in path.parts
)
ADDED = ("lead_gain", "four_views", "alignment", "largest", "<")
"""Parts of names that recipes add, or that stand for any."""


def text_of(document: Path) -> str:
    """A document without what recipes add."""
    return re.sub(r"^```(python|diff|yaml)\n.*?^```$", "", document.read_text(), flags=re.S | re.M)


def anchors_of(document: Path) -> set[str]:
    """Anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in link or any(part in link for part in ADDED):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_and_names_exist(document):
    text = text_of(document)
    if document.name == "CHANGELOG.md":  # names what has moved, too
        text = re.sub(r"^  \| `.*?\|", "", text, flags=re.M)
    for path in re.findall(r"(?<![\w/.$-])(?:fairseq_ecg|csrc|tests)/[\w/.<>*-]+", text):
        if not any(part in path for part in ADDED):
            assert any(ROOT.glob(path.rstrip("."))), path
    for name in re.findall(r"(?<![\w/.-])fairseq_ecg(?:\.\w+)+(?![\w/])", text):
        assert resolves(name), name


def resolves(name: str) -> bool:
    """Return whether a dotted name can be imported, or is an attribute of what can."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def test_readme_lists_every_package():
    inside = (ROOT / "README.md").read_text().partition("\n## Inside\n")[2]
    listed = set(re.findall(r"^    fairseq_ecg/(\w+) ", inside, re.M))
    assert listed == {path.parent.name for path in (ROOT / "fairseq_ecg").glob("*/__init__.py")}


@pytest.mark.parametrize("kind", ["task", "criterion"])
def test_readme_names_what_is_registered(kind):
    text = (ROOT / "README.md").read_text().partition("\n## What there is\n")[2]
    (row,) = re.findall(rf"^\| {kind}s \|(.*)$", text, re.M)
    assert set(REGISTERED[kind]) <= set(re.findall(r"`(\w+)`", row))


def test_readme_names_every_network_of_ecgs_and_texts():
    text = (ROOT / "README.md").read_text().partition("\n## What there is\n")[2]
    (row,) = re.findall(r"^\| models \|(.*)$", text, re.M)
    assert TEXT_NETWORKS.keys() <= set(re.findall(r"`(\w+)`", row))
