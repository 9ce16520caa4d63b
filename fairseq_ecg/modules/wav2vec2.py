"""The pre-training network: contrastive prediction of masked frames."""

from typing import Any, NamedTuple

import torch
from torch import nn

from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.masking import MaskedEncoder
from fairseq_ecg.modules.quantizer import GumbelVectorQuantizer
from fairseq_ecg.ops.negatives import (
    DrawnNegatives,
    contrastive_logits,
    drawn_indices,
    gather_negatives,
    sample_negatives,
)
from fairseq_ecg.ops.philox import COMMON_LANE, Stream, random_words
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding
from fairseq_ecg.ops.quantize import Quantized
from fairseq_ecg.options import Count, OptionalWidth, Width


class Contrast(NamedTuple):
    """Masked frames and the candidates among which they are to find their target.

    Attributes:
        predictions: ``(B, M, C)``.
        targets: ``(B, M, C)``.
        negatives: ``(B, M * N)`` int64, indices into the ``B * M`` targets, each of the own row, or
            where they are still to be drawn from; indices into the pool if there is one.
        pool: ``(P, C)`` vectors, or None: the targets.
    """

    predictions: torch.Tensor
    targets: torch.Tensor
    negatives: torch.Tensor | DrawnNegatives
    pool: torch.Tensor | None = None


class Wav2Vec2(MaskedEncoder, ECGTransformer):
    """wav2vec 2.0 over ECGs (https://arxiv.org/abs/2006.11477, https://arxiv.org/abs/2203.06889).

    Args:
        logit_temp: what cosine similarities are divided by.
        quantize_targets: contrast against quantized latents.
        quantize_input: feed the transformer quantized latents.
        same_quantizer: one quantizer for inputs and targets.
        target_glu: pass targets through a gated linear unit.
        latent_vars: code words in a group.
        latent_groups: groups of code words.
        latent_dim: channels of a quantized latent; 0: final_dim.
        final_dim: channels of predictions and targets; 0: encoder_embed_dim.
        num_negatives: negatives from the same recording.
        negatives_from_everywhere: draw negatives from all frames, not only masked ones.
        cross_sample_negatives: negatives from the whole batch.
        codebook_negatives: negatives from the codebook.
        latent_temp: Gumbel temperature: start, end, factor per update.
        encoder_options: of :class:`MaskedEncoder` and :class:`ECGTransformer`.

    Raises:
        ValueError: one quantizer is asked for inputs and targets of different width.
    """

    # fairseq_signals masks rows without a valid frame only in the plain encoder.
    masks_empty_rows = False
    pretraining_modules = ("quantizer", "project_q", "target_glu", "final_proj")

    def __init__(
        self,
        *,
        logit_temp: float = 0.1,
        quantize_targets: bool = False,
        quantize_input: bool = False,
        same_quantizer: bool = False,
        target_glu: bool = False,
        latent_vars: Width = 320,
        latent_groups: Width = 2,
        latent_dim: OptionalWidth = 0,
        final_dim: OptionalWidth = 0,
        num_negatives: Count = 100,
        negatives_from_everywhere: bool = False,
        cross_sample_negatives: Count = 0,
        codebook_negatives: Count = 0,
        latent_temp: tuple[float, float, float] = (2, 0.5, 0.999995),
        **encoder_options,
    ):
        super().__init__(**encoder_options)
        self.logit_temp = logit_temp
        self.num_negatives = num_negatives
        self.negatives_from_everywhere = negatives_from_everywhere
        self.cross_sample_negatives = cross_sample_negatives
        self.codebook_negatives = codebook_negatives

        final_dim = final_dim or self.encoder_dim
        self.quantizer = None
        if quantize_targets:
            vq_dim = latent_dim or final_dim
            self.quantizer = GumbelVectorQuantizer(
                self.conv_dim, latent_vars, latent_temp, latent_groups, vq_dim
            )
            self.project_q = nn.Linear(vq_dim, final_dim)
        else:
            self.project_q = nn.Linear(self.conv_dim, final_dim)
        self.input_quantizer = None
        if quantize_input:
            if same_quantizer and self.quantizer is not None:
                if self.conv_dim != self.encoder_dim:
                    raise ValueError(
                        "model.same_quantizer needs convolutions as wide as the transformer, but "
                        f"they have {self.conv_dim} and {self.encoder_dim} channels"
                    )
                self.input_quantizer = self.quantizer
            else:
                vq_dim = latent_dim or self.encoder_dim
                self.input_quantizer = GumbelVectorQuantizer(
                    self.encoder_dim, latent_vars, latent_temp, latent_groups, vq_dim
                )
            self.project_inp = nn.Linear(vq_dim, self.encoder_dim)
        self.target_glu = (
            nn.Sequential(nn.Linear(final_dim, final_dim * 2), nn.GLU()) if target_glu else None
        )
        self.final_proj = nn.Linear(self.encoder_dim, final_dim)

    def forward(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        mask: bool = True,
        features_only: bool = False,
        return_features: bool = False,
        mask_indices: torch.Tensor | None = None,
        negative_indices: torch.Tensor | None = None,
        masked_frames: torch.Tensor | None = None,
        masked_channels: torch.Tensor | None = None,
        origins: torch.Tensor | None = None,
        **wanted,
    ) -> dict[str, Any]:
        """Predict masked frames, or encode (``features_only``).

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.
            mask: whether to mask frames.
            features_only: return the encoder output alone.
            return_features: return the encoder output on the masked input too.
            mask_indices: ``(B, T')`` bool, frames to mask, M in each row; drawn if None.
            negative_indices: ``(B, M * N)`` int64, see :func:`sample_negatives`; drawn if None.
            masked_frames: ``(B, M)`` int64, frames to mask, ascending; in place of
                ``mask_indices``, and without waiting for the device that holds it.
            masked_channels: ``(B, K)`` int64, channels to set to zero; drawn if None.
            origins: ``(B, 4)`` int64, where the random numbers of each row start, of which
                negatives are drawn; None: by torch's default CPU generator.
            wanted: ``saliency`` and ``hidden_states`` of :meth:`Encoder.extract_features`.

        Returns:
            With ``features_only``: ``x`` ``(B, T', D)``, ``padding_mask`` ``(B, T')`` or None,
            ``features`` ``(B, T', E)`` before masking, ``saliency``. Otherwise ``contrast``, of
            which :meth:`get_logits` makes logits, ``padding_mask``, ``features_pen`` the mean
            square of the latents, ``features`` ``(B, T', D)`` if asked for, and with a quantizer
            ``prob_perplexity``, ``code_perplexity``, ``num_vars`` and ``temp``.
        """
        latents = self.extract_latents(source)
        features_pen = latents.float().pow(2).mean()
        unmasked = self.layer_norm(latents.transpose(1, 2))
        frame_mask = self.frame_padding_mask(padding_mask, unmasked.shape[1])
        x = self.dropout_input(self.project(unmasked))
        targets = self.dropout_features(unmasked)
        if self.input_quantizer is not None:
            input_quantized = self.input_quantizer(x)
            x = self.project_inp(input_quantized.codes)

        if mask:
            if masked_frames is None:
                masked_frames = self.frames_to_mask(x, frame_mask, mask_indices)
            x = self.apply_mask(x, masked_frames, masked_channels)
        else:
            masked_frames = None
        x, saliency = self.encode(x, frame_mask, **wanted)
        if features_only:
            return {
                "x": x,
                "padding_mask": frame_mask,
                "features": targets,
                "saliency": saliency,
            }

        result: dict[str, Any] = {"padding_mask": frame_mask, "features_pen": features_pen}
        if self.input_quantizer is not None:
            result |= _perplexities(self.input_quantizer, input_quantized)
        if return_features:
            result["features"] = x
        y = targets if masked_frames is None else _frames_at(targets, masked_frames)
        pool = targets if self.negatives_from_everywhere else y
        if self.quantizer is None:
            y, pool = self.project_q(y), self.project_q(pool)
        else:
            quantized = self.quantizer(y)
            result |= _perplexities(self.quantizer, quantized)
            y = self.project_q(quantized.codes)
            if self.negatives_from_everywhere:
                pool = self.project_q(self.quantizer(pool).codes)
            else:
                pool = y
        if masked_frames is not None:
            x = _frames_at(x, masked_frames)
        predictions = self.final_proj(x)
        result["contrast"] = self.contrast(predictions, y, pool, negative_indices, origins)
        return result

    @property
    def negatives_are_own_targets(self) -> bool:
        """Whether all negatives of a frame are targets of other frames of its recording."""
        others = self.cross_sample_negatives + self.codebook_negatives
        return self.num_negatives > 0 and others == 0 and not self.negatives_from_everywhere

    def contrast(
        self,
        predictions: torch.Tensor,
        targets: torch.Tensor,
        pool: torch.Tensor,
        indices: torch.Tensor | None = None,
        origins: torch.Tensor | None = None,
    ) -> Contrast:
        """Put every masked frame before its candidates.

        Args:
            predictions: ``(B, M, C)``.
            targets: ``(B, M, C)`` projected latents.
            pool: ``(B, P, C)`` projected latents that may be negatives.
            indices: ``(B, M * N)`` int64 into the ``B * P`` latents; drawn if None.
            origins: ``(B, 4)`` int64, of which they are drawn; torch's generator if None.

        Returns:
            The contrast; negatives from the codebook stand behind the others of a frame.

        Raises:
            ValueError: negatives from a codebook are asked for where there is none.
        """
        rows, frames, _ = targets.shape
        others = self.num_negatives, self.cross_sample_negatives
        own = self.negatives_are_own_targets
        if indices is None:
            if origins is None:
                indices = sample_negatives(rows, frames, *others, pool.shape[1])
            elif own:
                negatives = DrawnNegatives(origins, self.num_negatives)
                return Contrast(predictions, self._gated(targets), negatives)
            else:
                indices = drawn_indices(origins, frames, *others, pool.shape[1])
        if own:
            return Contrast(predictions, self._gated(targets), indices)

        vectors = pool.flatten(0, 1)
        if self.codebook_negatives > 0:
            codes = self.project_q(self._sample_codes(rows, frames, origins))
            code = torch.arange(len(vectors), len(vectors) + len(codes), device=indices.device)
            code = code.view(-1, rows, frames).permute(1, 2, 0)
            number = indices.shape[1] // frames
            indices = torch.cat([indices.view(rows, frames, number), code], dim=2).flatten(1)
            vectors = torch.cat([vectors, codes])
        return Contrast(predictions, self._gated(targets), indices, self._gated(vectors))

    def _gated(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors if self.target_glu is None else self.target_glu(vectors)

    def _sample_codes(self, rows: int, frames: int, origins: torch.Tensor | None) -> torch.Tensor:
        """Draw the k-th code of all frames, for one k after the other: ``(n * B * M, vq_dim)``."""
        if self.quantizer is None:
            raise ValueError("model.codebook_negatives needs model.quantize_targets=true")
        number = self.codebook_negatives
        words = None
        if origins is not None:
            stream = Stream.CODEBOOK_NEGATIVES
            words = random_words(origins, stream, COMMON_LANE, frames * number)
            words = words.view(rows, frames, number).permute(2, 0, 1).flatten()
        return self.quantizer.sample_codes(rows * frames, number, words).flatten(0, 1)

    def extract_features(
        self,
        source: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        mask: bool = False,
        **wanted,
    ) -> dict[str, torch.Tensor | None]:
        """Encode, by default without masking; see :meth:`forward` with ``features_only``."""
        return self(source, padding_mask, mask=mask, features_only=True, **wanted)

    def get_logits(
        self, net_output: dict, normalize: bool = False, aggregate: bool = False, **_
    ) -> torch.Tensor:
        """Logits ``(M * B, 1 + N)`` of all masked frames, frame by frame, the positive first."""
        predictions, targets, indices, pool = net_output["contrast"]
        frames = targets.shape[1]
        if isinstance(indices, DrawnNegatives):
            indices = drawn_indices(indices.origins, frames, indices.number)
        negatives = gather_negatives(targets if pool is None else pool, indices, frames)
        logits = contrastive_logits(predictions, targets, negatives, self.logit_temp)
        logits = logits.transpose(0, 2)
        return logits.reshape(-1, logits.size(-1))

    def get_targets(self, sample: dict, net_output: dict, **_) -> torch.Tensor:
        """The right candidate of every masked frame, ``(M * B,)`` zeros."""
        like = net_output["contrast"].targets[..., 0]
        return like.new_zeros(like.numel(), dtype=torch.long)

    def get_extra_losses(self, net_output: dict) -> list[torch.Tensor]:
        """Diversity of the codebooks (if quantized) and the penalty on large latents."""
        losses = []
        if "prob_perplexity" in net_output:
            num_vars = net_output["num_vars"]
            losses.append((num_vars - net_output["prob_perplexity"]) / num_vars)
        return [*losses, net_output["features_pen"]]

    def get_features(self, net_output: dict, aggregate: bool = False) -> torch.Tensor:
        """Encoder output ``(B, T', D)`` with padded frames zeroed, or pooled ``(B, D)``."""
        pool = mean_of_nonzero if aggregate else zero_padding
        return pool(net_output["features"], net_output["padding_mask"])


def _frames_at(x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Pick frames ``(B, M)`` of ``(B, T, C)``: ``(B, M, C)``."""
    return x.gather(1, frames.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _perplexities(quantizer: GumbelVectorQuantizer, quantized: Quantized) -> dict:
    return {
        "prob_perplexity": quantized.prob_perplexity,
        "code_perplexity": quantized.code_perplexity,
        "num_vars": quantizer.groups * quantizer.num_vars,
        "temp": quantizer.temperature,
    }
