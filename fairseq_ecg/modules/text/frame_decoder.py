"""Samples of an ECG out of the frames that were not removed: the decoder of masked autoencoders."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.ops.attention import attention

LONGEST = 512
"""Positions that the decoder has embeddings of, the class token's among them."""


class FrameDecoder(nn.Module):
    """Predict the samples of all frames of an ECG from some of them.

    Source: He et al., "Masked autoencoders are scalable vision learners", CVPR 2022,
    https://arxiv.org/abs/2111.06377.

    Args:
        inputs: H, channels of a frame.
        dim: K, channels of the decoder.
        layers: of the decoder.
        heads: attention heads; must divide ``dim``.
        leads: L.
        frame_samples: S, samples that are predicted of a frame.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(
        self, inputs: int, dim: int, layers: int, heads: int, leads: int, frame_samples: int
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"mim_decoder_num_heads={heads} does not divide mim_decoder_hidden_dim={dim}"
            )
        self.frame_samples = frame_samples
        # This order is that of seeded draws and of parameters in checkpoints.
        self.decoder_embed = nn.Linear(inputs, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder_pos_embed = _Positions(dim)
        self.decoder = _Blocks(dim, layers, heads)
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, leads * frame_samples)

    def forward(
        self,
        x: torch.Tensor,
        order: torch.Tensor,
        removed: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict samples.

        Args:
            x: ``(B, 1 + M, H)``, a class token and the frames that were kept, those behind a row's
                own number of them being ignored.
            order: ``(B, T')`` int64, position of every frame among those that were kept, followed
                by those that were removed.
            removed: ``(B, T')`` bool, True where a frame was removed.
            frame_mask: ``(B, T')`` bool, True where a frame is padding; None: nowhere.

        Returns:
            ``(B, T', L, S)``.

        Raises:
            ValueError: there are more frames than the decoder has positions.
        """
        rows, frames = order.shape
        if frames >= LONGEST:
            raise ValueError(
                f"an ECG of {frames} frames is longer than what is predicted here: at most "
                f"{LONGEST - 1}. Shorten recordings by task.max_sample_size"
            )
        x = self.decoder_embed(x)
        token = self.mask_token.to(x.dtype)
        kept = torch.cat([x[:, 1:], token.expand(rows, frames + 1 - x.shape[1], -1)], dim=1)
        kept = kept.gather(1, order.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        if frame_mask is not None:  # rows may have kept fewer than there are positions for
            kept = torch.where(removed.unsqueeze(-1), token, kept)
            frame_mask = F.pad(frame_mask, (1, 0))
        x = self.decoder_pos_embed(torch.cat([x[:, :1], kept], dim=1))
        x = self.decoder_pred(self.decoder_norm(self.decoder(x, frame_mask)))[:, 1:]
        return x.unflatten(2, (-1, self.frame_samples))


class _Positions(nn.Module):
    """Adds sines and cosines of positions ("Attention is all you need", section 3.5)."""

    pe: torch.Tensor

    def __init__(self, dim: int):
        super().__init__()
        position = torch.arange(LONGEST).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        pe = torch.zeros(1, LONGEST, dim)
        pe[0, :, 0::2] = torch.sin(position * frequency)
        pe[0, :, 1::2] = torch.cos(position * frequency)[:, : dim // 2]
        self.register_buffer("pe", pe)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pe[:, : x.shape[1]].to(x.dtype)


class _Blocks(nn.Module):
    """A stack of blocks."""

    def __init__(self, dim: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, frame_mask)
        return x


class _Block(nn.Module):
    """Self-attention and perceptron, each on its normalised input and added to it, as in CLIP."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim)}
        )
        self.ln_2 = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self._attend(self.ln_1(x), frame_mask)
        hidden = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))

    def _attend(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        attn = self.attn
        q, k, v = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        y = attention(q, k, v, attn.num_heads, frame_mask, 0.0, self.training)
        return attn.out_proj(y)
