"""Contrastive multi-segment coding (CMSC): the patient contrastive loss of CLOCS and ECG-FM."""

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.cmsc import reference
from fairseq_ecg.ops.cmsc.torch_kernel import positive_pairs
from fairseq_ecg.ops.losses import register_gradients

__all__ = ["cmsc_loss", "positive_pairs"]


def cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float = 0.1,
    eps: float = 1e-8,
    backend: str | None = None,
) -> Tensor:
    """Contrast the first segments of a batch with its second ones (CMSC).

    Both directions are averaged: the first segment among all second ones, and the reverse. The
    norm that scales the features is a constant for the gradient, as in fairseq_signals.

    Arithmetic is in float32, also under autocast; features of another type are converted, but
    float64 is kept in plain torch unless a backend is named here. There is no second derivative
    but by the reference.

    Args:
        features: ``(B, D)`` floating point, one vector per segment.
        patient_id: ``(B,)`` integer on any device, equal for segments of the same recording (or
            patient).
        segment: ``(B,)`` integer on any device, 0 for a first and 1 for a second segment; rows of
            another one do not count.
        temperature: what cosine similarities are divided by, positive.
        eps: smallest norm that a feature vector is divided by.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        Scalar of the dtype of ``features``, in nats: the mean over all positive pairs. NaN, with
        a gradient of zero, for a batch without any positive pair.

    Raises:
        ValueError: shapes do not match, or the temperature is not positive.
        BackendError: the backend asked for is not there.

    Source: Kiyasseh et al., "CLOCS: Contrastive Learning of Cardiac Signals Across Space, Time,
    and Patients", ICML 2021; the detached norm is fairseq_signals'.
    """
    rows = features.shape[:1]
    if features.dim() != 2 or patient_id.shape != rows or segment.shape != rows:
        raise ValueError(
            "features must be (B, D), patient_id and segment (B,), not "
            f"{tuple(features.shape)}, {tuple(patient_id.shape)} and {tuple(segment.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, not {temperature}")
    patient_id, segment = (
        ids.to(features.device, torch.long, non_blocking=True) for ids in (patient_id, segment)
    )
    if features.dtype == torch.float64 and backend is None:
        chosen, precise = "torch", features
    else:
        chosen, precise = backends.choose("cmsc", features.device.type, backend), features.float()
    if chosen == "reference":
        with torch.autocast(features.device.type, enabled=False):
            loss = reference.cmsc_loss(precise, patient_id, segment, temperature, eps)
    else:
        gradient = torch.is_grad_enabled() and features.requires_grad
        loss, _ = _cmsc_loss(precise, patient_id, segment, temperature, eps, gradient, chosen)
    return loss.to(features.dtype)


@backends.operator("cmsc_loss")
def _cmsc_loss(
    features: Tensor,
    patient_id: Tensor,
    segment: Tensor,
    temperature: float,
    eps: float,
    gradient: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient (or an empty tensor)."""
    run = backends.implementation("cmsc", backend).cmsc_loss
    with torch.autocast(features.device.type, enabled=False):
        tensors = backends.contiguous(features, patient_id, segment)
        return run(*tensors, temperature, eps, gradient)


@torch.library.register_fake(_cmsc_loss)
def _(features, patient_id, segment, temperature, eps, gradient, backend):
    return features.new_empty(()), features.new_empty(features.shape if gradient else (0,))


register_gradients(_cmsc_loss, 1)
