"""Without network, or without the extra ``text``: an error at once, with a remedy."""

import sys
import time

import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.inference import load_model
from fairseq_ecg.modules.text.bert import read_bert
from fairseq_ecg.modules.text.registry import TEXT_NETWORKS
from tests.text_networks import VOCABULARY, TinyTextNetwork, tiny_text_checkpoint

pytest.importorskip("transformers")


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """The client's address is one where nothing listens, and nothing has been fetched before."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path), raising=False)


@pytest.mark.parametrize(
    ("read", "error", "remedy"),
    [
        (Tokenizer.load, FileNotFoundError, r"give the path of a vocab\.txt"),
        (read_bert, FileNotFoundError, r"a folder with a config\.json"),
        (load_model, CheckpointError, "neither a path nor a repository that can be reached"),
    ],
)
def test_a_name_that_cannot_be_fetched_is_an_error_at_once(read, error, remedy, unreachable):
    started = time.monotonic()
    with pytest.raises(error, match=remedy) as raised:
        read("nobody/nothing")
    assert "it cannot be reached, and nothing was fetched" in str(raised.value)
    assert time.monotonic() - started < 8


def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TEXT_NETWORKS, "tiny_text", TinyTextNetwork)
    path = tiny_text_checkpoint(tmp_path / "qa.pt", notes={"vocabulary": VOCABULARY})
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert main(["ask", str(path), "recording.hea", "Is this ECG normal?"]) == 2
    assert "pip install 'fairseq-ecg[text]'" in capsys.readouterr().err
