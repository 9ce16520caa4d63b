"""One transformer over the frames of ECGs and the tokens of a text."""

from typing import Any

import torch

from fairseq_ecg.modules.ecg_transformer import ConvTransformer, ECGTransformer
from fairseq_ecg.modules.masking import MaskedEncoder
from fairseq_ecg.modules.text.pairs import join_pair, mask_of, second_frame_mask
from fairseq_ecg.modules.text.token_tables import TokenTables
from fairseq_ecg.ops.pooling import mean_of_nonzero
from fairseq_ecg.options import Count


class _Frames(MaskedEncoder, ConvTransformer):
    """The part that reads ECGs; frames are masked only with ``apply_mask``.

    Args:
        options: of the bases.
    """

    # fairseq_signals masks rows without a valid frame only of second ECGs.
    masks_empty_rows = False

    def __init__(self, *, mask_prob: float = 0.0, apply_mask: bool = False, **options):
        super().__init__(
            mask_prob=mask_prob if apply_mask else 0.0, apply_mask=apply_mask, **options
        )
        self.masks_frames = apply_mask
        self.feats_layer_norm = self.layer_norm
        del self.layer_norm  # by this name tokens are normalised


class ECGLanguageTransformer(TokenTables, _Frames):
    """Encode ECGs and a text together (MedViLL's encoder, https://arxiv.org/abs/2105.11333).

    Args:
        sep_token: token between two ECGs, and at the end of a text.
        options: of :class:`TokenTables`, :class:`fairseq_ecg.modules.MaskedEncoder` and
            :class:`ConvTransformer`.
    """

    regularisation_options = ECGTransformer.regularisation_options
    task_options = ("pad_token", "sep_token", "normalize", "filter")
    architecture_options = (
        *ECGTransformer.architecture_options,
        "vocab_size",
        "load_bert_embedding",
        "max_text_size",
    )
    n_leads: int

    def __init__(self, *, sep_token: Count = 102, **options):
        super().__init__(**options)
        self.sep_token = sep_token

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
        """Encode a batch; arguments are those of :meth:`TextNetwork.forward`.

        The positional convolution runs over both ECGs, so that frames near the separator see the
        other one, and padding.

        Returns:
            ``x`` ``(B, T, D)``, T being frames of the first ECG, one separator, frames of the
            second (both only if there is one) and tokens; ``padding_mask`` ``(B, T)`` or None; and
            ``saliency`` ``(B, layers, T, T)`` or None.
        """
        latents = [self.extract_latents(x) for x in (ecg, ecg_2) if x is not None]
        x, frame_mask = self._frames(latents[0], ecg_padding_mask)
        if ecg_2 is not None:
            other, other_mask = self._frames(latents[1], ecg_2_padding_mask, second=True)
            separator = self.language_embedding.weight[self.sep_token]
            x, frame_mask = join_pair(x, separator, other, frame_mask, other_mask)
        x = self.add_type(x + self.conv_pos(x), 0)
        tokens = self.add_positions(self.embed_words(text), 1)
        return self.encode_together(x, tokens, frame_mask, text_padding_mask)

    def embed_ecg(
        self, ecg: torch.Tensor, ecg_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See :meth:`TextNetwork.embed_ecg`."""
        x, mask = self._frames(self.extract_latents(ecg), ecg_padding_mask)
        x, _ = self.encoder(self.add_type(x + self.conv_pos(x), 0), mask)
        return mean_of_nonzero(x, mask)

    def project_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, E, T')`` latents into ``(B, T', D)`` frames."""
        return self.project(self.feats_layer_norm(latents.transpose(1, 2)))

    def _frames(
        self, latents: torch.Tensor, padding_mask: torch.Tensor | None, second: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Turn ``(B, E, T')`` latents into ``(B, T', D)`` frames, and samples' mask into theirs."""
        x = self.dropout_input(self.project_latents(latents))
        if second:
            mask = second_frame_mask(self, padding_mask, x.shape[1])
        else:
            mask = self.frame_padding_mask(padding_mask, x.shape[1])
        if self.masks_frames and self.training and self.mask_emb is not None:
            x = self.mask_frames(x, mask)
        return x, mask

    def mask_frames(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Hide frames ``(B, T', D)``, of which ``(B, T')`` says True where padded, in training."""
        return self.apply_mask(x, self.frames_to_mask(x, frame_mask))

    def encode_together(
        self,
        frames: torch.Tensor,
        tokens: torch.Tensor,
        frame_mask: torch.Tensor | None,
        text_padding_mask: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
    ) -> dict[str, Any]:
        """Run the transformer.

        Args:
            frames: ``(B, T', D)``.
            tokens: ``(B, N, D)``.
            frame_mask: ``(B, T')`` bool, True where padded, or None.
            text_padding_mask: ``(B, N)`` bool, or None.
            attention_mask: see :meth:`fairseq_ecg.modules.TransformerEncoder.forward`.

        Returns:
            See :meth:`forward`.
        """
        if frame_mask is None and text_padding_mask is None:
            padding_mask = None
        else:
            masks = mask_of(frames, frame_mask), mask_of(tokens, text_padding_mask)
            padding_mask = torch.cat(masks, dim=1)
        x = torch.cat([frames, tokens], dim=1)
        x, saliency = self.encoder(x, padding_mask, attention_mask=attention_mask)
        return {"x": x, "padding_mask": padding_mask, "saliency": saliency}

    def extract_features(
        self, ecg, text, ecg_padding_mask=None, text_padding_mask=None, **second
    ) -> dict[str, Any]:
        """Encode as the part of a fine-tuned network.

        As in fairseq_signals padding of texts is then attended to, and not left out.
        """
        return self(ecg, text, ecg_padding_mask, **second)
