"""Models of one's own: the base classes of fairseq_signals, on fairseq's."""

import os
from abc import ABCMeta
from collections.abc import Mapping
from typing import Any

import fairseq.models
import torch
from fairseq.models import BaseFairseqModel
from omegaconf import OmegaConf
from torch import nn

from fairseq_ecg.compat.published.batching import compute_mask_indices
from fairseq_ecg.compat.published.layers import StandsFor, TransformerEncoder
from fairseq_ecg.compat.restoring import restore, sorted_overrides
from fairseq_ecg.compat.training import load_checkpoint_to_cpu
from fairseq_ecg.models.pretrained import CONDITIONING, compare_tasks
from fairseq_ecg.modules import ECGTransformer, Encoder, FinetunedEncoder, MaskedEncoder
from fairseq_ecg.options import options_of


class PretrainingModel(BaseFairseqModel, StandsFor, metaclass=ABCMeta):
    """Base of encoders of one's own; the encoders of this package count as instances.

    Args:
        cfg: configuration of the model.
    """

    stands_for = Encoder
    num_updates = 0

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg

    def set_num_updates(self, num_updates: int) -> None:
        """Note the number of updates, and pass it on to the parts."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    @classmethod
    def from_pretrained(
        cls,
        model_path: str | os.PathLike,
        cfg: Any,
        arg_overrides: dict[str, Any] | None = None,
        **_,
    ) -> BaseFairseqModel:
        """Build the model of a checkpoint, without what pre-training alone needs.

        Args:
            model_path: the ``.pt`` file.
            cfg: configuration of the model that it is for, of which ``normalize`` and ``filter``
                are compared.
            arg_overrides: values of the checkpoint's configuration, by section and key or by key
                alone.

        Raises:
            CheckpointError: it was trained on signals that were normalised or filtered otherwise,
                or the file cannot be used.
        """
        model, stored, _task = restore(model_path, sorted_overrides(arg_overrides or {}))
        trained_with = {name: bool(stored.task.get(name, False)) for name in CONDITIONING}
        own = {name: bool(getattr(cfg, name)) for name in CONDITIONING}
        compare_tasks(trained_with, own, model_path)
        if hasattr(model, "remove_pretraining_modules"):
            model.remove_pretraining_modules()
        return model


class TransformerModel(PretrainingModel):
    """Base of encoders of one's own with a transformer, and with its masks.

    Args:
        cfg: its configuration.
    """

    stands_for = ECGTransformer

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        for option in options_of(MaskedEncoder):
            setattr(self, option, getattr(cfg, option))
        if cfg.apply_mask:
            self.mask_emb = nn.Parameter(torch.empty(cfg.encoder_embed_dim).uniform_())
        self.dropout_input = nn.Dropout(cfg.dropout_input)
        self.dropout_features = nn.Dropout(cfg.dropout_features)
        self.encoder = TransformerEncoder(cfg)

    @classmethod
    def build_model(cls, cfg: Any, task: Any = None) -> "TransformerModel":
        """Build the network that a configuration describes."""
        return cls(cfg)

    @classmethod
    def from_pretrained(
        cls,
        model_path: str | os.PathLike,
        cfg: Any,
        arg_appended: dict[str, Any] | None = None,
        **options,
    ) -> BaseFairseqModel:
        """Build the model of a checkpoint with the dropout of another configuration.

        Args:
            model_path: the ``.pt`` file.
            cfg: configuration of the model that it is for.
            arg_appended: further values of the checkpoint's configuration, by key.
            options: have no meaning.
        """
        regularisation = (
            *("dropout", "activation_dropout", "dropout_input", "attention_dropout"),
            "encoder_layerdrop",
        )
        overrides = {name: getattr(cfg, name) for name in regularisation} | {"all_gather": False}
        overrides |= arg_appended or {}
        return super().from_pretrained(model_path, cfg, {"model": overrides})

    def apply_mask(
        self,
        x: torch.Tensor,
        padding_mask: torch.Tensor | None,
        mask_indices: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Put the mask embedding on masked frames and zero on masked channels, in place.

        Args:
            x: ``(B, T, D)``.
            padding_mask: ``(B, T)`` bool, True where a frame is padding, or None.
            mask_indices: ``(B, T)`` bool, frames to mask; None: they are drawn from NumPy's global
                stream.

        Returns:
            ``x``, and which frames are masked, None where ``mask_prob`` is 0.
        """
        rows, frames, channels = x.shape
        if self.mask_prob == 0:
            mask_indices = None
        else:
            if mask_indices is None:
                drawn = compute_mask_indices(
                    (rows, frames),
                    padding_mask,
                    self.mask_prob,
                    self.mask_length,
                    self.mask_selection,
                    self.mask_other,
                    min_masks=2,
                    no_overlap=self.no_mask_overlap,
                    min_space=self.mask_min_space,
                )
                mask_indices = torch.from_numpy(drawn).to(x.device)
            x[mask_indices] = self.mask_emb.to(x.dtype)
        if self.mask_channel_prob > 0:
            drawn = compute_mask_indices(
                (rows, channels),
                None,
                self.mask_channel_prob,
                self.mask_channel_length,
                self.mask_channel_selection,
                self.mask_channel_other,
                no_overlap=self.no_mask_channel_overlap,
                min_space=self.mask_channel_min_space,
            )
            x.masked_fill_(torch.from_numpy(drawn).to(x.device).unsqueeze(1), 0)
        return x, mask_indices


class FinetuningModel(BaseFairseqModel, StandsFor, metaclass=ABCMeta):
    """Base of models of one's own on any encoder; the heads of this package count as instances.

    Args:
        cfg: configuration of the model.
        encoder: the encoder.
    """

    stands_for = FinetunedEncoder

    def __init__(self, cfg: Any, encoder: nn.Module):
        super().__init__()
        self.cfg = cfg
        self.encoder = encoder
        self.freeze_finetune_updates = cfg.freeze_finetune_updates
        self.num_updates = 0

    def set_num_updates(self, num_updates: int) -> None:
        """Note the number of updates, and pass it on to the parts."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates


def build_model(
    cfg: Any,
    task: Any,
    from_checkpoint: bool = False,
    checkpoint_path: str | os.PathLike | None = None,
) -> BaseFairseqModel:
    """Build a model of its configuration.

    Args:
        cfg: the configuration, a dict or one of omegaconf's, with its ``_name``.
        task: the task, which a model may ask.
        from_checkpoint: whether options that the model does not have are passed over.
        checkpoint_path: with ``from_checkpoint``: the ``.pt`` file whose weights it has.

    Raises:
        CheckpointError: the file cannot be used.
    """
    if isinstance(cfg, Mapping) and not OmegaConf.is_config(cfg):
        cfg = OmegaConf.create(dict(cfg))
    model = fairseq.models.build_model(cfg, task, from_checkpoint)
    if checkpoint_path is not None and from_checkpoint:
        model.load_state_dict(load_checkpoint_to_cpu(checkpoint_path)["model"])
    return model
