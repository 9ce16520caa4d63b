"""The YAMLs of examples/ and configs/ are the published ones, each written down once."""

import json
import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
METHODS = (
    *("3kg/config", "cmsc/config", "simclr/config", "w2v_cmsc/config", "wav2vec2/config"),
    *("scratch/ecg_classification", "scratch/ecg_identification", "scratch/ecg_segmentation"),
)
EXAMPLES = sorted(path for name in METHODS for path in ROOT.glob(f"examples/{name}/**/*.yaml"))
OWN = ("regression",)
"""Configs of this project, of which nothing is published elsewhere."""

AWAITED = (
    *("blind_transformer_qa", "deaf_transformer_qa", "ecg_text_clip", "ecg_transformer_qa"),
    *("ecg_transformer_qa_small", "infer_question_answering", "m3ae", "m3ae_qa", "medvill"),
    *("medvill_qa", "medvill_qa_small", "resnet_lstm_qa"),
)
"""Configs of the methods for text, which are in the table of methods before they are there."""

SERVED = sorted(path for path in ROOT.glob("configs/*.yaml") if path.stem not in OWN)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def published(shared: Path) -> dict[str, dict]:
    """Values of the published YAMLs by the path that they have here."""
    toolkit = json.loads((shared / "published" / "fairseq_signals_configs.json").read_text())
    ecg_fm = json.loads((shared / "published" / "ecg_fm_configs.json").read_text())
    folders = tuple(f"examples/{name}/" for name in METHODS)
    values = {path: value for path, value in toolkit.items() if path.startswith(folders)}
    return values | {f"configs/{name}": value for name, value in ecg_fm.items()}


def test_all_published_configs_are_here_and_no_other(shared):
    files = {relative(path) for path in EXAMPLES + SERVED if not path.is_symlink()}
    assert files == set(published(shared))


@pytest.mark.parametrize("path", EXAMPLES + SERVED, ids=relative)
@pytest.mark.parametrize("reader", ["OmegaConf", "PyYAML"])
def test_values_are_the_published_ones(path, reader, shared):
    """As text, so that 1 and 1.0 differ. PyYAML reads 5e-5 as a string where OmegaConf does not."""
    if reader == "OmegaConf":
        values = OmegaConf.to_container(OmegaConf.load(path))
    else:
        values = yaml.safe_load(path.read_text())
    expected = published(shared)[relative(path.resolve())]
    assert json.dumps(values) == json.dumps(expected)


@pytest.mark.parametrize("path", EXAMPLES + SERVED, ids=relative)
def test_no_key_is_written_twice(path):
    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert sorted(keys) == sorted(set(keys))
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            for part in child if isinstance(child, tuple) else (child,):
                check(part)

    check(yaml.compose(path.read_text()))


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="outside a checkout the links have become files"
)
def test_each_example_is_served_by_one_link():
    links = [path for path in SERVED if path.is_symlink()]
    assert not any(path.readlink().is_absolute() for path in links)
    assert sorted(path.resolve(strict=True) for path in links) == EXAMPLES


def test_launch_commands_name_their_config():
    """The command in an opening comment resolves to the file that it stands in."""
    named = {}
    for path in EXAMPLES:
        command = r"^#   fairseq-hydra-(?:train|validate) --config-name (\w+)"
        found = re.search(command, path.read_text(), re.M)
        if found:
            named[path] = ROOT / "configs" / f"{found[1]}.yaml"
    assert len(named) == len(EXAMPLES)
    assert all(served.read_bytes() == path.read_bytes() for path, served in named.items())


def test_every_example_is_in_the_table_of_methods():
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\|[^|]*\|[^|]*\|([^|]*)\|", table, re.M)
    named = {name for cell in names for name in re.findall(r"`(\w+)`", cell)}
    linked = {path.stem for path in SERVED if path.is_symlink()}
    assert named - set(AWAITED) == linked - set(AWAITED)
