"""WordPiece tokens of texts, as BERT reads them (https://arxiv.org/abs/1810.04805)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.hub import only_cached, reason
from fairseq_ecg.limits import check_limit

VOCABULARY = "vocab.txt"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


KEPT_FREE = 2
"""Tokens of ``task.max_text_size`` that texts do not use, as in fairseq_signals."""


def has_word(text: str) -> bool:
    """Return whether a text has a letter or a digit."""
    return any(map(str.isalnum, text))


class Vocabulary(NamedTuple):
    """A vocabulary as a checkpoint notes it.

    Args:
        tokens: in the order of their ids.
        lower_case: see `Tokenizer`.
    """

    tokens: tuple[str, ...]
    lower_case: bool


def noted_vocabulary(notes: Mapping[str, Any]) -> Vocabulary | None:
    """Return the vocabulary that training noted, as a file of any origin says it.

    Args:
        notes: by name; ``vocabulary`` and ``lower_case`` may be anything.

    Returns:
        The vocabulary, or None if none was noted.

    Raises:
        DataError: it is no list of texts of one line, or longer than is plausible.
    """
    tokens, lower_case = notes.get("vocabulary"), notes.get("lower_case", True)
    if tokens is None:
        return None
    if not isinstance(tokens, list | tuple):
        raise DataError(f"its vocabulary is {shortened(tokens)}, not a list of texts")
    check_limit("its vocabulary", "vocabulary", len(tokens))
    if not all(isinstance(token, str) for token in tokens):
        raise DataError("its vocabulary is not a list of texts")
    if any("\n" in token for token in tokens):
        raise DataError("its vocabulary has a token of several lines")
    if not isinstance(lower_case, bool):
        raise DataError(f"its lower_case is {shortened(lower_case)}, not true or false")
    return Vocabulary(tuple(tokens), lower_case)


class Tokens(NamedTuple):
    """Tokens of texts, padded to the longest.

    Args:
        ids: ``(B, L)`` int64.
        padding_mask: ``(B, L)`` bool, True where padded.
        n_cut: ``(B,)`` int64, tokens that each text has beyond what was taken.
    """

    ids: Tensor
    padding_mask: Tensor
    n_cut: Tensor


class Tokenizer:
    """Texts to WordPiece tokens, ``[CLS]`` in front and ``[SEP]`` behind.

    Args:
        vocabulary: the tokens in the order of their ids; `SPECIAL` among them.
        lower_case: whether texts are lower-cased and lose their accents before.

    Raises:
        DataError: a special token is missing, or a token occurs twice.
        ImportError: the extra ``text`` is not installed.
    """

    def __init__(self, vocabulary: Sequence[str], lower_case: bool):
        self.vocabulary = list(vocabulary)
        self.lower_case = lower_case
        ids = {token: index for index, token in enumerate(self.vocabulary)}
        missing = [token for token in SPECIAL if token not in ids]
        if missing or len(ids) < len(self.vocabulary):
            twice = [token for n, token in enumerate(self.vocabulary) if ids[token] != n]
            fault = f"lacks {', '.join(missing)}" if missing else f"has {shortened(twice[0])} twice"
            raise DataError(f"a vocabulary of {len(self.vocabulary)} tokens {fault}")
        self._ids = ids
        try:
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise ImportError(
                "texts need the package tokenizers: pip install 'fairseq-ecg[text]'",
                name="tokenizers",
            ) from error
        self._encoder = BertWordPieceTokenizer(vocab=ids, lowercase=lower_case)

    @classmethod
    def load(cls, name_or_path: str | os.PathLike) -> "Tokenizer":
        """Read a vocabulary.

        Texts are lower-cased where the name contains ``uncased``; where it says nothing of case,
        if no token but the special ones has a capital.

        Args:
            name_or_path: a ``vocab.txt``, a folder that holds one, or the name of a BERT on the
                Hugging Face hub such as ``bert-base-uncased``.

        Raises:
            FileNotFoundError: there is no such file, and it cannot be fetched.
            DataError: the vocabulary cannot be used.
            ImportError: the extra ``text`` is not installed.
        """
        path = Path(name_or_path)
        if path.is_dir():
            path /= VOCABULARY
        elif path.name == VOCABULARY and not path.is_file():
            raise FileNotFoundError(f"{shortened(os.fspath(name_or_path))}: no such file")
        elif not path.is_file():
            path = _fetched(os.fspath(name_or_path))
        try:
            tokens = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is no vocabulary, a text with a token a line") from error
        vocabulary = [token.rstrip("\r") for token in tokens]
        if vocabulary and not vocabulary[-1]:
            vocabulary.pop()
        try:
            return cls(vocabulary, _lower_case(os.fspath(name_or_path), vocabulary))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def __len__(self) -> int:
        return len(self.vocabulary)

    def id_of(self, token: str) -> int:
        """Return the id of a token, that of ``[UNK]`` if the vocabulary lacks it."""
        return self._ids.get(token, self._ids["[UNK]"])

    def knows_a_word_of(self, text: str) -> bool:
        """Return whether a token of a text is in the vocabulary and no punctuation mark."""
        tokens = self._encoder.encode(text, add_special_tokens=False).tokens
        return any(token not in SPECIAL and has_word(token) for token in tokens)

    def __call__(self, texts: Sequence[str], max_length: int | None = None) -> Tokens:
        """Tokenise texts.

        Args:
            texts: B of them.
            max_length: most tokens of each, ``[CLS]`` and ``[SEP]`` included; what is beyond is
                cut. None: no limit.

        Raises:
            ValueError: ``max_length`` leaves no token but these two.
        """
        if max_length is not None and max_length < 3:
            raise ValueError(f"{max_length} tokens hold no word beside [CLS] and [SEP]")
        rows = [encoding.ids for encoding in self._encoder.encode_batch(list(texts))]
        n_cut = [0 if max_length is None else max(0, len(row) - max_length) for row in rows]
        end = self._ids["[SEP]"]
        kept = [
            [*row[: len(row) - cut - 1], end] if cut else row
            for row, cut in zip(rows, n_cut, strict=True)
        ]
        width = max(map(len, kept), default=0)
        ids = torch.full((len(kept), width), self._ids["[PAD]"])
        padding_mask = torch.ones(len(kept), width, dtype=torch.bool)
        for index, row in enumerate(kept):
            ids[index, : len(row)] = torch.tensor(row)
            padding_mask[index, : len(row)] = False
        return Tokens(ids, padding_mask, torch.tensor(n_cut))


def _lower_case(name: str, vocabulary: Sequence[str]) -> bool:
    if "cased" in name:
        return "uncased" in name
    words = (token for token in vocabulary if not token.startswith("["))
    return not any(character.isupper() for token in words for character in token)


def _fetched(name: str) -> Path:
    """Bring the vocabulary of a BERT from the hub, and return its path in the cache."""
    remedy = f"give the path of a {VOCABULARY}, or of a folder that holds one"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise FileNotFoundError(
            f"{shortened(name)} is no path of a vocabulary: {remedy}, or pip install "
            "'fairseq-ecg[text]' to fetch it from the Hugging Face hub"
        ) from error
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    offline = only_cached()
    try:
        return Path(hf_hub_download(name, VOCABULARY, local_files_only=offline))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{shortened(name)} is no path of a vocabulary, and the Hugging Face hub gave none: "
            f"{remedy} ({reason(error, offline)})"
        ) from error
