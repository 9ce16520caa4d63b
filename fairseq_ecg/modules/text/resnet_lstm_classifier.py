"""Answers to questions by a ResNet over the ECG times an LSTM over the text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from fairseq_ecg.modules.encoder import ECGReader
from fairseq_ecg.modules.resnet import Configuration, ResNet
from fairseq_ecg.modules.text.bert import NO_SIZES, BertConfig
from fairseq_ecg.modules.text.network import FinetunedTextNetwork, TextNetwork, linear_head
from fairseq_ecg.modules.text.token_tables import bert_tables
from fairseq_ecg.options import Count, Layers, Probability, Width


class _LSTM(nn.Module):
    """An LSTM over the tokens of texts, of which its last states are kept."""

    def __init__(self, lstm: nn.LSTM, words: nn.Embedding):
        super().__init__()
        self.encoder = lstm
        self.word_embeddings = words

    def forward(self, text: torch.Tensor, padding_mask: torch.Tensor | None) -> torch.Tensor:
        """Map ``(B, N)`` tokens to the last states and cells of all layers, ``(B, 2 * states)``."""
        x = self.word_embeddings(text)
        if not self.encoder.batch_first:
            x = x.transpose(0, 1)
        if padding_mask is not None:
            lengths = (~padding_mask).sum(dim=1).clamp(min=1).cpu()
            x = pack_padded_sequence(x, lengths, self.encoder.batch_first, enforce_sorted=False)
        _, states = self.encoder(x)
        return torch.cat([state.transpose(0, 1).flatten(1) for state in states], dim=1)


class ResNetLSTM(TextNetwork):
    """What an ECG and a text have in common, ``(B, F)``: channels of both, multiplied.

    It is the network for questions about images of https://arxiv.org/abs/1505.00468, with a ResNet
    for ECGs.

    Args:
        configuration: how deep the ResNet is.
        in_d: leads.
        lstm_input_dim: channels of an embedded token.
        lstm_embed_dim: channels of a state of the LSTM.
        lstm_num_layer: layers of the LSTM.
        batch_first: whether the LSTM takes texts before tokens; results are the same.
        dropout: between layers of the LSTM.
        bidirectional: read texts from both ends.
        vocab_size: tokens of the vocabulary.
        load_bert_embedding: start from BERT's table of words, else from a random one.
        pad_token: token of padding.
        final_dim: F.
        bert: name on the Hugging Face hub, or folder, of the BERT whose table training starts with.
        bert_config: sizes of BERT's tables; if given, nothing is fetched and they are random until
            weights are loaded.
        sep_token: token at the end of a text; not used.
        max_text_size: longest text in tokens; not used, as an LSTM reads any.
        apply_norm: of older configs; not used.
        all_gather: of older configs; not used.
    """

    regularisation_options = ("dropout",)
    architecture_options = (
        "configuration",
        "in_d",
        "lstm_input_dim",
        "lstm_embed_dim",
        "lstm_num_layer",
        "bidirectional",
        "vocab_size",
        "final_dim",
    )

    def __init__(
        self,
        *,
        configuration: Configuration = "resnet50",
        in_d: Width = 12,
        lstm_input_dim: Width = 768,
        lstm_embed_dim: Width = 512,
        lstm_num_layer: Layers = 2,
        batch_first: bool = True,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        vocab_size: Width = 30522,
        load_bert_embedding: bool = True,
        pad_token: Count = 0,
        final_dim: Width = 1024,
        bert: str = "bert-base-uncased",
        bert_config: BertConfig = NO_SIZES,
        sep_token: Count = 102,
        max_text_size: Width = 512,
        apply_norm: bool = False,
        all_gather: bool = False,
    ):
        super().__init__()
        self.resnet = ResNet(configuration=configuration, in_d=in_d)
        self.resnet_final_proj = nn.Linear(self.resnet.encoder_dim, final_dim)
        lstm = nn.LSTM(
            lstm_input_dim,
            lstm_embed_dim,
            lstm_num_layer,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        if load_bert_embedding:
            words, *_ = bert_tables(bert, bert_config, lstm_input_dim, "lstm_input_dim")
        else:
            words = nn.Embedding(vocab_size, lstm_input_dim, padding_idx=pad_token)
        self.lstm = _LSTM(lstm, words)
        self.n_leads, self.vocab_size = in_d, words.num_embeddings
        directions = 2 if bidirectional else 1
        self.lstm_final_proj = nn.Linear(
            2 * directions * lstm_num_layer * lstm_embed_dim, final_dim
        )

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """See :meth:`TextNetwork.stored_options`: the table is as large as that of the weights."""
        words = weights.get("lstm.word_embeddings.weight")
        if words is None:
            return {}
        return {"load_bert_embedding": False, "vocab_size": len(words)}

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, torch.Tensor]:
        """Encode a batch; arguments are those of :meth:`TextNetwork.forward`.

        ECGs are read with their padding; a second one that is padded whole counts nothing.

        Returns:
            ``x`` ``(B, F)``.
        """
        of_ecg = self._embed(ecg)
        if ecg_2 is not None:
            other = self._embed(ecg_2)
            if ecg_2_padding_mask is not None:
                is_absent = ecg_2_padding_mask.flatten(1).all(dim=1)
                other = other.masked_fill(is_absent.unsqueeze(1), 0)
            of_ecg = of_ecg + other
        return {"x": of_ecg * self.lstm_final_proj(self.lstm(text, text_padding_mask))}

    def _embed(self, ecg: torch.Tensor) -> torch.Tensor:
        self.resnet.check_leads(ecg)
        return self.resnet_final_proj(self.resnet.encode(ecg).mean(dim=1))

    @property
    def ecg_reader(self) -> ECGReader:
        """See :attr:`TextNetwork.ecg_reader`."""
        return self.resnet


class ResNetLSTMClassifier(FinetunedTextNetwork):
    """A logit of each answer from what the ECGs and the question have in common.

    Args:
        encoder: see :class:`FinetunedTextNetwork`.
        num_labels: answers.
        options: of :class:`FinetunedTextNetwork` and :class:`ResNetLSTM`.
    """

    option_parts = (ResNetLSTM,)
    encoder: ResNetLSTM
    num_ecgs = 2

    def __init__(self, encoder: ResNetLSTM | None = None, *, num_labels: Width, **options):
        super().__init__(encoder, **options)
        self.n_answers = num_labels
        self.proj = linear_head(self.encoder.resnet_final_proj.out_features, num_labels)

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Answer a batch of questions; arguments are those of :meth:`TextNetwork.forward`.

        Returns:
            ``out`` ``(B, C)``, and ``encoder_out`` ``(B, F)`` without gradient.
        """
        encoded = self.encode(
            ecg, text, ecg_padding_mask, text_padding_mask, ecg_2, ecg_2_padding_mask
        )
        return {"out": self.proj(encoded["x"]), "encoder_out": encoded["x"].detach()}
