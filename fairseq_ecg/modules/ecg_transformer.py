"""The encoder of ECG-FM: convolutions over samples, a transformer over frames."""

from collections.abc import Sequence

import torch
from torch import distributed, nn

from fairseq_ecg.modules.conv_extractor import ConvFeatureExtractor, parse_conv_layers
from fairseq_ecg.modules.dropout import Dropout
from fairseq_ecg.modules.encoder import TransformerEncoder
from fairseq_ecg.modules.gathering import gather_rows
from fairseq_ecg.modules.gradient import scale_gradient
from fairseq_ecg.modules.positional_conv import ConvPositionalEncoding
from fairseq_ecg.ops import backends
from fairseq_ecg.ops.frames import frame_ends
from fairseq_ecg.ops.pooling import mean_of_nonzero, zero_padding


class ECGTransformer(nn.Module):
    """Encode an ECG into frames (ECG-FM, https://arxiv.org/abs/2408.05178).

    Arguments bear the names of fairseq_signals' configs.

    Args:
        encoder_layers: transformer layers.
        encoder_embed_dim: D, channels of a frame in the transformer.
        encoder_ffn_embed_dim: hidden channels of a layer's perceptron.
        encoder_attention_heads: attention heads.
        layer_norm_first: pre-LN, not post-LN layers.
        saliency: return the attention weights of all layers.
        dropout: probability inside the transformer.
        attention_dropout: probability on attention weights.
        activation_dropout: probability after a perceptron's GELU.
        encoder_layerdrop: probability of leaving a layer out of a training step.
        dropout_input: probability on what enters the transformer.
        dropout_features: probability on the latents that become contrastive targets.
        apply_mask: own an embedding for masked frames.
        extractor_mode: ``default`` or ``layer_norm``, see :class:`ConvFeatureExtractor`.
        conv_feature_layers: (channels, kernel, stride) of each convolution, as list or text.
        in_d: L, leads.
        conv_bias: whether convolutions have a bias.
        feature_grad_mult: factor on the gradient into the convolutions; 0 freezes them.
        conv_pos: width of the positional convolution in frames.
        conv_pos_groups: its groups.
        all_gather: return the frames of all ranks, for contrast with their recordings.
    """

    masks_empty_rows = True
    encoder_class = TransformerEncoder

    def __init__(
        self,
        *,
        encoder_layers: int = 12,
        encoder_embed_dim: int = 768,
        encoder_ffn_embed_dim: int = 3072,
        encoder_attention_heads: int = 12,
        layer_norm_first: bool = False,
        saliency: bool = False,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        activation_dropout: float = 0.0,
        encoder_layerdrop: float = 0.0,
        dropout_input: float = 0.0,
        dropout_features: float = 0.0,
        apply_mask: bool = False,
        extractor_mode: str = "default",
        conv_feature_layers: str | Sequence[Sequence[int]] = "[(256, 2, 2)] * 4",
        in_d: int = 12,
        conv_bias: bool = False,
        feature_grad_mult: float = 1.0,
        conv_pos: int = 128,
        conv_pos_groups: int = 16,
        all_gather: bool = False,
    ):
        super().__init__()
        conv_layers = parse_conv_layers(conv_feature_layers)
        self.feature_grad_mult = feature_grad_mult
        self.all_gather = all_gather
        self.conv_dim = conv_layers[-1][0]
        self.encoder_dim = encoder_embed_dim

        # Registration order is the parameter order of checkpoints' optimizer states, and
        # construction order that of seeded initialisation.
        self.mask_emb = (
            nn.Parameter(torch.empty(encoder_embed_dim).uniform_()) if apply_mask else None
        )
        self.dropout_input = Dropout(dropout_input)
        self.dropout_features = Dropout(dropout_features)
        self.encoder = self.encoder_class(
            encoder_layers,
            encoder_embed_dim,
            encoder_ffn_embed_dim,
            encoder_attention_heads,
            dropout,
            attention_dropout,
            activation_dropout,
            encoder_layerdrop,
            layer_norm_first,
            saliency,
        )
        self.feature_extractor = ConvFeatureExtractor(
            conv_layers, in_d, mode=extractor_mode, bias=conv_bias
        )
        self.post_extract_proj = (
            nn.Linear(self.conv_dim, encoder_embed_dim)
            if self.conv_dim != encoder_embed_dim
            else None
        )
        self.conv_pos = ConvPositionalEncoding(encoder_embed_dim, conv_pos, conv_pos_groups)
        self.layer_norm = nn.LayerNorm(self.conv_dim)

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """Encode a batch.

        Args:
            source: ``(B, L, T)`` float, standardised samples.
            padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where a sample is padding.

        Returns:
            ``x`` ``(B, T', D)``, ``padding_mask`` ``(B, T')`` or None, and ``saliency``
            ``(B, layers, T', T')`` or None. With ``all_gather`` and several ranks ``x`` holds the
            frames of all, padded ones zero, and the mask is None.
        """
        latents = self.layer_norm(self.extract_latents(source).transpose(1, 2))
        frame_mask = self.frame_padding_mask(padding_mask, latents.shape[1])
        x = self.dropout_input(self.project(latents))
        x, saliency = self.encode(x, frame_mask)
        if self.all_gather and distributed.is_initialized():
            x, frame_mask = gather_rows(zero_padding(x, frame_mask)), None
        return {"x": x, "padding_mask": frame_mask, "saliency": saliency}

    def extract_latents(self, source: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, L, T)`` samples into ``(B, E, T')`` latents with the scaled gradient.

        Raises:
            ValueError: there are more leads or fewer than the network is made for.
        """
        self._check_leads(source)
        if self.feature_grad_mult <= 0:
            with torch.no_grad():
                return self.feature_extractor(source)
        latents = self.feature_extractor(source)
        if self.feature_grad_mult != 1.0 and not backends.is_exporting():
            latents = scale_gradient(latents, self.feature_grad_mult)
        return latents

    def _check_leads(self, source: torch.Tensor) -> None:
        wanted = self.feature_extractor.conv_layers[0][0].in_channels
        found = source.shape[1] if source.dim() == 3 else 1
        if source.dim() in (2, 3) and found == wanted:
            return
        remedy = (
            f"give all {wanted}, load them with task.enable_padding_leads=true, which puts zeros "
            f"in the places of leads that are not there, or train a network of model.in_d={found}"
        )
        if source.dim() == 3 and source.shape[2] == wanted:
            remedy = "exchange the last two dimensions"
        raise ValueError(
            f"segments are {tuple(source.shape)} and should be (recordings, leads, samples): they "
            f"have {found} leads, but the network takes {wanted} (model.in_d={wanted}); {remedy}"
        )

    def frame_padding_mask(
        self, padding_mask: torch.Tensor | None, frames: int
    ) -> torch.Tensor | None:
        """Turn a mask of samples into one of frames.

        Args:
            padding_mask: ``(B, L, T)`` (alike in all leads) or ``(B, T)`` bool.
            frames: T'.

        Returns:
            ``(B, T')`` bool, True from the first frame past the valid samples on. A row without
            a valid frame is masked whole, if :attr:`masks_empty_rows`. None if nothing is padded,
            as far as that can be told without waiting for a device or breaking a graph.
        """
        if padding_mask is None:
            return None
        becomes_graph = torch.compiler.is_compiling() or backends.is_exporting()
        looks = padding_mask.device.type == "cpu" and not becomes_graph
        if looks and not padding_mask.any():
            return None
        if padding_mask.dim() == 3:
            padding_mask = padding_mask[:, 0]
        samples = (~padding_mask).sum(dim=-1)
        strides = self.feature_extractor.strides
        ends = frame_ends(samples, strides, frames, self.masks_empty_rows)
        return torch.arange(frames, device=padding_mask.device) >= ends.unsqueeze(1)

    def project(self, latents: torch.Tensor) -> torch.Tensor:
        """Bring ``(B, T', E)`` latents to the width of the transformer."""
        return latents if self.post_extract_proj is None else self.post_extract_proj(latents)

    def encode(
        self, x: torch.Tensor, frame_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Add the positions to ``(B, T', D)`` and run the transformer.

        The positional convolution sees padded frames as they are; they are zeroed only after it.
        """
        return self.run_encoder(x + self.conv_pos(x), frame_mask)

    def run_encoder(
        self, x: torch.Tensor, frame_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Call the transformer, see :meth:`TransformerEncoder.forward`."""
        return self.encoder(x, frame_mask)

    def extract_features(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor | None]:
        """Encode without anything that only pre-training does; see :meth:`forward`."""
        return self(source, padding_mask)

    def freeze(self, layers: int) -> None:
        """Stop the lowest layers from training, and with them all that lies below.

        Args:
            layers: transformer layers. 0: nothing is frozen; -1: the whole encoder is.

        Raises:
            ValueError: there are fewer layers.
        """
        if not -1 <= layers <= len(self.encoder.layers):
            raise ValueError(
                f"freeze_layers={layers}: the encoder has {len(self.encoder.layers)} layers; give "
                "0 to freeze none, -1 to freeze the whole encoder"
            )
        if layers == -1:
            self.requires_grad_(False)
        elif layers > 0:
            below = (self.feature_extractor, self.layer_norm, self.post_extract_proj, self.conv_pos)
            first_norm = () if self.encoder.layer_norm_first else (self.encoder.layer_norm,)
            for module in (*below, *first_norm, *self.encoder.layers[:layers]):
                if module is not None:
                    module.requires_grad_(False)
            if self.mask_emb is not None:
                self.mask_emb.requires_grad_(False)

    @property
    def embeds_masks(self) -> bool:
        """Whether frames are masked in training, so that the mask embedding is learnt."""
        return False

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.encoder.layerdrop > 0

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        found = list(self.feature_extractor.parameters()) if self.feature_grad_mult <= 0 else []
        if self.mask_emb is not None and not self.embeds_masks:
            found.append(self.mask_emb)
        return found

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
