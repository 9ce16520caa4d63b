"""Embeddings of tokens by tables: of words, positions and token types."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.text.bert import NO_SIZES, BertConfig, build_bert, read_bert
from fairseq_ecg.modules.text.network import TextNetwork
from fairseq_ecg.options import Count, Width


class TokenTables(TextNetwork):
    """A network whose texts are embedded by tables; what its frames pass comes after it as a base.

    Args:
        vocab_size: tokens of the vocabulary.
        load_bert_embedding: start from BERT's tables, else from random ones.
        pad_token: token of padding.
        max_text_size: longest text in tokens, where the tables are not BERT's.
        bert: name on the Hugging Face hub, or folder, of the BERT whose tables training starts
            with.
        bert_config: sizes of BERT's tables; if given, nothing is fetched and they are random until
            weights are loaded.
        options: of the other bases.

    Raises:
        ValueError: BERT's tables are of another width than the transformer.
    """

    encoder_dim: int
    dropout_input: Dropout
    vocab_size: int
    max_text_size: int

    def __init__(
        self,
        *,
        vocab_size: Width = 30522,
        load_bert_embedding: bool = True,
        pad_token: Count = 0,
        max_text_size: Width = 512,
        bert: str = "bert-base-uncased",
        bert_config: BertConfig = NO_SIZES,
        **options,
    ):
        super().__init__(**options)
        self.layer_norm = nn.LayerNorm(self.encoder_dim)
        if load_bert_embedding:
            tables = bert_tables(bert, bert_config, self.encoder_dim, "encoder_embed_dim")
        else:
            tables = (
                nn.Embedding(vocab_size, self.encoder_dim, padding_idx=pad_token),
                nn.Embedding(max_text_size, self.encoder_dim),
                nn.Embedding(2, self.encoder_dim),
            )
        self.language_embedding, self.position_embedding, self.token_type_embedding = tables
        self.vocab_size, self.max_text_size = (table.num_embeddings for table in tables[:2])

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """See :meth:`TextNetwork.stored_options`: tables are as large as those of the weights."""
        words, positions = (
            weights.get(f"{table}_embedding.weight") for table in ("language", "position")
        )
        if words is None or positions is None:
            return {}
        return {
            "load_bert_embedding": False,
            "vocab_size": len(words),
            "max_text_size": len(positions),
        }

    def embed_words(self, text: torch.Tensor) -> torch.Tensor:
        """Embed tokens ``(B, N)`` without their positions: ``(B, N, D)``.

        Raises:
            ValueError: the text is longer than the table of positions.
        """
        if text.shape[1] > self.max_text_size:
            raise ValueError(
                f"a text of {text.shape[1]} tokens is longer than the {self.max_text_size} that "
                "the network has positions for (model.max_text_size)"
            )
        return self.dropout_input(self.layer_norm(self.language_embedding(text)))

    def add_positions(self, x: torch.Tensor, token_type: int) -> torch.Tensor:
        """Add to embedded tokens ``(B, N, D)`` their positions, from 0 on, and their type."""
        x = x + self.position_embedding.weight[: x.shape[1]]
        return self.add_type(x, token_type)

    def add_type(self, x: torch.Tensor, token_type: int) -> torch.Tensor:
        """Add to ``(B, T, D)`` the embedding of a token type."""
        return x + self.token_type_embedding.weight[token_type]


def bert_tables(
    bert: str, bert_config: Mapping[str, int], width: int, option: str
) -> tuple[nn.Embedding, nn.Embedding, nn.Embedding]:
    """Return BERT's tables of words, positions and token types.

    Args:
        bert: name or folder, see :func:`fairseq_ecg.modules.text.bert.read_bert`.
        bert_config: sizes of one with random weights, if any are said.
        width: that the tables must have.
        option: that says the width.

    Raises:
        ValueError: they have another width.
    """
    tables = (build_bert(bert_config) if bert_config else read_bert(bert)).embeddings
    found = tables.word_embeddings.embedding_dim
    if found != width:
        raise ValueError(
            f"the tables of {bert} are {found} channels wide, but model.{option}={width}: set it "
            f"to {found}, or model.load_bert_embedding=false"
        )
    return tables.word_embeddings, tables.position_embeddings, tables.token_type_embeddings
