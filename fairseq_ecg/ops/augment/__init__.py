"""Augmentations of ECGs, each a draw followed by a deterministic apply.

Of one recording: `Augmentation.draw` and `Augmentation.apply`, which are the definition, and
`augment`, which does both. Of a batch: `draw_batch` on the host and `apply_batch`, a whole recipe
in one pass.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fairseq_ecg.ops import backends
from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.baseline_shift import BaselineShift
from fairseq_ecg.ops.augment.baseline_wander import BaselineWander
from fairseq_ecg.ops.augment.batch import describe, draw_batch, n_columns, pack_draws
from fairseq_ecg.ops.augment.emg_noise import EMGNoise
from fairseq_ecg.ops.augment.leads_mask import RandomLeadsMask
from fairseq_ecg.ops.augment.powerline_noise import PowerlineNoise
from fairseq_ecg.ops.augment.recipe import (
    AUGMENTATIONS,
    augment,
    build_augmentations,
    check_leads,
)
from fairseq_ecg.ops.augment.vectorcardiogram_view import VectorcardiogramView

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "BaselineShift",
    "BaselineWander",
    "EMGNoise",
    "PowerlineNoise",
    "RandomLeadsMask",
    "VectorcardiogramView",
    "apply_batch",
    "augment",
    "build_augmentations",
    "check_leads",
    "draw_batch",
    "pack_draws",
]


def apply_batch(
    ecgs: Tensor,
    augmentations: Sequence[Augmentation],
    draws: Mapping[str, Tensor],
    backend: str | None = None,
) -> Tensor:
    """Apply a recipe to a batch; deterministic, and leaves its input as it is.

    Kernels read and write every sample once, with arithmetic in float32. What becomes of a sample
    depends on its recording, its position in it and its draws: not on the window, the batch, the
    number of threads or where padding is.

    Args:
        ecgs: ``(B, L, T)`` floating point in mV, L from 1 to 12; padding where a recording is
            shorter.
        augmentations: in order of application.
        draws: what :func:`draw_batch` or :func:`pack_draws` returned for these augmentations and
            these ``B`` recordings of ``L`` leads, on the device of ``ecgs``.
        backend: which implementation runs, see :mod:`fairseq_ecg.ops.backends`.

    Returns:
        ``(B, L, T)`` float32; ``ecgs`` itself where there are no augmentations.

    Raises:
        ValueError: shapes or types do not match, or ``ecgs`` requires a gradient.
        BackendError: the backend asked for is not there.
    """
    parameters, origins, layouts = draws["parameters"], draws["origins"], draws["layouts"]
    normals = draws.get("normals")
    if ecgs.dim() != 3:
        raise ValueError(f"ecgs must be (B, L, T), not {tuple(ecgs.shape)}")
    if torch.is_grad_enabled() and ecgs.requires_grad:
        raise ValueError("augmentation has no gradient, but ecgs requires one")
    expected = {
        "parameters": (parameters, (len(ecgs), n_columns(augmentations))),
        "origins": (origins, (len(ecgs), 4)),
        "layouts": (layouts, ecgs.shape[:2]),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {tuple(shape)}, not {tuple(tensor.shape)}")
    if normals is not None and normals.shape[1:] != ecgs.shape:
        raise ValueError(f"normals must be (n, *{tuple(ecgs.shape)}), not {tuple(normals.shape)}")
    if len(augmentations) == 0:
        return ecgs.float()
    chosen = backends.choose("augment", ecgs.device.type, backend)
    recipe = describe(augmentations)
    return _augment(ecgs.float(), parameters, origins, layouts, normals, recipe, chosen)


@backends.operator("augment")
def _augment(
    ecgs: Tensor,
    parameters: Tensor,
    origins: Tensor,
    layouts: Tensor,
    normals: Tensor | None,
    recipe: Sequence[int],
    backend: str,
) -> Tensor:
    run = backends.implementation("augment", backend).augment
    if normals is not None and backend != "reference":
        normals = normals.float()
    with torch.autocast(ecgs.device.type, enabled=False):
        return run(*backends.contiguous(ecgs, parameters, origins, layouts, normals), recipe)


@torch.library.register_fake(_augment)
def _(ecgs, parameters, origins, layouts, normals, recipe, backend):
    return ecgs.new_empty(ecgs.shape)
