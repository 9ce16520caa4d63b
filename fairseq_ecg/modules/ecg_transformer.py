"""The encoder of ECG-FM: convolutions over samples, a transformer over frames."""

import torch
from torch import distributed, nn

from fairseq_ecg.modules.conv_extractor import ConvFeatureExtractor, ConvLayers, parse_conv_layers
from fairseq_ecg.modules.encoder import ECGReader, Encoder
from fairseq_ecg.modules.gathering import gather_rows
from fairseq_ecg.modules.gradient import scale_gradient
from fairseq_ecg.modules.positional_conv import ConvPositionalEncoding
from fairseq_ecg.modules.transformer import TransformerNetwork
from fairseq_ecg.ops import backends
from fairseq_ecg.ops.frames import frame_ends
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding
from fairseq_ecg.options import Kernel, Width


class ConvTransformer(TransformerNetwork, ECGReader):
    """Convolutions over samples, a transformer over frames, and what is between them.

    Options bear the names of fairseq_signals' configs. L is ``in_d``.

    Args:
        extractor_mode: default: group norm in the first block; layer_norm: in every block.
        conv_feature_layers: (channels, kernel, stride) of each convolution.
        in_d: leads.
        conv_bias: give convolutions a bias.
        feature_grad_mult: factor on the convolutions' gradient; 0 freezes them.
        conv_pos: frames that the positional convolution spans.
        conv_pos_groups: groups of the positional convolution.
        transformer_options: of :class:`fairseq_ecg.modules.transformer.TransformerNetwork`.
    """

    masks_empty_rows = True

    def __init__(
        self,
        *,
        extractor_mode: str = "default",
        conv_feature_layers: ConvLayers = "[(256, 2, 2)] * 4",
        in_d: Width = 12,
        conv_bias: bool = False,
        feature_grad_mult: float = 1.0,
        conv_pos: Kernel = 128,
        conv_pos_groups: int = 16,
        **transformer_options,
    ):
        conv_layers = parse_conv_layers(conv_feature_layers)
        super().__init__(**transformer_options)
        self.feature_grad_mult = feature_grad_mult
        self.conv_dim = conv_layers[-1][0]
        self.n_leads = in_d
        self.strides = [(kernel, stride) for _, kernel, stride in conv_layers]
        self.feature_extractor = ConvFeatureExtractor(
            conv_layers, in_d, mode=extractor_mode, bias=conv_bias
        )
        self.post_extract_proj = (
            nn.Linear(self.conv_dim, self.encoder_dim)
            if self.conv_dim != self.encoder_dim
            else None
        )
        self.conv_pos = ConvPositionalEncoding(self.encoder_dim, conv_pos, conv_pos_groups)
        self.layer_norm = nn.LayerNorm(self.conv_dim)

    def embed_frames(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Turn a batch into what the transformer reads: frames with their positions.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            ``(B, T', D)``, and ``(B, T')`` bool, True where padded, or None.
        """
        latents = self.layer_norm(self.extract_latents(source).transpose(1, 2))
        frame_mask = self.frame_padding_mask(padding_mask, latents.shape[1])
        x = self.dropout_input(self.project(latents))
        return x + self.conv_pos(x), frame_mask

    def extract_latents(self, source: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, L, T)`` samples into ``(B, E, T')`` latents with the scaled gradient.

        Raises:
            ValueError: there are more leads or fewer than the network is made for.
        """
        self.check_leads(source)
        if self.feature_grad_mult <= 0:
            with torch.no_grad():
                return self.feature_extractor(source)
        latents = self.feature_extractor(source)
        if self.feature_grad_mult != 1.0 and not backends.is_exporting():
            latents = scale_gradient(latents, self.feature_grad_mult)
        return latents

    def frame_ends(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """See :meth:`Encoder.frame_ends`.

        A row without a valid frame is masked whole, if :attr:`masks_empty_rows`.
        """
        return frame_ends(samples, self.strides, frames, self.masks_empty_rows)

    def project(self, latents: torch.Tensor) -> torch.Tensor:
        """Bring ``(B, T', E)`` latents to the width of the transformer."""
        return latents if self.post_extract_proj is None else self.post_extract_proj(latents)

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        found = list(self.feature_extractor.parameters()) if self.feature_grad_mult <= 0 else []
        return found + super().without_gradient()


class ECGTransformer(ConvTransformer, Encoder):
    """Encode an ECG into frames (ECG-FM, https://arxiv.org/abs/2408.05178).

    Args:
        options: of :class:`ConvTransformer`.
    """

    architecture_options = (
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_ffn_embed_dim",
        "encoder_attention_heads",
        "layer_norm_first",
        "extractor_mode",
        "conv_feature_layers",
        "in_d",
        "conv_bias",
        "conv_pos",
        "conv_pos_groups",
    )
    regularisation_options = (
        "dropout",
        "activation_dropout",
        "dropout_input",
        "attention_dropout",
        "encoder_layerdrop",
        "feature_grad_mult",
    )

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Encode a batch.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.
            wanted: ``saliency`` and ``hidden_states`` of :meth:`Encoder.extract_features`.

        Returns:
            ``x`` ``(B, T', D)``, ``padding_mask`` ``(B, T')`` or None, and ``saliency``
            ``(B, layers, T', T')`` or None. With ``all_gather`` and several ranks ``x`` holds the
            frames of all, padded ones zero, and the mask is None.
        """
        x, frame_mask = self.embed_frames(source, padding_mask)
        x, saliency = self.run_encoder(x, frame_mask, **wanted)
        if self.all_gather and distributed.is_initialized():
            x, frame_mask = gather_rows(zero_padding(x, frame_mask)), None
        return {"x": x, "padding_mask": frame_mask, "saliency": saliency}

    def encode(
        self, x: torch.Tensor, frame_mask: torch.Tensor | None, **wanted
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Add the positions to ``(B, T', D)`` and run the transformer.

        The positional convolution sees padded frames as they are; they are zeroed only after it.
        """
        return self.run_encoder(x + self.conv_pos(x), frame_mask, **wanted)

    def run_encoder(
        self, x: torch.Tensor, frame_mask: torch.Tensor | None, **wanted
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the transformer, see :meth:`TransformerEncoder.forward`."""
        return self.encoder(x, frame_mask, **wanted)

    def extract_features(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """See :meth:`Encoder.extract_features`."""
        return self(source, padding_mask, **wanted)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """See :meth:`Encoder.parts`."""
        first_norm = None if self.encoder.layer_norm_first else self.encoder.layer_norm
        stem = (
            self.feature_extractor,
            self.layer_norm,
            self.post_extract_proj,
            self.conv_pos,
            first_norm,
            self.mask_emb,
        )
        parts: dict[str, list[nn.Module | nn.Parameter]]
        parts = {"stem": [part for part in stem if part is not None]}
        for number, layer in enumerate(self.encoder.layers):
            parts[f"layer {number}"] = [layer]
        return parts

    def get_logits(
        self, net_output: dict, normalize: bool = False, aggregate: bool = False, **_
    ) -> torch.Tensor:
        """Encoder output as logits of contrastive criterions.

        Args:
            net_output: what :meth:`forward` returned.
            normalize: return log probabilities over dimension 1 in float32.
            aggregate: pool the frames.

        Returns:
            ``(B, T', D)``, or ``(B, D)`` if aggregated; padded frames are zero.
        """
        x, frame_mask = net_output["x"], net_output["padding_mask"]
        logits = mean_of_nonzero(x, frame_mask) if aggregate else zero_padding(x, frame_mask)
        if normalize:
            logits = logits.float().log_softmax(dim=1)
        return logits
