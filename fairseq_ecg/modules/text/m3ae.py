"""M3AE: masked autoencoding of ECGs and texts together."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.text.bert import (
    NO_SIZES,
    BertConfig,
    build_bert,
    config_of,
    count_layers,
    read_bert,
    stored_config,
)
from fairseq_ecg.modules.text.cross_layer import CrossLayer
from fairseq_ecg.modules.text.frame_decoder import FrameDecoder
from fairseq_ecg.modules.text.network import PairedEncoders
from fairseq_ecg.modules.text.pairs import join_pair
from fairseq_ecg.ops.masking import BatchMasking
from fairseq_ecg.ops.philox import COMMON_LANE, Stream, random_words
from fairseq_ecg.options import Layers, Probability, Range, Width

M = TypeVar("M", bound=nn.Module)

_MEASURED_SAMPLES = 5000
"""Samples of which frames are counted to say how many samples there are to a frame."""


class M3AE(PairedEncoders):
    """Predict hidden words, removed frames, and whether an ECG and a text belong together.

    An ECG encoder and BERT read ECG and text by themselves; then layers in pairs let each attend
    to the other. D is ``encoder_embed_dim``, H ``hidden_dim``, V ``vocab_size``, S the samples of a
    frame, L leads. Options bear the names of fairseq_signals' configs.

    Source: Chen et al., "Multi-modal masked autoencoders for medical vision-and-language
    pre-training" (M3AE), MICCAI 2022, https://arxiv.org/abs/2209.07098.

    Args:
        ecg_encoder: encoder that was trained before; None: a new one of ``encoder_options``.
        bert: name or folder of the BERT that training starts with; as wide as the ECG encoder.
        bert_config: sizes of the BERT; when given, nothing is fetched and its weights are random.
        vocab_size: tokens that hidden words are predicted among.
        hidden_dim: channels of the layers in pairs.
        num_layers: of older configs; not used.
        num_heads: attention heads of the layers in pairs.
        drop_rate: dropout in the layers in pairs.
        num_top_layer: pairs of layers.
        mim_layer: the pair whose input removed frames are predicted from; -1: the last's output.
        mim_prob: share of frames that are removed.
        mim_decoder_hidden_dim: channels of the decoder that predicts frames.
        mim_decoder_num_layers: layers of that decoder.
        mim_decoder_num_heads: attention heads of that decoder.
        max_text_size: tokens of a text at most; of the task.
        encoder_options: of :class:`ECGTransformer`.

    Raises:
        ValueError: options do not go together.
    """

    ecg_encoder: ECGTransformer
    vocab_size: int
    max_text_size: int
    option_parts = (ECGTransformer,)
    regularisation_options = ("drop_rate",)
    pretraining_modules = ("mlm_head", "mim_head", "itm_head")
    architecture_options = (
        *ECGTransformer.architecture_options,
        "vocab_size",
        "hidden_dim",
        "num_heads",
        "num_top_layer",
        "mim_layer",
        "mim_decoder_hidden_dim",
        "mim_decoder_num_layers",
        "mim_decoder_num_heads",
    )

    def __init__(
        self,
        ecg_encoder: ECGTransformer | None = None,
        *,
        bert: str = "bert-base-uncased",
        bert_config: BertConfig = NO_SIZES,
        vocab_size: Width = 30522,
        hidden_dim: Width = 768,
        num_layers: int = 6,
        num_heads: Width = 12,
        drop_rate: Probability = 0.1,
        num_top_layer: Layers = 6,
        mim_layer: Annotated[int, Range(-1)] = 3,
        mim_prob: Probability = 0.75,
        mim_decoder_hidden_dim: Width = 384,
        mim_decoder_num_layers: Layers = 4,
        mim_decoder_num_heads: Width = 6,
        max_text_size: Width = 512,
        **encoder_options,
    ):
        super().__init__()
        self.mim_layer = mim_layer
        self.mim_prob = mim_prob
        # This order is that of seeded draws and of parameters in checkpoints.
        self.ecg_encoder = ECGTransformer(**encoder_options) if ecg_encoder is None else ecg_encoder
        dim = self.ecg_encoder.encoder_dim
        self.class_embedding = nn.Parameter(torch.empty(dim).uniform_())
        self.language_encoder = build_bert(bert_config) if bert_config else read_bert(bert)
        self.bert_config = config_of(self.language_encoder)
        if self.bert_config["hidden_size"] != dim:
            raise ValueError(
                f"the BERT has {self.bert_config['hidden_size']} channels and the ECG encoder {dim}"
                " (model.encoder_embed_dim), which must be as many: choose another model.bert"
            )
        self.multi_modal_language_proj = _drawn(nn.Linear(dim, hidden_dim))
        self.multi_modal_ecg_proj = _drawn(nn.Linear(dim, hidden_dim))
        self.modality_type_embeddings = _drawn(nn.Embedding(2, hidden_dim))
        sizes = hidden_dim, num_heads, drop_rate
        self.multi_modal_ecg_layers = _cross_layers(num_top_layer, *sizes)
        self.multi_modal_language_layers = _cross_layers(num_top_layer, *sizes)
        self.multi_modal_ecg_pooler = _drawn(_Pooler(hidden_dim))
        self.multi_modal_language_pooler = _drawn(_Pooler(hidden_dim))
        self.mlm_head = _drawn(_WordHead(hidden_dim, vocab_size))
        decoder = mim_decoder_hidden_dim, mim_decoder_num_layers, mim_decoder_num_heads
        leads, frame_samples = self.ecg_encoder.n_leads, self._frame_samples()
        self.mim_head = _drawn(FrameDecoder(hidden_dim, *decoder, leads, frame_samples))
        self.itm_head = _drawn(nn.ModuleDict({"fc": nn.Linear(2 * hidden_dim, 2)}))

        self.encoder_dim = dim
        self.hidden_dim = hidden_dim
        self.n_leads = leads
        self.vocab_size = self.bert_config["vocab_size"]
        self.max_text_size = self.bert_config["max_position_embeddings"]
        self.register_load_state_dict_pre_hook(_follow_weights)

    def _frame_samples(self) -> int:
        frames = self.ecg_encoder.frame_count(_MEASURED_SAMPLES)
        if frames < 1:
            raise ValueError(
                f"{_MEASURED_SAMPLES} samples give no frame by model.conv_feature_layers"
            )
        return _MEASURED_SAMPLES // frames

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """See :meth:`TextNetwork.stored_options`.

        Sizes of the ECG encoder are among them: it may have come out of another checkpoint, of
        which fairseq_signals' configuration says nothing but the path.
        """
        ecg, prefix = cls.ecg_encoder_prefix, cls.ecg_encoder_prefix.removesuffix("ecg_encoder.")
        found: dict[str, Any] = {"apply_mask": f"{ecg}mask_emb" in weights}
        if sizes := stored_config(weights, f"{prefix}language_encoder."):
            found["bert_config"] = sizes
        names = f"{ecg}encoder.layers."
        first = weights.get(f"{names}0.fc1.weight")
        if first is not None:
            found["encoder_layers"] = count_layers(weights, names)
            found["encoder_ffn_embed_dim"], found["encoder_embed_dim"] = first.shape
        return found

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        *,
        text_attention_mask: torch.Tensor | None = None,
        mask: bool = True,
        features_only: bool = False,
        mim_noise: torch.Tensor | None = None,
        origins: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Predict what is hidden or, with ``features_only``, encode; see :class:`TextNetwork`.

        Of an ECG with padding, padded frames are neither read nor predicted, and the share of
        frames that is removed is one of those that are not padded.

        Args:
            ecg: ``(B, L, T)`` float, standardised samples.
            text: ``(B, N)`` int64, tokens.
            ecg_padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where padded.
            text_padding_mask: ``(B, N)`` bool, True where padded.
            ecg_2: ``(B, L, T_2)``, see there; only a network for questions reads two.
            ecg_2_padding_mask: as ``ecg_padding_mask``.
            text_attention_mask: ``(B, N)`` bool, in place of the inverse of ``text_padding_mask``.
            mask: whether frames are removed.
            features_only: return no predictions.
            mim_noise: ``(B, T')``, frames with the largest numbers are removed; drawn if None.
            origins: ``(B, 4)`` int64, where the random numbers of each row start, of which the
                noise is drawn; None: by torch's default generator, once for the batch.

        Returns:
            ``multi_modal_text_feats`` ``(B, N, H)``, ``multi_modal_ecg_feats`` ``(B, 1 + M, H)`` of
            the class token and the M frames that were kept, in order of their noise, and
            ``multi_modal_cls_feats`` ``(B, 2 H)``, text before ECG. With ``mask`` also
            ``mim_masks`` ``(B, T')`` bool, True where a frame was removed, ``mim_ids_restore``
            ``(B, T')`` and, unless ``features_only``, ``mlm_logits`` ``(B, N, V)``, ``mim_logits``
            ``(B, T', L, S)`` and ``itm_logits`` ``(B, 2)``.

        Raises:
            ValueError: there is a second ECG that the network does not read, a text is too long, or
                options are such that nothing can be predicted.
        """
        predicts = mask and not features_only
        if predicts:
            self._check_predictions()
        if text_attention_mask is not None:
            text_padding_mask = ~text_attention_mask.bool()
        found: dict[str, Any] = {}
        words = self._read_text(text, text_padding_mask)
        frames, frame_mask = self._embed(ecg, ecg_padding_mask)
        if ecg_2 is not None:
            frames, frame_mask = self._join(frames, frame_mask, ecg_2, ecg_2_padding_mask)
        whole_mask = frame_mask
        if mask:
            noise = self._noise(frames, mim_noise, origins)
            frames, frame_mask, removal = self._remove(frames, frame_mask, noise)
            found["mim_masks"], found["mim_ids_restore"] = removal
        frames = torch.cat([self.class_embedding.expand(len(frames), 1, -1), frames], dim=1)
        frame_mask = None if frame_mask is None else F.pad(frame_mask, (1, 0))
        frames = self.multi_modal_ecg_proj(self.ecg_encoder.run_encoder(frames, frame_mask)[0])

        words, frames, masked_input = self._fuse(words, frames, text_padding_mask, frame_mask)
        pooled = self.multi_modal_language_pooler(words), self.multi_modal_ecg_pooler(frames)
        found["multi_modal_text_feats"] = words
        found["multi_modal_ecg_feats"] = frames
        found["multi_modal_cls_feats"] = torch.cat(pooled, dim=-1)
        if predicts:
            order, removed = found["mim_ids_restore"], found["mim_masks"]
            found["mlm_logits"] = self.mlm_head(words)
            found["mim_logits"] = self.mim_head(masked_input, order, removed, whole_mask)
            found["itm_logits"] = self.itm_head["fc"](found["multi_modal_cls_feats"])
        return found

    def _check_predictions(self) -> None:
        """Raise ValueError for options without effect on a network that predicts nothing."""
        pairs, predicted = len(self.multi_modal_ecg_layers), self.mlm_head.decoder.out_features
        if self.mim_layer >= pairs:
            raise ValueError(
                f"model.mim_layer={self.mim_layer} is none of {pairs} pairs of layers "
                "(model.num_top_layer): give one from 0 on, or -1 for what comes out of the last"
            )
        if predicted < self.vocab_size:
            raise ValueError(
                f"model.vocab_size={predicted} is less than the {self.vocab_size} tokens of the "
                f"BERT: set model.vocab_size={self.vocab_size}"
            )

    def _read_text(self, text: torch.Tensor, padding_mask: torch.Tensor | None) -> torch.Tensor:
        if text.shape[1] > self.max_text_size:
            raise ValueError(
                f"texts of {text.shape[1]} tokens are longer than the BERT's {self.max_text_size} "
                f"positions: set task.max_text_size={self.max_text_size}"
            )
        attended = None if padding_mask is None else ~padding_mask
        read = self.language_encoder(text, attention_mask=attended).last_hidden_state
        return self.multi_modal_language_proj(read)

    def _embed(
        self, ecg: torch.Tensor, padding_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames that the ECG encoder's transformer reads; rows of padding alone are masked."""
        frames, frame_mask = self.ecg_encoder.embed_frames(ecg, padding_mask)
        if frame_mask is not None and padding_mask is not None:
            is_absent = padding_mask.flatten(1).all(dim=1, keepdim=True)
            frame_mask = frame_mask | is_absent
        return frames, frame_mask

    def _join(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor | None,
        ecg_2: torch.Tensor,
        padding_mask_2: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Put the second ECG behind the first, a separator between them."""
        if (separator := getattr(self, "sep_embedding", None)) is None:
            raise ValueError("a second ECG is given, which needs model.num_ecgs=2")
        frames_2, mask_2 = self._embed(ecg_2, padding_mask_2)
        return join_pair(frames, separator, frames_2, frame_mask, mask_2)

    def _noise(
        self, frames: torch.Tensor, given: torch.Tensor | None, origins: torch.Tensor | None
    ) -> torch.Tensor:
        """Numbers ``(B, T')`` by which frames are removed."""
        if given is not None:
            return given
        if origins is not None:
            return random_words(origins, Stream.REMOVED_FRAMES, COMMON_LANE, frames.shape[1])
        return torch.rand(frames.shape[:2], device=frames.device)

    def _remove(
        self, frames: torch.Tensor, frame_mask: torch.Tensor | None, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, torch.Tensor]]:
        """Keep the frames of least noise, padded ones last.

        Returns:
            The frames ``(B, M, D)`` that are kept, in order of their noise; where a row has fewer,
            as True in ``(B, M)``; and of all frames whether they were removed and the position of
            each in that order.
        """
        rows, count, _ = frames.shape
        n_valid = torch.full((rows,), count, device=frames.device)
        order = noise.argsort(dim=1, stable=True)
        if frame_mask is not None:
            n_valid = count - frame_mask.sum(dim=1)
            order = order.gather(1, frame_mask.gather(1, order).byte().argsort(dim=1, stable=True))
        position = order.argsort(dim=1)
        n_kept = (n_valid.double() * (1 - self.mim_prob)).long().unsqueeze(1)
        most = int(count * (1 - self.mim_prob))
        kept = frames.gather(1, order[:, :most, None].expand(-1, -1, frames.shape[2]))
        removed = position >= n_kept
        if frame_mask is None:
            return kept, None, (removed, position)
        beyond = torch.arange(most, device=frames.device) >= n_kept
        return kept, beyond, (removed & ~frame_mask, position)

    def _fuse(
        self,
        words: torch.Tensor,
        frames: torch.Tensor,
        text_mask: torch.Tensor | None,
        frame_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the layers in pairs; the last are the frames that removed ones are predicted from."""
        types = self.modality_type_embeddings.weight
        words, frames = words + types[0], frames + types[1]
        masked_input = frames
        pairs = zip(self.multi_modal_language_layers, self.multi_modal_ecg_layers, strict=True)
        for number, (language_layer, ecg_layer) in enumerate(pairs):
            if number == self.mim_layer:
                masked_input = frames
            words, frames = (
                language_layer(words, frames, text_mask, frame_mask),
                ecg_layer(frames, words, frame_mask, text_mask),
            )
        return words, frames, frames if self.mim_layer == -1 else masked_input

    @property
    def masking(self) -> BatchMasking:
        """How batches are masked: by numbers that are drawn of their ``origins``, nothing else."""
        return BatchMasking(tuple(self.ecg_encoder.strides))

    def remove_pretraining_modules(self) -> None:
        """Drop what only pre-training uses, an embedding of masked frames included."""
        super().remove_pretraining_modules()
        self.ecg_encoder.mask_emb = None

    def alignment(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :meth:`TextNetwork.alignment`; nothing is removed of the ECG."""
        if self.itm_head is None:
            raise NotImplementedError(
                "this network has no head that says whether a text goes with an ECG: use one that "
                "was pre-trained, without fine-tuning"
            )
        read = self(ecg, text, ecg_padding_mask, text_padding_mask, mask=False)
        apart, aligned = self.itm_head["fc"](read["multi_modal_cls_feats"]).unbind(dim=1)
        return aligned - apart

    def get_logits(self, net_output: Mapping[str, Any], **_) -> dict[str, torch.Tensor]:
        """Return the predictions, those of tokens in rows ``(B N, V)``, of frames ``(B, T', LS)``.

        Args:
            net_output: what :meth:`forward` returned.
        """
        return {
            "mlm_logits": net_output["mlm_logits"].flatten(0, 1),
            "mim_logits": net_output["mim_logits"].flatten(2),
            "itm_logits": net_output["itm_logits"],
        }

    def get_targets(
        self,
        sample: Mapping[str, Any],
        net_output: Mapping[str, Any],
        norm_pix_loss: bool = True,
        **_,
    ) -> dict[str, torch.Tensor]:
        """Return what is to be predicted, shaped as :meth:`get_logits` returns the predictions.

        Args:
            sample: the batch; ``mlm_labels`` ``(B, N)`` int64, -100 where a token was not hidden,
                and ``is_aligned`` ``(B,)``, 1 or 0.
            net_output: what :meth:`forward` returned.
            norm_pix_loss: standardise each lead over the whole ECG, padding left out.

        Returns:
            ``mlm_target`` ``(B N,)``, ``mim_target`` ``(B, T', L S)`` float32, ``itm_target``
            ``(B,)`` int64.

        Raises:
            ValueError: the ECG is shorter than its frames.
        """
        frames, _, size = net_output["mim_logits"].shape[1:]
        ecg = sample["net_input"]["ecg"].detach()
        ecg = ecg if ecg.dtype == torch.float64 else ecg.float()
        if ecg.shape[2] < frames * size:
            raise ValueError(
                f"ECGs of {ecg.shape[2]} samples are shorter than {frames} frames of {size}: "
                "choose model.conv_feature_layers whose strides divide the length"
            )
        ecg = ecg[:, :, : frames * size]
        if norm_pix_loss:
            padding_mask = sample["net_input"].get("ecg_padding_mask")
            ecg = _standardised(ecg, padding_mask)
        return {
            "mlm_target": sample["mlm_labels"].flatten(),
            "mim_target": ecg.unflatten(2, (frames, size)).transpose(1, 2).flatten(2),
            "itm_target": sample["is_aligned"].long(),
        }


def _standardised(ecg: torch.Tensor, padding_mask: torch.Tensor | None) -> torch.Tensor:
    """Each lead minus its mean, over its standard deviation, padding left out of both."""
    if padding_mask is None:
        valid = torch.ones_like(ecg[:, :1])
    else:
        padding_mask = padding_mask if padding_mask.dim() == 3 else padding_mask.unsqueeze(1)
        valid = (~padding_mask[:, :, : ecg.shape[2]]).to(ecg.dtype)
    count = valid.sum(dim=2, keepdim=True).clamp(min=1)
    centred = (ecg - (ecg * valid).sum(dim=2, keepdim=True) / count) * valid
    variance = centred.square().sum(dim=2, keepdim=True) / (count - 1).clamp(min=1)
    return centred / (variance + 1e-6).sqrt()


class _Pooler(nn.Module):
    """A vector of the first token."""

    def __init__(self, dim: int):
        super().__init__()
        self.dense = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x[:, 0]).tanh()


class _WordHead(nn.Module):
    """BERT's logits of hidden words."""

    def __init__(self, dim: int, vocab_size: int):
        super().__init__()
        self.transform = nn.ModuleDict(
            {"dense": nn.Linear(dim, dim), "LayerNorm": nn.LayerNorm(dim, eps=1e-12)}
        )
        self.decoder = nn.Linear(dim, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.transform["LayerNorm"](F.gelu(self.transform["dense"](x)))
        return self.decoder(x) + self.bias


def _cross_layers(number: int, dim: int, heads: int, dropout: float) -> nn.ModuleList:
    return _drawn(nn.ModuleList(CrossLayer(dim, heads, dropout) for _ in range(number)))


def _drawn(module: M) -> M:
    """Draw weights as BERT does: N(0, 0.02), biases 0."""
    return module.apply(draw_as_bert)


def draw_as_bert(module: nn.Module) -> None:
    """Draw the weights of one module anew as BERT does, its biases being 0.

    Args:
        module: linear maps and embeddings have weights N(0, 0.02); others stay as they are.
    """
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _follow_weights(network: M3AE, weights: dict[str, torch.Tensor], prefix: str, *_) -> None:
    """Have what weights have that are loaded into a network, where it decides nothing.

    That is the embedding of masked frames of an ECG encoder that came out of another checkpoint;
    and older BERTs stored the numbers from 0 on.
    """
    weights.pop(f"{prefix}language_encoder.embeddings.position_ids", None)
    stored, encoder = weights.get(f"{prefix}ecg_encoder.mask_emb"), network.ecg_encoder
    if stored is None:
        encoder.mask_emb = None
    elif encoder.mask_emb is None:
        encoder.mask_emb = nn.Parameter(torch.empty_like(network.class_embedding))
