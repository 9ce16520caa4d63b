"""Masking of frames and channels in pre-training."""

import torch
from torch import nn

from fairseq_ecg.ops.masking import BatchMasking, MaskType, SpanMasking, compute_mask_indices
from fairseq_ecg.options import Count


class MaskedEncoder(nn.Module):
    """What an encoder has beside it that is to predict what was hidden; comes before it as a base.

    Args:
        mask_prob: share of frames covered if spans did not overlap.
        mask_length: frames of a masked span.
        mask_selection: distribution of span lengths.
        mask_other: second parameter of that distribution.
        no_mask_overlap: keep masked spans apart.
        mask_min_space: least frames between spans that are kept apart.
        mask_channel_prob: share of channels covered if spans did not overlap.
        mask_channel_length: channels of a masked span.
        mask_channel_selection: distribution of span lengths over channels.
        mask_channel_other: second parameter of that distribution.
        no_mask_channel_overlap: keep masked spans of channels apart.
        mask_channel_min_space: least channels between spans that are kept apart.
        encoder_options: of the encoder.

    Raises:
        ValueError: masking is asked for without ``apply_mask``, or an option is not one.
    """

    encoder_dim: int
    strides: list[tuple[int, int]]
    mask_emb: nn.Parameter | None

    def __init__(
        self,
        *,
        mask_prob: float = 0.0,
        mask_length: int = 10,
        mask_selection: MaskType = "static",
        mask_other: float = 0.0,
        no_mask_overlap: bool = False,
        mask_min_space: Count = 1,
        mask_channel_prob: float = 0.0,
        mask_channel_length: int = 10,
        mask_channel_selection: MaskType = "static",
        mask_channel_other: float = 0.0,
        no_mask_channel_overlap: bool = False,
        mask_channel_min_space: Count = 1,
        **encoder_options,
    ):
        super().__init__(**encoder_options)
        if mask_prob > 0 and self.mask_emb is None:
            raise ValueError(
                f"model.mask_prob={mask_prob} masks frames, which needs model.apply_mask=true"
            )
        self.mask_prob = mask_prob
        self.mask_length = mask_length
        self.mask_selection = mask_selection
        self.mask_other = mask_other
        self.no_mask_overlap = no_mask_overlap
        self.mask_min_space = mask_min_space
        self.mask_channel_prob = mask_channel_prob
        self.mask_channel_length = mask_channel_length
        self.mask_channel_selection = mask_channel_selection
        self.mask_channel_other = mask_channel_other
        self.no_mask_channel_overlap = no_mask_channel_overlap
        self.mask_channel_min_space = mask_channel_min_space
        _ = self.masking  # an option that is wrong is an error now

    @property
    def embeds_masks(self) -> bool:
        """Whether frames are masked in training, so that the mask embedding is learnt."""
        return self.masking.frames is not None

    @property
    def masking(self) -> BatchMasking:
        """How batches are masked."""
        return BatchMasking(
            tuple(self.strides),
            self._frame_spans() if self.mask_prob > 0 else None,
            self._channel_spans() if self.mask_channel_prob > 0 else None,
            self.encoder_dim,
        )

    def _frame_spans(self) -> SpanMasking:
        return SpanMasking(
            self.mask_prob,
            self.mask_length,
            self.mask_selection,
            self.mask_other,
            min_masks=2,
            no_overlap=self.no_mask_overlap,
            min_space=self.mask_min_space,
        )

    def _channel_spans(self) -> SpanMasking:
        return SpanMasking(
            self.mask_channel_prob,
            self.mask_channel_length,
            self.mask_channel_selection,
            self.mask_channel_other,
            no_overlap=self.no_mask_channel_overlap,
            min_space=self.mask_channel_min_space,
        )

    def frames_to_mask(
        self,
        x: torch.Tensor,
        frame_mask: torch.Tensor | None,
        mask_indices: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Return the frames to mask where the batch does not say it by number.

        Args:
            x: ``(B, T', D)``.
            frame_mask: ``(B, T')`` bool, True where a frame is padding, or None.
            mask_indices: ``(B, T')`` bool, frames to mask; drawn from NumPy's global stream if
                None and ``mask_prob`` is positive.

        Returns:
            ``(B, M)`` int64, ascending, or None if none are masked.
        """
        rows, frames, _ = x.shape
        if mask_indices is None:
            if self.mask_prob == 0:
                return None
            padding = None if frame_mask is None else frame_mask.cpu()
            drawn = compute_mask_indices((rows, frames), padding, self._frame_spans())
            mask_indices = torch.from_numpy(drawn)
        return mask_indices.nonzero()[:, 1].view(rows, -1).to(x.device)

    def apply_mask(
        self,
        x: torch.Tensor,
        masked_frames: torch.Tensor | None,
        masked_channels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Put the mask embedding on masked frames and zero on masked channels.

        Args:
            x: ``(B, T', D)``.
            masked_frames: ``(B, M)`` int64, or None.
            masked_channels: ``(B, K)`` int64; drawn from NumPy's global stream if None and
                ``mask_channel_prob`` is positive.

        Returns:
            The masked ``x``.
        """
        rows, frames, channels = x.shape
        if masked_frames is not None:
            assert self.mask_emb is not None, "masked frames need model.apply_mask=true"
            is_masked = _mask_of(masked_frames, frames).unsqueeze(-1)
            x = torch.where(is_masked, self.mask_emb.to(x.dtype), x)
        if self.mask_channel_prob == 0:
            return x
        if masked_channels is None:
            drawn = compute_mask_indices((rows, channels), None, self._channel_spans())
            is_masked = torch.from_numpy(drawn).to(x.device)
        else:
            is_masked = _mask_of(masked_channels, channels)
        return x.masked_fill(is_masked.unsqueeze(1), 0)


def _mask_of(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Turn positions ``(B, M)`` into a mask ``(B, width)``, True at them."""
    mask = torch.zeros(len(positions), width, dtype=torch.bool, device=positions.device)
    return mask.scatter(1, positions, True)
