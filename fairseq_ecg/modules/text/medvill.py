"""MedViLL: predict hidden tokens of a report, and whether it is the ECG's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from fairseq_ecg.modules.text.ecg_language_transformer import ECGLanguageTransformer
from fairseq_ecg.modules.text.token_masking import MaskedTokens, TokenMasking
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding


@dataclass(frozen=True)
class _Shares:
    """Limits of ``mask_ratio``, see :class:`fairseq_ecg.options.Range`."""

    def sizes(self, value: Sequence[float]) -> dict[str, int]:
        shares = [*value] if isinstance(value, Sequence) and not isinstance(value, str) else []
        numbers = [x for x in shares if isinstance(x, int | float) and not isinstance(x, bool)]
        if len(shares) != 4 or len(numbers) != 4:
            raise ValueError(f"mask_ratio={shares or value} is not a list of four numbers")
        TokenMasking(1, *shares)
        return {}


class MedViLL(ECGLanguageTransformer):
    """Pre-train on ECGs and reports (MedViLL, https://arxiv.org/abs/2105.11333).

    Args:
        mask_ratio: share of tokens to predict; and of these the shares that are hidden, replaced
            and kept.
        attn_mask_type: bidirectional: all attend to all; bi_ar: tokens attend to no later tokens.
        options: of :class:`ECGLanguageTransformer`.

    Raises:
        ValueError: the shares do not sum to 1.
    """

    pretraining_modules = ("align_proj", "mlm_proj")

    def __init__(
        self,
        *,
        mask_ratio: Annotated[Sequence[float], _Shares()] = (0.15, 0.8, 0.1, 0.1),
        attn_mask_type: Literal["bidirectional", "bi_ar"] = "bi_ar",
        **options,
    ):
        super().__init__(**options)
        self.mask_ratio = tuple(mask_ratio)
        self.attn_mask_type = attn_mask_type
        self.mask_emb = nn.Parameter(torch.empty(self.encoder_dim).uniform_())
        self.align_proj = nn.Linear(self.encoder_dim * 2, 1)
        self.mlm_proj = nn.Linear(self.encoder_dim, self.vocab_size)
        _ = self.token_masking  # shares that are wrong are an error now

    @property
    def embeds_masks(self) -> bool:
        """Whether tokens are masked in training, so that the mask embedding is learnt."""
        return self.token_masking.selected > 0 and self.token_masking.hidden > 0

    @property
    def token_masking(self) -> TokenMasking:
        """How tokens are masked."""
        return TokenMasking(self.vocab_size, *self.mask_ratio)

    @property
    def masking(self) -> BatchMasking:
        """How batches are masked when they are made: not at all, but they say ``origins``."""
        return BatchMasking(tuple(self.strides))

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        mask: bool = True,
        mask_indices: torch.Tensor | np.ndarray | None = None,
        origins: torch.Tensor | None = None,
        **_,
    ) -> dict[str, torch.Tensor]:
        """Predict hidden tokens and whether texts and ECGs belong together.

        Tokens are hidden in evaluation as well.

        Args:
            ecg: ``(B, L, T)`` float, standardised samples.
            text: ``(B, N)`` int64, tokens, in each row as many separators.
            ecg_padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where padded.
            text_padding_mask: ``(B, N)`` bool, True where padded.
            ecg_2: is not read: reports are about one ECG.
            ecg_2_padding_mask: is not read.
            mask: whether there are tokens to predict.
            mask_indices: ``(B, N - separators)`` bool, which tokens to predict, separators not
                counted; all of them stay what they are. Drawn if None.
            origins: ``(B, 4)`` int64, where the random numbers of each row start, of which masks
                are drawn; None: from NumPy's and PyTorch's global streams.

        Returns:
            ``mlm_x`` ``(M, V)``, logits of the M tokens to predict, and ``mlm_y`` ``(M,)`` int64,
            those tokens, both row by row; ``align_x`` ``(B, 1)``, the logit of belonging together.

        Raises:
            ValueError: rows have different numbers of separators, or a text is too long.
        """
        frames = self.project_latents(self.extract_latents(ecg))
        frame_mask = self.frame_padding_mask(ecg_padding_mask, frames.shape[1])
        frames = self.add_type(frames + self.conv_pos(frames), 0)

        tokens = self.embed_words(text)
        masked = None
        if mask:
            masked = self.tokens_to_mask(text, text_padding_mask, mask_indices, origins)
            tokens = self.replace(tokens, masked)
        tokens = self.add_positions(tokens, 1)
        encoded = self.encode_together(
            frames, tokens, frame_mask, text_padding_mask, self._attention_mask(frames, tokens)
        )

        x, padding_mask = encoded["x"], encoded["padding_mask"]
        is_selected = (
            torch.zeros_like(text, dtype=torch.bool) if masked is None else masked.selected
        )
        predicted = x[:, frames.shape[1] :][is_selected]
        x = zero_padding(x, padding_mask)
        pooled = [mean_of_nonzero(part) for part in x.split([frames.shape[1], text.shape[1]], 1)]
        return {
            "mlm_x": self.mlm_proj(predicted),
            "mlm_y": text[is_selected],
            "align_x": self.align_proj(torch.cat(pooled, dim=1)),
        }

    def tokens_to_mask(
        self,
        text: torch.Tensor,
        padding_mask: torch.Tensor | None,
        mask_indices: torch.Tensor | np.ndarray | None = None,
        origins: torch.Tensor | None = None,
    ) -> MaskedTokens:
        """Draw which tokens are to be predicted; arguments are those of :meth:`forward`.

        Returns:
            Each ``(B, N)``, on the device of the text; separators are never among them.
        """
        rows = len(text)
        is_maskable = text != self.sep_token
        counts = is_maskable.sum(dim=1)
        if (counts != counts[0]).any():
            separators = (text.shape[1] - counts).tolist()
            raise ValueError(
                f"texts of a batch have {separators} tokens {self.sep_token} (task.sep_token) "
                "each, but must have equally many"
            )
        shape = rows, int(counts[0])
        padded = None
        if padding_mask is not None and padding_mask.any():
            padded = padding_mask[is_maskable].view(shape)
        if mask_indices is not None:
            masked = MaskedTokens.only_selected(torch.as_tensor(mask_indices, device=text.device))
        elif self.token_masking.selected == 0:
            masked = MaskedTokens.only_selected(is_maskable.new_zeros(shape))
        elif origins is not None:
            masked = self.token_masking.draw_of(origins, shape, padded)
        else:
            masked = self.token_masking.draw(shape, None if padded is None else padded.cpu())
        return MaskedTokens(*(_scattered(values, is_maskable) for values in masked))

    def replace(self, x: torch.Tensor, masked: MaskedTokens) -> torch.Tensor:
        """Put the mask embedding and other tokens' embeddings in the place of tokens ``(B, N, D)``.

        Those of other tokens are not normalised, as in fairseq_signals.
        """
        if self.mask_emb is not None:
            x = torch.where(masked.hidden.unsqueeze(-1), self.mask_emb.to(x.dtype), x)
        others = self.language_embedding(masked.tokens).to(x.dtype)
        return torch.where(masked.replaced.unsqueeze(-1), others, x)

    def mask_frames(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Hide frames of an ECG while it is fine-tuned: as tokens, as fairseq_signals does."""
        if self.token_masking.selected == 0:
            return x
        masked = self.token_masking.draw(
            (x.shape[0], x.shape[1]), None if frame_mask is None else frame_mask.cpu()
        )
        return self.replace(x, MaskedTokens(*(values.to(x.device) for values in masked)))

    def _attention_mask(self, frames: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """Which of frames and tokens attend to which: ``(T, T)`` bool, True where not, or None."""
        if self.attn_mask_type == "bidirectional":
            return None
        first, width = frames.shape[1], frames.shape[1] + tokens.shape[1]
        mask = torch.zeros(width, width, dtype=torch.bool, device=tokens.device)
        mask[first:, first:] = True
        return mask.triu(1)

    def extract_features(
        self, ecg, text, ecg_padding_mask=None, text_padding_mask=None, **second
    ) -> dict[str, Any]:
        """Encode as the part of a fine-tuned network: nothing is hidden, all attend to all."""
        return super().forward(ecg, text, ecg_padding_mask, text_padding_mask, **second)

    def alignment(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :meth:`TextNetwork.alignment`; no token is hidden."""
        result = self(ecg, text, ecg_padding_mask, text_padding_mask, mask=False)
        return result["align_x"].squeeze(1)

    def get_logits(self, net_output: dict, **_) -> dict[str, torch.Tensor]:
        """Return ``align_x`` ``(B,)``, probabilities of belonging together, and ``mlm_x``."""
        return {
            "align_x": net_output["align_x"].squeeze(-1).sigmoid(),
            "mlm_x": net_output["mlm_x"],
        }

    def get_targets(self, sample: dict, net_output: dict, **_) -> dict[str, torch.Tensor]:
        """Return ``align_y`` ``(B,)`` float, 1 where they belong together, and ``mlm_y``."""
        return {"align_y": sample["is_aligned"], "mlm_y": net_output["mlm_y"]}


def _scattered(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Put values of rows where ``(B, N)`` bool is True; 0 or False is elsewhere."""
    found = torch.zeros(positions.shape, dtype=values.dtype, device=positions.device)
    return found.masked_scatter(positions, values.to(positions.device))
