"""Overrides that documents of methods give in passing are taken by their configurations."""

import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from tests.conftest import ROOT

OVERRIDE = re.compile(r"(?<![\w.+~])\+{0,2}(?:task|model|criterion)\.\w+=[^\s`]+")
CONFIG = re.compile(r"--config-name (\w+)")


NAMES = {path.stem for path in ROOT.glob("configs/*.yaml")}


def documented() -> list[tuple[str, list[str], str]]:
    """Folder of a document, the configurations that it names, and an override in its prose."""
    found = []
    for document in sorted(ROOT.glob("examples/*/**/README.md")):
        text = document.read_text()
        names = sorted(NAMES.intersection(CONFIG.findall(text) + re.findall(r"`(\w+)`", text)))
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
        for span in re.findall(r"`([^`\n]+)`", prose):
            others = CONFIG.search(span)
            taken = [] if others else OVERRIDE.findall(span)
            found += [(document.parent.name, names, override) for override in taken]
    return found


def takes(config: str, override: str) -> bool:
    """Return whether a configuration takes an override."""
    try:
        compose(config, [override])
    except ConfigCompositionException:
        return False
    return True


@pytest.mark.parametrize(("document", "configs", "override"), documented())
def test_an_override_is_taken(document, configs, override):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.1"):
        assert any(takes(config, override) for config in configs), configs
