"""The transformer with the interface of fairseq_signals' modules, which put time before the batch.

Public code hangs hooks on modules of a network, calls its layers one by one and replaces their
``forward``. Here modules take and return what fairseq_signals' modules do, by the same names and in
the same layout: a layer ``(T, B, D)``, which it returns with ``(weights, change)``. That costs
nothing: without hooks it is a matter of views, and inside, rows stay in the order of
:mod:`fairseq_ecg.modules`, so that kernels run as there and numbers are the same.
"""

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from fairseq_ecg.modules import MultiHeadAttention, TransformerEncoder, TransformerEncoderLayer


class TimeFirstAttention(MultiHeadAttention):
    """Self-attention that is called as fairseq_signals' is.

    Attributes:
        embed_dim: D, channels of a frame.
        n_heads: attention heads.
        d_heads: channels of a head.
        scaling: what scores are multiplied by.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__(dim, heads, dropout)
        self.embed_dim, self.n_heads, self.d_heads = dim, heads, dim // heads
        self.scaling = self.d_heads**-0.5

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,
        attn_mask: None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from every frame to every frame that is not padding.

        Args:
            query: ``(T, B, D)``.
            key: as ``query``.
            value: as ``query``.
            key_padding_mask: ``(B, T)`` bool, True where a frame is padding.
            need_weights: also return the attention weights.
            attn_mask: None; masks of single weights are of fairseq_signals' models of text.

        Returns:
            ``(T, B, D)`` and ``(B, T, T)`` weights averaged over heads, or None.

        Raises:
            ValueError: there is a mask of single weights.
        """
        _refuse(attn_mask)
        frames = (_turned(query), _turned(key), _turned(value))
        y, weights = self.attend(*frames, key_padding_mask, need_weights)
        return _given_by(self, y), weights


class TimeFirstEncoderLayer(TransformerEncoderLayer):
    """A layer that is called as fairseq_signals' is.

    Attributes:
        need_weights: whether it returns its attention weights.
    """

    attention_class = TimeFirstAttention
    need_weights = False

    @property
    def embed_dim(self) -> int:
        """D, channels of a frame."""
        return self.fc1.in_features

    def forward(
        self,
        x: torch.Tensor,
        self_attn_mask: None = None,
        self_attn_padding_mask: torch.Tensor | None = None,
        att_args: None = None,
        need_weights: bool | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, torch.Tensor]]:
        """Transform frames.

        Args:
            x: ``(T, B, D)``.
            self_attn_mask: None.
            self_attn_padding_mask: ``(B, T)`` bool, True where a frame is padding.
            att_args: has no meaning, there as here.
            need_weights: in place of the attribute.

        Returns:
            ``(T, B, D)``; ``(B, T, T)`` attention weights or None, and what the perceptron gave
            before it was added, ``(T, B, D)``.

        Raises:
            ValueError: there is a mask of single weights.
        """
        _refuse(self_attn_mask)
        wanted = self.need_weights if need_weights is None else need_weights
        x, weights, change = self.transform(_turned(x), self_attn_padding_mask, wanted)
        return _given_by(self, x), (weights, _given_by(self, change))

    def attend(
        self, x: torch.Tensor, padding_mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the attention as fairseq_signals calls it."""
        x = _turned(x)
        y, weights = self.self_attn(
            query=x,
            key=x,
            value=x,
            key_padding_mask=padding_mask,
            attn_mask=None,
            need_weights=need_weights,
        )
        return _turned(y), weights

    def apply_part(
        self, part: nn.Module, x: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Call another part, in fairseq_signals' layout if it has hooks."""
        if not _is_watched(part):
            return super().apply_part(part, x, residual)
        y = _turned(part(_turned(x).contiguous()))
        return y if residual is None else residual + y


class TimeFirstEncoder(TransformerEncoder):
    """An encoder that returns what fairseq_signals' does."""

    layer_class = TimeFirstEncoderLayer

    @property
    def saliency(self) -> bool:
        """Whether attention weights are returned; all layers are set with it."""
        return self._saliency

    @saliency.setter
    def saliency(self, value: bool) -> None:
        self._saliency = value
        for layer in self.layers:
            layer.need_weights = value

    @property
    def need_weights(self) -> bool:
        """``saliency`` by the name under which code written for fairseq_signals sets it."""
        return self.saliency

    @need_weights.setter
    def need_weights(self, value: bool) -> None:
        self.saliency = value

    @property
    def embed_dim(self) -> int:
        """D, channels of a frame."""
        return self.layer_norm.normalized_shape[0]

    def forward(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        attn_mask: None = None,
        **wanted,
    ) -> dict[str, torch.Tensor | None]:
        """Encode frames.

        Args:
            x: ``(B, T, D)``.
            padding_mask: ``(B, T)`` bool, True where a frame is padding.
            attn_mask: None.
            wanted: see :meth:`TransformerEncoder.forward`.

        Returns:
            ``x`` ``(B, T, D)``, and ``saliency`` ``(B, layers, T, T)`` or None.

        Raises:
            ValueError: there is a mask of single weights.
        """
        _refuse(attn_mask)
        x, saliency = super().forward(x, padding_mask, **wanted)
        return {"x": x, "saliency": saliency}

    def run_layer(
        self,
        layer: nn.Module,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None,
        saliency: bool | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call a layer as fairseq_signals calls it."""
        wanted = {} if saliency is None else {"need_weights": saliency}
        x, (weights, _) = layer(
            _turned(x), self_attn_padding_mask=padding_mask, self_attn_mask=None, **wanted
        )
        return _turned(x), weights


class TimeFirst:
    """Gives a network of :mod:`fairseq_ecg.modules` this transformer."""

    encoder_class = TimeFirstEncoder

    def run_encoder(
        self, x: torch.Tensor, frame_mask: torch.Tensor | None, **wanted
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the transformer as fairseq_signals calls it."""
        encoded = self.encoder(x, padding_mask=frame_mask, **wanted)
        return encoded["x"], encoded["saliency"]


def _turned(x: torch.Tensor) -> torch.Tensor:
    """Exchange time and batch: ``(B, T, D)`` for ``(T, B, D)`` and back."""
    return x.transpose(0, 1)


def _given_by(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return ``(B, T, D)`` as ``(T, B, D)``, contiguous where hooks may want to ``view`` it."""
    x = _turned(x)
    return x.contiguous() if _is_watched(module) else x


def _is_watched(module: nn.Module) -> bool:
    """Return whether a module, or every module of the process, has hooks."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or torch_module._has_any_global_hook()
    )


def _refuse(mask: torch.Tensor | None) -> None:
    if mask is not None:
        raise ValueError("attn_mask: masks of single attention weights are not offered")
