"""Names on the Hugging Face hub where it cannot be reached: an error at once, with a remedy."""

import time

import pytest

from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.inference import load_model
from fairseq_ecg.modules.text.bert import read_bert

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
