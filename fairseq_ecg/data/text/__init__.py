"""Texts about ECGs: reports, statements and questions, as networks read them."""

from fairseq_ecg.data.text.tokenizer import Tokenizer, has_word

__all__ = ["Tokenizer", "has_word"]
