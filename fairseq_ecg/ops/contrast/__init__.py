"""Contrastive losses over pairs of a batch's rows: those of SimCLR, 3KG, CMSC and CLIP."""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.contrast import reference
from fairseq_ecg.ops.losses import register_gradients

__all__ = ["Contrast", "contrast"]

_LONGEST = 2.0**12
"""More than any length that a learnt temperature gives to features, and exact to divide by."""


class Contrast(NamedTuple):
    """A contrastive loss, and counts over its pairs.

    Args:
        loss: scalar of the dtype of the features, in nats.
        counts: ``(3,)`` int64: ordered positive pairs (each pair twice); those of them whose
            similarity no negative pair of their first row exceeds; and of these those that exceed
            no negative pair either, as where there is none.
    """

    loss: Tensor
    counts: Tensor


def contrast(
    features: Tensor,
    group: Tensor,
    segment: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    eps: float = 1e-8,
    backend: str | None = None,
) -> Contrast:
    """Contrast rows of a batch: those of one group should be alike, and others not.

    Without segments every row is contrasted with every other one: the loss is the *sum* over all
    ordered positive pairs (i, j) of the cross entropy of j among j itself and the rows of other
    groups than i's. That is SimCLR where groups are the two views of a recording, and 3KG where
    they are patients. A batch without a positive pair has the loss zero.

    With segments the first segments of the batch are contrasted with its second ones, both ways
    (CMSC): the loss is the *mean* over all positive pairs, each among all segments of the other
    kind. It is NaN, with a gradient of zero, for a batch without any positive pair.

    The norm that scales the features is a constant for the gradient, as in fairseq_signals.
    Arithmetic is in float32, also under autocast; features of another type are converted, but
    float64 is kept in plain torch unless a backend is named here. There is no second derivative
    but by the reference.

    Args:
        features: ``(B, D)`` floating point.
        group: ``(B,)`` integer on any device, equal for rows that should be alike.
        segment: ``(B,)`` integer on any device, 0 for a first and 1 for a second segment; rows of
            another one do not count.
        temperature: what cosine similarities are divided by, positive; a tensor of one number on
            the device of the features, at least 1e-7, gets a gradient.
        eps: smallest norm that a feature vector is divided by.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Raises:
        ValueError: shapes do not match, or the temperature is not positive.
        BackendError: the backend asked for is not there.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
    ICML 2020; Gopal et al., "3KG", ML4H 2021; Kiyasseh et al., "CLOCS", ICML 2021; the detached
    norm is fairseq_signals'.
    """
    ids = [group] if segment is None else [group, segment]
    if features.dim() != 2 or any(each.shape != features.shape[:1] for each in ids):
        shapes = " and ".join(str(tuple(each.shape)) for each in (features, *ids))
        raise ValueError(f"features must be (B, D), group and segment (B,), not {shapes}")
    dtype = features.dtype
    if torch.is_tensor(temperature):
        features, temperature, eps = _scaled(features, temperature, eps)
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, not {temperature}")
    group = group.to(features.device, torch.long, non_blocking=True)
    if segment is not None:
        segment = segment.to(features.device, torch.long, non_blocking=True)
    if features.dtype == torch.float64 and backend is None:
        chosen, precise = "torch", features
    else:
        chosen = backends.choose("contrast", features.device.type, backend)
        precise = features.float()
    if chosen == "reference":
        with torch.autocast(features.device.type, enabled=False):
            loss, counts = reference.contrast(precise, group, segment, temperature, eps)
    else:
        gradient = torch.is_grad_enabled() and features.requires_grad
        loss, counts, _ = _contrast(precise, group, segment, temperature, eps, gradient, chosen)
    return Contrast(loss.to(dtype), counts)


def _scaled(features: Tensor, temperature: Tensor, eps: float) -> tuple[Tensor, float, float]:
    """Return features whose products are similarities over a learnt temperature.

    With the temperature and the smallest norm that are returned these products are what is
    contrasted: all features are shorter, so that each is divided by that norm.
    """
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    norm = torch.linalg.vector_norm(wide.detach(), dim=1, keepdim=True)
    lengths = temperature.to(wide.dtype).rsqrt()
    return wide / norm.clamp(min=eps) * lengths, _LONGEST**-2, _LONGEST


@backends.operator("contrast")
def _contrast(
    features: Tensor,
    group: Tensor,
    segment: Tensor | None,
    temperature: float,
    eps: float,
    gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, its counts and its gradient (or an empty tensor)."""
    run = backends.implementation("contrast", backend).contrast
    with torch.autocast(features.device.type, enabled=False):
        tensors = backends.contiguous(features, group, segment)
        return run(*tensors, temperature, eps, gradient)


@torch.library.register_fake(_contrast)
def _(features, group, segment, temperature, eps, gradient, backend):
    grad_features = features.new_empty(features.shape if gradient else (0,))
    return features.new_empty(()), group.new_empty((3,)), grad_features


register_gradients(_contrast, 1)
