"""Texts about ECGs: reports, statements and questions, as networks read them."""

from fairseq_ecg.data.text.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
