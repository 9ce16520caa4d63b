"""What every encoder offers to heads, adapters, training and programs."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.frames import frame_count, receptive_field
from fairseq_ecg.ops.pooling import mean_of_nonzero


class ECGReader(nn.Module):
    """Base of networks that read ECGs: ``(B, L, T)`` samples become T' frames.

    Attributes:
        leads_option: name of the option that says how many leads there are.
        encoder_dim: D, channels of a frame.
        n_leads: L, leads.
        strides: (kernel, stride) of every convolution between samples and frames.
    """

    leads_option: ClassVar[str] = "in_d"
    encoder_dim: int
    n_leads: int
    strides: list[tuple[int, int]]

    def frame_count(self, samples):
        """T', the frames that so many samples give: a number, or a tensor element by element."""
        return frame_count(samples, self.strides)

    @property
    def frame_centres(self) -> tuple[float, int]:
        """Sample that the first frame is at, and how many samples each frame is behind another."""
        width, stride = receptive_field(self.strides)
        return (width - 1) / 2, stride

    @property
    def leads_setting(self) -> str:
        """The option that decides how many leads there are, with its value."""
        return f"model.{self.leads_option}={self.n_leads}"

    def check_leads(self, source: torch.Tensor) -> None:
        """Compare segments with what the network takes.

        Raises:
            ValueError: there are more leads or fewer, or these are no segments.
        """
        wanted = self.n_leads
        found = source.shape[1] if source.dim() == 3 else 1
        if source.dim() in (2, 3) and found == wanted:
            return
        remedy = (
            f"give all {wanted}, load them with task.enable_padding_leads=true, which adds rows "
            f"of zeros for missing leads (of recordings that are not read whole), or train a "
            f"network of model.{self.leads_option}={found}"
        )
        if source.dim() == 3 and source.shape[2] == wanted:
            remedy = "exchange the last two dimensions"
        raise ValueError(
            f"segments are {tuple(source.shape)} and should be (recordings, leads, samples): they "
            f"have {found} leads, but the network takes {wanted} ({self.leads_setting}); "
            f"{remedy}"
        )

    def frame_padding_mask(
        self, padding_mask: torch.Tensor | None, frames: int
    ) -> torch.Tensor | None:
        """Turn a mask of samples into one of frames.

        Args:
            padding_mask: ``(B, L, T)`` (alike in all leads) or ``(B, T)`` bool.
            frames: T'.

        Returns:
            ``(B, T')`` bool, True from the first frame past the valid samples on. None if
            nothing is padded, as far as that can be known without waiting for a device or breaking
            a graph.
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
        ends = self.frame_ends(samples, frames)
        return torch.arange(frames, device=padding_mask.device) >= ends.unsqueeze(1)

    def frame_ends(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Compute where the padded frames of each row begin.

        Args:
            samples: ``(B,)`` int64, valid samples of each row, padding behind them.
            frames: T', frames of the whole width.

        Returns:
            ``(B,)`` int64.
        """
        return self.frame_count(samples)


class Encoder(ECGReader):
    """Base of encoders: ``(B, L, T)`` samples to ``(B, T', D)`` frames.

    Its constructor's keyword-only arguments are its options, see
    :mod:`fairseq_ecg.options`.

    Attributes:
        architecture_options: names of options that its weights decide.
        regularisation_options: names of options that fine-tuning decides anew; all are 0 there
            unless they are set.
        pretraining_modules: names of modules, none of them needed to encode, that a fine-tuned
            encoder no longer has.
        has_attention: whether there may be attention weights to return.
        mean: makes one vector ``(B, D)`` of frames ``(B, T', D)``, given also ``(B, T')``, True
            where padded, or None: embeddings are such means.
        attention_heads: into which attention may split a frame.
        scale_dims: channels of each of the maps that :meth:`extract_features` returns besides as
            ``scales``, every one half as long as the one before; empty if it returns none.
        mask_emb: embedding of masked frames, or None.
    """

    architecture_options: ClassVar[tuple[str, ...]] = ()
    regularisation_options: ClassVar[tuple[str, ...]] = ()
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    has_attention: ClassVar[bool] = True
    mean: ClassVar[Callable[..., torch.Tensor]] = staticmethod(mean_of_nonzero)
    attention_heads: int
    scale_dims: tuple[int, ...] = ()
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

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return False

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        return []

    def without_gradient_unmasked(self) -> list[nn.Parameter]:
        """Parameters as of :meth:`without_gradient`, of an encoder whose frames are not masked."""
        unmasked = [] if self.mask_emb is None else [self.mask_emb]
        return list({id(p): p for p in [*self.without_gradient(), *unmasked]}.values())

    def pass_on_num_updates(self, num_updates: int) -> None:
        """Say to the parts that follow a schedule how many updates are done."""
        for module in self.modules():
            set_updates: Any = getattr(module, "set_num_updates", None)
            if set_updates is not None:
                set_updates(num_updates)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training or evaluation; a batch norm that is frozen keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
                module.eval()
        return self

    def remove_pretraining_modules(self) -> None:
        """Drop what only pre-training uses; a mask embedding stays."""
        for name in self.pretraining_modules:
            setattr(self, name, None)
