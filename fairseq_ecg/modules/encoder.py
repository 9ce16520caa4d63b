"""What every encoder offers to heads, adapters, training and programs."""

from typing import Any, ClassVar

import torch
from torch import nn

from fairseq_ecg.ops.frames import frame_count


class Encoder(nn.Module):
    """Base of encoders: ``(B, L, T)`` samples to ``(B, T', D)`` frames.

    Its constructor's keyword-only arguments are its options, see
    :mod:`fairseq_ecg.options`.

    Attributes:
        architecture_options: names of options that its weights decide.
        regularisation_options: names of options that fine-tuning decides anew; all are 0 there
            unless they are set.
        pretraining_modules: names of modules, none of them needed to encode, that a fine-tuned
            encoder no longer has.
        encoder_dim: D, channels of a frame.
        attention_heads: into which attention may split a frame.
        n_leads: L, leads.
        strides: (kernel, stride) of every convolution between samples and frames.
        mask_emb: embedding of masked frames, or None.
    """

    architecture_options: ClassVar[tuple[str, ...]] = ()
    regularisation_options: ClassVar[tuple[str, ...]] = ()
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    encoder_dim: int
    attention_heads: int
    n_leads: int
    strides: list[tuple[int, int]]
    mask_emb: nn.Parameter | None

    def __init__(self):
        super().__init__()
        self.mask_emb = None

    @property
    def embeds_masks(self) -> bool:
        """Whether frames are masked in training, so that the mask embedding is learnt."""
        return False

    def extract_features(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        *,
        saliency: bool | None = None,
        hidden_states: list[torch.Tensor] | None = None,
    ) -> dict[str, Any]:
        """Encode without anything that only pre-training does.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.
            saliency: whether to return attention weights; None: as the encoder was built.
            hidden_states: is extended by the frames ``(B, T', D)`` in front of every layer and
                behind the last.

        Returns:
            ``x`` ``(B, T', D)``, ``padding_mask`` ``(B, T')`` or None, and ``saliency``
            ``(B, layers, T', T')``, or None also where the encoder has no attention.
        """
        raise NotImplementedError

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """Name its parts from the input up: ``stem``, then one for each layer.

        They are what :func:`fairseq_ecg.modules.adapters.freeze` freezes.
        """
        raise NotImplementedError

    def frame_count(self, samples):
        """T', the frames that so many samples give: a number, or a tensor element by element."""
        return frame_count(samples, self.strides)

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return False

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        return []

    def remove_pretraining_modules(self) -> None:
        """Drop what only pre-training uses; a mask embedding stays."""
        for name in self.pretraining_modules:
            setattr(self, name, None)
