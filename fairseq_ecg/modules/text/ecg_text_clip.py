"""Contrastive ECG-report pre-training: an ECG encoder and BERT with a space in common."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.errors import shortened
from fairseq_ecg.modules.adapters import freeze
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.registry import ENCODERS
from fairseq_ecg.modules.text.bert import (
    NO_SIZES,
    BertConfig,
    build_bert,
    config_of,
    read_bert,
    stored_config,
)
from fairseq_ecg.modules.text.network import PairedEncoders
from fairseq_ecg.options import Probability, Range, Width, chosen, options_of

LARGEST_SCALE = 100.0
"""What cosine similarities are multiplied by at most, as in CLIP."""

_FrozenLayers = Annotated[int, Range(-(2**31))]


class EncoderOptions:
    """Options of an ECG encoder by name."""

    def sizes(self, value: Mapping[str, Any]) -> dict[str, int]:
        """Return the largest size of each kind that the options stand for.

        Raises:
            ValueError: no encoder has such an option, or it cannot have the value.
        """
        known, largest = options_of(*ENCODERS.values()), dict[str, int]()
        for name, x in value.items():
            if name not in known:
                raise ValueError(f"ecg_config: no encoder has an option {shortened(name)}")
            for kind, size in known[name].sizes(known[name].checked(x)).items():
                largest[kind] = max(largest.get(kind, 0), size)
        return largest


class ECGTextCLIP(PairedEncoders):
    """Embed ECGs and texts so that those which belong together are alike.

    The mean of an encoder's frames and a vector of BERT each go through a perceptron to a shared
    space of P = ``projection_dim`` dimensions. A criterion contrasts the embeddings of a batch,
    whose cosine similarities are divided by a learnt temperature.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    ICML 2021 (https://arxiv.org/abs/2103.00020); of ECGs Liu et al., "MERL", ICML 2024
    (https://arxiv.org/abs/2403.06659).

    Args:
        encoder: ECG encoder that was trained before; None: a new one, of the next two options.
        ecg_encoder: ECG encoder, a name of ``fairseq_ecg.modules.ENCODERS``.
        ecg_config: its options by name; others have their own defaults.
        bert: name or folder of the BERT that training starts with.
        bert_config: sizes of the BERT; when given, nothing is fetched and its weights are random.
        bert_dropout: dropout in the BERT and on its attention weights.
        text_pooling: the text's vector: cls: that of [CLS]; mean: the mean over tokens.
        projection_dim: P, dimensions of the shared space.
        temperature: of the contrast, before training.
        freeze_layers: lowest layers of the ECG encoder that never train, and with them all that
            lies below; -1: the whole encoder.
        freeze_text_layers: as freeze_layers, of the BERT.
    """

    shares_space = True

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        ecg_encoder: str = "ecg_transformer",
        ecg_config: Annotated[Mapping[str, Any], EncoderOptions()] = NO_SIZES,
        bert: str = "bert-base-uncased",
        bert_config: BertConfig = NO_SIZES,
        bert_dropout: Probability = 0.1,
        text_pooling: Literal["cls", "mean"] = "cls",
        projection_dim: Width = 256,
        temperature: Annotated[float, Range(0.01, 100.0)] = 0.07,
        freeze_layers: _FrozenLayers = 0,
        freeze_text_layers: _FrozenLayers = 0,
    ):
        super().__init__()
        self.ecg_encoder = encoder or build_encoder(ecg_encoder, ecg_config)
        freeze(self.ecg_encoder, freeze_layers)
        self.text_encoder = build_bert(bert_config) if bert_config else read_bert(bert)
        self.text_pooling = text_pooling
        text_dim = self.text_encoder.config.hidden_size
        self.ecg_projection = projection(self.ecg_encoder.encoder_dim, projection_dim)
        self.text_projection = projection(text_dim, projection_dim)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.projection_dim = projection_dim
        self.n_leads = self.ecg_encoder.n_leads
        self.bert_config = config_of(self.text_encoder)
        self.max_text_size = self.bert_config["max_position_embeddings"]
        self.vocab_size = self.bert_config["vocab_size"]
        for module in self.text_encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = bert_dropout
        _freeze_bert(self.text_encoder, freeze_text_layers)

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """See :meth:`TextNetwork.stored_options`."""
        sizes = stored_config(weights, "text_encoder.")
        return {"bert_config": sizes} if sizes else {}

    @classmethod
    def ecg_encoder_config(cls, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`TextNetwork.ecg_encoder_config`."""
        return {**(cfg.get("ecg_config") or {}), "_name": cfg.get("ecg_encoder", "ecg_transformer")}

    @property
    def embed_dim(self) -> int:
        """P, dimensions of the shared space."""
        return self.projection_dim

    def embed_ecg(
        self, ecg: torch.Tensor, ecg_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed ECGs in the shared space, see :meth:`TextNetwork.embed_ecg`.

        Returns:
            ``(B, P)`` float32, of length one.
        """
        encoded = self.ecg_encoder.extract_features(ecg, ecg_padding_mask)
        pooled = self.ecg_encoder.mean(encoded["x"], encoded["padding_mask"])
        return F.normalize(self.ecg_projection(pooled).float(), dim=1)

    def embed_text(
        self, text: torch.Tensor, text_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed texts in the shared space, see :meth:`TextNetwork.embed_text`.

        Returns:
            ``(B, P)`` float32, of length one.
        """
        kept = torch.ones_like(text) if text_padding_mask is None else (~text_padding_mask).long()
        tokens = self.text_encoder(text, attention_mask=kept).last_hidden_state
        if self.text_pooling == "mean":
            weights = kept.to(tokens.dtype).unsqueeze(2)
            pooled = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        else:
            pooled = tokens[:, 0]
        return F.normalize(self.text_projection(pooled).float(), dim=1)

    @property
    def scale(self) -> torch.Tensor:
        """What cosine similarities are multiplied by, the inverse of the temperature: a scalar."""
        return _AtMost.apply(self.log_scale.float(), math.log(LARGEST_SCALE)).exp()

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
        """Embed a batch of ECGs and their texts, see :class:`TextNetwork`.

        Returns:
            ``ecg`` and ``text``, each ``(B, P)`` of length one, and ``scale``, see :attr:`scale`.
        """
        return {
            "ecg": self.embed_ecg(ecg, ecg_padding_mask),
            "text": self.embed_text(text, text_padding_mask),
            "scale": self.scale,
        }

    def alignment(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the cosine similarity of each row's ECG and text times the scale, ``(B,)``."""
        embedded = self(ecg, text, ecg_padding_mask, text_padding_mask)
        return (embedded["ecg"] * embedded["text"]).sum(dim=1) * embedded["scale"]


def build_encoder(name: str, config: Mapping[str, Any]) -> Encoder:
    """Build an ECG encoder of options by name, without what only pre-training needs.

    Args:
        name: one of ``fairseq_ecg.modules.ENCODERS``.
        config: values of its options; others have their own defaults.

    Raises:
        ValueError: there is no such encoder, or it has no such option.
    """
    if name not in ENCODERS:
        raise ValueError(f"ecg_encoder={shortened(name)}: choose one of {', '.join(ENCODERS)}")
    unknown = set(config) - set(options_of(ENCODERS[name]))
    if unknown:
        known = ", ".join(options_of(ENCODERS[name]))
        raise ValueError(
            f"ecg_config: {name} has no option {shortened(min(unknown))}; it has {known}"
        )
    encoder = ENCODERS[name](**(chosen(ENCODERS[name], config) | {"all_gather": False}))
    encoder.remove_pretraining_modules()
    return encoder


def projection(width: int, dim: int) -> nn.Sequential:
    """Build the perceptron that maps a vector of ``width`` channels to ``dim`` dimensions."""
    return nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))


def _freeze_bert(bert: Any, layers: int) -> None:
    """Stop the embeddings and the lowest layers of a BERT from training; -1: all of it."""
    above = bert.encoder.layer
    if not -1 <= layers <= len(above):
        raise ValueError(
            f"freeze_text_layers={layers}: the BERT has {len(above)} layers; give 0 to freeze "
            "none, -1 to freeze the whole BERT"
        )
    if layers:
        frozen = [bert] if layers == -1 else [bert.embeddings, *above[:layers]]
        for part in frozen:
            part.requires_grad_(False)


class _AtMost(torch.autograd.Function):
    """Clamp a number from above; its gradient may only bring it back from there."""

    @staticmethod
    def forward(ctx, x, bound):
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(max=bound)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.masked_fill((x >= ctx.bound) & (grad < 0), 0), None
